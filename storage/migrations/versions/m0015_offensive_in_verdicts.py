"""How offensive and how hateful a post's words are. Empty without words, and of a model that was
not asked: no table is rewritten, and workers of the version before go on writing verdicts without.

A migration for each table: one that waits for a second table while it holds the first would stand
in a circle with somebody who has the second and reads the first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns."""
    op.add_column("verdicts", sa.Column("offensive", sa.Double(), nullable=True))
    op.add_column("verdicts", sa.Column("hateful", sa.Double(), nullable=True))


def downgrade() -> None:
    """Removes them."""
    op.drop_column("verdicts", "hateful")
    op.drop_column("verdicts", "offensive")
