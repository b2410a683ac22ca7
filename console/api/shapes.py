"""What the JSON API takes and gives; its OpenAPI document is made of these.

They are written out, though `storage` has values much like them: what is given is a promise to
others, and a column more in a table must not change it. Second looks are in `review_shapes`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from console.web.fields import BIGGEST, language_code
from storage.flags.comments import MAX_COMMENT_CHARACTERS
from storage.flags.decisions import MAX_NOTE_CHARACTERS

Limit = Annotated[int, Query(ge=1, le=500, description="At most so many.")]
# The database takes no NUL.
Language = Annotated[
    str,
    Query(
        description="Of the post: `de`, or `und` for unknown ones.",
        json_schema_extra={"pattern": "^[A-Za-z]{2,3}$"},
    ),
    AfterValidator(language_code),
]
Words = Annotated[
    str,
    Query(
        max_length=256,
        pattern=r"^[^\x00]*$",
        description="All of these words, or parts of words, in the post or read in its pictures.",
    ),
]


def _moment(given: str) -> datetime:
    # What the document calls a date-time: a bare number, which Python's readers take, is none.
    if "T" not in given.upper():
        raise ValueError("use RFC 3339 with a time zone, such as 2026-01-31T18:00:00Z")
    try:
        return _MOMENT.validate_python(given).astimezone(UTC)
    except (ValidationError, OverflowError):
        raise ValueError("use RFC 3339 with a time zone, such as 2026-01-31T18:00:00Z") from None


_MOMENT = TypeAdapter(AwareDatetime)
Moment = Annotated[
    AwareDatetime,
    Query(description="Promised to be decided before then: RFC 3339, with a time zone."),
    BeforeValidator(_moment),
]
Word = Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00]*$")]
LanguageWord = Annotated[
    str,
    Field(json_schema_extra={"pattern": "^[A-Za-z]{2,3}$"}),
    AfterValidator(language_code),
]


class Row(BaseModel):
    """What is made of a row of the database."""

    model_config = ConfigDict(from_attributes=True)


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


class Taken(BaseModel):
    """What is taken refuses what it does not know."""

    model_config = ConfigDict(extra="forbid")


class Enqueue(Taken):
    """Post ids to judge."""

    post_ids: list[str] = Field(min_length=1, max_length=1000)
    priority: Literal["high", "normal", "low"] = "normal"


class Pushed(BaseModel):
    """How many ids were pushed."""

    pushed: int


class Verdict(Row):
    """A prediction written down; docs/tables.md says what each field means."""

    id: int
    post_id: str
    author: str | None
    content_hash: str
    model_version: str
    calibration_version: str
    policy_version: str
    negative: float
    neutral: float
    positive: float
    sarcasm: float
    offensive: float | None = Field(
        description="Of the words alone; null of a post without words, and of a model that does "
        "not score it."
    )
    hateful: float | None = Field(description="As `offensive`.")
    text_alone: dict[str, float] | None
    image_alone: dict[str, float] | None
    degraded: list[dict[str, Any]]
    unread: list[dict[str, Any]]
    language: str | None
    unlearnt: bool
    parent: str | None = Field(description="Id of the post that it answers.")
    url: str | None = Field(description="Where people read it.")
    evidence: list[dict[str, str]]
    timings: dict[str, float]
    posted_at: datetime | None
    created_at: datetime
    explanation: dict[str, Any] | None
    traceparent: str | None


class Outcome(BaseModel):
    """What became of a post."""

    post_id: str
    outcome: Literal["judged", "gone", "dead_letter"]
    verdict: Verdict | None


class Flag(Row):
    """A post waiting for, or closed by, a human."""

    id: int
    post_id: str
    verdict_id: int
    state: str
    queue: str
    priority: int
    reasons: list[dict[str, Any]]
    claimed_by: str | None
    claim_expires_at: datetime | None
    row_version: int
    opened_at: datetime
    due_at: datetime | None = Field(
        description="Until when the policy promises a decision; null where it promises none."
    )
    closed_at: datetime | None
    author: str | None
    escalated_at: datetime | None
    outcome: str | None
    language: str = Field(description="Of the post: `de`, or `und` where the platform says none.")
    verdict: Verdict


class Flags(BaseModel):
    """A page of flags."""

    flags: list[Flag]
    next_cursor: str | None = Field(description="Give it as `cursor` to read on; none at the end.")


class Forecast(Row):
    """What waits in a queue, what was promised, and how fast it was worked through."""

    queue: str
    waiting: int
    overdue: int = Field(description="Waiting longer than promised.")
    opened: int = Field(description="In the last `hours`.")
    decided: int = Field(description="In the last `hours`.")
    hours: float
    kept: int = Field(description="Of `promised`, those decided in time.")
    promised: int = Field(description="Of `decided`, those to which a time was promised.")
    clears_in_seconds: float | None = Field(
        description="At this pace, if nothing new comes; null where nothing was decided."
    )


class Backlog(BaseModel):
    """A forecast for each queue."""

    queues: list[Forecast]


class Earlier(Row):
    """A post before another one in its thread."""

    post_id: str
    state: Literal["there", "gone", "unknown"]
    author: str | None
    text: str | None
    pictures: int
    posted_at: datetime | None
    url: str | None


class Around(Row):
    """What is around a post, as the platform says it now."""

    now: Literal["same", "changed", "gone", "unknown"] = Field(
        description="What became of the post since it was judged: of its words and the number of "
        "its pictures."
    )
    seen_at: datetime | None = Field(description="When that was seen.")
    url: str | None
    parent: str | None
    text: str | None = Field(description="Its words now, where they changed.")
    pictures: int | None = Field(description="How many pictures it has now, where that changed.")
    before: list[Earlier] = Field(description="The posts before it, the oldest first.")
    goes_on: bool = Field(description="Whether the thread begins before these.")


class Author(Row):
    """What is known of an author, by the newest flags."""

    author: str
    counted: int = Field(description="How many flags all numbers are of.")
    is_all: bool = Field(description="Whether these are all of the author's flags.")
    hidden: int = Field(description="Flags that wait for a second look, and are not counted.")
    waiting: int
    decided: int
    removed: int
    share_removed: float | None = Field(description="Of the decided; null without any.")
    appeals: int
    overturned: int = Field(description="Appeals that changed the decision.")
    first_flagged: datetime | None


class Claimed(BaseModel):
    """A claim."""

    flag_id: int | None = Field(description="None when nothing waits.")
    claim_expires_at: datetime | None


class Released(BaseModel):
    """A flag that was given back."""

    flag_id: int


class Comment(Row):
    """What somebody said to others about a flag."""

    id: int
    flag_id: int
    moderator: str
    text: str
    created_at: datetime


class Comments(BaseModel):
    """The comments of a flag, oldest first; the newest 200."""

    comments: list[Comment]


class Say(Taken):
    """A comment; `@name` summons somebody."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_COMMENT_CHARACTERS)]


class View(Row):
    """Filters of the queue with a name."""

    id: int
    name: str
    is_shared: bool = Field(description="Whether everybody sees it.")
    queue: str
    filters: str = Field(description="As in the address of the queue's page: `language=de`.")
    people: list[str] = Field(description="Whose work it is.")
    created_by: str
    created_at: datetime


class Views(BaseModel):
    """Shared views and one's own, by name."""

    views: list[View]


class SaveView(Taken):
    """Filters to save under a name; those that had it before are replaced."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    queue: Annotated[str, StringConstraints(max_length=64)] = ""
    filters: Annotated[str, StringConstraints(max_length=16_000)] = ""
    shared: bool = False


class People(Taken):
    """Whose work a view is."""

    people: Annotated[
        list[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=1000)
    ]


class Deleted(BaseModel):
    """What was deleted."""

    id: int


class Decide(Taken):
    """What a moderator says of a flag."""

    action: Literal["approve", "remove", "escalate", "skip"]
    reason_code: Annotated[str, StringConstraints(max_length=64)] | None = None
    note: Annotated[str, StringConstraints(max_length=MAX_NOTE_CHARACTERS)] | None = None
    sentiment: Literal["negative", "neutral", "positive"] | None = None
    sarcastic: bool | None = None
    offensive: bool | None = Field(None, description="Whether its words are offensive.")
    verdict_id: Annotated[int, Field(ge=1, le=BIGGEST)] | None = Field(
        None, description="The verdict that was looked at; a newer one refuses the decision."
    )


class ClaimNextReview(Taken):
    """Which second looks; no more, for by words or scores it would tell what is hidden."""

    queue: Word | None = None
    language: LanguageWord | None = None


class ClaimNext(ClaimNextReview):
    """Which flags, as `GET /flags` takes it."""

    rule: Word | None = None
    author: Word | None = None
    post_id: Word | None = None
    words: Word | None = None
    everything: bool = False


class Decision(Row):
    """A decision as it was written."""

    id: int
    flag_id: int
    post_id: str
    verdict_id: int
    moderator: str
    action: str
    reason_code: str | None
    note: str | None
    sentiment: str | None
    sarcastic: bool | None
    offensive: bool | None
    agrees_sentiment: bool | None
    agrees_sarcasm: bool | None
    agrees_offensive: bool | None
    seconds_taken: float | None
    undoes: int | None
    undone: bool
    appeal: bool = Field(False, description="Whether it is the outcome of an appeal.")
    batch: str | None
    created_at: datetime


class Decisions(BaseModel):
    """A page of decisions, newest first."""

    decisions: list[Decision]
    next_before: int | None


class Scaling(BaseModel):
    """How many workers are wanted, and what that rests on; see docs/autoscaling.md."""

    desired: int
    why: str
    ready: int | None = None
    waiting: dict[str, int] | None = None
    oldest_age_seconds: float | None = None
    unfinished: int | None = None
    posts_per_second: float | None = None
    needed_posts_per_second: float | None = None
    worker_posts_per_second: float | None = None
    drain_seconds: float | None = None


class DeadLetter(Row):
    """A post that could not be judged."""

    id: int
    post_id: str
    stage: str
    error: str
    attempts: int
    created_at: datetime
    updated_at: datetime
    replayed_at: datetime | None


class DeadLetters(BaseModel):
    """A page of dead letters, newest first."""

    dead_letters: list[DeadLetter]
    next_before: int | None


class Replayed(BaseModel):
    """Post ids that were pushed again."""

    replayed: list[str]


class Entry(Row):
    """One thing that was done."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    address: str | None


class Entries(BaseModel):
    """A page of the audit log, newest first."""

    entries: list[Entry]
    next_before: int | None
