"""What became of posts: verdicts, dead letters, gone posts, and what the model saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Index,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)

from storage.base.columns import (
    NUMBERED,
    PRIMARY,
    UNIQUE,
    Id,
    RowId,
    partial_index,
    table,
)

#: What makes a verdict unique: the same content, judged in the same way, is judged once.
VERDICT_KEY: Final = (
    "post_id",
    "content_hash",
    "model_version",
    "calibration_version",
    "policy_version",
)
SENTIMENTS: Final = ("negative", "neutral", "positive")
SCORES: Final = (*SENTIMENTS, "sarcasm")
#: Of words alone, so a verdict may lack them.
OF_WORDS: Final = ("offensive", "hateful")
#: From here on the model's probability that a post is sarcastic, or offensive, counts as yes.
YES: Final = 0.5

#: Written out, because SQLite and PostgreSQL match an ON CONFLICT clause with a partial index only
#: if both carry the very same literal condition.
UNREPLAYED_DEAD_LETTER: Final = "replayed_at IS NULL"

PostId = Annotated[str, String(256)]
Sha256 = Annotated[str, String(64)]
Version = Annotated[str, String(200)]


@dataclass(frozen=True, slots=True)
class Scored:
    """What makes a verdict unique, and the probabilities of text and images together.

    Attributes:
        offensive, hateful: probabilities of the words alone; None without words, and of a model
            that was not asked.
    """

    post_id: PostId
    content_hash: Sha256
    model_version: Version
    calibration_version: Version
    policy_version: Version
    negative: float
    neutral: float
    positive: float
    sarcasm: float
    offensive: float | None = None
    hateful: float | None = None


@dataclass(frozen=True, slots=True)
class VerdictFields(Scored):
    """All that is said with a verdict, before and after it is stored.

    Attributes:
        text_alone, image_alone: each of `SCORES` by name, as each alone would have said.
        degraded: images that could not be used: `{"image": index, "location": …, "problem": …}`.
        evidence: what the model saw: `{"kind": …, "sha256": …}`, and `"frames"` of an animation.
        timings: seconds by stage.
        posted_at: when the author posted it; aware.
        explanation: of verdicts that were explained before they were written; since then, what
            moved a score stands in `explanations`.
        traceparent: of the post's trace, as W3C Trace Context writes it.
        unread: what of it was not read: `{"what": "text" or "image", "index": of the image,
            "problem": …}`.
        language: of its words, such as `de`; None where nobody could tell.
        unlearnt: whether the model never learnt that language.
        parent: id of the post that it answers.
        url: where people read it, of http or https.
    """

    author: Annotated[str | None, String(256)] = None
    text_alone: Mapping[str, float] | None = None
    image_alone: Mapping[str, float] | None = None
    degraded: Sequence[Mapping[str, Any]] = ()
    evidence: Sequence[Mapping[str, str]] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    posted_at: datetime | None = None
    explanation: Mapping[str, Any] | None = None
    traceparent: Annotated[str | None, String(55)] = None
    unread: Annotated[Sequence[Mapping[str, Any]], {"server_default": text("'[]'")}] = ()
    language: Annotated[str | None, String(3)] = None
    unlearnt: Annotated[bool, {"server_default": false()}] = False
    parent: Annotated[str | None, String(256)] = None
    url: Annotated[str | None, Text] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(VerdictFields):
    """A prediction as it was stored. Rows are added, never changed."""

    id: Id
    created_at: datetime

    @property
    def sentiment(self) -> str:
        """The most probable sentiment."""
        return max(SENTIMENTS, key=lambda label: float(getattr(self, label)))


verdicts: Final = table(
    "verdicts",
    Verdict,
    UniqueConstraint(*VERDICT_KEY, name="uq_verdicts_version"),
    # The latest verdict of a post is the one with the greatest id: workers' clocks differ.
    Index("ix_verdicts_post_id_id", "post_id", "id"),
    Index("ix_verdicts_created_at", "created_at"),
    NUMBERED,
)


class ChallengerVerdict(Scored):
    """A challenger's prediction of a post, beside the verdict of the champion. Append-only."""

    id: Id
    champion_model_version: Version
    champion_calibration_version: Version
    rules: Sequence[str]
    champion_rules: Sequence[str]
    created_at: datetime


challenger_verdicts: Final = table(
    "challenger_verdicts",
    ChallengerVerdict,
    UniqueConstraint(*VERDICT_KEY, name="uq_challenger_verdicts_version"),
    Index("ix_challenger_verdicts_created_at", "created_at"),
    NUMBERED,
)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A post that could not be judged; `post_id` is a printed form, for an id may be anything."""

    id: Id
    post_id: Annotated[str, Text]
    stage: Annotated[str, String(64)]
    error: Annotated[str, Text]
    attempts: int
    created_at: datetime
    updated_at: datetime
    replayed_at: datetime | None


dead_letters: Final = table(
    "dead_letters",
    DeadLetter,
    partial_index(
        "uq_dead_letters_unreplayed_post_id", "post_id", unique=True, where=UNREPLAYED_DEAD_LETTER
    ),
    NUMBERED,
)


class Gone:
    """A post that its source no longer has: an outcome, not an error."""

    id: Id
    post_id: Annotated[str, String(256), UNIQUE]
    why: Annotated[str, Text]
    seen_at: datetime
    last_seen_at: datetime


gone_posts: Final = table("gone_posts", Gone)


class Evidence:
    """One thing the model saw; its content lies in the evidence store under `sha256`."""

    sha256: Annotated[str, String(64), PRIMARY]
    kind: Annotated[str, String(16)]
    media_type: Annotated[str, String(100)]
    bytes: Annotated[int, BigInteger]
    created_at: datetime


evidence: Final = table(
    "evidence",
    Evidence,
    CheckConstraint("kind IN ('text', 'original_text', 'image')", name="kind_is_known"),
)


class EvidenceUse:
    """That a verdict has a piece of evidence: what its `evidence` says too, found by SHA-256. No
    foreign key: see its migration.
    """

    sha256: Annotated[str, String(64), PRIMARY]
    verdict_id: Annotated[RowId, PRIMARY]


evidence_uses: Final = table(
    "evidence_uses", EvidenceUse, Index("ix_evidence_uses_verdict_id", "verdict_id")
)
