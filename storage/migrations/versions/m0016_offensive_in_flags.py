"""A flag's scores of offensive and hateful words, as in its verdict, to be searched for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns."""
    op.add_column("flags", sa.Column("offensive", sa.Double(), nullable=True))
    op.add_column("flags", sa.Column("hateful", sa.Double(), nullable=True))


def downgrade() -> None:
    """Removes them."""
    op.drop_column("flags", "hateful")
    op.drop_column("flags", "offensive")
