"""What a challenger said of posts that were judged already, apart from verdicts."""

from __future__ import annotations

from datetime import datetime
from typing import Final, cast

from sqlalchemy import Double, Index, String, Table, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.base.columns import NUMBERED, Base, Id, JsonValue, UtcDateTime

#: What makes one unique, as it makes a verdict.
KEY: Final = (
    "post_id",
    "content_hash",
    "model_version",
    "calibration_version",
    "policy_version",
)


class ChallengerVerdictRow(Base):
    """A challenger's prediction of a post, beside the verdict of the champion. Append-only."""

    __tablename__ = "challenger_verdicts"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    post_id: Mapped[str] = mapped_column(String(256))
    content_hash: Mapped[str] = mapped_column(String(64))
    model_version: Mapped[str] = mapped_column(String(200))
    calibration_version: Mapped[str] = mapped_column(String(200))
    policy_version: Mapped[str] = mapped_column(String(200))
    champion_model_version: Mapped[str] = mapped_column(String(200))
    champion_calibration_version: Mapped[str] = mapped_column(String(200))
    negative: Mapped[float] = mapped_column(Double)
    neutral: Mapped[float] = mapped_column(Double)
    positive: Mapped[float] = mapped_column(Double)
    sarcasm: Mapped[float] = mapped_column(Double)
    rules: Mapped[list[str]] = mapped_column(JsonValue)
    champion_rules: Mapped[list[str]] = mapped_column(JsonValue)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        UniqueConstraint(*KEY, name="uq_challenger_verdicts_version"),
        Index("ix_challenger_verdicts_created_at", "created_at"),
        NUMBERED,
    )


challenger_verdicts: Final = cast(Table, ChallengerVerdictRow.__table__)
