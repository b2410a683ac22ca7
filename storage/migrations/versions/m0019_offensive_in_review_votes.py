"""Whether a post's words are offensive, according to a second look."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column."""
    op.add_column("review_votes", sa.Column("offensive", sa.Boolean(), nullable=True))


def downgrade() -> None:
    """Removes it."""
    op.drop_column("review_votes", "offensive")
