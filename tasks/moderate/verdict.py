"""Writing a prediction down: a verdict, its flag, and the evidence of what was seen."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image

from models.posts.prediction import Prediction, PreparedImage, PreparedPost, Scores
from models.posts.text import OCR_MARKER
from models.serving.explain import Explanation
from sources.pictures.awaited import AwaitedPost
from sources.post import FetchedPost
from storage.judging.evidence import EvidenceStore
from storage.judging.values import EvidenceKind, NewEvidence, NewFlag, NewVerdict
from tasks.intake.chunks import Entry
from tasks.policy.rules import Reason

EVIDENCE_JPEG_QUALITY = 85


@dataclass(slots=True)
class Item:
    """One post on its way: `awaited` while its pictures are on theirs, then `fetched`."""

    entry: Entry
    post_id: str
    fetched: FetchedPost | None = None
    prepared: PreparedPost | None = None
    content_hash: str = ""
    degraded: list[dict[str, object]] = field(default_factory=list)
    unread: list[dict[str, object]] = field(default_factory=list)
    reasons: Sequence[Reason] = ()
    explanation: Explanation | None = None
    awaited: AwaitedPost | None = None

    @property
    def said(self) -> dict[str, str]:
        """By what log lines name it."""
        return {"post_id": self.post_id, "trace_id": self.entry.trace.trace_id}


@dataclass(frozen=True, slots=True)
class Versions:
    """What judged: part of what makes a verdict unique."""

    model: str
    calibration: str
    policy: str


def keep_evidence(item: Item, store: EvidenceStore) -> list[NewEvidence]:
    """Store what the author wrote and what the model saw; the same content is stored once.

    Raises:
        EvidenceUnavailable: the store cannot be written.
    """
    assert item.fetched is not None
    assert item.prepared is not None
    texts: dict[EvidenceKind, str] = {
        "original_text": item.fetched.post.text,
        "text": item.prepared.text,
    }
    kept = []
    for kind, text in texts.items():
        content = text.encode("utf-8", "surrogatepass")
        kept.append(NewEvidence(store.put(content), kind, "text/plain", len(content)))
    for image in item.prepared.images:
        if isinstance(image, PreparedImage):
            content = _as_jpeg(image)
            kept.append(NewEvidence(store.put(content), "image", "image/jpeg", len(content)))
    return kept


def new_verdict(
    item: Item,
    prediction: Prediction,
    versions: Versions,
    evidence: Sequence[NewEvidence],
    timings: Mapping[str, float],
) -> NewVerdict:
    """A prediction as it is stored, with a flag where rules fired.

    Args:
        timings: stage -> seconds that the chunk spent in it.

    Raises:
        ValueError: a score is no number.
    """
    assert item.fetched is not None
    post = item.fetched.post
    return NewVerdict(
        post_id=item.post_id,
        author=post.author,
        posted_at=post.created_at,
        content_hash=item.content_hash,
        model_version=versions.model,
        calibration_version=versions.calibration,
        policy_version=versions.policy,
        negative=prediction.fused.sentiment.negative,
        neutral=prediction.fused.sentiment.neutral,
        positive=prediction.fused.sentiment.positive,
        sarcasm=prediction.fused.sarcasm,
        text_alone=_as_row(prediction.text_alone),
        image_alone=_as_row(prediction.image_alone),
        degraded=item.degraded,
        unread=item.unread,
        evidence=[{"kind": e.kind, "sha256": e.sha256} for e in evidence],
        timings=dict(timings),
        flag=_flag(item),
        explanation=item.explanation.as_row() if item.explanation else None,
        traceparent=item.entry.trace.traceparent,
    )


def _flag(item: Item) -> NewFlag | None:
    reasons = item.reasons
    if not reasons:
        return None
    assert item.fetched is not None
    assert item.prepared is not None
    # As its author wrote it, for so moderators see it, and what was read in its pictures.
    _, _, in_pictures = item.prepared.text.partition(OCR_MARKER)
    return NewFlag(
        queue=reasons[0].queue,
        priority=reasons[0].priority,
        reasons=[reason.as_row() for reason in reasons],
        due_at=None,
        text=f"{item.fetched.post.text} {in_pictures}".strip(),
        language=item.fetched.post.language,
    )


def _as_row(scores: Scores | None) -> dict[str, float] | None:
    return None if scores is None else {**scores.sentiment._asdict(), "sarcasm": scores.sarcasm}


def _as_jpeg(image: PreparedImage) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.thumbnail).save(buffer, "JPEG", quality=EVIDENCE_JPEG_QUALITY)
    return buffer.getvalue()
