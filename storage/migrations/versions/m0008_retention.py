"""Retention: which verdict has which evidence, and the indexes by which old rows are let go.

Without them, removing a verdict looks through all decisions, and removing evidence through all
verdicts that have some.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
#: Statements that a test of migrations refuses, and why they may be here.
REASONS = {
    "CREATE INDEX ix_decisions_verdict_id": "decisions are made by people, and few",
    "CREATE INDEX ix_reviews_verdict_id": "reviews are fewer still",
}
# Only posts with a flag have evidence.
_USES = {
    "postgresql": """
        INSERT INTO evidence_uses (sha256, verdict_id)
        SELECT DISTINCT e.value ->> 'sha256', v.id
        FROM flags f JOIN verdicts v ON v.post_id = f.post_id
        CROSS JOIN LATERAL jsonb_array_elements(v.evidence) AS e(value)
    """,
    "sqlite": """
        INSERT INTO evidence_uses (sha256, verdict_id)
        SELECT DISTINCT json_extract(e.value, '$.sha256'), v.id
        FROM flags f JOIN verdicts v ON v.post_id = f.post_id, json_each(v.evidence) AS e
    """,
}


def upgrade() -> None:
    """Adds a table, fills it in, and adds two indexes. What takes long comes first, while nobody
    has to wait: a foreign key would keep workers from writing verdicts until the end.
    """
    op.create_table(
        "evidence_uses",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("verdict_id", _ID, nullable=False),
        sa.PrimaryKeyConstraint("sha256", "verdict_id", name="pk_evidence_uses"),
    )
    op.execute(_USES[op.get_context().dialect.name])
    op.create_index("ix_evidence_uses_verdict_id", "evidence_uses", ["verdict_id"])
    op.create_index("ix_decisions_verdict_id", "decisions", ["verdict_id"])
    op.create_index("ix_reviews_verdict_id", "reviews", ["verdict_id"])


def downgrade() -> None:
    """Removes them."""
    op.drop_index("ix_reviews_verdict_id", "reviews")
    op.drop_index("ix_decisions_verdict_id", "decisions")
    op.drop_table("evidence_uses")
