"""Fairness: second looks and their votes, known answers, exposure. New tables only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds the tables."""
    _reviews()
    _votes()
    op.create_table(
        "known_answers",
        sa.Column("flag_id", _ID, nullable=False, autoincrement=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("marked_by", sa.String(64), nullable=False),
        sa.Column("marked_at", _MOMENT, nullable=False),
        sa.Column("retired_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("flag_id", name="pk_known_answers"),
        sa.ForeignKeyConstraint(["flag_id"], ["flags.id"], name="fk_known_answers_flag_id"),
        sa.CheckConstraint(
            "action IN ('approve', 'remove')", name=op.f("ck_known_answers_action_is_known")
        ),
    )
    op.create_table(
        "exposures",
        sa.Column("moderator_id", _ID, nullable=False),
        sa.Column("hour", _MOMENT, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(80), nullable=False),
        sa.PrimaryKeyConstraint("moderator_id", "hour", "kind", "subject", name="pk_exposures"),
        sa.ForeignKeyConstraint(
            ["moderator_id"], ["moderators.id"], name="fk_exposures_moderator_id"
        ),
        sa.CheckConstraint(
            "kind IN ('negative', 'picture')", name=op.f("ck_exposures_kind_is_known")
        ),
    )
    op.create_index("ix_exposures_hour", "exposures", ["hour"])


def _reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", _ID, nullable=False),
        sa.Column("flag_id", _ID, nullable=False),
        sa.Column("verdict_id", _ID, nullable=False),
        sa.Column("decision_id", _ID, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("expected", sa.String(16), nullable=False),
        sa.Column("for_moderator_id", _ID, nullable=True),
        sa.Column("asked_by", sa.String(64), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("claimed_by", sa.String(256), nullable=True),
        sa.Column("claim_expires_at", _MOMENT, nullable=True),
        sa.Column("row_version", sa.Integer(), nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.Column("escalated_at", _MOMENT, nullable=True),
        sa.Column("closed_at", _MOMENT, nullable=True),
        sa.Column("outcome", sa.String(16), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_reviews"),
        sa.ForeignKeyConstraint(["flag_id"], ["flags.id"], name="fk_reviews_flag_id"),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdicts.id"], name="fk_reviews_verdict_id"),
        sa.ForeignKeyConstraint(["decision_id"], ["decisions.id"], name="fk_reviews_decision_id"),
        sa.ForeignKeyConstraint(
            ["for_moderator_id"], ["moderators.id"], name="fk_reviews_for_moderator_id"
        ),
        sa.CheckConstraint(
            "kind IN ('sample', 'disagreement', 'appeal', 'known')",
            name=op.f("ck_reviews_kind_is_known"),
        ),
        sa.CheckConstraint(
            "state IN ('open', 'claimed', 'escalated', 'decided')",
            name=op.f("ck_reviews_state_is_known"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reviews_state_opened_at_id", "reviews", ["state", "opened_at", "id"])
    op.create_index("ix_reviews_flag_id", "reviews", ["flag_id"])
    op.create_index("ix_reviews_decision_id", "reviews", ["decision_id"])


def _votes() -> None:
    op.create_table(
        "review_votes",
        sa.Column("id", _ID, nullable=False),
        sa.Column("review_id", _ID, nullable=False),
        sa.Column("moderator_id", _ID, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("reason_code", sa.String(64), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("sentiment", sa.String(16), nullable=True),
        sa.Column("sarcastic", sa.Boolean(), nullable=True),
        sa.Column("settles", sa.Boolean(), nullable=False),
        sa.Column("decision_id", _ID, nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_review_votes"),
        sa.ForeignKeyConstraint(["review_id"], ["reviews.id"], name="fk_review_votes_review_id"),
        sa.ForeignKeyConstraint(
            ["moderator_id"], ["moderators.id"], name="fk_review_votes_moderator_id"
        ),
        sa.ForeignKeyConstraint(
            ["decision_id"], ["decisions.id"], name="fk_review_votes_decision_id"
        ),
        sa.UniqueConstraint("decision_id", name="uq_review_votes_decision_id"),
        sa.CheckConstraint(
            "action IN ('approve', 'remove', 'skip')",
            name=op.f("ck_review_votes_action_is_known"),
        ),
        sqlite_autoincrement=True,
    )
    for column in ("review_id", "moderator_id", "created_at"):
        op.create_index(f"ix_review_votes_{column}", "review_votes", [column])


def downgrade() -> None:
    """Removes them, with all they hold."""
    for table in ("exposures", "known_answers", "review_votes", "reviews"):
        op.drop_table(table)
