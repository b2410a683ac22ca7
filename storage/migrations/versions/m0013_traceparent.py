"""Which trace a verdict and an outbox row belong to. Both may be empty: no table is rewritten."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns."""
    op.add_column("verdicts", sa.Column("traceparent", sa.String(55), nullable=True))
    op.add_column("outbox", sa.Column("traceparent", sa.String(55), nullable=True))


def downgrade() -> None:
    """Removes them."""
    op.drop_column("outbox", "traceparent")
    op.drop_column("verdicts", "traceparent")
