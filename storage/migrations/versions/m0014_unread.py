"""What of a post was not read. A constant default: no table is rewritten, and workers of the
version before go on writing verdicts without it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Adds the column."""
    op.add_column(
        "verdicts", sa.Column("unread", _JSON, server_default=sa.text("'[]'"), nullable=False)
    )


def downgrade() -> None:
    """Removes it."""
    op.drop_column("verdicts", "unread")
