"""Flags by when they are due, so that overdue ones are counted and found without a scan."""

from __future__ import annotations

from alembic import op

from storage.migrations.online import create_index

revision = "0027"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the index."""
    create_index("ix_flags_due_at", "flags", ["state", "due_at", "queue"])


def downgrade() -> None:
    """Removes it."""
    op.drop_index("ix_flags_due_at", "flags")
