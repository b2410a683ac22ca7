"""Running a chunk: it is taken, judged, recorded and released.

Failures are per post. What may go better later waits in Redis as a retry; what never will, and the
last allowed try, becomes a dead letter; an image that cannot be seen degrades its post. Only what
stops all posts at once (the database, the evidence store or the source is away, the model is
broken) gives the chunk back whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog
from sqlalchemy import Engine

from deadpan.core.errors import (
    DatabaseUnavailable,
    EvidenceUnavailable,
    ModelBroken,
    QueueUnavailable,
    SchemaError,
    SourceUnavailable,
)
from storage.base.database import transaction
from storage.judging.outcomes import record
from storage.judging.values import Recorded
from storage.judging.verdict_event import Report
from storage.tables import OF_WORDS
from tasks.challenger.challenger import Challenger, JudgedPost
from tasks.intake.chunks import Chunk, Entry
from tasks.intake.intake import Intake
from tasks.intake.leases import LeaseKeeper
from tasks.moderate.aside import Aside, Held
from tasks.moderate.chunk_trace import ChunkTrace, in_hand
from tasks.moderate.judge import Judge
from tasks.moderate.outcomes import Outcomes
from tasks.moderate.stages import Asked, Fetched, timed
from tasks.watches import metrics, stores
from tasks.watches.pace import Pace
from tasks.watches.source_watch import SourceWatch
from tasks.watches.tries import Tries

log = structlog.get_logger(__name__)

GIVE_BACK_SECONDS = 5.0
"""How long a chunk rests when the database or the evidence store was away."""

TROUBLE_SECONDS = 3 * GIVE_BACK_SECONDS
"""For so long after a chunk was given back, its worker is not ready."""

LONGEST_BREAK_SECONDS = 120.0
"""How long a post rests at the most that the model broke over, while it is not known to be to
blame: starting again and judging others in between takes less."""


class ChunkRunner:
    """Runs chunks, and posts that wait for pictures; several slots may call it at once.

    Args:
        tries: how long a chunk rests that failed for no known reason.
        report: of which new verdicts the platform is told by a callback.
        pace: is told how long chunks take.
        challenger: is offered what was recorded.
        on_broken: hears why the model can judge nothing more in this process, once a chunk was
            given back for it.
        slots: chunks in hand at once; again so many waves of posts that had to wait for pictures.
        aside_bytes: of pictures that have come for posts that wait for others.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        intake: Intake,
        leases: LeaseKeeper,
        database: Engine,
        tries: Tries,
        report: Report = "none",
        pace: Pace | None = None,
        challenger: Challenger | None = None,
        on_broken: Callable[[str], None] = lambda why: None,
        slots: int = 1,
        aside_bytes: int = 1024 * 1024 * 1024,
    ) -> None:
        self._judge = judge
        self._intake = intake
        self._leases = leases
        self._database = database
        self._tries = tries
        self._report: Report = report
        self._pace = pace
        self._challenger = challenger
        self._on_broken = on_broken
        self._aside = Aside(self._judge_wave, max_bytes=aside_bytes, threads=slots)
        self._trouble: tuple[float, str] | None = None

    @property
    def source(self) -> SourceWatch:
        """Where posts are fetched, as it is watched."""
        return self._judge.source

    @property
    def broken(self) -> str | None:
        """Why the model can judge nothing more in this process, or None."""
        return self._judge.model.broken

    @property
    def awaiting(self) -> int:
        """How many posts wait for pictures, out of every slot's way."""
        return self._aside.posts

    def trouble(self) -> str | None:
        """Why the last chunk was given back, if that was a moment ago; such as a full disk."""
        found = self._trouble
        if found is None or time.monotonic() - found[0] > TROUBLE_SECONDS:
            return None
        return found[1]

    def close(self) -> None:
        """Give back, whole and at once, what waits for pictures; waves under way end before."""
        for chunk in self._aside.close():
            self._leases.let_go(chunk)
            self._give_back(chunk, delay_seconds=0.0)

    def run(self, chunk_id: str, *, owner: str, dispatched_at: float | None = None) -> bool:
        """Judge one chunk and release it.

        Args:
            owner: a name that no other task has; it holds the lease.
            dispatched_at: when it was sent, in seconds since 1970, where that is known.

        Returns:
            True when the chunk's outcomes were committed and it was released by this call.
        """
        with structlog.contextvars.bound_contextvars(chunk=chunk_id):
            try:
                with self._leases.taken_in_hand(chunk_id, owner=owner) as chunk:
                    if chunk is None:
                        log.info("chunk is finished or held elsewhere; message ignored")
                        return False
                    with in_hand(chunk, dispatched_at=dispatched_at) as traced:
                        return self._run(traced)
            except QueueUnavailable as error:
                log.warning("chunk not taken", error=str(error))
                return False

    def _run(self, traced: ChunkTrace) -> bool:
        chunk = traced.chunk
        has_room = self._aside.has_room()
        outcomes = self._carry(
            traced, lambda timings: self._judge.judge(chunk, timings, may_put_aside=has_room)
        )
        if outcomes is None:
            return False
        if outcomes.awaited:
            rest = replace(chunk, entries=_awaited(chunk, outcomes))
            self._leases.put_aside(rest)
            if not self._aside.hold(rest, outcomes.awaited):  # the worker is ending
                self._leases.let_go(rest)
                self._give_back(rest, delay_seconds=0.0)
        return True

    def _judge_wave(self, held: Held, wave: Sequence[Fetched]) -> bool:
        """Judge posts of a held chunk; see `Aside`."""
        whole = held.chunk
        part = replace(whole, entries=_entries_of(whole, (post.asked for post in wave)))
        rest = replace(whole, entries=_entries_of(whole, (post.asked for post in held.posts)))
        goes_on = False
        with structlog.contextvars.bound_contextvars(chunk=whole.id):
            try:
                if not self._leases.is_lost(whole):
                    with in_hand(part, dispatched_at=None) as traced:
                        outcomes = self._carry(
                            traced,
                            lambda timings: self._judge.judge_awaited(part, wave, timings),
                            rest=rest.entries,
                        )
                    held.chunk = rest
                    goes_on = outcomes is not None and bool(rest.entries)
            except Exception:
                log.exception("posts that waited for pictures were not judged")
            finally:
                if not goes_on:
                    self._leases.let_go(whole)
        return goes_on

    def _carry(
        self,
        traced: ChunkTrace,
        judge: Callable[[dict[str, float]], Outcomes],
        rest: Sequence[Entry] | None = None,
    ) -> Outcomes | None:
        """Judge posts, record what became of them and release them; the chunk with the last.

        Args:
            judge: gets the timings.
            rest: entries of the chunk that are not in `traced`; None for a chunk just taken.

        Returns:
            None where they were not released.
        """
        chunk = traced.chunk
        timings: dict[str, float] = {}
        try:
            outcomes = judge(timings)
            if self._leases.is_lost(chunk):
                return None
            with timed("record", timings):
                recorded = self._record(outcomes)
            self._trouble = None
            traced.tell(outcomes, recorded)
            released = self._intake.release(
                chunk,
                retries=outcomes.retries,
                revisits=outcomes.revisits,
                kept=(*_awaited(chunk, outcomes), *(rest or ())),
                through_model=outcomes.through_model,
            )
        except Exception as error:
            self._failed(chunk, error)
            return None
        _count(chunk, outcomes, timings, released=released)
        if rest is None:
            self._count_chunk(chunk, outcomes, timings)
        if self._challenger is not None:
            # Only now: the verdicts are committed, and nobody waits for this chunk any more.
            pairs = zip(outcomes.judged, outcomes.verdicts, strict=True)
            self._challenger.offer(
                [JudgedPost(post.text, tuple(post.files), verdict) for post, verdict in pairs]
            )
        return outcomes if released else None

    def _failed(self, chunk: Chunk, error: Exception) -> None:
        """Give a chunk back whose posts all failed, or leave it to its lease."""
        told = {"error": str(error), "trace_ids": chunk.trace_ids}
        match error:
            case DatabaseUnavailable() | EvidenceUnavailable() | SchemaError():
                log.warning("chunk given back", **told)
                self._trouble = time.monotonic(), str(error)
                stores.note_failure(error)
                self._give_back(chunk, delay_seconds=GIVE_BACK_SECONDS)
            case ModelBroken():
                log.error("the model is broken; chunk given back", posts=len(chunk.entries), **told)
                # What it broke over is told from what was in hand as well: only that may be to
                # blame.
                delay_seconds = GIVE_BACK_SECONDS if error.first else 0.0
                self._give_back(chunk, delay_seconds=delay_seconds, broke_model=error.first)
                self._on_broken(str(error))
            case SourceUnavailable():
                log.info("chunk given back", **told)
                self._give_back(chunk, delay_seconds=error.wait_seconds)
            case QueueUnavailable():
                log.warning("chunk not released; its lease will run out", **told)
            case _:
                # A defect of ours, or a post that the database refuses: halving finds it, if it
                # stays.
                log.exception("chunk failed", trace_ids=chunk.trace_ids)
                delay_seconds = self._tries.delay_seconds(chunk.losses)
                self._give_back(chunk, delay_seconds=delay_seconds, loss=True)

    def _record(self, outcomes: Outcomes) -> Recorded | None:
        if outcomes.verdicts or outcomes.dead_letters or outcomes.gone:
            with transaction(self._database) as connection:
                return record(
                    connection,
                    verdicts=outcomes.verdicts,
                    dead_letters=outcomes.dead_letters,
                    gone=outcomes.gone,
                    evidence=outcomes.evidence,
                    report=self._report,
                )
        return None

    def _give_back(
        self, chunk: Chunk, *, delay_seconds: float, loss: bool = False, broke_model: bool = False
    ) -> None:
        try:
            self._intake.give_back(
                chunk,
                delay_seconds=delay_seconds,
                loss=loss,
                broke_model=broke_model,
                longest_delay_seconds=LONGEST_BREAK_SECONDS if broke_model else 0.0,
            )
        except QueueUnavailable as error:
            log.warning("chunk not given back; its lease will run out", error=str(error))

    def _count_chunk(self, chunk: Chunk, outcomes: Outcomes, timings: Mapping[str, float]) -> None:
        metrics.CHUNK_POSTS.observe(len(chunk.entries))
        if self._pace is not None:
            self._pace.saw(len(chunk.entries) - len(outcomes.awaited), sum(timings.values()))


def _count(
    chunk: Chunk, outcomes: Outcomes, timings: Mapping[str, float], *, released: bool
) -> None:
    counts = {
        "judged": len(outcomes.verdicts),
        "unchanged": outcomes.unchanged,
        "gone": len(outcomes.gone),
        "dead_letter": len(outcomes.dead_letters),
        "retry": sum(retry.counts for retry in outcomes.retries),
        "untried": sum(not retry.counts for retry in outcomes.retries),
    }
    if chunk.is_revisit:
        metrics.REVISITS.labels("came").inc(len(outcomes.verdicts))
        metrics.REVISITS.labels("nothing").inc(len(chunk.entries) - len(outcomes.verdicts))
    else:
        for outcome, count in counts.items():
            metrics.POSTS.labels(outcome).inc(count)
    flags = sum(verdict.is_flagged for verdict in outcomes.verdicts)
    metrics.FLAGGED_POSTS.inc(flags)
    metrics.UNLEARNT_POSTS.inc(sum(verdict.unlearnt for verdict in outcomes.verdicts))
    for verdict in outcomes.verdicts:
        for name in ("negative", "sarcasm", *OF_WORDS):
            if (score := getattr(verdict, name)) is not None:
                metrics.SCORES.labels(name).observe(score)
    unfinished = {retry.entry.raw for retry in outcomes.retries}
    unfinished |= {post.asked.entry.raw for post in outcomes.awaited}
    for entry in chunk.entries:
        seconds_since_push = chunk.post_seconds(entry)
        if entry.raw not in unfinished and seconds_since_push is not None:
            metrics.POST_SECONDS.observe(seconds_since_push)
    metrics.REPEATED_POSTS.inc(outcomes.repeated)
    for stage, seconds in timings.items():
        metrics.STAGE_SECONDS.labels(stage).observe(seconds)
    log.info(
        "chunk recorded",
        posts=len(chunk.entries) - len(outcomes.awaited),
        awaited=len(outcomes.awaited),
        released=released,
        flags=flags,
        repeated=outcomes.repeated,
        **counts,
        **{f"{stage}_seconds": round(seconds, 4) for stage, seconds in timings.items()},
    )


def _awaited(chunk: Chunk, outcomes: Outcomes) -> tuple[Entry, ...]:
    return _entries_of(chunk, (post.asked for post in outcomes.awaited))


def _entries_of(chunk: Chunk, posts: Iterable[Asked]) -> tuple[Entry, ...]:
    """The entries of a chunk that name these posts: an id may be there twice."""
    ids = {asked.entry.id_bytes for asked in posts}
    return tuple(entry for entry in chunk.entries if entry.id_bytes in ids)
