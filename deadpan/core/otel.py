"""Spans by OpenTelemetry's API; `deadpan.core.otel_sdk` records those of Deadpan's own processes.

Imported only where somebody records spans, see `deadpan.core.spans`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Self

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode

from deadpan.core.spans import Attribute, Kind, Span
from deadpan.core.trace import TraceContext

_KINDS: Final = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}


class _Begun:
    """A span that was begun."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._token: object = None

    @property
    def context(self) -> TraceContext | None:
        return _trace_context(self._span)

    def set(self, **attributes: Attribute) -> None:
        for key, value in attributes.items():
            self._span.set_attribute(f"deadpan.{key}", value)

    def named(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        self._span.update_name(name)
        self._span.set_attributes(attributes)

    def link(self, context: TraceContext | None) -> None:
        if context is not None and context.flags & 1:
            self._span.add_link(_span_context(context))

    def failed(self, why: str) -> None:
        self._span.set_status(Status(StatusCode.ERROR, why))

    def end(self) -> None:
        self._span.end()

    def __enter__(self) -> Self:
        self._token = otel_context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, *raised: object) -> None:
        if isinstance(raised[0], type):
            # The kind alone: an error's text may quote a post.
            self.failed(raised[0].__name__)
        otel_context.detach(self._token)  # type: ignore[arg-type]
        self._span.end()


class Beginning:
    """Begins spans with a tracer.

    Args:
        next_trace: is told the trace id that the next root of this thread is to have.
    """

    def __init__(
        self, tracer: trace.Tracer, next_trace: Callable[[int], None] | None = None
    ) -> None:
        self._tracer = tracer
        self._next_trace = next_trace

    def begin(
        self,
        name: str,
        kind: Kind,
        parent: TraceContext | None,
        links: Iterable[TraceContext],
        attributes: Mapping[str, Attribute],
        began_at: float | None,
    ) -> Span:
        around = None
        if parent is not None:
            around = Context()
            if parent.parent_id:
                remote = NonRecordingSpan(_span_context(parent))
                around = trace.set_span_in_context(remote, around)
            elif self._next_trace is not None:
                self._next_trace(int(parent.trace_id, 16))
        return _Begun(
            self._tracer.start_span(
                name,
                around,
                _KINDS[kind],
                attributes,
                [Link(_span_context(each)) for each in links if each.parent_id],
                None if began_at is None else int(began_at * 1e9),
                record_exception=False,
                set_status_on_exception=False,
            )
        )

    def close(self) -> None:
        """Nothing: the program ends its own."""


def _span_context(context: TraceContext) -> SpanContext:
    return SpanContext(
        int(context.trace_id, 16),
        int(context.parent_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(context.flags),
    )


def of_the_program() -> Beginning | None:
    """What begins spans of the program that Deadpan's helper is used in; None where it has none."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    return Beginning(trace.get_tracer("deadpan"))


def around() -> TraceContext | None:
    """The context of the span around, if there is one."""
    return _trace_context(trace.get_current_span())


def _trace_context(span: trace.Span) -> TraceContext | None:
    found = span.get_span_context()
    if not found.is_valid:  # the SDK is disabled
        return None
    return TraceContext(f"{found.trace_id:032x}", f"{found.span_id:016x}", int(found.trace_flags))
