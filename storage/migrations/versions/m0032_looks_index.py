"""Finds looks among flags."""

from __future__ import annotations

from alembic import op

from storage.migrations import online

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the index, which holds looks only."""
    online.create_index("ix_flags_looks", "flags", ["opened_at"], where="inclusion IS NOT NULL")


def downgrade() -> None:
    """Removes it."""
    op.drop_index("ix_flags_looks", "flags")
