"""The console: moderators, decisions, sessions, tokens, audit log; and what lists of flags need.

Indexes are made on flags, which are few; verdicts, which are many, are read once and not locked.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_JSON = sa.JSON().with_variant(JSONB(), "postgresql")
_MOMENT = sa.DateTime(timezone=True)
#: Statements that a test of migrations refuses, and why they may be here.
REASONS = {
    "UPDATE flags SET": "flags are few; whoever touches one waits until all are filled",
    "DROP INDEX ix_flags_work": "flags are few: it is made again within the same second",
    "CREATE INDEX ix_flags_": "flags are few",
}
_TABLES = (
    "tallies",
    "audit_log",
    "idempotency_keys",
    "api_tokens",
    "sign_in_failures",
    "sign_in_links",
    "sessions",
    "decisions",
    "moderators",
)


def upgrade() -> None:
    """Adds tables, columns and indexes; fills the new columns of flags from their verdicts."""
    _flags()
    _moderators()
    _sign_in()
    _rest()


def _flags() -> None:
    for column in (
        sa.Column("author", sa.String(256), nullable=True),
        sa.Column("negative", sa.Double(), nullable=True),
        sa.Column("sarcasm", sa.Double(), nullable=True),
        sa.Column("escalated_at", _MOMENT, nullable=True),
        sa.Column("outcome", sa.String(16), nullable=True),
    ):
        op.add_column("flags", column)
    for name in ("author", "negative", "sarcasm"):
        op.execute(
            f"UPDATE flags SET {name} = "  # noqa: S608 - the names stand above
            f"(SELECT v.{name} FROM verdicts v WHERE v.id = flags.verdict_id)"
        )
    op.drop_index("ix_flags_work", "flags")
    highest = sa.text("priority DESC")
    op.create_index("ix_flags_work", "flags", ["state", "queue", highest, "opened_at", "id"])
    op.create_index("ix_flags_priority", "flags", ["state", highest, "opened_at", "id"])
    op.create_index("ix_flags_author_id", "flags", ["author", "id"])
    op.create_index("ix_flags_opened_at", "flags", ["opened_at"])
    op.create_index("ix_flags_closed_at", "flags", ["closed_at"])


def _moderators() -> None:
    op.create_table(
        "moderators",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("email", sa.String(254), nullable=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password_hash", sa.String(200), nullable=True),
        sa.Column("settings", _JSON, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("disabled_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_moderators"),
        sa.UniqueConstraint("name", name="uq_moderators_name"),
        sa.CheckConstraint(
            "role IN ('viewer', 'moderator', 'lead', 'admin')",
            name=op.f("ck_moderators_role_is_known"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "decisions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("flag_id", _ID, nullable=False),
        sa.Column("verdict_id", _ID, nullable=False),
        sa.Column("moderator_id", _ID, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("reason_code", sa.String(64), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("sentiment", sa.String(16), nullable=True),
        sa.Column("sarcastic", sa.Boolean(), nullable=True),
        sa.Column("agrees_sentiment", sa.Boolean(), nullable=True),
        sa.Column("agrees_sarcasm", sa.Boolean(), nullable=True),
        sa.Column("seconds_taken", sa.Double(), nullable=True),
        sa.Column("undoes", _ID, nullable=True),
        sa.Column("batch", sa.String(32), nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
        sa.ForeignKeyConstraint(["flag_id"], ["flags.id"], name="fk_decisions_flag_id"),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdicts.id"], name="fk_decisions_verdict_id"),
        sa.ForeignKeyConstraint(
            ["moderator_id"], ["moderators.id"], name="fk_decisions_moderator_id"
        ),
        sa.ForeignKeyConstraint(["undoes"], ["decisions.id"], name="fk_decisions_undoes"),
        sa.UniqueConstraint("undoes", name="uq_decisions_undoes"),
        sa.CheckConstraint(
            "action IN ('approve', 'remove', 'escalate', 'skip', 'undo')",
            name=op.f("ck_decisions_action_is_known"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_decisions_flag_id_id", "decisions", ["flag_id", "id"])
    op.create_index("ix_decisions_moderator_id_id", "decisions", ["moderator_id", "id"])
    op.create_index("ix_decisions_batch", "decisions", ["batch"])
    op.create_index("ix_decisions_created_at", "decisions", ["created_at"])


def _sign_in() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("moderator_id", _ID, nullable=False),
        sa.Column("client", sa.String(200), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("last_seen_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.UniqueConstraint("token_hash", name="uq_sessions_token_hash"),
        sa.ForeignKeyConstraint(
            ["moderator_id"], ["moderators.id"], name="fk_sessions_moderator_id"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_sessions_moderator_id", "sessions", ["moderator_id"])
    op.create_table(
        "sign_in_links",
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("moderator_id", _ID, nullable=False),
        sa.Column("sets_password", sa.Boolean(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("used_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name="pk_sign_in_links"),
        sa.ForeignKeyConstraint(
            ["moderator_id"], ["moderators.id"], name="fk_sign_in_links_moderator_id"
        ),
    )
    op.create_table(
        "sign_in_failures",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("place", sa.String(64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", "place", name="pk_sign_in_failures"),
    )
    op.create_index("ix_sign_in_failures_last_at", "sign_in_failures", ["last_at"])


def _rest() -> None:
    op.create_table(
        "api_tokens",
        sa.Column("id", _ID, nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("scopes", _JSON, nullable=False),
        sa.Column("moderator_id", _ID, nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("last_used_at", _MOMENT, nullable=True),
        sa.Column("revoked_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_tokens"),
        sa.UniqueConstraint("token_hash", name="uq_api_tokens_token_hash"),
        sa.ForeignKeyConstraint(
            ["moderator_id"], ["moderators.id"], name="fk_api_tokens_moderator_id"
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("token_id", _ID, nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("answer", _JSON, nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("token_id", "key", name="pk_idempotency_keys"),
        sa.ForeignKeyConstraint(
            ["token_id"], ["api_tokens.id"], name="fk_idempotency_keys_token_id"
        ),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "audit_log",
        sa.Column("id", _ID, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(300), nullable=False),
        sa.Column("before", _JSON, nullable=True),
        sa.Column("after", _JSON, nullable=True),
        sa.Column("address", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_log_actor_id", "audit_log", ["actor", "id"])
    op.create_index("ix_audit_log_action_id", "audit_log", ["action", "id"])
    op.create_table(
        "tallies",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "part", name="pk_tallies"),
    )
    for table in ("verdicts", "flags"):
        op.execute(
            f"INSERT INTO tallies (name, part, value) "  # noqa: S608 - the names stand above
            f"SELECT '{table}', 0, COUNT(*) FROM {table}"
        )


def downgrade() -> None:
    """Removes them, with all they hold."""
    for table in _TABLES:
        op.drop_table(table)
    op.drop_index("ix_flags_work", "flags")
    op.create_index(
        "ix_flags_work", "flags", ["state", "queue", sa.text("priority DESC"), "opened_at"]
    )
    for index in (
        "ix_flags_priority",
        "ix_flags_author_id",
        "ix_flags_opened_at",
        "ix_flags_closed_at",
    ):
        op.drop_index(index, "flags")
    for column in ("author", "negative", "sarcasm", "escalated_at", "outcome"):
        op.drop_column("flags", column)
