"""Writing a decision down: a verdict, its flag, and the evidence of what was seen."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from PIL import Image

from models.posts.prediction import PreparedImage, PreparedPost, Scores
from models.posts.text import OCR_MARKER
from models.serving.explain import is_explainable
from sources.post import FetchedPost
from storage.judging.evidence import EvidenceStore
from storage.judging.values import EvidenceKind, NewEvidence, NewFlag, NewVerdict
from tasks.moderate.stages import Decided

EVIDENCE_JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True)
class Versions:
    """What judged: part of what makes a verdict unique."""

    model: str
    calibration: str
    policy: str


def keep_evidence(
    post: FetchedPost, ready: PreparedPost, store: EvidenceStore
) -> list[NewEvidence]:
    """Store what the author wrote and what the model saw; the same content is stored once.

    Raises:
        EvidenceUnavailable: the store cannot be written.
        ImageError: a picture cannot be decoded.
    """
    texts: dict[EvidenceKind, str] = {"original_text": post.post.text, "text": ready.text}
    kept = []
    for kind, text in texts.items():
        content = text.encode("utf-8", "surrogatepass")
        kept.append(NewEvidence(store.put(content), kind, "text/plain", len(content)))
    for image in ready.images:
        if isinstance(image, PreparedImage):
            content = _as_jpeg(image)
            sha256, frames = store.put(content), image.frames
            kept.append(NewEvidence(sha256, "image", "image/jpeg", len(content), frames))
    return kept


def new_verdict(
    decided: Decided,
    versions: Versions,
    timings: Mapping[str, float],
    *,
    ready: PreparedPost | None = None,
    evidence: Sequence[NewEvidence] = (),
    explaining: bool = False,
) -> NewVerdict:
    """A decision as it is stored, with a flag where rules fired.

    Args:
        timings: stage -> seconds that the chunk spent in it.
        ready, evidence: of a post that is flagged or looked at.
        explaining: whether it is to be found out what moved the score that it is flagged for.

    Raises:
        ValueError: a score is no number.
    """
    fetched, known = decided.fetched, decided.known
    post, scores = fetched.post.post, known.prediction.fused
    return NewVerdict(
        post_id=fetched.asked.post_id,
        author=post.author,
        posted_at=post.created_at,
        parent=post.parent,
        url=post.url,
        content_hash=fetched.content_hash,
        model_version=versions.model,
        calibration_version=versions.calibration,
        policy_version=versions.policy,
        **scores.sentiment._asdict(),
        sarcasm=scores.sarcasm,
        offensive=scores.offensive,
        hateful=scores.hateful,
        text_alone=_as_row(known.prediction.text_alone),
        image_alone=_as_row(known.prediction.image_alone),
        degraded=[dict(each) for each in decided.degraded],
        unread=[each.as_row() for each in known.unread],
        language=known.language,
        unlearnt=decided.unlearnt,
        evidence=[_as_used(each) for each in evidence],
        timings=dict(timings),
        flag=None if ready is None else _flag(decided, ready, explaining=explaining),
        traceparent=fetched.asked.entry.trace.traceparent,
    )


def _flag(decided: Decided, ready: PreparedPost, *, explaining: bool) -> NewFlag:
    post, reasons, look = decided.fetched.post.post, decided.reasons, decided.look
    explains = explaining and reasons and is_explainable(decided.flagged_for)
    # As its author wrote it, for so moderators see it, and what was read in its pictures.
    _, _, in_pictures = ready.text.partition(OCR_MARKER)
    why = [look] if look else reasons
    promised = [each.decide_within_seconds for each in why if each.decide_within_seconds]
    return NewFlag(
        queue=look.queue if look else reasons[0].queue,
        priority=look.priority if look else reasons[0].priority,
        reasons=[reason.as_row() for reason in reasons],
        due_at=datetime.now(UTC) + timedelta(seconds=min(promised)) if promised else None,
        text=f"{post.text} {in_pictures}".strip(),
        language=decided.known.language,
        inclusion=look.inclusion if look else None,
        blind=bool(look) or decided.blind,
        explain=decided.flagged_for if explains else None,
    )


def _as_used(evidence: NewEvidence) -> dict[str, str]:
    """As a verdict has it; of an animation, how many frames are on its sheet."""
    frames = {"frames": str(evidence.frames)} if evidence.frames > 1 else {}
    return {"kind": evidence.kind, "sha256": evidence.sha256, **frames}


def _as_row(scores: Scores | None) -> dict[str, float] | None:
    return None if scores is None else {**scores.sentiment._asdict(), "sarcasm": scores.sarcasm}


def _as_jpeg(image: PreparedImage) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.thumbnail).save(buffer, "JPEG", quality=EVIDENCE_JPEG_QUALITY)
    return buffer.getvalue()
