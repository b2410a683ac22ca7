"""Which post a post answers, and where people read it. Nullable, so no table is rewritten, and
workers of the version before go on writing verdicts without them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns."""
    op.add_column("verdicts", sa.Column("parent", sa.String(256), nullable=True))
    op.add_column("verdicts", sa.Column("url", sa.Text(), nullable=True))


def downgrade() -> None:
    """Removes them."""
    op.drop_column("verdicts", "url")
    op.drop_column("verdicts", "parent")
