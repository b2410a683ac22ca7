"""Spans by OpenTelemetry's SDK; imported only when they are wanted, see `deadpan.core.spans`."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SPAN_LINK_COUNT_LIMIT
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes

LINKS: Final = 4096
"""A chunk links to each of its posts that is sampled; the SDK's own limit is 128."""


class _Ids(RandomIdGenerator):
    """Random ids, except for a trace that has its id already: a post got one when a worker took it,
    and log lines carry it."""

    def __init__(self) -> None:
        self._wanted = threading.local()

    def next_trace(self, trace_id: int) -> None:
        """Set the trace id of this thread's next root span."""
        self._wanted.trace_id = trace_id

    def generate_trace_id(self) -> int:
        trace_id: int = getattr(self._wanted, "trace_id", 0)
        self._wanted.trace_id = 0
        return trace_id or super().generate_trace_id()


class _ThoseOfSampledPosts(Sampler):
    """Samples spans linked to sampled ones, so that a sampled post finds its chunk recorded too;
    leaves the rest to another sampler."""

    def __init__(self, others: Sampler) -> None:
        self._others = others

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if any(link.context.trace_flags.sampled for link in links or ()):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, trace_state)
        return self._others.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        return f"ThoseOfSampledPosts({self._others.get_description()})"


class Recorder:
    """Records spans and sends them by OTLP/HTTP, from a thread of its own.

    Ending a span puts it into a queue; when that is full, because the collector is slow or away,
    the span is dropped.

    Args:
        service: its name in a backend, unless OTEL_SERVICE_NAME gives another.
        version: of Deadpan.
    """

    def __init__(self, service: str, *, version: str) -> None:
        ids = _Ids()
        # OpenTelemetry's own variables go first; without them the SDK would say unknown_service.
        resource = Resource({SERVICE_NAME: service, SERVICE_VERSION: version}).merge(
            Resource(
                {
                    key: value
                    for key, value in Resource.create().attributes.items()
                    if key != SERVICE_NAME or not str(value).startswith("unknown_service")
                }
            )
        )
        limit = os.environ.get(OTEL_SPAN_LINK_COUNT_LIMIT, "").strip()
        self._provider = TracerProvider(
            resource=resource,
            id_generator=ids,
            # Without a bound: a collector that hangs would keep the process from ending.
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_links=int(limit) if limit.isdigit() else LINKS),
        )
        self._provider.sampler = _ThoseOfSampledPosts(self._provider.sampler)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer = self._provider.get_tracer("deadpan", version)
        self.next_trace = ids.next_trace

    def close(self) -> None:
        """Send what is left; may take as long as the exporter's own timeout."""
        self._provider.shutdown()
