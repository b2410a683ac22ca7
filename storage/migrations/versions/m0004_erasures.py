"""Receipts of erasures, and the index that finds an author's posts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "erasures",
        sa.Column("id", _ID, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject_sha256", sa.String(64), nullable=False),
        sa.Column("requested_by", sa.String(256), nullable=False),
        sa.Column("counts", _JSON, nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_erasures"),
        sa.CheckConstraint("kind IN ('post', 'author')", name=op.f("ck_erasures_kind_is_known")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_erasures_subject_sha256_kind", "erasures", ["subject_sha256", "kind"])


def downgrade() -> None:
    """Removes it: posts that were erased would be judged again."""
    op.drop_table("erasures")
