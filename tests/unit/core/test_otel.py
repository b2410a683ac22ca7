"""Which spans are recorded: OpenTelemetry's own variables say so, in its own SDK."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deadpan.core import spans, trace
from deadpan.core.trace import TraceContext
from tasks.intake.chunks import Chunk, traced_entry
from tasks.moderate.chunk_trace import in_hand
from tests.collector import Collector


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector
        spans.stop()


def chunk(*entries: str) -> Chunk:
    raw = [b"n" + entry.encode() for entry in entries]
    return Chunk(
        "c" * 32, "me", 0, tuple(traced_entry(r, 0, trace.new().trace_id.encode()) for r in raw)
    )


def test_a_chunk_is_recorded_when_one_of_its_posts_is(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    spans.start("on", "worker")
    wanted = TraceContext(trace.new().trace_id, "b7ad6b7169203331", 1)
    for entries in (["a", "b"], ["c", f"d\t{wanted.traceparent}"]):
        with in_hand(chunk(*entries), dispatched_at=None) as traced, spans.span("fetch"):
            handed_on = [entry.trace for entry in traced.chunk.entries]
            assert all(trace.parse(each.traceparent) == each for each in handed_on)
    assert [each.flags & 1 for each in handed_on] == [0, 1]
    spans.stop()
    (post,) = collector.named("post")
    assert (post.trace_id, post.parent_id) == (wanted.trace_id, wanted.parent_id)
    (whole,) = collector.named("chunk")
    assert whole.links == ((post.trace_id, post.span_id),)
    assert whole.attributes["deadpan.posts"] == 2
    assert {span.parent_id for span in collector.named("fetch")} == {whole.span_id}


def test_a_full_chunk_links_to_all_of_its_posts(collector: Collector) -> None:
    spans.start("on", "worker")
    large = chunk(*map(str, range(300)))
    with in_hand(large, dispatched_at=None):
        pass
    spans.stop()
    (whole,) = collector.named("chunk")
    assert [link[0] for link in whole.links] == large.trace_ids, "each in the trace of its logs"


def test_an_error_marks_a_span_and_its_words_stay_out(collector: Collector) -> None:
    spans.start("on", "worker")
    with pytest.raises(ValueError, match="a post's words"), spans.span("decide"):
        raise ValueError("a post's words")
    spans.stop()
    (span,) = collector.spans
    assert span.failed
    assert b"a post's words" not in collector.raw[0]


def test_the_sdk_can_be_disabled_by_its_own_variable(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    spans.start("on", "worker")
    with in_hand(chunk("a"), dispatched_at=None) as traced:
        (entry,) = traced.chunk.entries
    spans.stop()
    assert entry.trace.trace_id.strip("0"), "a post keeps its id all the same"
    assert collector.spans == []


def test_resource_and_names_are_opentelemetrys_to_set(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment=x")
    spans.start("on", "worker")
    spans.span("x").end()
    spans.stop()
    assert [span.process for span in collector.spans] == ["other"]
