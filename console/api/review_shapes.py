"""What the JSON API takes and gives of second looks, appeals and agreement."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from console.api.shapes import Row, Taken
from storage.flags.decisions import MAX_NOTE_CHARACTERS


class Appeal(Taken):
    """What is said against a decision."""

    why: (
        Annotated[str, StringConstraints(max_length=MAX_NOTE_CHARACTERS, pattern=r"^[^\x00]*$")]
        | None
    ) = None


class Appealed(Row):
    """An appeal; its outcome is a decision, with the event `decision.created`."""

    id: int
    flag_id: int
    decision_id: int = Field(description="The decision that it is against.")
    state: str
    opened_at: datetime


class Vote(Taken):
    """What a moderator says in a second look."""

    action: Literal["approve", "remove", "skip"]
    reason_code: Annotated[str, StringConstraints(max_length=64)] | None = None
    note: Annotated[str, StringConstraints(max_length=MAX_NOTE_CHARACTERS)] | None = None
    sentiment: Literal["negative", "neutral", "positive"] | None = None
    sarcastic: bool | None = None
    offensive: bool | None = Field(None, description="Whether its words are offensive.")


class Voted(Row):
    """A vote as it was written."""

    id: int
    action: str
    reason_code: str | None
    note: str | None
    sentiment: str | None
    sarcastic: bool | None
    offensive: bool | None
    settles: bool = Field(description="Whether a lead said it, of two who disagreed.")
    decision_id: int | None = Field(description="Of an appeal: the decision that it became.")
    created_at: datetime


class Lesson(Row):
    """The known answer that a vote missed."""

    right: str = Field(description="The right answer: approve or remove.")
    why: str | None = Field(description="In the words of the lead who marked it, if any.")


class Look(Row):
    """A second look. Before the vote it tells nothing of what was decided or judged."""

    id: int
    flag_id: int
    post_id: str
    queue: str
    is_appeal: bool
    why: str | None = Field(description="Of an appeal: what is said against the decision.")
    claim_expires_at: datetime | None = Field(description="None when it is not held any more.")
    vote: Voted | None = None
    decided_before: str | None = Field(
        None,
        description="What the flag's decision was; none before the vote, and after a skip. Only "
        "the vote on an appeal changes it.",
    )
    lesson: Lesson | None = Field(
        None, description="After a vote that missed a known answer: what there is to learn."
    )


class LookAt(Look):
    """A second look with the post, as its author wrote it."""

    text: str
    pictures: list[str] = Field(description="SHA-256 of each, in the evidence store.")
    degraded: list[dict[str, Any]]
    unread: list[dict[str, Any]]
    language: str | None
    unlearnt: bool


class Looks(BaseModel):
    """A page of second looks, newest first."""

    reviews: list[Look]
    next_before: int | None


class NextLook(BaseModel):
    """What was taken."""

    review: Look | None = Field(description="None when no look waits for this moderator.")


class HeldLook(BaseModel):
    """A look that is held for longer."""

    review_id: int
    claim_expires_at: datetime


class ReleasedLook(BaseModel):
    """A look that was given back."""

    review_id: int


class PairAgreement(Row):
    """Of two moderators, on the same flags."""

    first: str
    second: str
    looks: int
    same: int
    kappa: float | None = Field(description="Cohen's; none where it is not defined.")


class GroupAgreement(Row):
    """Of everybody, on the flags of a queue or on whether a reason code is right."""

    name: str
    looks: int
    same: int
    alpha: float | None = Field(description="Krippendorff's, nominal; none where not defined.")


class HitRate(Row):
    """How often somebody gave the known answer, with Wilson's 95 % interval."""

    moderator: str
    hits: int
    answered: int
    value: float
    low: float
    high: float


class Agreement(Row):
    """How much moderators agree, by the sample of decisions that had a blind second look."""

    looks: int
    same: int
    alpha: float | None
    pairs: list[PairAgreement]
    queues: list[GroupAgreement]
    reasons: list[GroupAgreement]
    known_answers: list[HitRate] = Field([])
