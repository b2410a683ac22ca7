"""Whether a moderator found a post's words offensive, and whether the model agreed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns."""
    op.add_column("decisions", sa.Column("offensive", sa.Boolean(), nullable=True))
    op.add_column("decisions", sa.Column("agrees_offensive", sa.Boolean(), nullable=True))


def downgrade() -> None:
    """Removes them."""
    op.drop_column("decisions", "agrees_offensive")
    op.drop_column("decisions", "offensive")
