"""The moderate task: one chunk through fetch, prepare, predict, decide, record and release.

Failures are per post. What may go better later waits in Redis as a retry; what never will, and the
last allowed try, becomes a dead letter; an image that cannot be seen degrades its post. Only what
stops all posts at once (the database or the evidence store is away) gives the chunk back whole.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Engine

from deadpan.errors import (
    DatabaseUnavailable,
    EvidenceUnavailable,
    QueueUnavailable,
    SchemaError,
)
from models.classifier import Classifier
from models.explain import explain
from models.prediction import ImageProblem, Prediction, UndecodedImage
from sources.post import FetchedImage, FetchFailure, Gone, PostSource
from storage import queries
from storage.database import transaction
from storage.evidence import EvidenceStore
from storage.outcomes import GonePost, NewDeadLetter, NewEvidence, NewVerdict, record
from tasks import metrics
from tasks.intake import Chunk, Intake, Retry, id_problem, printable
from tasks.leases import LeaseKeeper
from tasks.policy import Policy, Reason, decide, scores_of
from tasks.recent import Recent
from tasks.verdict import Item, Versions, content_hash, keep_evidence, new_verdict

log = structlog.get_logger(__name__)

MAX_RETRY_SECONDS = 600.0
GIVE_BACK_SECONDS = 5.0
"""How long a chunk rests when the database or the evidence store was away."""
RECENT_PREDICTIONS = 20_000
"""Kept in memory, about 1 KiB each: a post that many repeat is judged once."""


@dataclass(slots=True)
class Outcomes:
    """What became of a chunk's posts."""

    verdicts: list[NewVerdict] = field(default_factory=list)
    evidence: list[NewEvidence] = field(default_factory=list)
    gone: list[GonePost] = field(default_factory=list)
    dead_letters: list[NewDeadLetter] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)
    unchanged: int = 0


class Moderator:
    """Judges chunks with one warm model; several slots may call it at once.

    Args:
        max_attempts: tries of one post before it becomes a dead letter.
        retry_base_seconds: delay after the first failed try; doubles with each.
        lease_seconds: how long a chunk stays with a silent worker.
        explain_up_to: posts in a chunk; the flags of a larger chunk are not explained, because a
            large chunk means that posts wait, and an explanation costs many predictions.
        jitter: gives a factor for each delay, so that retries do not come back all at once.
    """

    def __init__(
        self,
        *,
        intake: Intake,
        leases: LeaseKeeper,
        source: PostSource,
        classifier: Classifier,
        policy: Policy,
        database: Engine,
        evidence: EvidenceStore,
        max_attempts: int,
        retry_base_seconds: float,
        lease_seconds: float,
        explain_up_to: int = 0,
        jitter: Callable[[], float] = lambda: random.uniform(0.5, 1.5),  # noqa: S311 - no secret
    ) -> None:
        self._intake = intake
        self._leases = leases
        self._source = source
        self._classifier = classifier
        self._policy = policy
        info = classifier.info
        self._versions = Versions(info.version, info.calibration_version, policy.version)
        self._database = database
        self._evidence = evidence
        self._max_attempts = max_attempts
        self._retry_base_seconds = retry_base_seconds
        self._lease_seconds = lease_seconds
        self._explain_up_to = explain_up_to
        self._jitter = jitter
        self._recent = Recent(RECENT_PREDICTIONS)

    def moderate(self, chunk_id: str, *, owner: str) -> bool:
        """Judge one chunk and release it.

        Args:
            owner: a name that no other task has; it holds the lease.

        Returns:
            True when the chunk's outcomes were committed and it was released by this call.
        """
        with structlog.contextvars.bound_contextvars(chunk=chunk_id):
            try:
                chunk = self._intake.take(chunk_id, owner=owner, lease_seconds=self._lease_seconds)
            except QueueUnavailable as error:
                log.warning("chunk not taken", error=str(error))
                return False
            if chunk is None:
                log.info("chunk is finished or held elsewhere; message ignored")
                return False
            with self._leases.hold(chunk):
                return self._moderate(chunk)

    def _moderate(self, chunk: Chunk) -> bool:
        timings: dict[str, float] = {}
        try:
            outcomes = self._judge(chunk, timings)
            if self._leases.is_lost(chunk):
                return False
            with _timed("record", timings):
                self._record(outcomes)
            released = self._intake.release(chunk, retries=outcomes.retries)
        except (DatabaseUnavailable, EvidenceUnavailable, SchemaError) as error:
            log.warning("chunk given back", error=str(error))
            self._give_back(chunk, delay_seconds=GIVE_BACK_SECONDS)
            return False
        except QueueUnavailable as error:
            log.warning("chunk not released; its lease will run out", error=str(error))
            return False
        except Exception:
            # A defect of ours, or a post that the database refuses: halving finds it, if it stays.
            log.exception("chunk failed")
            self._give_back(chunk, delay_seconds=self._retry_delay(chunk.losses), loss=True)
            return False
        self._count(chunk, outcomes, timings, released=released)
        return released

    def _judge(self, chunk: Chunk, timings: dict[str, float]) -> Outcomes:
        outcomes = Outcomes()
        items = self._sort_out(chunk, outcomes)
        with _timed("fetch", timings):
            items = self._fetch(items, outcomes)
        with _timed("prepare", timings):
            _hash(items)
            items = self._without_unchanged(items, outcomes)
            items = self._prepare(items, outcomes)
        with _timed("predict", timings):
            judged = self._predict(items, outcomes)
        for item, prediction in judged:
            item.reasons = self._reasons(item, prediction)
        flagged = [item for item, _ in judged if item.reasons]
        if flagged and len(chunk.entries) <= self._explain_up_to:
            with _timed("explain", timings):
                self._explain(flagged)
        with _timed("decide", timings):
            for item, prediction in judged:
                try:
                    evidence = self._keep_evidence(item) if item.reasons else []
                    verdict = new_verdict(item, prediction, self._versions, evidence, timings)
                except ValueError as error:  # such as a score that is no number
                    log.exception("post not decided", post_id=item.post_id)
                    self._failed(item, "decide", _shown(error), outcomes, transient=True)
                else:
                    outcomes.evidence += evidence
                    outcomes.verdicts.append(verdict)
        return outcomes

    def _sort_out(self, chunk: Chunk, outcomes: Outcomes) -> list[Item]:
        """One item for every distinct id that can be a post id."""
        items: dict[bytes, Item] = {}
        for entry in chunk.entries:
            if problem := id_problem(entry.id_bytes):
                outcomes.dead_letters.append(
                    NewDeadLetter(printable(entry.id_bytes), "intake", problem, 1)
                )
            elif entry.id_bytes not in items:
                items[entry.id_bytes] = Item(entry, entry.id_bytes.decode())
        if len(items) == 1 and chunk.losses >= self._max_attempts:
            (item,) = items.values()
            error = f"the worker ended or failed {chunk.losses} times while it held this post alone"
            outcomes.dead_letters.append(NewDeadLetter(item.post_id, "worker", error, chunk.losses))
            return []
        return list(items.values())

    def _fetch(self, items: Sequence[Item], outcomes: Outcomes) -> list[Item]:
        results = self._source.fetch([item.post_id for item in items]) if items else {}
        fetched = []
        for item in items:
            result = results[item.post_id]
            if isinstance(result, Gone):
                outcomes.gone.append(GonePost(item.post_id, result.why))
            elif isinstance(result, FetchFailure):
                self._failed(
                    item,
                    "fetch",
                    result.error,
                    outcomes,
                    transient=result.transient,
                    at_least_seconds=result.retry_after_seconds,
                )
            else:
                late = [image for image in result.images if image.transient]
                if late and item.entry.attempts + 1 < self._max_attempts:
                    waits = [image.retry_after_seconds or 0.0 for image in late]
                    error = f"image {late[0].location}: {late[0].problem}"
                    self._failed(
                        item, "fetch", error, outcomes, transient=True, at_least_seconds=max(waits)
                    )
                    continue
                item.fetched = result
                fetched.append(item)
        return fetched

    def _prepare(self, items: Sequence[Item], outcomes: Outcomes) -> list[Item]:
        found = self._classifier.prepare_all([(_text(item), item.images) for item in items])
        prepared = []
        for item, result in zip(items, found, strict=True):
            if isinstance(result, Exception):  # anything here is about this one post
                log.error(
                    "post could not be prepared",
                    post_id=item.post_id,
                    stage="prepare",
                    exc_info=result,
                )
                self._failed(item, "prepare", _shown(result), outcomes, transient=True)
                continue
            assert item.fetched is not None
            item.prepared = result
            item.degraded = [
                {"image": index, "location": image.location, "problem": seen.problem}
                for index, (image, seen) in enumerate(
                    zip(item.fetched.images, result.images, strict=True)
                )
                if isinstance(seen, ImageProblem)
            ]
            prepared.append(item)
        return prepared

    def _without_unchanged(self, items: Sequence[Item], outcomes: Outcomes) -> list[Item]:
        """Leave out what was judged before by these versions, with the same content."""
        if not items:
            return []
        with transaction(self._database, read_only=True) as connection:
            known = queries.already_judged(
                connection,
                [(item.post_id, item.content_hash) for item in items],
                model_version=self._versions.model,
                calibration_version=self._versions.calibration,
                policy_version=self._versions.policy,
            )
        outcomes.unchanged = len(known)
        return [item for item in items if (item.post_id, item.content_hash) not in known]

    def _predict(self, items: Sequence[Item], outcomes: Outcomes) -> list[tuple[Item, Prediction]]:
        """What the model says, asked once for all posts in which it sees the same."""
        groups: dict[Any, list[Item]] = {}
        for item in items:
            assert item.prepared is not None
            groups.setdefault(item.prepared.seen, []).append(item)
        known = self._recent.get(groups)
        fresh = {seen: group for seen, group in groups.items() if seen not in known}
        new = self._ask_model(list(fresh.values()), outcomes)
        self._recent.put(new)
        known |= new
        return [
            (item, known[seen])
            for item in items
            if item.prepared is not None and (seen := item.prepared.seen) in known
        ]

    def _ask_model(
        self, groups: Sequence[Sequence[Item]], outcomes: Outcomes
    ) -> dict[Any, Prediction]:
        """Predictions of the first of each group, by what the model sees in it."""
        posts = [group[0].prepared for group in groups if group[0].prepared is not None]
        if not posts:
            return {}
        try:
            predictions = self._classifier.predict(posts)
        except Exception as error:
            if len(groups) == 1:
                for item in groups[0]:
                    log.exception("post could not be judged", post_id=item.post_id, stage="predict")
                    self._failed(item, "predict", _shown(error), outcomes, transient=True)
                return {}
        else:
            return {post.seen: one for post, one in zip(posts, predictions, strict=True)}
        # Something in this chunk breaks the model: find it, and judge its neighbours.
        half = len(groups) // 2
        return self._ask_model(groups[:half], outcomes) | self._ask_model(groups[half:], outcomes)

    def _reasons(self, item: Item, prediction: Prediction) -> Sequence[Reason]:
        assert item.fetched is not None
        named = len(item.fetched.images)
        scores = scores_of(prediction, degraded=len(item.degraded) / named if named else 0.0)
        return decide(scores, self._policy)

    def _keep_evidence(self, item: Item) -> list[NewEvidence]:
        return keep_evidence(item, self._evidence, self._classifier.thumbnail)

    def _explain(self, items: Sequence[Item]) -> None:
        """Say what moved the score that each post is flagged for; a failure costs no verdict."""
        posts = [item.prepared for item in items if item.prepared is not None]
        names = [str(item.reasons[0].conditions[0]["score"]) for item in items]
        try:
            for item, found in zip(items, explain(self._classifier, posts, names), strict=True):
                item.explanation = found
        except Exception:
            log.exception("flags not explained", posts=len(items), stage="explain")

    def _record(self, outcomes: Outcomes) -> None:
        if outcomes.verdicts or outcomes.dead_letters or outcomes.gone:
            with transaction(self._database) as connection:
                record(
                    connection,
                    verdicts=outcomes.verdicts,
                    dead_letters=outcomes.dead_letters,
                    gone=outcomes.gone,
                    evidence=outcomes.evidence,
                )

    def _failed(
        self,
        item: Item,
        stage: str,
        error: str,
        outcomes: Outcomes,
        *,
        transient: bool,
        at_least_seconds: float | None = None,
    ) -> None:
        """Note that a post could not be judged: a retry, or a dead letter when it is over."""
        attempts = item.entry.attempts + 1
        if transient and attempts < self._max_attempts:
            delay = max(self._retry_delay(item.entry.attempts), at_least_seconds or 0.0)
            outcomes.retries.append(Retry(item.entry, delay))
            log.info(
                "post is tried again later",
                post_id=item.post_id,
                stage=stage,
                error=error,
                attempts=attempts,
                delay_seconds=round(delay, 2),
            )
        else:
            outcomes.dead_letters.append(NewDeadLetter(item.post_id, stage, error, attempts))
            log.warning(
                "dead letter", post_id=item.post_id, stage=stage, error=error, attempts=attempts
            )

    def _retry_delay(self, failures: int) -> float:
        growing = self._retry_base_seconds * 2.0 ** min(failures, 30)
        return min(growing, MAX_RETRY_SECONDS) * self._jitter()

    def _give_back(self, chunk: Chunk, *, delay_seconds: float, loss: bool = False) -> None:
        try:
            self._intake.give_back(chunk, delay_seconds=delay_seconds, loss=loss)
        except QueueUnavailable as error:
            log.warning("chunk not given back; its lease will run out", error=str(error))

    def _count(
        self, chunk: Chunk, outcomes: Outcomes, timings: Mapping[str, float], *, released: bool
    ) -> None:
        counts = {
            "judged": len(outcomes.verdicts),
            "unchanged": outcomes.unchanged,
            "gone": len(outcomes.gone),
            "dead_letter": len(outcomes.dead_letters),
            "retry": len(outcomes.retries),
        }
        for outcome, count in counts.items():
            metrics.POSTS.labels(outcome).inc(count)
        metrics.CHUNK_POSTS.observe(len(chunk.entries))
        for stage, seconds in timings.items():
            metrics.STAGE_SECONDS.labels(stage).observe(seconds)
        log.info(
            "chunk recorded",
            posts=len(chunk.entries),
            released=released,
            flags=sum(verdict.flag is not None for verdict in outcomes.verdicts),
            **counts,
            **{f"{stage}_seconds": round(seconds, 4) for stage, seconds in timings.items()},
        )


@contextmanager
def _timed(stage: str, timings: dict[str, float]) -> Iterator[None]:
    started = time.perf_counter()
    with structlog.contextvars.bound_contextvars(stage=stage):
        yield
    timings[stage] = time.perf_counter() - started


def _hash(items: Sequence[Item]) -> None:
    """Name what each post holds."""
    for item in items:
        assert item.fetched is not None
        item.images = tuple(map(_undecoded, item.fetched.images))
        hashes = [
            image.sha256 if isinstance(image, UndecodedImage) else "not there"
            for image in item.images
        ]
        item.content_hash = content_hash(_text(item), hashes)


def _undecoded(image: FetchedImage) -> UndecodedImage | ImageProblem:
    if image.content is None:
        return ImageProblem(image.problem or "it could not be fetched")
    return UndecodedImage.of(image.content)


def _text(item: Item) -> str:
    assert item.fetched is not None
    return item.fetched.post.text


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1000]
