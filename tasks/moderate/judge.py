"""Fetch, prepare, predict and decide: what becomes of the posts of one chunk.

Nothing is computed that is known: a post whose verdict is there already is not even decoded, posts
of the same content are judged once, and of a picture that was seen before the features are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from sqlalchemy import Engine

from deadpan.core.errors import ImageError
from models.posts.prediction import PreparedPost
from models.serving.classifier import Classifier
from models.serving.known_posts import KnownPost, KnownPosts
from sources.net.throttle import Throttle
from sources.post import FetchedPost, FetchFailure, Gone
from sources.source import BegunResult, PostSource, Unwaited
from storage.base.database import transaction
from storage.judging import queries
from storage.judging.evidence import EvidenceStore
from storage.judging.values import NewDeadLetter
from storage.keeping import erasure
from tasks.intake.chunks import Chunk
from tasks.intake.post_ids import id_problem, printable
from tasks.moderate.model_pass import ModelPass, prepare_together
from tasks.moderate.outcomes import Outcomes
from tasks.moderate.pictures import gathered
from tasks.moderate.stages import Asked, Awaited, Decided, Fetched, degraded_images, timed
from tasks.moderate.verdict import Versions, keep_evidence, new_verdict
from tasks.policy.looks import Looks
from tasks.policy.rules import Policy, scores_of
from tasks.watches.field_watch import FieldWatch
from tasks.watches.model_watch import ModelWatch, error_text
from tasks.watches.source_watch import SourceWatch
from tasks.watches.tries import Tries

log = structlog.get_logger(__name__)

_NO_LOOKS = Looks()
MIN_LOSSES = 3
"""Up to two losses may be of another post that was in the same worker's hands (`dispatch.lua`)."""


class Judge:
    """Judges the posts of chunks with one warm model; several slots may call it at once.

    Args:
        tries: of one post, before it becomes a dead letter.
        explain: whether flags are to be explained, afterwards: see `tasks.moderate.explainer`.
        remembered: how many posts' predictions are kept for posts of the same content.
        throttle: of the source, where it has one.
        looks: which unflagged posts moderators look at too.

    Attributes:
        source: as it is watched.
        model: as it is watched.
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
        explain: bool = True,
        remembered: int = 0,
        throttle: Throttle | None = None,
        looks: Looks = _NO_LOOKS,
    ) -> None:
        self.source = SourceWatch(Unwaited(source), throttle=throttle)
        self.model = ModelWatch(classifier)
        self._classifier = classifier
        self._policy = policy
        self._looks = looks
        info = classifier.info
        self._versions = Versions(info.version, info.calibration_version, policy.version)
        self._database = database
        self._evidence = evidence
        self._tries = tries
        self._explaining = explain
        self._known = KnownPosts(remembered)
        self._fields = FieldWatch()

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
        self.model.require()
        outcomes = Outcomes(self._tries, is_revisit=chunk.is_revisit)
        asked = self._sort_out(chunk, outcomes)
        with timed("lookup", timings):
            asked = self._without_erased(asked, outcomes)
        with timed("fetch", timings):
            fetched = self._fetch(asked, outcomes, may_put_aside=may_put_aside)
        self._judge_fetched(chunk, fetched, outcomes, timings)
        return outcomes

    def judge_awaited(
        self, chunk: Chunk, posts: Sequence[Fetched], timings: dict[str, float]
    ) -> Outcomes:
        """Judge posts that were put aside, once they wait for nothing more; see `judge`."""
        self.model.require()
        outcomes = Outcomes(self._tries, is_revisit=chunk.is_revisit)
        self._judge_fetched(chunk, posts, outcomes, timings)
        return outcomes

    def _judge_fetched(
        self,
        chunk: Chunk,
        posts: Sequence[Fetched],
        outcomes: Outcomes,
        timings: dict[str, float],
    ) -> None:
        """From fetched to decided."""
        with timed("lookup", timings):
            posts = self._without_unchanged(posts, outcomes)
            copies = _by_content(posts)
            known = self._known.of(copies)
        new = [group[0] for content, group in copies.items() if content not in known]
        outcomes.repeated = len(posts) - len(new)
        model_pass = ModelPass(self.model, copies, outcomes, tried_before=chunk.losses > 0)
        with timed("prepare", timings):
            prepared = model_pass.prepare(new)
        with timed("predict", timings):
            predicted = model_pass.predict(prepared)
            outcomes.through_model = len(predicted)
            for each in predicted:
                content = each.prepared.fetched.content_hash
                known[content] = KnownPost.of(each.prepared.ready, each.prediction)
                self._known.add(content, known[content])
        decided = [
            self._decide(post, known[post.content_hash])
            for post in posts
            if post.content_hash in known
        ]
        with timed("prepare", timings):
            # Evidence is of what the model saw, however long ago it saw it.
            ready = {each.fetched.content_hash: each.ready for each in prepared}
            shown = [post for post in decided if post.reasons or post.look]
            ready |= self._prepare_flagged(shown, ready)
        with timed("decide", timings):
            for post in decided:
                self._write_down(post, ready, outcomes, timings)

    def _sort_out(self, chunk: Chunk, outcomes: Outcomes) -> list[Asked]:
        """Every distinct id that can be a post id, once."""
        asked: dict[bytes, Asked] = {}
        for entry in chunk.entries:
            if problem := id_problem(entry.id_bytes):
                outcomes.is_dead(
                    NewDeadLetter(printable(entry.id_bytes), "intake", problem, 1), entry
                )
            elif entry.id_bytes not in asked:
                asked[entry.id_bytes] = Asked(entry, entry.id_bytes.decode())
            else:
                first = asked[entry.id_bytes]
                log.info(
                    "post is in its chunk twice", **first.log_fields, also=entry.trace.trace_id
                )
        if len(asked) == 1 and chunk.losses >= max(MIN_LOSSES, self._tries.max_attempts):
            (post,) = asked.values()
            if not chunk.is_revisit:
                error = (
                    f"the worker died or failed {chunk.losses} times while it held only this post"
                )
                letter = NewDeadLetter(post.post_id, "worker", error, chunk.losses)
                outcomes.is_dead(letter, post.entry)
            return []
        return list(asked.values())

    def _without_erased(self, asked: Sequence[Asked], outcomes: Outcomes) -> list[Asked]:
        """Leave out what was erased on request: it is not even fetched."""
        if not asked:
            return []
        with transaction(self._database, read_only=True) as connection:
            erased = erasure.erased(connection, [each.post_id for each in asked])
        for post_id in sorted(erased):
            outcomes.is_gone(post_id, erasure.ERASED)
        return [each for each in asked if each.post_id not in erased]

    def _fetch(
        self, posts: Sequence[Asked], outcomes: Outcomes, *, may_put_aside: bool
    ) -> list[Fetched]:
        """Posts to be judged now; those that wait for pictures are among the outcomes."""
        results: Mapping[str, BegunResult] = (
            self.source.fetch([asked.post_id for asked in posts]) if posts else {}
        )
        hashes: dict[int, str] = {}
        fetched: list[Fetched] = []
        awaited: list[Awaited] = []
        for asked in posts:
            result = results[asked.post_id]
            if isinstance(result, Gone):
                outcomes.is_gone(asked.post_id, result.why)
            elif isinstance(result, FetchFailure):
                outcomes.not_fetched(asked, result)
            elif isinstance(result, FetchedPost):
                self._fields.saw(result.post)
                fetched.append(Fetched.of(asked, result, hashes))
            else:
                self._fields.saw(result.post)
                awaited.append(Awaited(asked, result))
        came, outcomes.awaited = gathered(
            awaited, hashes, others=bool(fetched), may_put_aside=may_put_aside
        )
        return [*fetched, *came]

    def _without_unchanged(self, posts: Sequence[Fetched], outcomes: Outcomes) -> list[Fetched]:
        """Leave out what was judged before by these versions, with the same content."""
        if not posts:
            return []
        with transaction(self._database, read_only=True) as connection:
            unchanged = queries.already_judged(
                connection,
                [(post.asked.post_id, post.content_hash) for post in posts],
                model_version=self._versions.model,
                calibration_version=self._versions.calibration,
                policy_version=self._versions.policy,
            )
        changed = []
        for post in posts:
            if (post.asked.post_id, post.content_hash) in unchanged:
                outcomes.is_unchanged(post)
            else:
                changed.append(post)
        return changed

    def _decide(self, post: Fetched, known: KnownPost) -> Decided:
        degraded = degraded_images(post.post, known.problems)
        unlearnt = not self._classifier.has_learnt(known.language)
        scores = scores_of(
            known.prediction,
            degraded=len(degraded) / len(post.post.images) if degraded else 0.0,
            unread=bool(known.unread),
            unlearnt=unlearnt,
        )
        reasons = self._policy.reasons_for(scores, known.language)
        post_id = post.asked.post_id
        if reasons:
            blind = self._looks.blinds(post_id)
            return Decided(post, known, degraded, reasons, unlearnt, blind=blind)
        look = self._looks.draw(post_id, self._policy, scores, known.language)
        return Decided(post, known, degraded, reasons, unlearnt, look)

    def _prepare_flagged(
        self, flagged: Sequence[Decided], ready: Mapping[str, PreparedPost]
    ) -> dict[str, PreparedPost]:
        """Prepare flagged posts that were not, because the prediction of their content was known.

        A failure is met again where the evidence is kept, by each post for itself.
        """
        todo = {
            post.fetched.content_hash: post.fetched
            for post in flagged
            if post.fetched.content_hash not in ready
        }
        try:
            more = prepare_together(self._classifier, list(todo.values()))
        except Exception:
            log.exception("flagged posts not prepared", posts=len(todo), stage="prepare")
            return {}
        return dict(zip(todo, more, strict=True))

    def _write_down(
        self,
        decided: Decided,
        ready: Mapping[str, PreparedPost],
        outcomes: Outcomes,
        timings: Mapping[str, float],
    ) -> None:
        post = decided.fetched
        try:
            if decided.reasons or decided.look:
                seen = ready.get(post.content_hash)
                if seen is None:
                    (seen,) = prepare_together(self._classifier, [post])
                evidence = keep_evidence(post.post, seen, self._evidence)
                verdict = new_verdict(
                    decided,
                    self._versions,
                    timings,
                    ready=seen,
                    evidence=evidence,
                    explaining=self._explaining,
                )
            else:
                evidence = []
                verdict = new_verdict(decided, self._versions, timings)
        except (ValueError, ImageError) as error:  # such as a score that is no number
            log.exception("post not decided", **post.asked.log_fields)
            outcomes.failed(post.asked, "decide", error_text(error))
        else:
            outcomes.is_judged(post, verdict, evidence)


def _by_content(posts: Sequence[Fetched]) -> dict[str, list[Fetched]]:
    copies: dict[str, list[Fetched]] = {}
    for post in posts:
        copies.setdefault(post.content_hash, []).append(post)
    return copies
