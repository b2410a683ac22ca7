"""OpenTelemetry spans, if they are wanted (DEADPAN_TRACES=on) and installed (extra `otel`).

Everything else about them is set by OpenTelemetry's own variables, OTEL_*: where they go, which are
sampled, what a process is called. When they are off, `span` gives an object that does nothing, and
OpenTelemetry is not even imported. No attribute holds what an author wrote.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Final, Literal, Protocol, Self

from deadpan import __version__
from deadpan.core.errors import ConfigurationError
from deadpan.core.trace import TraceContext

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attribute = str | int | float | bool

LAST_SECONDS: Final = 3.0
"""How long a process that ends waits for a collector; what is not sent by then is lost."""

_NEEDED: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
_PROTOCOLS: Final = (
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
)


class Span(Protocol):
    """A span that was begun; ends with its `with` block, or by `end`."""

    @property
    def context(self) -> TraceContext | None:
        """To be handed on; None where none is recorded at all."""

    def set(self, **attributes: Attribute) -> None:
        """Say more about it; names get the prefix `deadpan.`"""

    def named(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        """Give it another name, and attributes under their full names."""

    def link(self, context: TraceContext | None) -> None:
        """Say that it has to do with another span."""

    def failed(self, why: str) -> None:
        """Mark it as failed."""

    def end(self) -> None:
        """End it, if it was not used as a `with` block."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class _Nothing:
    """The span that is given when spans are off."""

    context = None

    def set(self, **attributes: Attribute) -> None:
        """Nothing."""

    def named(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        """Nothing."""

    def link(self, context: TraceContext | None) -> None:
        """Nothing."""

    def failed(self, why: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Tracing(Protocol):
    """What begins spans; `deadpan.core.otel_sdk` has the one that does."""

    def begin(
        self,
        name: str,
        kind: Kind,
        parent: TraceContext | None,
        links: Iterable[TraceContext],
        attributes: Mapping[str, Attribute],
        began_at: float | None,
    ) -> Span:
        """Begin a span."""

    def close(self) -> None:
        """Send what is left."""


NOTHING: Final = _Nothing()
_tracing: Tracing | None = None


def problems() -> list[str]:
    """What keeps spans from being recorded, with the remedy."""
    missing = [name for name in _NEEDED if not _is_there(name)]
    if missing:
        return [
            "DEADPAN_TRACES is 'on', and OpenTelemetry is not installed "
            f"({', '.join(missing)}); pip install 'deadpan[otel]', or set it to off"
        ]
    return [
        f"{name} is {os.environ[name]!r}; Deadpan sends spans by http/protobuf only: point "
        "OTEL_EXPORTER_OTLP_ENDPOINT to a collector's OTLP/HTTP port (4318 by habit) and set "
        f"{name} to http/protobuf"
        for name in _PROTOCOLS
        if os.environ.get(name, "http/protobuf") not in ("", "http/protobuf")
    ]


def start(traces: Literal["on", "off"], process: str) -> None:
    """Begin to record spans in this process, if they are wanted.

    Args:
        process: which of Deadpan's this is; OTEL_SERVICE_NAME names it otherwise.

    Raises:
        ConfigurationError: they are wanted and cannot be had.
    """
    global _tracing
    if traces == "off" or _tracing is not None:
        return
    if found := problems():
        raise ConfigurationError(found)
    from deadpan.core.otel_sdk import OpenTelemetry

    _tracing = OpenTelemetry(f"deadpan-{process}", version=__version__)


def stop() -> None:
    """Send what is left, within LAST_SECONDS: a collector that is away holds nobody up for long."""
    global _tracing
    if _tracing is None:
        return
    ending, _tracing = _tracing, None
    # The exporter has patience of its own, which can be longer.
    last = threading.Thread(target=ending.close, name="last-spans", daemon=True)
    last.start()
    last.join(LAST_SECONDS)


def are_on() -> bool:
    """Whether spans are recorded in this process."""
    return _tracing is not None


def span(
    name: str,
    *,
    kind: Kind = "internal",
    parent: TraceContext | None = None,
    links: Iterable[TraceContext] = (),
    began_at: float | None = None,
    **attributes: Attribute,
) -> Span:
    """Begin a span.

    Args:
        parent: the trace that it belongs to; if left out, that of the span around it. One that
            names no span gives its trace id alone.
        links: traces that have to do with it.
        began_at: seconds since 1970; now, if left out.
        attributes: names get the prefix `deadpan.`
    """
    if _tracing is None:
        return NOTHING
    told = {f"deadpan.{key}": value for key, value in attributes.items()}
    return _tracing.begin(name, kind, parent, links, told, began_at)


def of_the_program() -> Tracing | None:
    """What records spans of pushes: ours, or that of the program which Deadpan is used in."""
    # Whoever records spans has loaded it; libraries load it too, so that it must be asked.
    if _tracing is None and "opentelemetry.trace" in sys.modules:
        from deadpan.core.otel import of_the_program

        return of_the_program()
    return _tracing


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # its parent package is missing
        return False
