"""The audit log is append-only in the database too: triggers refuse to change or remove entries.

Creating a trigger takes a lock for a moment and looks at no row. Whoever copies `audit_log` later,
as Alembic's batches do on SQLite, has to make its triggers again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_SQLITE = (
    "CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    "CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log "
    "WHEN NOT EXISTS (SELECT 1 FROM audit_retention WHERE OLD.at < entries_before) "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    # INSERT OR REPLACE removes a row without asking the trigger above.
    "CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log "
    "WHEN EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id) "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    *(
        f"CREATE TRIGGER audit_retention_{event.lower()} BEFORE {event} ON audit_retention "
        f"WHEN NEW.entries_before > strftime('%Y-%m-%d %H:%M:%f', 'now', '-12 hours') "
        f"BEGIN SELECT RAISE(ABORT, 'entries of the last 12 hours never go'); END"
        for event in ("INSERT", "UPDATE")
    ),
)
_POSTGRESQL = (
    # Schema and search path are fixed: a caller's own table or operator would be found first.
    """CREATE FUNCTION deadpan_audit_log() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE may_go boolean := false;
BEGIN
    IF TG_OP = 'DELETE' THEN
        EXECUTE format(
            'SELECT EXISTS (SELECT 1 FROM %I.audit_retention WHERE $1 < entries_before)',
            TG_TABLE_SCHEMA) INTO may_go USING OLD.at;
    END IF;
    IF NOT may_go THEN
        RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN OLD;
END $$""",
    """CREATE FUNCTION deadpan_audit_retention() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.entries_before > pg_catalog.now() - interval '12 hours' THEN
        RAISE EXCEPTION 'entries of the last 12 hours never go'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$""",
    "CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log "
    "FOR EACH ROW EXECUTE FUNCTION deadpan_audit_log()",
    "CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log "
    "FOR EACH STATEMENT EXECUTE FUNCTION deadpan_audit_log()",
    "CREATE TRIGGER audit_retention_bound BEFORE INSERT OR UPDATE ON audit_retention "
    "FOR EACH ROW EXECUTE FUNCTION deadpan_audit_retention()",
)


def upgrade() -> None:
    """Adds the table of the bound, and the triggers."""
    op.create_table(
        "audit_retention",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("entries_before", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_retention"),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_retention_there_is_one")),
    )
    on_sqlite = op.get_context().dialect.name == "sqlite"
    for statement in _SQLITE if on_sqlite else _POSTGRESQL:
        op.execute(sa.text(statement))


def downgrade() -> None:
    """Removes them: anybody with the right to may change the audit log again."""
    if op.get_context().dialect.name == "sqlite":
        for name in ("no_update", "no_delete", "no_replace"):
            op.execute(f"DROP TRIGGER audit_log_{name}")
    else:
        op.execute("DROP TRIGGER audit_log_append_only ON audit_log")
        op.execute("DROP TRIGGER audit_log_no_truncate ON audit_log")
    op.drop_table("audit_retention")
    if op.get_context().dialect.name != "sqlite":
        op.execute("DROP FUNCTION deadpan_audit_log()")
        op.execute("DROP FUNCTION deadpan_audit_retention()")
