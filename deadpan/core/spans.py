"""OpenTelemetry spans, if they are wanted (DEADPAN_TRACES=on) and installed (extra `otel`).

OpenTelemetry's own variables, OTEL_*, set everything else: where spans go, which are sampled, what
a process is called. When spans are off, `span` returns one that does nothing, and OpenTelemetry is
not even imported. No attribute holds what an author wrote.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from deadpan.core import __version__
from deadpan.core.errors import ConfigurationError
from deadpan.core.trace import TraceContext

if TYPE_CHECKING:
    from opentelemetry import trace as otel

    from deadpan.core.otel_sdk import Recorder

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attribute = str | int | float | bool

LAST_SECONDS: Final = 3.0
"""How long a process that ends waits for a collector; what is not sent by then is lost."""

_NEEDED: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

_recorder: Recorder | None = None


class Span:
    """A span that has begun; ends with its `with` block, or by `end`.

    Args:
        span: OpenTelemetry's; without one, every method does nothing.
    """

    __slots__ = ("_span", "_token")

    def __init__(self, span: otel.Span | None) -> None:
        self._span = span
        self._token: Any = None

    @property
    def context(self) -> TraceContext | None:
        """To hand on; None if nothing is recorded at all."""
        return None if self._span is None else _context_of(self._span)

    def set(self, **attributes: Attribute) -> None:
        """Add attributes; their names get the prefix `deadpan.`"""
        if self._span is not None:
            self._span.set_attributes(_prefixed(attributes))

    def named(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        """Rename it, and add attributes under their full names."""
        if self._span is not None:
            self._span.update_name(name)
            self._span.set_attributes(attributes)

    def link(self, context: TraceContext | None) -> None:
        """Link it to another span, if that one is sampled."""
        if self._span is not None and context is not None and context.flags & 1:
            self._span.add_link(_otel_context(context))

    def failed(self, why: str) -> None:
        """Mark it as failed."""
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_status(Status(StatusCode.ERROR, why))

    def end(self) -> None:
        """End it, if it was not used as a `with` block."""
        if self._span is not None:
            self._span.end()

    def __enter__(self) -> Self:
        if self._span is not None:
            from opentelemetry import context, trace

            self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._span is not None:
            from opentelemetry import context

            if kind is not None:
                # The kind alone: an error's text may quote a post.
                self.failed(kind.__name__)
            context.detach(self._token)
            self._span.end()


NOTHING: Final = Span(None)
"""The span while spans are off."""


def problems() -> list[str]:
    """What keeps spans from being recorded, with the remedy."""
    missing = [name for name in _NEEDED if not _is_installed(name)]
    if missing:
        return [
            "DEADPAN_TRACES is 'on', but OpenTelemetry is not installed "
            f"({', '.join(missing)}); pip install 'deadpan[otel]', or set it to off"
        ]
    return [
        f"{name} is {os.environ[name]!r}; Deadpan sends spans by http/protobuf only: point "
        "OTEL_EXPORTER_OTLP_ENDPOINT to a collector's OTLP/HTTP port (usually 4318) and set "
        f"{name} to http/protobuf"
        for name in _PROTOCOLS
        if os.environ.get(name, "http/protobuf") not in ("", "http/protobuf")
    ]


def start(traces: Literal["on", "off"], process: str) -> None:
    """Begin to record spans in this process, if they are wanted.

    Args:
        process: which of Deadpan's this is; OTEL_SERVICE_NAME overrides the name.

    Raises:
        ConfigurationError: they are wanted but cannot be recorded.
    """
    global _recorder
    if traces == "off" or _recorder is not None:
        return
    if found := problems():
        raise ConfigurationError(found)
    from deadpan.core.otel_sdk import Recorder

    _recorder = Recorder(f"deadpan-{process}", version=__version__)


def stop() -> None:
    """Send what is left, waiting at most LAST_SECONDS for a collector that does not answer."""
    global _recorder
    if _recorder is None:
        return
    ending, _recorder = _recorder, None
    # The exporter's own timeout can be longer.
    last = threading.Thread(target=ending.close, name="last-spans", daemon=True)
    last.start()
    last.join(LAST_SECONDS)


def are_on() -> bool:
    """Whether spans are recorded in this process."""
    return _recorder is not None


def tracer() -> otel.Tracer | None:
    """What records spans of pushes: ours, or that of a program that uses Deadpan's helper."""
    if _recorder is not None:
        return _recorder.tracer
    # A program that records spans has loaded it; libraries load it too, so ask for its provider.
    if "opentelemetry.trace" in sys.modules:
        from opentelemetry import trace

        if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            return trace.get_tracer("deadpan")
    return None


def span(
    name: str,
    *,
    kind: Kind = "internal",
    parent: TraceContext | None = None,
    links: Iterable[TraceContext] = (),
    began_at: float | None = None,
    using: otel.Tracer | None = None,
    **attributes: Attribute,
) -> Span:
    """Begin a span.

    Args:
        parent: the trace it belongs to; if left out, that of the span around it. A parent that
            names no span gives its trace id alone.
        links: related traces.
        began_at: seconds since 1970; now, if left out.
        using: what records it; Deadpan's own if left out.
        attributes: their names get the prefix `deadpan.`
    """
    recorder = _recorder
    recording = using or (recorder.tracer if recorder else None)
    if recording is None:
        return NOTHING
    from opentelemetry import trace
    from opentelemetry.context import Context

    around = None
    if parent is not None:
        around = Context()
        if parent.parent_id:
            remote = trace.NonRecordingSpan(_otel_context(parent))
            around = trace.set_span_in_context(remote, around)
        elif recorder is not None:
            recorder.next_trace(int(parent.trace_id, 16))
    return Span(
        recording.start_span(
            name,
            around,
            trace.SpanKind[kind.upper()],
            _prefixed(attributes),
            [trace.Link(_otel_context(each)) for each in links if each.parent_id],
            None if began_at is None else int(began_at * 1e9),
            record_exception=False,
            set_status_on_exception=False,
        )
    )


def around() -> TraceContext | None:
    """The context of the span around, where OpenTelemetry is in use and there is one."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import trace

    return _context_of(trace.get_current_span())


def _prefixed(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {f"deadpan.{key}": value for key, value in attributes.items()}


def _otel_context(context: TraceContext) -> otel.SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(
        int(context.trace_id, 16),
        int(context.parent_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(context.flags),
    )


def _context_of(span: otel.Span) -> TraceContext | None:
    found = span.get_span_context()
    if not found.is_valid:  # the SDK is disabled
        return None
    return TraceContext(f"{found.trace_id:032x}", f"{found.span_id:016x}", int(found.trace_flags))


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # its parent package is missing
        return False
