"""The queue in its order, by indexes: `rank_at`, or `opened_at` of a flag that has none."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from storage.migrations.online import create_index, drop_index

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

_PLACE = [sa.text("priority DESC"), sa.text("coalesce(rank_at, opened_at)"), "id"]
_BEFORE: list[Any] = [sa.text("priority DESC"), "opened_at", "id"]
_UNPLACED = "rank_at IS NULL AND state IN ('open', 'claimed', 'escalated')"


def upgrade() -> None:
    """Makes the new ones before it drops the old ones, so that no list is without. What stays of
    those, `ix_flags_priority`, serves consoles of the version before, and says how old the oldest
    flag is.
    """
    create_index("ix_flags_queue_place", "flags", ["state", "queue", *_PLACE])
    create_index("ix_flags_place", "flags", ["state", *_PLACE])
    create_index("ix_flags_language_place", "flags", ["state", "language", *_PLACE])
    create_index("ix_flags_unplaced", "flags", ["id"], where=_UNPLACED)
    drop_index("ix_flags_work", "flags")
    drop_index("ix_flags_language", "flags")


def downgrade() -> None:
    """Makes the old ones again."""
    op.create_index("ix_flags_work", "flags", ["state", "queue", *_BEFORE])
    op.create_index("ix_flags_language", "flags", ["state", "language", *_BEFORE])
    for name in ("queue_place", "place", "language_place", "unplaced"):
        op.drop_index(f"ix_flags_{name}", "flags")
