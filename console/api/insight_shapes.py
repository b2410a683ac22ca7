"""What the JSON API gives of Insight: four answers in words, and the numbers behind each."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from console.api.shapes import Row


class Share(Row):
    """So many of `n`, with Wilson's 95 % interval; the value is none when `n` is 0."""

    count: int
    n: int
    value: float | None
    low: float
    high: float


class Estimate(Row):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


class Step(Row):
    """What waits at a moment to come."""

    at: datetime
    expected: float = Field(description="The median of what past weeks or days would lead to.")
    low: float = Field(description="The least of it.")
    high: float = Field(description="The most of it.")


class Outlook(Row):
    """What waits in the next 24 hours, if they are like the same hours of past weeks or days."""

    weeks: int = Field(description="Of so many; 0 until a week of flags has been seen.")
    days: int = Field(description="Of so many, before that.")
    steps: list[Step] = Field(description="At the end of each hour.")
    empty_at: datetime | None = Field(description="None if something waits until then.")


class Day(Row):
    """Flags opened and decided on a day (UTC)."""

    day: datetime
    opened: int
    decided: int


class KeepingUp(BaseModel):
    """Is the team keeping up? `GET /api/v1/backlog` has the queues."""

    answer: str
    waiting: int
    oldest: datetime | None
    outlook: Outlook | None = Field(description="None before a day of flags has been seen.")
    days: list[Day]
    decided: int = Field(description="Flags in the time asked for.")
    waits: list[int] = Field(
        description="Of these, by how long they had waited: up to 1 min, 10 min, 1 h, 8 h, 1 d, "
        "3 d, and longer."
    )
    in_time: Share = Field(description="Of those to which a time was promised.")


class Precision(Row):
    """Of the decided flags of a rule, how many were removed."""

    rule: str
    upheld: int
    decided: int
    value: float
    low: float
    high: float


class PeopleRight(BaseModel):
    """Are people right? `GET /api/v1/agreement` has pairs, queues, reasons and known answers."""

    answer: str
    removed: Share = Field(description="Of the decided flags that rules opened.")
    rules: list[Precision]
    recall: Estimate | None = Field(description="None without looks at unflagged posts.")
    overturned: Share = Field(description="Of the decided appeals.")
    overturned_flags: list[int] = Field(description="The last ones.")
    agreed: Share = Field(description="Of blind second looks.")


class Right(Row):
    """How often the model was right, by question: sentiment, sarcasm, offensive."""

    name: str = Field(description="Of the rule or language; the Monday of the week; or empty.")
    shares: dict[str, Share]


class Bin(Row):
    """Posts by score, and of how many people said that it is so."""

    low: float = Field(description="Where the bin begins; each is a tenth.")
    score: float = Field(description="Their mean.")
    share: Share


class Curve(Row):
    """A score against what people said."""

    name: str = Field(description="negative, sarcasm or offensive")
    bins: list[Bin]
    score: float
    share: Share


class Drift(Row):
    """This week's days against those of the four weeks before."""

    measure: str = Field(description="flagged, or the score.")
    days: list[float | None] = Field(description="Share flagged or mean score; the oldest first.")
    recent: float | None
    before: float | None
    p_value: float | None = Field(description="Of the Mann-Whitney test; none with too few days.")
    shifted: bool = Field(description="Whether p is below 0.01.")


class ModelRight(BaseModel):
    """Is the model right, and does it change?"""

    answer: str
    decisions: Share = Field(description="With at least one question answered.")
    everything: Right
    rules: list[Right]
    languages: list[Right]
    weeks: list[Right]
    curves: list[Curve]
    drift: list[Drift]


class Load(Row):
    """What a moderator did and did not undo."""

    moderator: str
    decided: int
    escalated: int
    skipped: int
    mean_seconds: float | None
    hours: int = Field(description="Of the clock, with a decision.")
    quick: int = Field(description="Decisions in less than a second.")
    negative: int = Field(description="Negative posts decided.")
    hardest_hour: int = Field(description="The most of them in an hour of the clock.")


class PeopleWell(BaseModel):
    """How fast and how much do people work?"""

    answer: str
    moderators: list[Load]
    quick_flags: list[int] = Field(description="Of the last decisions in less than a second.")


class Insight(BaseModel):
    """The four answers of the page Insight, and what they rest on."""

    at: datetime
    days: int
    keeping_up: KeepingUp
    people_right: PeopleRight
    model_right: ModelRight
    people_well: PeopleWell
