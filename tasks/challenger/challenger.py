"""A challenger: a second model that judges what the champion judged, and of which nothing comes.

It runs in a thread of its own, on posts whose verdicts are committed already. Nobody waits for it:
what it has no room for is skipped, and what it fails at is left out.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Engine

from models.engines.faults import is_of_device, is_out_of_memory
from models.posts.prediction import ImageProblem
from models.serving.classifier import Classifier
from models.serving.known_posts import KnownPost, KnownPosts
from storage.base.database import transaction
from storage.judging.values import NewVerdict
from storage.tables import OF_WORDS, YES
from storage.trials import challenger
from storage.trials.challenger import NewChallengerVerdict
from tasks.challenger import metrics
from tasks.policy.rules import Policy, scores_of
from tasks.watches.model_watch import error_text

log = structlog.get_logger(__name__)

WAITING_POSTS: Final = 256
WAITING_BYTES: Final = 64 * 2**20
"""What may wait for the challenger: so many posts, and so much of their pictures' files."""

TOGETHER: Final = 16
"""Posts in one pass: few, so that the champion's chunks get in between."""

GATHER_SECONDS: Final = 1.0
"""How long the first waits for others: one pass over 16 costs less than many over one or two."""

_STOP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class JudgedPost:
    """A post as the champion judged it."""

    text: str
    images: tuple[bytes | ImageProblem, ...]  # files as they were fetched, or why one is missing
    verdict: NewVerdict  # the champion's

    @property
    def size(self) -> int:
        """Bytes of its pictures."""
        return sum(len(image) for image in self.images if isinstance(image, bytes))


class Challenger:
    """Judges a share of the champion's posts in a thread of its own, from `start` until `stop`.

    Args:
        load: gives the challenger's model; None where it is the champion itself. Called in the
            thread, so that no post waits for it.
        share: of posts, 0 to 1; which ones follows from their ids, the same for every worker.
        remembered: how many predictions are kept for posts of the same content.
        on_device_lost: hears, once, of what the device failed when the challenger was at work.
    """

    def __init__(
        self,
        *,
        load: Callable[[], Classifier | None],
        policy: Policy,
        database: Engine,
        share: float,
        remembered: int = 0,
        on_device_lost: Callable[[str], None] = lambda why: None,
    ) -> None:
        self._load = load
        self._policy = policy
        self._database = database
        self._share = share
        self._known = KnownPosts(remembered)
        self._on_device_lost = on_device_lost
        self._waiting: deque[JudgedPost] = deque()
        self._bytes = 0
        self._open = True
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="challenger", daemon=True)

    def start(self) -> None:
        """Load the model, then judge."""
        self._thread.start()

    def stop(self) -> None:
        """Judge nothing more; what waits is left out."""
        with self._changed:
            self._close()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def offer(self, posts: Sequence[JudgedPost]) -> None:
        """Take those of the share for which there is room. It returns at once, and never raises."""
        try:
            with self._changed:
                for post in posts:
                    if not in_share(post.verdict.post_id, self._share):
                        continue
                    if self._open and self._has_room(post):
                        self._waiting.append(post)
                        self._bytes += post.size
                    else:
                        metrics.POSTS.labels("skipped").inc()
                self._changed.notify()
        except Exception:  # whatever is wrong here must not reach the champion's chunk
            log.exception("posts not offered to the challenger")

    def _has_room(self, post: JudgedPost) -> bool:
        return len(self._waiting) < WAITING_POSTS and self._bytes + post.size <= WAITING_BYTES

    def _close(self) -> None:
        self._open = False
        if self._waiting:
            metrics.POSTS.labels("skipped").inc(len(self._waiting))
        self._waiting.clear()
        self._bytes = 0
        self._changed.notify()

    def _run(self) -> None:
        model = None
        try:
            model = self._load()
        except Exception as error:
            log.error("challenger left out", error=error_text(error))
        else:
            if model is None:
                # The champion itself misses no post: nothing may look as if it did.
                with self._changed:
                    self._share = 0.0
                    self._waiting.clear()
        if model is None:
            with self._changed:
                self._close()
            return
        info = model.info
        metrics.INFO.info(
            {
                "name": info.name,
                "version": info.version,
                "engine": info.engine,
                "device": info.device,
            }
        )
        metrics.READY.set(1)
        log.info("challenger is warm", model=info.version, engine=info.engine, share=self._share)
        while posts := self._next():
            started = time.perf_counter()
            self._judge(model, posts)
            metrics.SECONDS.inc(time.perf_counter() - started)
        metrics.READY.set(0)

    def _next(self) -> list[JudgedPost]:
        """Wait for posts; none means that it is over."""
        with self._changed:
            while self._open and not self._waiting:
                self._changed.wait()
            self._changed.wait_for(
                lambda: not self._open or len(self._waiting) >= TOGETHER, GATHER_SECONDS
            )
            taken = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
            self._bytes -= sum(post.size for post in taken)
            return taken

    def _judge(self, model: Classifier, posts: Sequence[JudgedPost]) -> None:
        try:
            self._judge_together(model, posts)
        except Exception as error:
            if not self._open:
                return
            if is_of_device(error) or is_out_of_memory(error):
                self._give_up(posts, error)
                return
            if len(posts) == 1:
                metrics.POSTS.labels("failed").inc()
                log.warning(
                    "challenger failed; the champion's verdict stands",
                    post_id=posts[0].verdict.post_id,
                    error=error_text(error),
                )
                return
            for post in posts:
                self._judge(model, [post])

    def _give_up(self, posts: Sequence[JudgedPost], error: Exception) -> None:
        """It is out of memory or lost its device: each of these posts would fail alone too."""
        why = error_text(error)
        log.error("challenger given up; the champion goes on", error=why)
        metrics.POSTS.labels("failed").inc(len(posts))
        with self._changed:
            self._close()
        if is_of_device(error):
            self._on_device_lost(why)

    def _judge_together(self, model: Classifier, posts: Sequence[JudgedPost]) -> None:
        by_content = {post.verdict.content_hash: post for post in posts}
        known = self._known.of(by_content)
        new = {content: post for content, post in by_content.items() if content not in known}
        prepared = model.prepare_all(
            [(post.text, post.images) for post in new.values()],
            [post.verdict.language for post in new.values()],
        )
        for content, ready, prediction in zip(new, prepared, model.predict(prepared), strict=True):
            known[content] = KnownPost.of(ready, prediction)
            self._known.add(content, known[content])
        said = [self._said(model, post, known[post.verdict.content_hash]) for post in posts]
        with transaction(self._database) as connection:
            challenger.record(connection, said)
        for each, post in zip(said, posts, strict=True):
            _count(each, post.verdict)

    def _said(self, model: Classifier, post: JudgedPost, known: KnownPost) -> NewChallengerVerdict:
        champion, fused = post.verdict, known.prediction.fused
        unseen = sum(problem is not None for problem in known.problems)
        degraded = unseen / len(post.images) if post.images else 0.0
        scores = scores_of(
            known.prediction,
            degraded=degraded,
            unread=bool(known.unread),
            unlearnt=not model.has_learnt(known.language),
        )
        reasons = self._policy.reasons_for(scores, known.language)
        return NewChallengerVerdict(
            NewVerdict(
                post_id=champion.post_id,
                content_hash=champion.content_hash,
                model_version=model.info.version,
                calibration_version=model.info.calibration_version,
                policy_version=self._policy.version,
                **fused.sentiment._asdict(),
                sarcasm=fused.sarcasm,
                offensive=fused.offensive,
                hateful=fused.hateful,
            ),
            [reason.rule for reason in reasons],
            champion.model_version,
            champion.calibration_version,
            _rules(champion),
        )


def in_share(post_id: str, share: float) -> bool:
    """Whether a post is among this share of all posts: always the same ones, and more for more."""
    digest = hashlib.sha256(post_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _rules(verdict: NewVerdict) -> list[str]:
    return [str(reason["rule"]) for reason in verdict.flag.reasons] if verdict.flag else []


def _count(said: NewChallengerVerdict, champion: NewVerdict) -> None:
    metrics.POSTS.labels("judged").inc()
    if _label(said.verdict) != _label(champion):
        metrics.DISAGREEMENTS.labels("sentiment").inc()
    for question in ("sarcasm", *OF_WORDS):
        ours, theirs = getattr(said.verdict, question), getattr(champion, question)
        if ours is not None and theirs is not None and (ours >= YES) != (theirs >= YES):
            metrics.DISAGREEMENTS.labels(question).inc()
    if bool(said.rules) != bool(said.champion_rules):
        metrics.DISAGREEMENTS.labels("flag_added" if said.rules else "flag_removed").inc()


def _label(verdict: NewVerdict) -> int:
    scores = (verdict.negative, verdict.neutral, verdict.positive)
    return scores.index(max(scores))
