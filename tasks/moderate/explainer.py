"""Why posts are flagged: the words and regions that moved the score, found out when nobody waits.

A flag is worth more now than explained. It is written with its verdict, and explained afterwards,
from the evidence: by a worker that has nothing else to do, or at once where somebody looks at it.
The model judges the post again without each of its parts, a few at a time, and whoever comes with
posts in between goes first.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import structlog
from sqlalchemy import Engine

from deadpan.core.errors import DatabaseUnavailable, DeadpanError, EvidenceUnavailable
from models.posts.prediction import ImageProblem, Prediction, PreparedPost
from models.posts.recent import RecentlyUsed
from models.posts.text import split_ocr
from models.serving.classifier import Classifier
from models.serving.explain import as_written, explain
from storage.base.database import transaction
from storage.judging import explanations
from storage.judging.evidence import EvidenceStore
from storage.judging.explanations import Taken, Work
from storage.tables import Verdict
from tasks.watches import metrics
from tasks.watches.model_watch import error_text

log = structlog.get_logger(__name__)

PARTS_AT_ONCE = 8
"""Posts with a part left out that the model judges at once: the longest that a chunk may have to
wait for. On 2 cores, 10 to 25 ms."""

QUIET_SECONDS = 0.1
"""A worker is idle when it has had no chunk in hand for so long."""

PATIENCE_SECONDS = 2.0
"""For so long a flag in hand waits for a quiet moment, before it is left to others: somebody may
want to see another one."""

LOOK_SECONDS = 1.0
"""How often flags to be explained are looked for."""

LEASE_SECONDS = 60.0
"""After so long, a flag whose worker died is explained by another one."""

MAX_ATTEMPTS = 4
"""Of one flag; each is counted before it begins, so that a flag that kills workers ends too."""

_RETRY_SECONDS = 30.0
_AWAY_SECONDS = 5.0

GONE_SECONDS = 120.0
"""Flags that were judged by a model that no worker has had for so long are not explained."""

REMEMBERED = 256
"""Explanations that are kept for flags of the same content, about 7 kB each."""


class Hands(Protocol):
    """What of a `LeaseKeeper` is needed."""

    @property
    def held(self) -> int:
        """Chunks in hand now."""
        ...

    @property
    def taken(self) -> int:
        """Chunks taken so far."""
        ...


class _Interrupted(Exception):
    """The worker has other things to do; the flag is given back."""


class Explainer:
    """A thread that explains flags.

    Args:
        leases: say whether a chunk is in hand.
        holder: a name of this process.
        may_work: whether the model is in order.
        models: the versions of all workers' models.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        database: Engine,
        evidence: EvidenceStore,
        leases: Hands,
        holder: str,
        may_work: Callable[[], bool],
        models: Callable[[], Collection[str]],
    ) -> None:
        self._classifier = classifier
        self._database = database
        self._evidence = evidence
        self._leases = leases
        self._holder = f"{holder[:160]}/{uuid.uuid4().hex}"
        self._may_work = may_work
        self._models = models
        self._versions = {
            "model_version": classifier.info.version,
            "calibration_version": classifier.info.calibration_version,
        }
        self._known: RecentlyUsed[dict[str, Any]] = RecentlyUsed(REMEMBERED)
        self._stop = threading.Event()
        self._look_for_gone_at = time.monotonic() + GONE_SECONDS
        self._thread = threading.Thread(target=self._run, name="explainer", daemon=True)

    def start(self) -> None:
        """Begin to explain."""
        self._thread.start()

    def stop(self, *, patience_seconds: float = 2.0) -> None:
        """Explain nothing more; what is in hand is given back."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(patience_seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            pause = LOOK_SECONDS
            try:
                if self._may_work() and self.explain_one():
                    continue
                self._give_up()
            except DeadpanError as error:
                log.info("flags are explained later", error=str(error))
                pause = _AWAY_SECONDS
            except Exception:  # a thread that ended would leave flags unexplained for good
                log.exception("explaining failed unexpectedly")
                pause = _AWAY_SECONDS
            self._stop.wait(pause)

    def explain_one(self) -> bool:
        """Explain the flag that comes first, if there is one and this worker may; says so.

        Raises:
            DatabaseUnavailable, SchemaError: nothing can be stored now.
        """
        with transaction(self._database, read_only=True) as connection:
            work = explanations.due(connection, **self._versions)
        if work is None or (work == "waiting" and not self._is_quiet()):
            return False
        taken = self._take(work)
        if taken is None:
            return False
        log_fields = {"flag": taken.flag_id, "attempts": taken.attempts}
        if taken.attempts > MAX_ATTEMPTS:
            error = f"the worker ended {taken.attempts - 1} times while it tried"
            self._failed(taken, error, final=True)
            return True
        began = time.perf_counter()
        try:
            found = self._explain(taken)
        except _Interrupted:
            self._settle(lambda c: explanations.give_back(c, taken))
            return False
        except DatabaseUnavailable:
            raise  # its lease runs out
        except EvidenceUnavailable as error:
            if self._evidence.writable_problem() is not None:
                # the store is away, and no flag is to blame
                self._settle(
                    lambda c: explanations.give_back(c, taken, delay_seconds=_RETRY_SECONDS)
                )
                return False
            self._failed(taken, str(error), final=True)
            return True
        except Exception as error:
            log.exception("flag not explained", **log_fields)
            self._failed(taken, error_text(error), final=taken.attempts >= MAX_ATTEMPTS)
            return True
        if self._settle(lambda c: explanations.explained(c, taken, found)):
            metrics.EXPLANATIONS.labels("explained").inc()
            seconds = time.perf_counter() - began
            metrics.STAGE_SECONDS.labels("explain").observe(seconds)
            log.info("flag explained", **log_fields, seconds=round(seconds, 3))
        return True

    def _take(self, work: Work) -> Taken | None:
        with transaction(self._database) as connection:
            return explanations.take(
                connection, work, **self._versions, holder=self._holder, seconds=LEASE_SECONDS
            )

    def _settle(self, change: Callable[[Any], bool]) -> bool:
        with transaction(self._database) as connection:
            return change(connection)

    def _failed(self, taken: Taken, error: str, *, final: bool) -> None:
        delay_seconds = None if final else _RETRY_SECONDS * taken.attempts
        self._settle(lambda c: explanations.failed(c, taken, error, delay_seconds=delay_seconds))
        if final:
            metrics.EXPLANATIONS.labels("failed").inc()
            log.warning("flag is not explained", flag=taken.flag_id, error=error)

    def _explain(self, taken: Taken) -> dict[str, Any] | None:
        """What moved the score; None where the post has no such score."""
        verdict = taken.verdict
        if verdict is None or not verdict.evidence:
            raise EvidenceUnavailable("its text and pictures are no longer stored")
        key = f"{verdict.content_hash} {taken.score}"
        if known := self._known.of([key]).get(key):
            return known
        text, post = self._prepared(verdict)
        model = _InSlices(self._classifier, _Turn(self, taken))
        predictions = model.predict([post]) if post.windows else None
        (found,) = explain(model, [post], [taken.score], predictions=predictions)
        if found is None:
            return None
        row = as_written(found, text).as_row()
        self._known.add(key, row)
        return row

    def _prepared(self, verdict: Verdict) -> tuple[str, PreparedPost]:
        """A post's words as its author wrote them, and the post as the model saw it."""
        words = {each["kind"]: each["sha256"] for each in verdict.evidence}
        text, seen = (
            self._evidence.get(words[kind]).decode("utf-8", "surrogatepass")
            for kind in ("original_text", "text")
        )
        kept = [each for each in verdict.evidence if each["kind"] == "image"]
        pictures: list[tuple[bytes, int] | ImageProblem] = [
            (self._evidence.get(each["sha256"]), int(each.get("frames", 1))) for each in kept
        ]
        # Explanations count all pictures of the post, also those that could not be seen.
        for each in sorted(verdict.degraded, key=lambda each: int(each["image"])):
            pictures.insert(int(each["image"]), ImageProblem(str(each["problem"])))
        _, in_pictures = split_ocr(seen)
        return text, self._classifier.prepare_again(text, in_pictures, pictures, verdict.language)

    def _is_quiet(self) -> bool:
        """Whether this worker has nothing else to do, and has had nothing for a moment."""
        taken = self._leases.taken
        if self._leases.held or self._stop.wait(QUIET_SECONDS):
            return False
        return not self._leases.held and self._leases.taken == taken

    def _give_up(self) -> None:
        """Say of flags that no worker's model judged that they will not be explained."""
        if time.monotonic() < self._look_for_gone_at:
            return
        self._look_for_gone_at = time.monotonic() + GONE_SECONDS / 2
        there = {self._classifier.info.version, *self._models()}
        with transaction(self._database) as connection:
            count = explanations.give_up(
                connection, model_versions=there, older_than_seconds=GONE_SECONDS
            )
        if count:
            metrics.EXPLANATIONS.labels("failed").inc(count)
            log.warning("flags of models that are gone are not explained", flags=count)


class _Turn:
    """Whether it is this explanation's turn; asked before each pass through the model."""

    def __init__(self, explainer: Explainer, taken: Taken) -> None:
        self._explainer = explainer
        self._taken = taken
        self._kept = time.monotonic()
        self._chunks = explainer._leases.taken

    def wait(self) -> None:
        """Return once the model may be used; raises _Interrupted where that takes too long."""
        of = self._explainer
        leases = of._leases
        # Who looks at a flag is not kept waiting; a chunk waits for one pass at the most.
        if not self._taken.is_wanted and (leases.held or leases.taken != self._chunks):
            until = time.monotonic() + PATIENCE_SECONDS
            while not of._is_quiet():
                if of._stop.wait(QUIET_SECONDS / 2) or time.monotonic() > until:
                    raise _Interrupted
            self._chunks = leases.taken
        if of._stop.is_set():
            raise _Interrupted
        if time.monotonic() > self._kept + LEASE_SECONDS / 3:
            if not of._settle(lambda c: explanations.keep(c, self._taken, seconds=LEASE_SECONDS)):
                raise _Interrupted
            self._kept = time.monotonic()


class _InSlices:
    """A model that judges a few posts at a time."""

    def __init__(self, model: Classifier, turn: _Turn) -> None:
        self._model = model
        self._turn = turn

    def encode(self, joined: str) -> tuple[int, ...]:
        """See `Classifier.encode`."""
        return self._model.encode(joined)

    def predict(self, posts: Sequence[PreparedPost]) -> list[Prediction]:
        """See `Classifier.predict`."""
        found: list[Prediction] = []
        for start in range(0, len(posts), PARTS_AT_ONCE):
            self._turn.wait()
            found += self._model.predict(posts[start : start + PARTS_AT_ONCE])
        return found
