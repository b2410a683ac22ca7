"""What moved the score of a flag, found out after the flag was opened. A new table only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_JSON = sa.JSON().with_variant(JSONB(), "postgresql")
_PENDING = sa.text("state = 'pending'")
_WANTED = sa.text("state = 'pending' AND wanted_at IS NOT NULL")


def upgrade() -> None:
    """Adds the table."""
    op.create_table(
        "explanations",
        sa.Column("flag_id", _ID, nullable=False, autoincrement=False),
        sa.Column("verdict_id", _ID, nullable=False),
        sa.Column("score", sa.String(64), nullable=False),
        sa.Column("model_version", sa.String(200), nullable=False),
        sa.Column("calibration_version", sa.String(200), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("wanted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(200), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("explanation", _JSON, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("flag_id", name="pk_explanations"),
        sa.ForeignKeyConstraint(["flag_id"], ["flags.id"], name="fk_explanations_flag_id"),
        sa.CheckConstraint(
            "state IN ('pending', 'done', 'failed')", name=op.f("ck_explanations_state_is_known")
        ),
    )
    op.create_index(
        "ix_explanations_pending",
        "explanations",
        [sa.text("priority DESC"), "flag_id"],
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    )
    op.create_index(
        "ix_explanations_wanted",
        "explanations",
        ["wanted_at"],
        sqlite_where=_WANTED,
        postgresql_where=_WANTED,
    )


def downgrade() -> None:
    """Removes it, with all it holds."""
    op.drop_table("explanations")
