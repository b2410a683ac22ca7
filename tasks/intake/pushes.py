"""What a push adds to post ids: the trace that they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from deadpan.core import spans, trace
from deadpan.core.errors import ConfigurationError
from deadpan.core.trace import TraceContext


def given(traceparent: str | None, name: str) -> TraceContext | None:
    """The trace that a person or a program named.

    Args:
        name: of what it was given as, for the error.

    Raises:
        ConfigurationError: it is no `traceparent`.
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
