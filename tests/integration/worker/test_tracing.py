"""One id from push to callback: in the logs always, and in spans where they are on."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deadpan.core import trace
from deadpan.core.trace import TraceContext
from tasks.intake.intake import Intake
from tests.collector import Collector, Seen
from tests.integration.worker.traced_place import POSTS, WORDS, place
from tests.platform import Platform
from tests.receiver import Receiver, Request
from worker.local.embedded import EmbeddedValkey, free_port


def _context(request: Request) -> TraceContext:
    found = trace.parse(request.headers["traceparent"])
    assert found is not None
    return found


@pytest.mark.long
def test_grep_for_one_id_tells_the_whole_story_of_a_post(
    tmp_path: Path, valkey_server: EmbeddedValkey, intake: Intake
) -> None:
    def meddle(ids: list[str]) -> tuple[int, dict[str, str], bytes] | None:
        return (429, {}, b"") if "p2" in ids and platform.asked["p2"] == 1 else None

    def answer(request: Request) -> int:
        first = [r.post_id for r in receiver.requests].count("p1") == 1
        return 500 if request.post_id == "p1" and first else 204

    ours, theirs = (f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01" for _ in range(2))
    with (
        Platform(dict(POSTS), meddle=meddle) as platform,
        Receiver(answer=answer) as receiver,
        place(tmp_path, valkey_server, intake, platform, receiver) as here,
    ):
        intake.client.rpush("deadpan:posts", "p0", f"p1\t{theirs}", "gone", "p3\t", "p4\tno trace")
        here.wait_for_outcomes(["p0", "p1", "p3", "gone"])
        intake.client.rpush("deadpan:posts", "p2")
        pushed = here.api.post(
            "/posts", json={"post_ids": ["p5", "p6"]}, headers={"traceparent": ours}
        )
        assert pushed.status_code == 202
        here.wait_for_outcomes(["p2", "p5", "p6"])
        here.wait(lambda: len(receiver.accepted) == 6, "callbacks of six verdicts")
        here.decide("p5")
        # Housekeeping writes its line when it has the answer, which is a moment later.
        here.wait(lambda: here.said("callback delivered") == 7, "a decision's callback")
        headers = {
            (r.told["type"], r.post_id): _context(r).trace_id for r in list(receiver.accepted)
        }
        stories = {post_id: here.grep(trace_id) for (_, post_id), trace_id in headers.items()}
        ids = {post_id: trace_id for (_, post_id), trace_id in headers.items()}
        logs = here.logs()
        kept, told = here.kept()
        here.wait(lambda: not intake.client.exists("deadpan:traces"), "posts that are through")

    assert kept == told
    judged = ["worker: chunk taken", "worker: post done"]
    delivered = "housekeeping: callback delivered"
    assert stories["p0"] == stories["p3"] == [*judged, delivered]
    late = "housekeeping: callback is tried again later"
    assert stories["p1"] == [*judged, late, delivered]
    assert kept["p1"] == theirs, "nobody here records spans, so the producer's is handed on"
    again = ["worker: chunk taken", "worker: chunk given back"]
    assert stories["p2"] == [*again, *judged, delivered], "what waits stays in its trace"
    both = stories["p5"]
    assert both[0] == "console: posts pushed"
    assert both.count(delivered) == 3, "two verdicts and a decision of one request's posts"
    assert headers["verdict.created", "p5"] == headers["decision.created", "p5"]
    assert ids["p5"] == ids["p6"] == ours[3:35]
    assert len({ids[post_id] for post_id in ("p0", "p1", "p2", "p3", "p5")}) == 5
    (letter,) = [line for line in logs if line["event"] == "dead letter"]
    assert letter["post_id"] == "p4\\tno trace"
    assert here.grep(letter["trace_id"]) == ["worker: chunk taken", "worker: dead letter"]
    (gone,) = [line for line in logs if line.get("post_id") == "gone"]
    assert (gone["event"], gone["outcome"]) == ("post done", "gone")
    assert WORDS not in json.dumps(logs)


@pytest.mark.long
def test_spans_lead_from_push_to_callback(
    tmp_path: Path, valkey_server: EmbeddedValkey, intake: Intake
) -> None:
    sampled = TraceContext(secrets.token_hex(16), secrets.token_hex(8), 1)
    unwanted = TraceContext(secrets.token_hex(16), secrets.token_hex(8), 0)
    with (
        Collector() as collector,
        Platform(dict(POSTS)) as platform,
        Receiver() as receiver,
    ):
        to = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with place(
            tmp_path,
            valkey_server,
            intake,
            platform,
            receiver,
            worker=to,
            housekeeping=to,
            console={**to, "OTEL_SERVICE_NAME": "moderation-console"},
        ) as here:
            done = here.enqueue("p0", "p7", DEADPAN_TRACES="on", **to)
            assert done.returncode == 0, done.stderr
            assert here.api.post("/posts", json={"post_ids": ["p1"]}).status_code == 202
            intake.client.rpush(
                "deadpan:posts",
                "p2",
                f"p3\t{sampled.traceparent}",
                f"p4\t{unwanted.traceparent}",
            )
            here.wait_for_outcomes(["p0", "p1", "p2", "p3", "p4", "p7"])
            here.wait(lambda: len(receiver.accepted) == 6, "callbacks")
            here.wait(lambda: len(collector.named("callback")) == 5, "spans of callbacks")
            here.wait(lambda: len(collector.named("post")) == 5, "spans of posts")
            contexts = {r.post_id: _context(r) for r in list(receiver.accepted)}
            logs = here.logs()

    by_id = {span.span_id: span for span in collector.spans}
    posts = {span.attributes["deadpan.post_id"]: span for span in collector.named("post")}
    calls = {span.attributes["deadpan.post_id"]: span for span in collector.named("callback")}
    assert "p4" not in posts, "its producer did not want it recorded"
    assert contexts["p4"].trace_id == unwanted.trace_id
    assert contexts["p4"].flags & 1 == 0
    for post_id, call in calls.items():
        post = posts[post_id]
        assert (call.trace_id, call.parent_id) == (post.trace_id, post.span_id)
        # What the receiver gets is the span of the request that it got.
        assert (contexts[post_id].trace_id, contexts[post_id].parent_id) == (
            call.trace_id,
            call.span_id,
        )
        assert any(line.get("trace_id") == post.trace_id for line in logs)
        assert post.attributes["deadpan.outcome"] == "judged"
        _stages_of(post, collector.spans)
    assert by_id[posts["p0"].parent_id].name == "push"
    assert by_id[posts["p0"].parent_id].process == "deadpan-enqueue"
    assert posts["p7"].trace_id != posts["p0"].trace_id, "each of several has its own"
    push = by_id[posts["p1"].parent_id]
    request = by_id[push.parent_id]
    assert (push.name, push.process) == ("push", "moderation-console")
    assert (request.name, request.parent_id) == ("POST /api/v1/posts", "")
    assert posts["p2"].parent_id == "", "it was pushed bare, and is the root of its trace"
    assert posts["p3"].parent_id == sampled.parent_id
    assert not [span for span in collector.spans if span.failed]
    assert WORDS.encode() not in b"".join(collector.raw)
    assert "ann" not in {value for span in collector.spans for value in span.attributes.values()}


def _stages_of(post: Seen, spans: list[Seen]) -> None:
    """A post's span and its chunk's know each other, and the chunk has every stage below it."""
    ((_, chunk_id),) = post.links
    (chunk,) = [span for span in spans if span.span_id == chunk_id]
    assert chunk.name == "chunk"
    assert (post.trace_id, post.span_id) in chunk.links
    below = {span.name for span in spans if span.parent_id == chunk_id}
    stages = {"lookup", "fetch", "prepare", "predict", "decide", "record"}
    assert below == {"dispatch", *stages}
    for span in spans:
        if span.parent_id == chunk_id:
            assert chunk.began_ns <= span.began_ns <= span.ended_ns <= chunk.ended_ns


def test_a_program_with_spans_of_its_own_goes_on_in_its_trace(
    valkey_server: EmbeddedValkey,
) -> None:
    program = f"""
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tasks import enqueue
from tasks.intake.intake import Intake

kept = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
where = dict(redis_url={valkey_server.url!r}, prefix="program")
enqueue("before", **where)   # OpenTelemetry is there and records nothing yet
trace.set_tracer_provider(provider)
with trace.get_tracer("program").start_as_current_span("upload") as span:
    enqueue("one", **where)
    enqueue(["two", "three"], priority="high", **where)
pushes = [each for each in kept.get_finished_spans() if each.name == "push"]
outer = span.get_span_context()
assert [each.parent and each.parent.span_id for each in pushes] == [outer.span_id, None, None]
assert [each.links[0].context.span_id for each in pushes[1:]] == [outer.span_id] * 2
assert len({{each.context.trace_id for each in pushes}}) == 3
client = Intake.at({valkey_server.url!r}, "program").client
entries = client.lrange("program:posts", 0, -1) + client.lrange("program:posts:high", 0, -1)
named = [
    f"00-{{each.context.trace_id:032x}}-{{each.context.span_id:016x}}-{{each.context.trace_flags:02x}}"
    for each in pushes
]
assert entries == [
    b"before",
    *(f"{{post}}\\t{{name}}".encode() for post, name in zip(["one", "two", "three"], named)),
], entries
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_a_collector_that_hangs_or_is_away_holds_nothing_up(
    tmp_path: Path, valkey_server: EmbeddedValkey, intake: Intake
) -> None:
    release, asked = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        release.wait()

    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    ids = [f"p{n}" for n in range(9)]
    try:
        with (
            Collector(before=hang) as collector,
            Platform(dict(POSTS)) as platform,
            Receiver() as receiver,
        ):
            # So few that the queue is full, and an export that lasts longer than anything here.
            hangs = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_BSP_MAX_QUEUE_SIZE": "4",
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4",
                "OTEL_EXPORTER_OTLP_TIMEOUT": "600",
            }
            with place(
                tmp_path,
                valkey_server,
                intake,
                platform,
                receiver,
                alone=True,
                worker=hangs,
            ) as here:
                done = here.enqueue(*ids[:8], DEADPAN_TRACES="on", **away)
                said = "pushed 8 post ids with normal priority\n"
                assert (done.returncode, done.stdout) == (0, said)
                here.wait_for_outcomes(ids[:8])
                here.wait(asked.is_set, "an export that hangs")
                intake.client.rpush("deadpan:posts", "p8")
                here.wait_for_outcomes(["p8"])
                here.wait(lambda: len(receiver.accepted) == 9, "callbacks")
                worker = here.children["worker"]
                # It ends while the export still hangs: the collector is let go afterwards.
                os.kill(worker.pid, signal.SIGTERM)
                here.wait(lambda: worker.exit_code is not None, "the worker's end")
                assert worker.exit_code == 0
            assert not release.is_set()
    finally:
        release.set()
    assert receiver.refused == []
