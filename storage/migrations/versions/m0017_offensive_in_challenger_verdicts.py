"""What a challenger says of offensive and hateful words."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns."""
    op.add_column("challenger_verdicts", sa.Column("offensive", sa.Double(), nullable=True))
    op.add_column("challenger_verdicts", sa.Column("hateful", sa.Double(), nullable=True))


def downgrade() -> None:
    """Removes them."""
    op.drop_column("challenger_verdicts", "hateful")
    op.drop_column("challenger_verdicts", "offensive")
