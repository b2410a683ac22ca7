"""A platform that has no such post, is in trouble, is away or never ends its answer."""

from __future__ import annotations

import gzip
import socket
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from sources.http import HttpSource
from sources.pictures.allowed import ImageLimits
from sources.post import FetchedPost, Gone
from tests.unit.sources.source_answers import Open, answering, failure, fetched, platform
from tests.unit.sources.source_server import Handler, Server, asked_ids, post


def test_an_id_left_out_of_the_answer_is_asked_for_alone_and_then_gone(
    server: Server, many: Open
) -> None:
    server.answer = lambda handler: handler.json(
        {"posts": [post(each) for each in asked_ids(handler) if each != "2"]}
    )
    results = many().fetch(["1", "2"])
    assert isinstance(results["1"], FetchedPost)
    assert isinstance(results["2"], Gone)
    assert server.paths == ["/posts?ids=1,2", "/posts?ids=2"]


@pytest.mark.parametrize("status", [404, 410])
def test_a_post_that_is_not_found_is_gone(server: Server, single: Open, status: int) -> None:
    server.answer = answering(status)
    result = single().fetch(["1"])["1"]
    assert isinstance(result, Gone)
    assert str(status) in result.why


@pytest.mark.parametrize("status", [404, 410])
def test_not_found_for_many_ids_asks_for_each_alone(
    server: Server, many: Open, status: int
) -> None:
    def answer(handler: Handler) -> None:
        if "2" in asked_ids(handler):
            handler.reply(status)
        else:
            platform(handler)

    server.answer = answer
    results = many().fetch(["1", "2", "3"])
    assert isinstance(results["2"], Gone)
    assert fetched(results["1"]).id == "1"
    assert fetched(results["3"]).id == "3"
    assert len(server.seen) == 4


@pytest.mark.parametrize("status", [400, 414, 422])
def test_one_bad_id_does_not_take_its_neighbours_down(
    server: Server, many: Open, status: int
) -> None:
    def answer(handler: Handler) -> None:
        if "bad" in asked_ids(handler):
            handler.reply(status)
        else:
            platform(handler)

    server.answer = answer
    ids = ["1", "2", "3", "bad", "5", "6", "7", "8"]
    results = many().fetch(ids)
    assert [fetched(results[each]).id for each in ids if each != "bad"]
    assert not failure(results["bad"]).transient
    assert str(status) in failure(results["bad"]).error
    assert len(server.seen) == 7


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_a_platform_in_trouble_is_asked_again_later(
    server: Server, many: Open, status: int
) -> None:
    server.answer = answering(status)
    results = many().fetch(["1", "2"])
    for result in results.values():
        assert failure(result).transient
        assert str(status) in failure(result).error
        assert failure(result).retry_after_seconds is None
        assert failure(result).outage
        assert not failure(result).untried
        assert not failure(result).alone, "the other one may have spoilt it"
    assert failure(many().fetch(["1"])["1"]).alone


LENGTHS = [
    ("120", 119, 120),
    ("99999", 3599, 3600),
    ("9" * 5000, 3599, 3600),
    ("in an hour", 300, 301),
    ("in a week", 3599, 3600),
]
SHORT = [("0", 0.4, 2), ("last week", 0.4, 2)]
NO_LENGTH = [("-5", 0.4, 2), ("soon", 0.4, 2)]  # of a 503: an outage


@pytest.mark.parametrize(
    ("status", "value", "at_least", "at_most"),
    [(503, *each) for each in LENGTHS + SHORT]
    + [(status, *each) for each in LENGTHS + SHORT + NO_LENGTH for status in (420, 429, 430)],
)
def test_a_pause_is_passed_on_for_every_post_and_is_none_of_its_tries(
    server: Server, many: Open, status: int, value: str, at_least: float, at_most: float
) -> None:
    offsets = {"in an hour": 300, "in a week": 7 * 86400, "last week": -7 * 86400}
    if value in offsets:
        when = datetime.now(UTC) + timedelta(seconds=offsets[value] + 0.999)
        value = format_datetime(when, usegmt=True)
    server.answer = answering(status, Retry_After=value)
    for result in many().fetch(["1", "2"]).values():
        seconds = failure(result).retry_after_seconds
        assert (failure(result).transient, failure(result).untried) == (True, True)
        assert not failure(result).outage, "it is there, and was asked too much"
        assert seconds is not None
        # A date has whole seconds, and some of them pass while the test runs.
        assert at_least - (30 if at_least == 300 else 0) <= seconds <= at_most + 0.001


def test_a_source_that_asked_to_be_left_alone_is_not_asked(server: Server, many: Open) -> None:
    server.answer = answering(429, Retry_After="600")
    source = many()
    source.fetch(["1"])
    later = failure(source.fetch(["2"])["2"])
    assert later.transient
    assert later.retry_after_seconds is not None
    assert 0 < later.retry_after_seconds <= 600
    assert later.untried
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_token_does_not_end_a_queue_of_posts(
    server: Server, single: Open, status: int
) -> None:
    server.answer = answering(status)
    result = failure(single().fetch(["1"])["1"])
    assert result.transient
    assert "check DEADPAN_SOURCE_TOKEN" in result.error
    assert result.outage, "told from a post that is private by what others are answered"


def refuse(handler: Handler) -> None:
    """Reset the connection."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.close_connection = True


def hang_up(handler: Handler) -> None:
    handler.close_connection = True


def half_a_body(handler: Handler) -> None:
    handler.reply(200, b'{"posts": [', Content_Length="1000")
    handler.close_connection = True


@pytest.mark.parametrize("answer", [refuse, hang_up, half_a_body])
def test_a_connection_that_breaks_is_tried_again_later(
    server: Server, many: Open, answer: Callable[[Handler], None]
) -> None:
    server.answer = answer
    result = failure(many().fetch(["1"])["1"])
    assert (result.transient, result.outage) == (True, True)


def test_a_platform_that_is_down_is_asked_again_later(limits: ImageLimits) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        source = HttpSource(f"http://127.0.0.1:{port}/{{ids}}", limits=limits)
        results = source.fetch(["1", "2"])
        source.close()
    assert [failure(result).transient for result in results.values()] == [True, True]
    assert [failure(result).outage for result in results.values()] == [True, True]
    assert "refused the connection" in failure(results["1"]).error


def drip(handler: Handler) -> None:
    handler.reply(200, Content_Length="1000")
    while not handler.server.here.ended.wait(0.02):
        handler.wfile.write(b" ")


def silence(handler: Handler) -> None:
    handler.server.here.ended.wait(20)


@pytest.mark.parametrize("answer", [drip, silence])
def test_a_platform_that_drips_or_is_silent_ends_as_a_timeout(
    server: Server, many: Open, answer: Callable[[Handler], None]
) -> None:
    server.answer = answer
    result = failure(many(timeout_seconds=0.2).fetch(["1"])["1"])
    assert (result.transient, result.outage) == (True, True)
    assert "in time" in result.error


def endless(handler: Handler) -> None:
    handler.reply(200, Transfer_Encoding="chunked")
    while True:
        handler.wfile.write(b"10000\r\n" + b" " * 65536 + b"\r\n")


def bomb(handler: Handler) -> None:
    handler.reply(200, gzip.compress(b" " * 10_000_000), Content_Encoding="gzip")


@pytest.mark.parametrize("answer", [endless, bomb])
def test_an_answer_too_large_for_one_post_is_a_failure(
    server: Server, single: Open, answer: Callable[[Handler], None]
) -> None:
    server.answer = answer
    result = failure(single(max_answer_bytes=1_000_000).fetch(["1"])["1"])
    assert not result.transient
    assert "more than 1000000 bytes" in result.error


def test_an_answer_too_large_for_many_posts_is_asked_for_in_parts(
    server: Server, many: Open
) -> None:
    server.answer = lambda handler: handler.json(
        {"posts": [post(each, text="a" * 400) for each in asked_ids(handler)]}
    )
    ids = [str(number) for number in range(8)]
    results = many(max_answer_bytes=1000).fetch(ids)
    assert [fetched(results[each]).id for each in ids] == ids
