"""Search: the text of flags in a form to search in, their language, and their rules where an index
finds them.

Texts of flags of before are in the evidence store, where SQL does not reach: they are found once
their post is judged again, and so is their language. Their rules are filled in.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
#: Statements that a test of migrations refuses, and why they may be here.
REASONS = {"CREATE INDEX ix_flags_language": "flags are few"}
_RULES = {
    "postgresql": """
        INSERT INTO flag_rules (flag_id, rule)
        SELECT DISTINCT f.id, left(r.value ->> 'rule', 100)
        FROM flags f CROSS JOIN LATERAL jsonb_array_elements(f.reasons) AS r(value)
        WHERE r.value ->> 'rule' IS NOT NULL
    """,
    "sqlite": """
        INSERT INTO flag_rules (flag_id, rule)
        SELECT DISTINCT f.id, substr(json_extract(r.value, '$.rule'), 1, 100)
        FROM flags f, json_each(f.reasons) AS r
        WHERE json_extract(r.value, '$.rule') IS NOT NULL
    """,
}


def upgrade() -> None:
    """Adds a table and fills it in, then columns with a constant in them, so that no table is
    written anew, and an index. What takes long comes first, while nobody has to wait: a foreign key
    would keep workers from writing flags until the end.
    """
    op.create_table(
        "flag_rules",
        sa.Column("rule", sa.String(100), nullable=False),
        sa.Column("flag_id", _ID, nullable=False),
        sa.PrimaryKeyConstraint("rule", "flag_id", name="pk_flag_rules"),
    )
    op.execute(_RULES[op.get_context().dialect.name])
    op.create_index("ix_flag_rules_flag_id", "flag_rules", ["flag_id"])
    op.add_column("flags", sa.Column("search_text", sa.Text(), nullable=True))
    op.add_column(
        "flags", sa.Column("language", sa.String(3), server_default="und", nullable=False)
    )
    highest = sa.text("priority DESC")
    op.create_index("ix_flags_language", "flags", ["state", "language", highest, "opened_at", "id"])


def downgrade() -> None:
    """Removes them."""
    op.drop_table("flag_rules")
    op.drop_index("ix_flags_language", "flags")
    op.drop_column("flags", "language")
    op.drop_column("flags", "search_text")
