"""The producers' side: post ids onto the intake, each with the trace that it belongs to.

`from tasks import enqueue` is for Python; `RPUSH deadpan:posts ID` does the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from deadpan.core import spans, trace
from deadpan.core.errors import ConfigurationError
from deadpan.core.settings import load
from deadpan.core.trace import TraceContext
from tasks.intake.connection import IntakeRedis
from tasks.intake.keys import POSTS, PRIORITIES, Priority
from tasks.intake.post_ids import id_problem

_PUSH_AT_ONCE = 5000


class Producer(IntakeRedis):
    """Pushes post ids; raises as `IntakeRedis`."""

    def list_key(self, priority: Priority) -> str:
        """The list that ids of this priority are pushed onto."""
        return self.key(POSTS[priority])

    def enqueue(
        self,
        post_ids: Iterable[str],
        priority: Priority = "normal",
        *,
        trace: TraceContext | None = None,
    ) -> int:
        """Push post ids, in order, and say how many they were.

        Args:
            trace: that all of these posts belong to; each gets its own, if left out.

        Raises:
            ConfigurationError: an invalid id (ids before it in the same 5,000 are not pushed), or
                an unknown priority.
        """
        if priority not in PRIORITIES:
            raise ConfigurationError(
                f"priority {priority!r} is unknown; use one of {', '.join(PRIORITIES)}"
            )
        pushed = 0
        ids = iter(post_ids)
        while batch := list(islice(ids, _PUSH_AT_ONCE)):
            raw = [post_id.encode("utf-8", "surrogateescape") for post_id in batch]
            problems = [problem for problem in map(id_problem, raw) if problem]
            if problems:
                raise ConfigurationError(problems[:20])
            with traced(raw, priority, trace) as entries, self.answering():
                self.client.rpush(self.list_key(priority), *entries)
            pushed += len(raw)
        return pushed


def enqueue(
    post_ids: Iterable[str] | str,
    *,
    priority: Priority = "normal",
    redis_url: str | None = None,
    prefix: str | None = None,
    traceparent: str | None = None,
) -> int:
    """Push post ids onto the intake, as `RPUSH deadpan:posts ID` does, and say how many they were.

    In a program that records spans by OpenTelemetry, the push is one of them, and the posts go on
    in its trace.

    Args:
        post_ids: one id or many; pushed in order.
        priority: high, normal or low.
        redis_url, prefix: as in DEADPAN_REDIS_URL and DEADPAN_PREFIX, which are read when left out.
        traceparent: the trace that these posts belong to, as W3C Trace Context writes it.

    Raises:
        ConfigurationError: an invalid id, setting or `traceparent`.
        QueueUnavailable: Redis cannot be reached; none of the last 5,000 ids was pushed.
    """
    if redis_url is None or prefix is None:
        settings = load()
        redis_url = redis_url or settings.redis_url.get_secret_value()
        prefix = prefix or settings.prefix
    context = given(traceparent, "traceparent")
    producer = Producer.at(redis_url, prefix)
    try:
        ids = [post_ids] if isinstance(post_ids, str) else post_ids
        return producer.enqueue(ids, priority, trace=context)
    finally:
        producer.close()


def given(traceparent: str | None, name: str) -> TraceContext | None:
    """The trace that a person or a program named.

    Raises ConfigurationError where it is not a `traceparent`; `name` is what it was given as.
    """
    if traceparent is None:
        return None
    context = trace.parse(traceparent)
    if context is None:
        raise ConfigurationError(
            f"{name} is {traceparent[:80]!r}; it must look like "
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 (W3C Trace Context)"
        )
    return context


@contextmanager
def traced(
    ids: Sequence[bytes], priority: str, context: TraceContext | None
) -> Iterator[Sequence[bytes]]:
    """Entries for the intake; the block pushes them.

    Where no spans are recorded and no trace is named, they are the bare ids: they get their trace
    when they are taken in hand, and take no more room in Redis while they wait.

    Args:
        context: that all of them belong to. If left out, one id alone joins the trace of the span
            around, and of several each gets a trace of its own, linked to that.
    """
    tracer = spans.tracer()
    if tracer is None:
        yield ids if context is None else [_entry(post_id, context) for post_id in ids]
        return
    if context is not None or len(ids) == 1:
        with spans.span(
            "push",
            kind="producer",
            parent=context,
            using=tracer,
            priority=priority,
            posts=len(ids),
        ) as pushing:
            yield [_entry(post_id, pushing.context or context) for post_id in ids]
        return
    # A trace of a million posts could be read by nobody.
    outer = spans.around()
    links = () if outer is None else (outer,)
    begun = [
        spans.span(
            "push",
            kind="producer",
            parent=trace.new(),
            links=links,
            using=tracer,
            priority=priority,
        )
        for _ in ids
    ]
    try:
        yield [_entry(post_id, each.context) for post_id, each in zip(ids, begun, strict=True)]
    finally:
        for each in begun:
            each.end()


def _entry(post_id: bytes, context: TraceContext | None) -> bytes:
    if context is None:
        return post_id
    return post_id + b"\t" + context.traceparent.encode()
