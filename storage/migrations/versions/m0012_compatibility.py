"""Which versions of Deadpan a database works with. A new table only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the table; `storage.migrations.schema.migrate` writes its row."""
    op.create_table(
        "compatibility",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("oldest_revision", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_compatibility"),
        sa.CheckConstraint("id = 1", name=op.f("ck_compatibility_one_row")),
    )


def downgrade() -> None:
    """Removes it: older versions would be refused again."""
    op.drop_table("compatibility")
