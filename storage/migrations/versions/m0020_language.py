"""The language of a post, and whether the model learnt it. Constant defaults: no table is
rewritten, and workers of the version before go on writing verdicts without them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns."""
    op.add_column("verdicts", sa.Column("language", sa.String(3), nullable=True))
    op.add_column(
        "verdicts", sa.Column("unlearnt", sa.Boolean(), server_default=sa.false(), nullable=False)
    )


def downgrade() -> None:
    """Removes them."""
    op.drop_column("verdicts", "unlearnt")
    op.drop_column("verdicts", "language")
