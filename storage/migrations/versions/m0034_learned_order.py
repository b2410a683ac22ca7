"""Where a flag stands in the learned order, and what that order learnt. Without a value a flag
stands where its age puts it, so workers and consoles of the version before go on as they are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0034"
down_revision = "0032"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Adds two columns and a table."""
    op.create_table(
        "learned_orders",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("trained_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decisions", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("evaluation", _JSON, nullable=False),
        sa.Column("model", _JSON, nullable=True),
        sa.CheckConstraint("state IN ('used', 'refused', 'replaced')", name="state_is_known"),
        sqlite_autoincrement=True,
    )
    op.add_column("flags", sa.Column("rank_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("flags", sa.Column("placement", _JSON, nullable=True))


def downgrade() -> None:
    """Removes them."""
    op.drop_column("flags", "placement")
    op.drop_column("flags", "rank_at")
    op.drop_table("learned_orders")
