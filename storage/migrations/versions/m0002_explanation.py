"""What moved a flagged post's score, beside its verdict."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Adds the column; verdicts that are there have no explanation."""
    op.add_column("verdicts", sa.Column("explanation", _JSON, nullable=True))


def downgrade() -> None:
    """Removes it, with all it holds."""
    op.drop_column("verdicts", "explanation")
