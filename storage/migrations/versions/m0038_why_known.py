"""Why an answer is known, in a lead's words, for whoever gave another one. Nullable: no table is
rewritten, and consoles of the version before go on marking answers without it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column."""
    op.add_column("known_answers", sa.Column("why", sa.Text(), nullable=True))


def downgrade() -> None:
    """Removes it."""
    op.drop_column("known_answers", "why")
