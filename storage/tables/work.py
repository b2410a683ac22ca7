"""The work of moderators: flags, decisions, second looks, known answers, exposures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from sqlalchemy import CheckConstraint, Column, Index, String, Text, false, text

from storage.base.columns import NUMBERED, PRIMARY, UNIQUE, Id, RowId, partial_index, table
from storage.base.text import UNKNOWN_LANGUAGE
from storage.tables.people import ModeratorId, Name
from storage.tables.posts import PostId, Version

#: The states of a flag that still waits for a human; a post has at most one such flag.
UNCLOSED_STATES: Final = ("open", "claimed", "escalated")
FLAG_STATES: Final = (*UNCLOSED_STATES, "decided")
#: As a literal, for ON CONFLICT: see `UNREPLAYED_DEAD_LETTER`.
UNCLOSED_FLAG: Final = "state IN ('open', 'claimed', 'escalated')"
UNPLACED_FLAG: Final = f"rank_at IS NULL AND {UNCLOSED_FLAG}"
_PLACE: Final = (text("priority DESC"), text("coalesce(rank_at, opened_at)"), "id")

FlagId = Annotated[RowId, "flags.id"]
VerdictId = Annotated[RowId, "verdicts.id"]
DecisionId = Annotated[RowId, "decisions.id"]
Word = Annotated[str, String(16)]


def _state_is_known() -> CheckConstraint:
    return CheckConstraint(
        "state IN ('open', 'claimed', 'escalated', 'decided')", name="state_is_known"
    )


@dataclass(frozen=True, slots=True)
class FlagRow:
    """A post waiting for, or closed by, a human.

    Attributes:
        inclusion: of a look at a post that no rule flagged, the probability with which it was
            drawn; None of a flag.
        blind: whether it is shown without why it is there until it is decided: all looks, and some
            flags, so that they cannot be told apart.
    """

    id: Id
    post_id: PostId
    verdict_id: VerdictId
    state: Word
    queue: Annotated[str, String(64)]
    priority: int
    reasons: Sequence[Mapping[str, Any]]
    claimed_by: Annotated[str | None, String(256)]
    claim_expires_at: datetime | None
    row_version: int
    opened_at: datetime
    due_at: datetime | None
    closed_at: datetime | None
    author: Annotated[str | None, String(256)]
    negative: float | None
    sarcasm: float | None
    offensive: float | None
    hateful: float | None
    escalated_at: datetime | None
    outcome: Word | None
    language: Annotated[str, String(3), {"server_default": UNKNOWN_LANGUAGE}]
    inclusion: float | None
    blind: Annotated[bool, {"server_default": false()}]
    rank_at: datetime | None
    placement: Mapping[str, Any] | None


flags: Final = table(
    "flags",
    FlagRow,
    Column("search_text", Text),  # searched in, never read
    _state_is_known(),
    partial_index("uq_flags_unclosed_post_id", "post_id", unique=True, where=UNCLOSED_FLAG),
    # All end in the id, so that a page and the next flag are read in the order of an index.
    Index("ix_flags_queue_place", "state", "queue", *_PLACE),
    Index("ix_flags_place", "state", *_PLACE),
    Index("ix_flags_language_place", "state", "language", *_PLACE),
    Index("ix_flags_priority", "state", text("priority DESC"), "opened_at", "id"),
    partial_index("ix_flags_unplaced", "id", where=UNPLACED_FLAG),
    Index("ix_flags_post_id", "post_id"),
    Index("ix_flags_author_id", "author", "id"),
    Index("ix_flags_opened_at", "opened_at"),
    Index("ix_flags_closed_at", "closed_at"),
    Index("ix_flags_verdict_id", "verdict_id"),
    Index("ix_flags_due_at", "state", "due_at", "queue"),
    partial_index("ix_flags_looks", "opened_at", where="inclusion IS NOT NULL"),
    NUMBERED,
)


@dataclass(frozen=True, slots=True)
class LearnedOrder:
    """An order of flags as it was learnt from decisions, whether or not it was good enough.

    Attributes:
        decided_until: when the last of the `decisions` that it learnt from was made.
        state: one is `used`; `refused` and `replaced` ones stay, for who asks why.
        why: in a sentence.
        evaluation: on decisions that it had not seen: see `tasks.order.learned`.
        model: what it learnt; None of one that is not used.
    """

    id: Id
    trained_at: datetime
    decided_until: datetime
    decisions: int
    state: Word
    why: Annotated[str, Text]
    evaluation: Mapping[str, Any]
    model: Mapping[str, Any] | None


learned_orders: Final = table(
    "learned_orders",
    LearnedOrder,
    CheckConstraint("state IN ('used', 'refused', 'replaced')", name="state_is_known"),
    NUMBERED,
)


class FlagRule:
    """A rule that fired for a flag: what `reasons` says too, where an index finds it. No foreign
    key: see its migration.
    """

    rule: Annotated[str, String(100), PRIMARY]
    flag_id: Annotated[RowId, PRIMARY]


flag_rules: Final = table("flag_rules", FlagRule, Index("ix_flag_rules_flag_id", "flag_id"))


@dataclass(frozen=True, slots=True)
class ExplanationRow:
    """What moved the score that a flag is for, or the work of finding out: of the verdict that the
    flag stood for then.
    """

    flag_id: Annotated[FlagId, PRIMARY]
    verdict_id: RowId
    score: Annotated[str, String(64)]
    model_version: Version
    calibration_version: Version
    priority: int
    state: Word
    wanted_at: datetime | None
    attempts: int
    holder: Annotated[str | None, String(200)]
    next_attempt_at: datetime
    explanation: Mapping[str, Any] | None
    error: Annotated[str | None, Text]
    created_at: datetime


#: As a literal, for indexes: see `UNREPLAYED_DEAD_LETTER`.
PENDING_EXPLANATION: Final = "state = 'pending'"

explanations: Final = table(
    "explanations",
    ExplanationRow,
    CheckConstraint("state IN ('pending', 'done', 'failed')", name="state_is_known"),
    Index(
        "ix_explanations_pending",
        text("priority DESC"),
        "flag_id",
        sqlite_where=text(PENDING_EXPLANATION),
        postgresql_where=text(PENDING_EXPLANATION),
    ),
    partial_index(
        "ix_explanations_wanted",
        "wanted_at",
        where="state = 'pending' AND wanted_at IS NOT NULL",
    ),
)


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """What a moderator said of a flag. Rows are added, never changed."""

    id: Id
    flag_id: FlagId
    verdict_id: VerdictId
    moderator_id: ModeratorId
    action: Word
    reason_code: Annotated[str | None, String(64)]
    note: Annotated[str | None, Text]
    sentiment: Word | None
    sarcastic: bool | None
    offensive: bool | None
    agrees_sentiment: bool | None
    agrees_sarcasm: bool | None
    agrees_offensive: bool | None
    seconds_taken: float | None
    undoes: Annotated[DecisionId | None, UNIQUE]
    batch: Annotated[str | None, String(32)]
    created_at: datetime


decisions: Final = table(
    "decisions",
    DecisionRow,
    CheckConstraint(
        "action IN ('approve', 'remove', 'escalate', 'skip', 'undo')", name="action_is_known"
    ),
    Index("ix_decisions_flag_id_id", "flag_id", "id"),
    Index("ix_decisions_moderator_id_id", "moderator_id", "id"),
    Index("ix_decisions_batch", "batch"),
    Index("ix_decisions_created_at", "created_at"),
    Index("ix_decisions_verdict_id", "verdict_id"),
    NUMBERED,
)


@dataclass(frozen=True, slots=True)
class CommentRow:
    """What somebody said to others about a flag. Only an erasure changes a row."""

    id: Id
    flag_id: FlagId
    moderator_id: ModeratorId
    text: Annotated[str, Text]
    created_at: datetime


comments: Final = table(
    "comments", CommentRow, Index("ix_comments_flag_id_id", "flag_id", "id"), NUMBERED
)


class SummonsRow:
    """Somebody is asked to look at a flag: they were named in a comment, or it was handed over."""

    id: Id
    moderator_id: ModeratorId
    flag_id: FlagId
    why: Word
    asked_by: Name
    created_at: datetime
    seen_at: datetime | None


summonses: Final = table(
    "summonses",
    SummonsRow,
    CheckConstraint("why IN ('mention', 'hand-over')", name="why_is_known"),
    partial_index(
        "uq_summonses_unseen",
        "moderator_id",
        "flag_id",
        "why",
        unique=True,
        where="seen_at IS NULL",
    ),
    Index("ix_summonses_flag_id", "flag_id"),
    NUMBERED,
)


@dataclass(frozen=True, slots=True)
class ViewRow:
    """Filters of the queue with a name; shared where nobody owns them."""

    id: Id
    name: Name
    owner_id: ModeratorId | None
    queue: Annotated[str, String(64)]
    filters: Annotated[str, Text]
    created_by: Name
    created_at: datetime


views: Final = table(
    "views", ViewRow, Index("ix_views_owner_id_name", "owner_id", "name"), NUMBERED
)


class ViewPerson:
    """Whose work a shared view is."""

    view_id: Annotated[RowId, "views.id", PRIMARY]
    moderator_id: Annotated[ModeratorId, PRIMARY]


view_people: Final = table(
    "view_people", ViewPerson, Index("ix_view_people_moderator_id", "moderator_id")
)


@dataclass(frozen=True, slots=True)
class Review:
    """A decision that somebody else is to look at, blind. It stands where flags stand, too."""

    id: Id
    flag_id: FlagId
    verdict_id: VerdictId
    decision_id: DecisionId
    kind: Word
    expected: Word
    for_moderator_id: ModeratorId | None
    asked_by: Name | None
    why: Annotated[str | None, Text]
    state: Word
    claimed_by: Annotated[str | None, String(256)]
    claim_expires_at: datetime | None
    row_version: int
    opened_at: datetime
    escalated_at: datetime | None
    closed_at: datetime | None
    outcome: Word | None


reviews: Final = table(
    "reviews",
    Review,
    CheckConstraint("kind IN ('sample', 'disagreement', 'appeal', 'known')", name="kind_is_known"),
    _state_is_known(),
    Index("ix_reviews_state_opened_at_id", "state", "opened_at", "id"),
    Index("ix_reviews_flag_id", "flag_id"),
    Index("ix_reviews_decision_id", "decision_id"),
    Index("ix_reviews_verdict_id", "verdict_id"),
    NUMBERED,
)


@dataclass(frozen=True, slots=True)
class Vote:
    """What somebody said in a second look. Rows are added, never changed."""

    id: Id
    review_id: Annotated[RowId, "reviews.id"]
    moderator_id: ModeratorId
    action: Word
    reason_code: Annotated[str | None, String(64)]
    note: Annotated[str | None, Text]
    sentiment: Word | None
    sarcastic: bool | None
    offensive: bool | None
    settles: bool
    decision_id: Annotated[DecisionId | None, UNIQUE]
    created_at: datetime


review_votes: Final = table(
    "review_votes",
    Vote,
    CheckConstraint("action IN ('approve', 'remove', 'skip')", name="action_is_known"),
    Index("ix_review_votes_review_id", "review_id"),
    Index("ix_review_votes_moderator_id", "moderator_id"),
    Index("ix_review_votes_created_at", "created_at"),
    NUMBERED,
)


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """A decided flag of which a lead says that its answer is known, and why it is the right one."""

    flag_id: Annotated[FlagId, PRIMARY]
    action: Word
    marked_by: Name
    marked_at: datetime
    retired_at: datetime | None
    why: Annotated[str | None, Text]


known_answers: Final = table(
    "known_answers",
    KnownAnswer,
    CheckConstraint("action IN ('approve', 'remove')", name="action_is_known"),
)


class ExposureRow:
    """Something hard that somebody had before their eyes in an hour. Forgotten after a day."""

    moderator_id: Annotated[ModeratorId, PRIMARY]
    hour: Annotated[datetime, PRIMARY]
    kind: Annotated[Word, PRIMARY]
    subject: Annotated[str, String(80), PRIMARY]


exposures: Final = table(
    "exposures",
    ExposureRow,
    CheckConstraint("kind IN ('negative', 'picture')", name="kind_is_known"),
    Index("ix_exposures_hour", "hour"),
)
