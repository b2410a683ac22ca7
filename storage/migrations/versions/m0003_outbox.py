"""The outbox, and leases between processes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_JSON = sa.JSON().with_variant(JSONB(), "postgresql")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Creates both; what happened before is not reported."""
    op.create_table(
        "outbox",
        sa.Column("id", _ID, nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("post_id", sa.String(256), nullable=False),
        sa.Column("idempotency_key", sa.String(128), nullable=False),
        sa.Column("payload", _JSON, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", _MOMENT, nullable=False),
        sa.Column("delivered_at", _MOMENT, nullable=True),
        sa.Column("parked_at", _MOMENT, nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("idempotency_key", name="uq_outbox_idempotency_key"),
        sqlite_autoincrement=True,
    )
    for name, columns, condition in (
        ("ix_outbox_due", ["next_attempt_at", "id"], "delivered_at IS NULL AND parked_at IS NULL"),
        ("ix_outbox_order", ["post_id", "id"], "delivered_at IS NULL AND parked_at IS NULL"),
        ("ix_outbox_parked", ["id"], "parked_at IS NOT NULL"),
        ("ix_outbox_delivered_at", ["delivered_at"], "delivered_at IS NOT NULL"),
    ):
        op.create_index(
            name,
            "outbox",
            columns,
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )

    op.create_table(
        "leases",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("holder", sa.String(200), nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )


def downgrade() -> None:
    """Removes both, with what was not delivered yet."""
    op.drop_table("leases")
    op.drop_table("outbox")
