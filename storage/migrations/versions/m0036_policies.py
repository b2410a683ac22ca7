"""The text of every policy that judged posts. Workers of the version before write none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a table."""
    op.create_table(
        "policies",
        sa.Column("version", sa.String(200), primary_key=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_started_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_policies_last_started_at", "policies", ["last_started_at"])


def downgrade() -> None:
    """Removes it."""
    op.drop_table("policies")
