"""An HTTP post source, and a platform that answers well, badly or not at all."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from sources.download import ImageLimits
from sources.http import HttpSource
from sources.mapping import PostMapping
from sources.post import FetchedPost, FetchFailure, FetchResult, Gone, Post
from tests.unit.sources.source_server import PNG, Handler, Server, asked_ids, post

Open = Callable[..., HttpSource]


@pytest.fixture
def many(server: Server, limits: ImageLimits) -> Iterator[Open]:
    """Opens sources with `{ids}` on the server, and closes them."""
    opened: list[HttpSource] = []

    def open_many(template: str = "/posts?ids={ids}", **arguments: object) -> HttpSource:
        given: dict[str, object] = {"limits": limits, "timeout_seconds": 5.0, **arguments}
        opened.append(HttpSource(server.url + template, **given))  # type: ignore[arg-type]
        return opened[-1]

    yield open_many
    for source in opened:
        source.close()


@pytest.fixture
def single(many: Open) -> Open:
    """Opens sources with `{id}`."""

    def open_single(**arguments: object) -> HttpSource:
        return many("/posts/{id}", **arguments)

    return open_single


def answering(status: int = 200, body: bytes = b"", **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(status, body, **headers)


def platform(handler: Handler) -> None:
    """Has every post that is asked for."""
    handler.json({"posts": [post(each) for each in asked_ids(handler)]})


def fetched(result: FetchResult) -> Post:
    assert isinstance(result, FetchedPost), result
    return result.post


def failure(result: FetchResult) -> FetchFailure:
    assert isinstance(result, FetchFailure), result
    return result


def test_many_posts_arrive_with_all_their_fields(server: Server, many: Open) -> None:
    full = post("1", images=["http://a.example/1.png"], author="ann")
    full["created_at"] = "2026-03-01T12:00:00+02:00"
    full["language"] = "pt-BR"
    server.answer = lambda handler: handler.json({"posts": [full, post("2")]})
    results = many(limits=ImageLimits(max_images=0)).fetch(["1", "2"])
    assert list(results) == ["1", "2"]
    assert fetched(results["1"]) == Post(
        id="1",
        text="text of 1",
        images=("http://a.example/1.png",),
        author="ann",
        created_at=datetime(2026, 3, 1, 10, tzinfo=UTC),
        language="pt-BR",
    )
    assert fetched(results["2"]) == Post(id="2", text="text of 2")
    assert server.paths == ["/posts?ids=1,2"]


def test_one_post_arrives_as_an_object_or_in_a_list(server: Server, single: Open) -> None:
    for answer in (post("1"), {"posts": [post("1")]}, {"posts": post("1")}):
        server.answer = lambda handler, answer=answer: handler.json(answer)
        assert fetched(single().fetch(["1"])["1"]).text == "text of 1"
    assert set(server.paths) == {"/posts/1"}


def test_ids_that_are_numbers_in_the_answer_match(server: Server, many: Open) -> None:
    server.answer = lambda handler: handler.json({"posts": [post(12345)]})
    assert fetched(many().fetch(["12345"])["12345"]).id == "12345"


def test_ids_are_asked_for_a_few_at_a_time(server: Server, many: Open) -> None:
    server.answer = platform
    ids = [str(number) for number in range(10)]
    results = many(ids_per_request=4).fetch(ids)
    assert [fetched(results[each]).id for each in ids] == ids
    assert sorted(map(len, (path.split(",") for path in server.paths))) == [2, 4, 4]


def test_long_ids_do_not_make_a_url_that_servers_refuse(server: Server, many: Open) -> None:
    server.answer = lambda handler: handler.json({"posts": []})
    ids = [f"{number:03d}" + "\u00e9" * 126 for number in range(40)]
    assert all(isinstance(result, Gone) for result in many().fetch(ids).values())
    assert max(map(len, server.paths)) < 8000


def test_no_ids_ask_nothing(server: Server, many: Open) -> None:
    assert many().fetch([]) == {}
    assert server.seen == []


def test_posts_of_a_source_for_one_id_are_asked_for_at_the_same_time(
    server: Server, single: Open
) -> None:
    together = threading.Barrier(4, timeout=10)

    def answer(handler: Handler) -> None:
        together.wait()
        handler.json(post(handler.path.rpartition("/")[2]))

    server.answer = answer
    results = single(threads=4).fetch(["1", "2", "3", "4"])
    assert [fetched(result).id for result in results.values()] == ["1", "2", "3", "4"]


def test_one_connection_serves_many_requests(server: Server, single: Open) -> None:
    def answer(handler: Handler) -> None:
        post_id = handler.path.rpartition("/")[2]
        if post_id == "gone":
            handler.json({"detail": "no such post"}, status=404)
        else:
            handler.json(post(post_id))

    server.answer = answer
    source = single(threads=1)
    source.fetch(["1", "gone", "2"])
    source.fetch(["3"])
    assert len(server.seen) == 4
    assert len({seen.port for seen in server.seen}) == 1


def test_an_id_left_out_of_the_answer_is_gone(server: Server, many: Open) -> None:
    server.answer = lambda handler: handler.json({"posts": [post("1")]})
    results = many().fetch(["1", "2"])
    assert isinstance(results["1"], FetchedPost)
    assert isinstance(results["2"], Gone)


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


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_platform_in_trouble_is_asked_again_later(
    server: Server, many: Open, status: int
) -> None:
    server.answer = answering(status)
    results = many().fetch(["1", "2"])
    for result in results.values():
        assert failure(result).transient
        assert str(status) in failure(result).error
        assert failure(result).retry_after_seconds is None
        assert failure(result).outage is (status != 429)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("value", "at_least", "at_most"),
    [
        ("0", 0, 0),
        ("120", 120, 120),
        ("99999", 3600, 3600),
        ("9" * 5000, 3600, 3600),
        ("in an hour", 300, 301),
        ("in a week", 3600, 3600),
        ("last week", 0, 0),
        ("-5", None, None),
        ("soon", None, None),
    ],
)
def test_retry_after_is_passed_on_for_every_post(
    server: Server, many: Open, status: int, value: str, at_least: float | None, at_most: float
) -> None:
    offsets = {"in an hour": 300, "in a week": 7 * 86400, "last week": -7 * 86400}
    if value in offsets:
        when = datetime.now(UTC) + timedelta(seconds=offsets[value] + 0.999)
        value = format_datetime(when, usegmt=True)
    server.answer = answering(status, Retry_After=value)
    for result in many().fetch(["1", "2"]).values():
        seconds = failure(result).retry_after_seconds
        assert failure(result).transient
        if at_least is None:
            assert seconds is None
        else:
            assert seconds is not None
            # A date has whole seconds, and some of them pass while the test runs.
            assert at_least - (30 if at_least == 300 else 0) <= seconds <= at_most


def test_a_source_that_asked_to_be_left_alone_is_not_asked(server: Server, many: Open) -> None:
    server.answer = answering(429, Retry_After="600")
    source = many()
    source.fetch(["1"])
    later = failure(source.fetch(["2"])["2"])
    assert later.transient
    assert later.retry_after_seconds is not None
    assert 0 < later.retry_after_seconds <= 600
    assert not later.outage, "it is there, and was asked too much"
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_token_does_not_end_a_queue_of_posts(
    server: Server, single: Open, status: int
) -> None:
    server.answer = answering(status)
    result = failure(single().fetch(["1"])["1"])
    assert result.transient
    assert "check DEADPAN_SOURCE_TOKEN" in result.error
    assert result.outage is (status == 401), "403 may be about this post"


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


@pytest.mark.parametrize(
    "body",
    [
        b"<html><title>502 Bad Gateway</title>\x1b[31m</html>",
        b'{"posts": [{"id": "1", "te',
        b"",
        b"null",
        b"[]",
        b'"posts"',
        b"{}",
        b'{"error": "try again"}',
        b'{"posts": null}',
        b'{"posts": "1"}',
        b'{"posts": {"text": "without id"}}',
        b"[" * 200_000,
        b'{"posts": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"posts": [{"id": ' + b"9" * 10_000 + b"}]}",
        b"\xff\xfe\x00",
    ],
)
def test_an_answer_that_holds_no_posts_is_asked_for_again_later(
    server: Server, many: Open, body: bytes
) -> None:
    server.answer = answering(200, body, Content_Type="text/html")
    result = failure(many().fetch(["1"])["1"])
    assert (result.transient, result.outage) == (True, True)
    assert result.error.isprintable()
    assert len(result.error) < 400


def test_a_page_of_a_proxy_is_shown_in_the_error(server: Server, many: Open) -> None:
    page = b"<html>\n<title>Gateway\x00</title>" + b"x" * 1000
    server.answer = answering(200, page, Content_Type="text/html")
    error = failure(many().fetch(["1"])["1"]).error
    assert "'text/html'" in error
    assert r"<html>\n<title>Gateway\x00</title>" in error


def test_posts_nobody_asked_for_are_ignored(server: Server, many: Open) -> None:
    crowd = b",".join(b'{"id":%d,"text":""}' % number for number in range(1_000_000))
    server.answer = answering(200, b'{"posts":[' + crowd + b"]}")
    results = many(timeout_seconds=60.0).fetch(["999999", "-1"])
    assert fetched(results["999999"]).id == "999999"
    assert isinstance(results["-1"], Gone)
    assert len(results) == 2


def test_the_first_of_two_posts_with_one_id_wins(server: Server, many: Open) -> None:
    server.answer = lambda handler: handler.json(
        {"posts": [post("1", text="first"), post("1", text="second"), post("1", text=3)]}
    )
    assert fetched(many().fetch(["1"])["1"]).text == "first"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"text": 5}, "text"),
        ({"text": ["a"]}, "text"),
        ({"text": True}, "text"),
        ({"images": {"url": "a"}}, "images"),
        ({"images": [1]}, "images"),
        ({"images": [None]}, "images"),
        ({"images": 7}, "images"),
        ({"author": {"name": "ann"}}, "author"),
        ({"author": 1.5}, "author"),
    ],
)
def test_a_field_of_the_wrong_type_fails_its_own_post_only(
    server: Server, many: Open, fields: dict[str, object], name: str
) -> None:
    server.answer = lambda handler: handler.json({"posts": [post("1", **fields), post("2")]})
    results = many().fetch(["1", "2"])
    assert not failure(results["1"]).transient
    assert f"'{name}'" in failure(results["1"]).error
    assert fetched(results["2"]).id == "2"


def test_a_post_without_text_is_a_failure_and_not_an_empty_post(server: Server, many: Open) -> None:
    server.answer = lambda handler: handler.json({"posts": [{"id": "1", "body": "hello"}]})
    assert "field 'text' is missing" in failure(many().fetch(["1"])["1"]).error


def test_a_post_that_may_be_among_those_without_an_id_is_not_called_gone(
    server: Server, many: Open
) -> None:
    for nameless in ({"id": None, "text": ""}, {"text": ""}, 5, {"id": True}, {"id": 1.0}):
        server.answer = lambda handler, each=nameless: handler.json({"posts": [each, post("2")]})
        results = many().fetch(["1", "2"])
        assert failure(results["1"]).transient
        assert fetched(results["2"]).id == "2"


def test_another_post_than_the_one_asked_for_is_not_taken_for_it(
    server: Server, single: Open
) -> None:
    server.answer = lambda handler: handler.json(post("7"))
    assert not isinstance(single().fetch(["007"])["007"], FetchedPost)


@pytest.mark.parametrize("text", ["", "nul \x00 inside", "half \ud800 a pair", "\u202e", "a" * 999])
def test_strange_text_passes_unchanged(server: Server, many: Open, text: str) -> None:
    server.answer = lambda handler: handler.json({"posts": [post("1", text=text)]})
    assert fetched(many().fetch(["1"])["1"]).text == text


def test_text_and_lists_of_images_have_an_end(server: Server, many: Open) -> None:
    huge = post("1", text="a" * 2_000_000, images=["http://a.example/"] * 5000, author="b" * 9999)
    server.answer = lambda handler: handler.json({"posts": [huge]})
    result = many(limits=ImageLimits(max_images=0)).fetch(["1"])["1"]
    assert len(fetched(result).text) == 1024 * 1024
    assert len(fetched(result).images) == 100
    assert len(fetched(result).author or "") == 256


@pytest.mark.parametrize("value", ["", "yesterday", 5, None, [], "0001-01-01T00:00:00+14:00"])
def test_a_time_that_cannot_be_read_is_no_time(server: Server, many: Open, value: object) -> None:
    server.answer = lambda handler: handler.json({"posts": [post("1", created_at=value)]})
    assert fetched(many().fetch(["1"])["1"]).created_at is None


@pytest.mark.parametrize("value", [None, 7, "", "x" * 36, ["de"]])
def test_a_language_that_is_no_tag_is_left_out(server: Server, many: Open, value: object) -> None:
    server.answer = lambda handler: handler.json({"posts": [post("1", language=value)]})
    assert fetched(many().fetch(["1"])["1"]).language is None


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


@pytest.mark.parametrize(
    "post_id",
    ["../../etc/passwd", "a/b", "a?b=c#d", "%2e%2e", "a b", "\u00e9\u4e2d", "a&ids=2", "*"],
)
def test_an_id_stays_one_segment_of_the_path(server: Server, single: Open, post_id: str) -> None:
    server.answer = lambda handler: handler.json(post(post_id))
    assert fetched(single().fetch([post_id])[post_id]).id == post_id
    (path,) = server.paths
    assert path.count("/") == 2
    assert "?" not in path
    if post_id == "../../etc/passwd":
        assert path == "/posts/..%2F..%2Fetc%2Fpasswd"


@pytest.mark.parametrize("post_id", [".", "..", "", "\ud800"])
def test_an_id_that_no_path_can_carry_is_a_failure(
    server: Server, single: Open, post_id: str
) -> None:
    results = single().fetch([post_id])
    assert not failure(results[post_id]).transient
    assert server.seen == []


def test_an_id_with_a_comma_is_a_failure_where_commas_separate(
    server: Server, many: Open, single: Open
) -> None:
    server.answer = platform
    results = many().fetch(["1,2", "3"])
    assert failure(results["1,2"]).error == (
        "post id '1,2' holds a comma, and a source with {ids} separates ids with commas; "
        "use a source with {id}"
    )
    assert not failure(results["1,2"]).transient
    assert fetched(results["3"]).id == "3"
    assert server.paths == ["/posts?ids=3"]
    server.answer = lambda handler: handler.json(post("1,2"))
    assert fetched(single().fetch(["1,2"])["1,2"]).id == "1,2"


def test_the_token_goes_to_the_source_and_not_to_image_hosts(
    server: Server, other_server: Server, many: Open
) -> None:
    images = ["/own.png", f"{other_server.url}/other.png"]

    def answer(handler: Handler) -> None:
        if handler.path == "/own.png":
            handler.reply(200, PNG)
        else:
            handler.json({"posts": [post("1", images=images)]})

    server.answer = answer
    other_server.answer = answering(200, PNG)
    result = many(token="secret").fetch(["1"])["1"]
    assert isinstance(result, FetchedPost)
    assert [image.content for image in result.images] == [PNG, PNG]
    assert fetched(result).images[0] == f"{server.url}/own.png"
    assert server.seen[0].headers["authorization"] == "Bearer secret"
    assert "authorization" not in server.seen[1].headers
    assert "authorization" not in other_server.seen[0].headers


def test_a_redirect_to_another_host_is_not_followed(
    server: Server, other_server: Server, many: Open
) -> None:
    server.answer = answering(302, Location=f"{other_server.url}/posts?ids=1")
    result = failure(many(token="secret").fetch(["1"])["1"])
    assert result.transient
    assert "redirects elsewhere" in result.error
    assert other_server.seen == []


def test_a_redirect_within_the_source_is_followed_a_few_times(server: Server, many: Open) -> None:
    def answer(handler: Handler) -> None:
        if handler.path.startswith("/posts"):
            handler.reply(308, Location=f"/v2{handler.path}")
        else:
            platform(handler)

    server.answer = answer
    assert fetched(many(token="secret").fetch(["1"])["1"]).id == "1"
    assert server.seen[1].headers["authorization"] == "Bearer secret"
    server.answer = lambda handler: handler.reply(302, Location=handler.path)
    assert "more than 3 times" in failure(many().fetch(["1"])["1"]).error
    server.answer = answering(302)
    assert failure(many().fetch(["1"])["1"]).transient


def test_an_image_that_fails_does_not_fail_its_post(
    server: Server, many: Open, limits: ImageLimits
) -> None:
    def answer(handler: Handler) -> None:
        if handler.path == "/good.png":
            handler.reply(200, PNG)
        elif handler.path.startswith("/posts"):
            images = ["good.png", "missing.png", "http://10.0.0.1/", "data:,x", "http://[/"]
            handler.json({"posts": [post("1", images=images)]})
        else:
            handler.reply(404)

    server.answer = answer
    result = many().fetch(["1"])["1"]
    assert isinstance(result, FetchedPost)
    assert [image.content for image in result.images] == [PNG, None, None, None, None]
    assert all(image.problem for image in result.images[1:])
    assert result.images[0].problem is None


def test_an_image_in_two_posts_of_one_fetch_is_downloaded_once(server: Server, many: Open) -> None:
    def answer(handler: Handler) -> None:
        if handler.path == "/same.png":
            handler.reply(200, PNG)
        else:
            handler.json({"posts": [post(each, images=["/same.png"]) for each in "12"]})

    server.answer = answer
    results = many().fetch(["1", "2"])
    assert all(isinstance(result, FetchedPost) for result in results.values())
    assert server.paths.count("/same.png") == 1


def test_other_shapes_of_answers_are_mapped(server: Server, many: Open) -> None:
    item = {
        "key": 1,
        "content": {"body": "hello"},
        "media": [{"url": "/a.png"}, {"video": "b"}, {"url": "/c.png"}],
        "by": [{"name": "ann"}],
    }
    server.answer = lambda handler: handler.json({"data": {"items": [item]}})
    mapping = PostMapping(
        posts="data.items",
        id="key",
        text="content.body",
        images="media.*.url",
        author="by.0.name",
    )
    result = many(mapping=mapping, limits=ImageLimits(max_images=0)).fetch(["1"])["1"]
    assert fetched(result) == Post(
        "1", "hello", (f"{server.url}/a.png", f"{server.url}/c.png"), "ann"
    )
    server.answer = lambda handler: handler.json([post("1")])
    assert fetched(many(mapping=PostMapping(posts="")).fetch(["1"])["1"]).text == "text of 1"


def test_several_threads_fetch_at_once(server: Server, many: Open) -> None:
    server.answer = platform
    source = many(ids_per_request=2, threads=3)
    results: dict[str, FetchResult] = {}

    def fetch(start: int) -> None:
        results.update(source.fetch([str(number) for number in range(start, start + 20)]))

    threads = [threading.Thread(target=fetch, args=(start,)) for start in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    assert all(fetched(result).id == each for each, result in results.items())


def test_a_fetch_under_way_while_the_source_closes_has_a_result_for_every_id(
    server: Server, single: Open
) -> None:
    asked = threading.Event()

    def answer(handler: Handler) -> None:
        asked.set()
        server.ended.wait(0.3)
        handler.json(post(handler.path.rpartition("/")[2]))

    server.answer = answer
    source = single(threads=1)
    results: dict[str, FetchResult] = {}
    thread = threading.Thread(target=lambda: results.update(source.fetch(["1", "2", "3"])))
    thread.start()
    asked.wait(10)
    source.close()
    thread.join()
    assert set(results) == {"1", "2", "3"}


def test_the_answer_may_be_a_million_characters_of_anything(server: Server, many: Open) -> None:
    server.answer = answering(200, json.dumps({"posts": ["x" * 1_000_000]}).encode())
    assert failure(many().fetch(["1"])["1"]).transient
