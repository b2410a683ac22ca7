"""An HTTP post source and a platform that answers well: ids, tokens, redirects, images."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from sources.mapping import PostMapping
from sources.pictures.allowed import ImageLimits
from sources.post import FetchedPost, FetchResult, Gone, Post
from tests.unit.sources.source_answers import Open, answering, failure, fetched, platform
from tests.unit.sources.source_server import PNG, Handler, Server, post


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
        "post id '1,2' contains a comma, and a source with {ids} separates ids with commas; "
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
