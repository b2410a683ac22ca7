"""The tables of fairness: second looks at decisions, known answers, and what people had to see."""

from __future__ import annotations

from datetime import datetime
from typing import Final, cast

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
)
from sqlalchemy.orm import Mapped, mapped_column

from storage.base.columns import NUMBERED, Base, Id, UtcDateTime


class ReviewRow(Base):
    """A decision that somebody else is to look at, blind. It stands where flags stand, too."""

    __tablename__ = "reviews"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    flag_id: Mapped[int] = mapped_column(Id, ForeignKey("flags.id"))
    verdict_id: Mapped[int] = mapped_column(Id, ForeignKey("verdicts.id"))
    decision_id: Mapped[int] = mapped_column(Id, ForeignKey("decisions.id"))
    kind: Mapped[str] = mapped_column(String(16))
    expected: Mapped[str] = mapped_column(String(16))
    for_moderator_id: Mapped[int | None] = mapped_column(Id, ForeignKey("moderators.id"))
    asked_by: Mapped[str | None] = mapped_column(String(64))
    why: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    claimed_by: Mapped[str | None] = mapped_column(String(256))
    claim_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    row_version: Mapped[int] = mapped_column(Integer)
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    escalated_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    outcome: Mapped[str | None] = mapped_column(String(16))

    __table_args__ = (
        CheckConstraint(
            "kind IN ('sample', 'disagreement', 'appeal', 'known')", name="kind_is_known"
        ),
        CheckConstraint(
            "state IN ('open', 'claimed', 'escalated', 'decided')", name="state_is_known"
        ),
        Index("ix_reviews_state_opened_at_id", "state", "opened_at", "id"),
        Index("ix_reviews_flag_id", "flag_id"),
        Index("ix_reviews_decision_id", "decision_id"),
        Index("ix_reviews_verdict_id", "verdict_id"),
        NUMBERED,
    )


class ReviewVoteRow(Base):
    """What somebody said in a second look. Rows are added, never changed."""

    __tablename__ = "review_votes"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    review_id: Mapped[int] = mapped_column(Id, ForeignKey("reviews.id"))
    moderator_id: Mapped[int] = mapped_column(Id, ForeignKey("moderators.id"))
    action: Mapped[str] = mapped_column(String(16))
    reason_code: Mapped[str | None] = mapped_column(String(64))
    note: Mapped[str | None] = mapped_column(Text)
    sentiment: Mapped[str | None] = mapped_column(String(16))
    sarcastic: Mapped[bool | None] = mapped_column(Boolean)
    settles: Mapped[bool] = mapped_column(Boolean)
    decision_id: Mapped[int | None] = mapped_column(Id, ForeignKey("decisions.id"), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        CheckConstraint("action IN ('approve', 'remove', 'skip')", name="action_is_known"),
        Index("ix_review_votes_review_id", "review_id"),
        Index("ix_review_votes_moderator_id", "moderator_id"),
        Index("ix_review_votes_created_at", "created_at"),
        NUMBERED,
    )


class KnownAnswerRow(Base):
    """A decided flag of which a lead says that its answer is known."""

    __tablename__ = "known_answers"

    flag_id: Mapped[int] = mapped_column(
        Id, ForeignKey("flags.id"), primary_key=True, autoincrement=False
    )
    action: Mapped[str] = mapped_column(String(16))
    marked_by: Mapped[str] = mapped_column(String(64))
    marked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    retired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (CheckConstraint("action IN ('approve', 'remove')", name="action_is_known"),)


class ExposureRow(Base):
    """Something hard that somebody had before their eyes in an hour. Forgotten after a day."""

    __tablename__ = "exposures"

    moderator_id: Mapped[int] = mapped_column(Id, ForeignKey("moderators.id"), primary_key=True)
    hour: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    subject: Mapped[str] = mapped_column(String(80), primary_key=True)

    __table_args__ = (
        CheckConstraint("kind IN ('negative', 'picture')", name="kind_is_known"),
        Index("ix_exposures_hour", "hour"),
    )


reviews: Final = cast(Table, ReviewRow.__table__)
review_votes: Final = cast(Table, ReviewVoteRow.__table__)
known_answers: Final = cast(Table, KnownAnswerRow.__table__)
exposures: Final = cast(Table, ExposureRow.__table__)
