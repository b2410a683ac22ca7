"""Fetch, prepare, predict and decide: what becomes of the posts of one chunk.

Nothing is computed that is known: a post whose verdict is there already is not even decoded, posts
of the same content are judged once, and of a picture that was seen before the features are kept.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog
from sqlalchemy import Engine

from deadpan import spans
from deadpan.errors import ImageError
from models.classifier import Classifier
from models.explain import explain
from models.leave_out import Kept
from models.prediction import ImageProblem, Prediction, PreparedPost
from sources.post import FetchedImage, FetchedPost, FetchFailure, Gone, PostSource
from storage import erasure, queries
from storage.database import transaction
from storage.evidence import EvidenceStore
from storage.outcomes import GonePost, NewDeadLetter
from tasks.chunks import Chunk, Entry
from tasks.outcomes import Outcomes
from tasks.policy import Policy, Reason, decide, scores_of
from tasks.post_ids import id_problem, printable
from tasks.predictions import KnownPost, KnownPosts
from tasks.source_watch import SourceWatch
from tasks.tries import Tries
from tasks.verdict import Item, Versions, content_hash, keep_evidence, new_verdict

log = structlog.get_logger(__name__)


MIN_LOSSES = 3
"""Up to two losses may be of another post that was in the same worker's hands (`claim.lua`)."""


class Judge:
    """Judges the posts of chunks with one warm model; several slots may call it at once.

    Args:
        tries: of one post, before it becomes a dead letter.
        explain: whether flags are explained.
        explain_up_to: posts in a chunk whose flags are explained by judging again without each
            part; in a larger one, which means that posts wait, from features.
        remembered: how many posts' predictions are kept for posts of the same content.
    """

    def __init__(
        self,
        *,
        source: PostSource,
        classifier: Classifier,
        policy: Policy,
        database: Engine,
        evidence: EvidenceStore,
        tries: Tries,
        explain: bool,
        explain_up_to: int,
        remembered: int,
    ) -> None:
        self._source = SourceWatch(source)
        self._classifier = classifier
        self._policy = policy
        info = classifier.info
        self._versions = Versions(info.version, info.calibration_version, policy.version)
        self._database = database
        self._evidence = evidence
        self._tries = tries
        self._explaining = explain
        self._explain_up_to = explain_up_to
        self._known = KnownPosts(remembered)

    def judge(self, chunk: Chunk, timings: dict[str, float]) -> Outcomes:
        """Judge one chunk.

        Args:
            timings: gets the seconds of every stage.

        Returns:
            One outcome of every distinct id in it; nothing is recorded yet.

        Raises:
            DatabaseUnavailable, SchemaError, EvidenceUnavailable, SourceUnavailable: nothing can
                be judged now.
        """
        outcomes = Outcomes(self._tries)
        items = self._sort_out(chunk, outcomes)
        with timed("lookup", timings):
            items = self._without_erased(items, outcomes)
        with timed("fetch", timings):
            items = self._fetch(items, outcomes)
        with timed("lookup", timings):
            items = self._without_unchanged(_hashed(items), outcomes)
            same = _grouped(items)
            known = self._known.of(same)
        outcomes.repeated = len(items) - len(same.keys() - known.keys())
        first = [group[0] for key, group in same.items() if key not in known]
        with timed("prepare", timings):
            first = self._prepare(first, same, outcomes)
        with timed("predict", timings):
            ask_again = len(chunk.entries) <= self._explain_up_to
            kept = Kept() if self._explaining and not ask_again else None
            for item, prediction in self._predict(first, same, outcomes, kept):
                known[item.content_hash] = self._remember(item, prediction)
        judged = [
            (item, known[item.content_hash].prediction)
            for item in items
            if item.content_hash in known
        ]
        for item, prediction in judged:
            item.degraded = _degraded(item, known[item.content_hash].problems)
            item.reasons = self._reasons(item, prediction)
        flagged = [item for item, _ in judged if item.reasons]
        with timed("prepare", timings):
            # Evidence and explanations are of what the model saw, however long ago it saw it.
            self._prepare_flagged(flagged)
        if flagged and self._explaining:
            with timed("explain", timings):
                self._explain(flagged, known, kept, ask_again=ask_again)
        with timed("decide", timings):
            self._decide(judged, outcomes, timings)
        return outcomes

    def _sort_out(self, chunk: Chunk, outcomes: Outcomes) -> list[Item]:
        """One item for every distinct id that can be a post id."""
        items: dict[bytes, Item] = {}
        for entry in chunk.entries:
            if problem := id_problem(entry.id_bytes):
                letter = NewDeadLetter(printable(entry.id_bytes), "intake", problem, 1)
                outcomes.dead_letters.append(letter)
                _say(letter, entry)
            elif entry.id_bytes not in items:
                items[entry.id_bytes] = Item(entry, entry.id_bytes.decode())
            else:
                first = items[entry.id_bytes]
                log.info("post is in its chunk twice", **first.said, also=entry.trace.trace_id)
        if len(items) == 1 and chunk.losses >= max(MIN_LOSSES, self._tries.max_attempts):
            (item,) = items.values()
            error = f"the worker ended or failed {chunk.losses} times while it held this post alone"
            letter = NewDeadLetter(item.post_id, "worker", error, chunk.losses)
            outcomes.dead_letters.append(letter)
            _say(letter, item.entry)
            return []
        return list(items.values())

    def _without_erased(self, items: Sequence[Item], outcomes: Outcomes) -> list[Item]:
        """Leave out what was erased on request: it is not even fetched."""
        if not items:
            return []
        with transaction(self._database, read_only=True) as connection:
            erased = erasure.erased(connection, [item.post_id for item in items])
        outcomes.gone += [GonePost(post_id, erasure.ERASED) for post_id in sorted(erased)]
        return [item for item in items if item.post_id not in erased]

    def _fetch(self, items: Sequence[Item], outcomes: Outcomes) -> list[Item]:
        results = self._source.fetch([item.post_id for item in items]) if items else {}
        fetched = []
        for item in items:
            result = results[item.post_id]
            if isinstance(result, Gone):
                outcomes.gone.append(GonePost(item.post_id, result.why))
            elif isinstance(result, FetchFailure):
                outcomes.failed(
                    item,
                    "fetch",
                    result.error,
                    transient=result.transient,
                    at_least_seconds=result.retry_after_seconds,
                )
            elif not self._comes_later(item, result, outcomes):
                item.fetched = result
                fetched.append(item)
        return fetched

    def _comes_later(self, item: Item, post: FetchedPost, outcomes: Outcomes) -> bool:
        """Whether the post waits for an image that may arrive on another try."""
        late = [image for image in post.images if image.transient]
        if not late or item.entry.attempts + 1 >= self._tries.max_attempts:
            return False
        waits = [image.retry_after_seconds or 0.0 for image in late]
        error = f"image {late[0].location}: {late[0].problem}"
        outcomes.failed(item, "fetch", error, at_least_seconds=max(waits))
        return True

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

    def _prepare(
        self, items: Sequence[Item], same: Mapping[str, Sequence[Item]], outcomes: Outcomes
    ) -> list[Item]:
        """Prepare all together; should that fail, one by one, to find the post that breaks it."""
        try:
            self._prepare_together(items)
            return list(items)
        except Exception:
            log.exception("posts could not be prepared together", posts=len(items), stage="prepare")
        prepared = []
        for item in items:
            try:
                self._prepare_together([item])
            except Exception as error:  # anything here is about this one post
                log.exception("post could not be prepared", **item.said, stage="prepare")
                for one in same[item.content_hash]:
                    outcomes.failed(one, "prepare", _shown(error))
            else:
                prepared.append(item)
        return prepared

    def _prepare_together(self, items: Sequence[Item]) -> None:
        prepared = self._classifier.prepare_all([unprepared(item) for item in items])
        for item, post in zip(items, prepared, strict=True):
            item.prepared = post

    def _predict(
        self,
        items: Sequence[Item],
        same: Mapping[str, Sequence[Item]],
        outcomes: Outcomes,
        kept: Kept | None,
    ) -> list[tuple[Item, Prediction]]:
        if not items:
            return []
        prepared = [item.prepared for item in items if item.prepared is not None]
        try:
            return list(zip(items, self._classifier.predict(prepared, kept), strict=True))
        except Exception as error:
            if len(items) == 1:
                log.exception("post could not be judged", **items[0].said, stage="predict")
                for item in same[items[0].content_hash]:
                    outcomes.failed(item, "predict", _shown(error))
                return []
        # Something in this chunk breaks the model: find it, and judge its neighbours.
        half = len(items) // 2
        front = self._predict(items[:half], same, outcomes, kept)
        return front + self._predict(items[half:], same, outcomes, kept)

    def _remember(self, item: Item, prediction: Prediction) -> KnownPost:
        assert item.fetched is not None
        assert item.prepared is not None
        known = KnownPost(prediction, _problems(item.fetched, item.prepared))
        self._known.add(item.content_hash, known)
        return known

    def _reasons(self, item: Item, prediction: Prediction) -> Sequence[Reason]:
        assert item.fetched is not None
        named = len(item.fetched.images)
        scores = scores_of(prediction, degraded=len(item.degraded) / named if named else 0.0)
        return decide(scores, self._policy)

    def _prepare_flagged(self, flagged: Sequence[Item]) -> None:
        """Prepare those that were not, because the prediction of their content was known.

        A failure is met again where the evidence is kept, by each post for itself.
        """
        todo = [item for item in flagged if item.prepared is None]
        try:
            self._prepare_together(todo)
        except Exception:
            log.exception("flagged posts not prepared", posts=len(todo), stage="prepare")

    def _explain(
        self,
        items: Sequence[Item],
        known: Mapping[str, KnownPost],
        kept: Kept | None,
        *,
        ask_again: bool,
    ) -> None:
        """Say what moved the score that each post is flagged for; a failure costs no verdict."""
        named = {
            item.post_id: str(item.reasons[0].conditions[0]["score"])
            for item in items
            if item.prepared is not None
        }
        todo = {
            (item.content_hash, named[item.post_id]): item.prepared
            for item in items
            if item.prepared is not None
            and named[item.post_id] not in known[item.content_hash].explanations
        }
        try:
            told = explain(
                self._classifier,
                list(todo.values()),
                [name for _, name in todo],
                ask_again=ask_again,
                kept=kept,
            )
        except Exception:
            log.exception("flags not explained", posts=len(todo), stage="explain")
            told = []
        for (content, name), found in zip(todo, told, strict=False):
            known[content].explanations[name] = found
        for item in items:
            name = named.get(item.post_id, "")
            item.explanation = known[item.content_hash].explanations.get(name)

    def _decide(
        self,
        judged: Sequence[tuple[Item, Prediction]],
        outcomes: Outcomes,
        timings: Mapping[str, float],
    ) -> None:
        for item, prediction in judged:
            try:
                if item.reasons and item.prepared is None:
                    self._prepare_together([item])
                evidence = keep_evidence(item, self._evidence) if item.reasons else []
                verdict = new_verdict(item, prediction, self._versions, evidence, timings)
            except (ValueError, ImageError) as error:  # such as a score that is no number
                log.exception("post not decided", **item.said)
                outcomes.failed(item, "decide", _shown(error))
            else:
                outcomes.evidence += evidence
                outcomes.verdicts.append(verdict)
                outcomes.judged.append(item)


@contextmanager
def timed(stage: str, timings: dict[str, float]) -> Iterator[None]:
    """Add the seconds of the block to those of a stage; log lines in it name the stage."""
    started = time.perf_counter()
    with structlog.contextvars.bound_contextvars(stage=stage), spans.span(stage):
        yield
    timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - started


def _say(letter: NewDeadLetter, entry: Entry) -> None:
    log.warning(
        "dead letter",
        post_id=letter.post_id,
        trace_id=entry.trace.trace_id,
        stage=letter.stage,
        error=letter.error,
        attempts=letter.attempts,
    )


def _hashed(items: Sequence[Item]) -> Sequence[Item]:
    """The same items, with their content hash: of words and undecoded files."""
    hashes: dict[int, str] = {}  # an image that several posts name was downloaded once
    for item in items:
        assert item.fetched is not None
        names = []
        for image in item.fetched.images:
            if image.content is None:
                names.append("not there")
                continue
            key = id(image.content)
            if key not in hashes:
                hashes[key] = hashlib.sha256(image.content).hexdigest()
            names.append(hashes[key])
        item.content_hash = content_hash(item.fetched.post.text, names)
    return items


def _grouped(items: Sequence[Item]) -> dict[str, list[Item]]:
    """Posts by content hash."""
    same: dict[str, list[Item]] = {}
    for item in items:
        same.setdefault(item.content_hash, []).append(item)
    return same


def unprepared(item: Item) -> tuple[str, list[bytes | ImageProblem]]:
    """A fetched post's words and files, or why one is not there: what a model prepares."""
    assert item.fetched is not None
    return item.fetched.post.text, [_content_or_problem(image) for image in item.fetched.images]


def _content_or_problem(image: FetchedImage) -> bytes | ImageProblem:
    if image.content is None:
        return ImageProblem(image.problem or "it could not be fetched")
    return image.content


def _problems(fetched: FetchedPost, prepared: PreparedPost) -> tuple[str | None, ...]:
    """Why bytes that are there could not be decoded: this is of the content, and lasts."""
    return tuple(
        result.problem if image.content is not None and isinstance(result, ImageProblem) else None
        for image, result in zip(fetched.images, prepared.images, strict=True)
    )


def _degraded(item: Item, problems: Sequence[str | None]) -> list[dict[str, object]]:
    """The images that could not be seen, and why."""
    assert item.fetched is not None
    degraded: list[dict[str, object]] = []
    for index, (image, problem) in enumerate(zip(item.fetched.images, problems, strict=True)):
        if image.content is None:
            problem = image.problem or "it could not be fetched"
        if problem is not None:
            degraded.append({"image": index, "location": image.location, "problem": problem})
    return degraded


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1000]
