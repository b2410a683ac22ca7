"""Trace ids are read as W3C Trace Context says, and spans cost nothing where they are off."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from deadpan.core import spans, trace
from deadpan.core.errors import ConfigurationError
from deadpan.core.settings import load
from deadpan.core.trace import TraceContext
from tasks.intake.chunks import split, traced_entry
from tasks.intake.producer import given, traced
from worker.checks import configuration_problems

ID = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
GOOD = f"00-{ID}-{SPAN}-01"
OWN = b"f" * 32


def test_a_traceparent_is_read_and_written_again() -> None:
    assert trace.parse(GOOD) == TraceContext(ID, SPAN, 1)
    assert TraceContext(ID, SPAN, 1).traceparent == GOOD


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "",
        "nonsense",
        GOOD.upper(),
        GOOD[:-1],
        f" {GOOD}",
        f"{GOOD}-more",
        f"ff-{ID}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{ID}-{'0' * 16}-01",
        GOOD.replace("0a", "\u0660a"),
        f"01-{ID}-{SPAN}-01-{'x' * 600}",
    ],
)
def test_what_is_no_traceparent_is_none(wrong: str | None) -> None:
    assert trace.parse(wrong) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert trace.parse(f"42-{ID}-{SPAN}-03-what comes then") == TraceContext(ID, SPAN, 3)


def test_a_trace_without_a_span_has_the_same_traceparent_each_time() -> None:
    own = TraceContext(ID)
    assert trace.parse(own.traceparent) == TraceContext(ID, ID[16:], 0)
    nearly_nothing = TraceContext("1" + "0" * 31)
    assert trace.parse(nearly_nothing.traceparent) is not None


@for_all(st.binary(max_size=80))
def test_any_bytes_can_be_pushed(pushed: bytes) -> None:
    post_id, traceparent = split(pushed)
    assert pushed in (post_id, post_id + b"\t" + traceparent)
    assert len(traced_entry(b"n" + pushed, 0, OWN).trace.trace_id) == 32


@pytest.mark.parametrize(
    ("pushed", "post_id", "trace_id"),
    [
        ("12345", "12345", OWN.decode()),
        (f"12345\t{GOOD}", "12345", ID),
        ("12345\t", "12345", OWN.decode()),
        # What a program writes whose own tracing is off.
        (f"12345\t00-{'0' * 32}-{'0' * 16}-00", "12345", OWN.decode()),
        (f"12345\t{GOOD.upper()}", "12345", OWN.decode()),
        # What is no `traceparent` at all is not guessed at: it stays, and becomes a dead letter.
        ("12345\tsomething", "12345\tsomething", OWN.decode()),
        (f"12345\tx\t{GOOD}", f"12345\tx\t{GOOD}", OWN.decode()),
    ],
)
def test_a_producer_may_give_a_post_its_trace(pushed: str, post_id: str, trace_id: str) -> None:
    entry = traced_entry(b"h" + pushed.encode(), 2, OWN)
    assert entry.id_bytes == post_id.encode()
    assert entry.trace.trace_id == trace_id


def test_bare_ids_stay_bare() -> None:
    with traced([b"1", b"2"], "normal", None) as entries:
        assert entries == [b"1", b"2"]
    with traced([b"1"], "normal", TraceContext(ID, SPAN, 1)) as entries:
        assert entries == [f"1\t{GOOD}".encode()]


def test_a_traceparent_that_is_none_is_refused_with_what_it_should_be() -> None:
    assert given(None, "--traceparent") is None
    with pytest.raises(ConfigurationError, match=r"--traceparent is 'x'; it must look like 00-"):
        given("x", "--traceparent")


def test_spans_that_are_off_do_not_even_load_opentelemetry() -> None:
    code = (
        "import sys\nimport worker.app, tasks.callbacks.delivery, console.app\n"
        "from deadpan.core import spans\nspans.start('off', 'worker')\n"
        "assert spans.span('x', links=[]) is spans.NOTHING\n"
        "from tasks.intake.producer import traced\nwith traced([b'1'], 'low', None): pass\n"
        "ours = {'deadpan.core.otel_sdk', 'opentelemetry.sdk.trace', 'opentelemetry.exporter'}\n"
        "print(sorted(ours & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_spans_without_opentelemetry_are_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'deadpan\[otel\]', or set it to"):
        spans.start("on", "console")
    found = configuration_problems(load({"DEADPAN_SOURCE": "file:x", "DEADPAN_TRACES": "on"}))
    assert any("pip install 'deadpan[otel]'" in problem for problem in found)
    assert not spans.are_on()


def test_a_protocol_that_is_not_spoken_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigurationError, match=r"OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'"):
        spans.start("on", "console")
    assert not spans.are_on()
