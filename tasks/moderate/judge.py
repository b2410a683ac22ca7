"""Fetch, prepare, predict and decide: what becomes of the posts of one chunk.

Nothing is computed that is known: a post whose verdict is there already is not even decoded, posts
of the same content are judged once, and of a picture that was seen before the features are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from sqlalchemy import Engine

from deadpan.core.errors import ImageError
from models.posts.prediction import Prediction
from models.serving.classifier import Classifier
from models.serving.known_posts import KnownPost, KnownPosts
from models.serving.leave_out import Kept
from sources.net.throttle import Throttle
from sources.post import FetchedPost, FetchFailure, Gone
from sources.source import BegunResult, PostSource, Unwaited
from storage.base.database import transaction
from storage.judging import queries
from storage.judging.evidence import EvidenceStore
from storage.judging.values import NewDeadLetter
from storage.keeping import erasure
from tasks.intake.chunks import Chunk, Entry
from tasks.intake.post_ids import id_problem, printable
from tasks.moderate import model_pass
from tasks.moderate.content import degraded, grouped, hashed, undecoded
from tasks.moderate.explanations import explain_flags
from tasks.moderate.outcomes import Outcomes
from tasks.moderate.pictures import gathered
from tasks.moderate.stages import timed
from tasks.moderate.verdict import Item, Versions, keep_evidence, new_verdict
from tasks.policy.rules import Policy, Reason, scores_of
from tasks.watches.field_watch import FieldWatch
from tasks.watches.model_watch import ModelWatch, error_text
from tasks.watches.source_watch import SourceWatch
from tasks.watches.tries import Tries

log = structlog.get_logger(__name__)


MIN_LOSSES = 3
"""Up to two losses may be of another post that was in the same worker's hands (`dispatch.lua`)."""


class Judge:
    """Judges the posts of chunks with one warm model; several slots may call it at once.

    Args:
        tries: of one post, before it becomes a dead letter.
        explain: whether flags are explained.
        explain_up_to: posts in a chunk whose flags are explained by judging again without each
            part; in a larger one, which means that posts wait, from features.
        remembered: how many posts' predictions are kept for posts of the same content.
        throttle: of the source, where it has one.

    Attributes:
        source: as it is watched.
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
        throttle: Throttle | None = None,
    ) -> None:
        self.source = SourceWatch(Unwaited(source), throttle=throttle)
        self._classifier = classifier
        self._watch = ModelWatch(classifier)
        self._policy = policy
        info = classifier.info
        self._versions = Versions(info.version, info.calibration_version, policy.version)
        self._database = database
        self._evidence = evidence
        self._tries = tries
        self._explaining = explain
        self._explain_up_to = explain_up_to
        self._known = KnownPosts(remembered)
        self._fields = FieldWatch()

    @property
    def broken(self) -> str | None:
        """Why the model can judge nothing more in this process, or None."""
        return self._watch.broken

    def judge(
        self, chunk: Chunk, timings: dict[str, float], *, may_put_aside: bool = False
    ) -> Outcomes:
        """Judge one chunk.

        Args:
            timings: gets the seconds of every stage.
            may_put_aside: whether posts may be left over that have to wait for their pictures.

        Returns:
            One outcome of every distinct id in it, but for those in `awaited`; nothing is recorded
            yet.

        Raises:
            DatabaseUnavailable, SchemaError, EvidenceUnavailable, SourceUnavailable: nothing can
                be judged now.
            ModelBroken: nothing can be judged in this process any more.
        """
        self._watch.require()
        outcomes = Outcomes(self._tries, is_revisit=chunk.is_revisit)
        items = self._sort_out(chunk, outcomes)
        with timed("lookup", timings):
            items = self._without_erased(items, outcomes)
        with timed("fetch", timings):
            items = self._fetch(items, outcomes)
            fetched = [item for item in items if item.fetched is not None]
            came, outcomes.awaited = gathered(
                [item for item in items if item.fetched is None],
                others=bool(fetched),
                may_put_aside=may_put_aside,
            )
        here = {id(item) for item in (*fetched, *came)}
        ask_again = len(chunk.entries) <= self._explain_up_to
        items = [item for item in items if id(item) in here]
        self._judge_fetched(
            items, outcomes, timings, ask_again=ask_again, tried_before=chunk.losses > 0
        )
        return outcomes

    def judge_awaited(
        self, chunk: Chunk, items: Sequence[Item], timings: dict[str, float]
    ) -> Outcomes:
        """Judge posts that were put aside, once they wait for nothing more; see `judge`.

        Args:
            items: fetched.
        """
        self._watch.require()
        outcomes = Outcomes(self._tries, is_revisit=chunk.is_revisit)
        ask_again = len(items) <= self._explain_up_to
        self._judge_fetched(
            items, outcomes, timings, ask_again=ask_again, tried_before=chunk.losses > 0
        )
        return outcomes

    def _judge_fetched(
        self,
        items: Sequence[Item],
        outcomes: Outcomes,
        timings: dict[str, float],
        *,
        ask_again: bool,
        tried_before: bool,
    ) -> None:
        with timed("lookup", timings):
            items = self._without_unchanged(hashed(items), outcomes)
            same = grouped(items)
            known = self._known.of(same)
        outcomes.repeated = len(items) - len(same.keys() - known.keys())
        first = [group[0] for key, group in same.items() if key not in known]
        with timed("prepare", timings):
            first = model_pass.prepare(
                self._watch, first, same, outcomes, tried_before=tried_before
            )
        with timed("predict", timings):
            kept = Kept() if self._explaining and not ask_again else None
            predicted = model_pass.predict(
                self._watch, first, same, outcomes, kept, tried_before=tried_before
            )
            outcomes.through_model = len(predicted)
            for item, prediction in predicted:
                known[item.content_hash] = self._remember(item, prediction)
        judged = [
            (item, known[item.content_hash].prediction)
            for item in items
            if item.content_hash in known
        ]
        for item, prediction in judged:
            item.degraded = degraded(item, known[item.content_hash].problems)
            item.unread = [each.as_row() for each in known[item.content_hash].unread]
            item.reasons = self._reasons(item, prediction)
        flagged = [item for item, _ in judged if item.reasons]
        with timed("prepare", timings):
            # Evidence and explanations are of what the model saw, however long ago it saw it.
            model_pass.prepare_flagged(self._classifier, flagged)
        if flagged and self._explaining:
            with timed("explain", timings):
                explain_flags(self._classifier, flagged, known, kept, ask_again=ask_again)
        with timed("decide", timings):
            self._decide(judged, outcomes, timings)

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
            if chunk.is_revisit:
                return []
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
        for post_id in sorted(erased):
            outcomes.is_gone(post_id, erasure.ERASED)
        return [item for item in items if item.post_id not in erased]

    def _fetch(self, items: Sequence[Item], outcomes: Outcomes) -> list[Item]:
        """Leave out what is no post; the others are `fetched`, or `awaited` with their pictures."""
        results: Mapping[str, BegunResult] = (
            self.source.fetch([item.post_id for item in items]) if items else {}
        )
        fetched = []
        for item in items:
            result = results[item.post_id]
            if isinstance(result, Gone):
                outcomes.is_gone(item.post_id, result.why)
            elif isinstance(result, FetchFailure) and result.untried:
                outcomes.waits(item, result.error, at_least_seconds=result.retry_after_seconds)
            elif isinstance(result, FetchFailure):
                outcomes.failed(
                    item,
                    "fetch",
                    result.error,
                    transient=result.transient,
                    at_least_seconds=result.retry_after_seconds,
                )
            else:
                self._fields.saw(result.post)
                if isinstance(result, FetchedPost):
                    item.fetched = result
                else:
                    item.awaited = result
                fetched.append(item)
        return fetched

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
        changed = []
        for item in items:
            if (item.post_id, item.content_hash) in known:
                outcomes.unchanged += 1
                _revisit(item, outcomes)
            else:
                changed.append(item)
        return changed

    def _remember(self, item: Item, prediction: Prediction) -> KnownPost:
        assert item.fetched is not None
        assert item.prepared is not None
        known = KnownPost(prediction, undecoded(item.fetched, item.prepared), item.prepared.unread)
        self._known.add(item.content_hash, known)
        return known

    def _reasons(self, item: Item, prediction: Prediction) -> Sequence[Reason]:
        assert item.fetched is not None
        named = len(item.fetched.images)
        scores = scores_of(
            prediction,
            degraded=len(item.degraded) / named if named else 0.0,
            unread=bool(item.unread),
        )
        return self._policy.reasons_for(scores)

    def _decide(
        self,
        judged: Sequence[tuple[Item, Prediction]],
        outcomes: Outcomes,
        timings: Mapping[str, float],
    ) -> None:
        for item, prediction in judged:
            try:
                if item.reasons and item.prepared is None:
                    model_pass.prepare_together(self._classifier, [item])
                evidence = keep_evidence(item, self._evidence) if item.reasons else []
                verdict = new_verdict(item, prediction, self._versions, evidence, timings)
            except (ValueError, ImageError) as error:  # such as a score that is no number
                log.exception("post not decided", **item.said)
                outcomes.failed(item, "decide", error_text(error))
            else:
                outcomes.evidence += evidence
                outcomes.verdicts.append(verdict)
                outcomes.judged.append(item)
                _revisit(item, outcomes)


def _revisit(item: Item, outcomes: Outcomes) -> None:
    """Where a picture may come yet: the post is judged without it, and once more when it came."""
    assert item.fetched is not None
    if any(image.transient for image in item.fetched.images):
        outcomes.revisits.append(item.entry)


def _say(letter: NewDeadLetter, entry: Entry) -> None:
    log.warning(
        "dead letter",
        post_id=letter.post_id,
        trace_id=entry.trace.trace_id,
        stage=letter.stage,
        error=letter.error,
        attempts=letter.attempts,
    )
