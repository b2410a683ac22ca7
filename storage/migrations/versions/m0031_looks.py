"""Looks at posts that no rule flagged, and flags that are shown without why. Constant defaults: no
table is rewritten, and workers of the version before go on opening flags without them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns."""
    op.add_column("flags", sa.Column("inclusion", sa.Double(), nullable=True))
    op.add_column(
        "flags", sa.Column("blind", sa.Boolean(), server_default=sa.false(), nullable=False)
    )


def downgrade() -> None:
    """Removes them."""
    op.drop_column("flags", "blind")
    op.drop_column("flags", "inclusion")
