"""Hosts that are slow, in every way we know: their own posts end in time, others' do not wait."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

import sources.pictures.awaited
import sources.pictures.download
from sources.pictures.allowed import ImageLimits
from sources.pictures.awaited import NOT_IN_TIME, AwaitedPost, completed
from sources.pictures.download import ImageDownloader
from sources.post import FetchedPost, Post
from tests.unit.sources.downloads import answer_for
from tests.unit.sources.source_server import PNG, Handler, Server
from tests.unit.sources.test_download import drip_body, drip_headers, silence

PATIENCE_SECONDS = 30.0
POST_SECONDS = 1.5


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same proportions, in less time."""
    for module in (sources.pictures.awaited, sources.pictures.download):
        monkeypatch.setattr(module, "POST_SECONDS", POST_SECONDS)
    monkeypatch.setattr(sources.pictures.download, "QUICK_SECONDS", 0.3)
    monkeypatch.setattr(sources.pictures.download, "LISTED_QUICK_SECONDS", 0.3)
    monkeypatch.setattr(sources.pictures.download, "SLOW_SECONDS", 0.6)
    monkeypatch.setattr(sources.pictures.download, "AGAIN_SECONDS", 0.05)


def begun(downloader: ImageDownloader, post_id: str, *urls: str) -> AwaitedPost:
    (post,) = downloader.begin([Post(post_id, "", urls)])
    assert isinstance(post, AwaitedPost)
    return post


def problems(post: FetchedPost) -> set[str | None]:
    return {image.problem for image in post.images}


def no_thread_is_busy(downloader: ImageDownloader) -> bool:
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while any(each.busy for each in downloader._lanes._sets.values()):
        if time.monotonic() > ends_at:
            return False
        time.sleep(0.01)
    return True


def endless_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.server.here.ended.wait(0.005):
        handler.wfile.write(b"X: " + b"0" * 1000 + b"\r\n")


def slow_redirects(handler: Handler) -> None:
    handler.server.here.ended.wait(0.2)
    handler.reply(302, Location=f"/{len(handler.server.here.seen)}")


def late_503(handler: Handler) -> None:
    handler.server.here.ended.wait(0.25)
    handler.reply(503)


@pytest.mark.parametrize(
    "answer",
    [silence, drip_body, drip_headers, endless_headers, slow_redirects, late_503],
)
def test_ten_pictures_of_a_slow_host_end_in_a_posts_time_and_nobody_waits_for_them(
    server: Server,
    other_server: Server,
    limits: ImageLimits,
    answer: Callable[[Handler], None],
) -> None:
    server.answer = answer
    other_server.answer = lambda handler: handler.reply(200, PNG)
    made = ImageDownloader(limits, threads=4)
    try:
        slow = [
            begun(made, f"slow-{n}", *(f"{server.url}/{n}-{k}.jpg" for k in range(10)))
            for n in range(5)
        ]
        good = [begun(made, f"good-{n}", f"{other_server.url}/{n}.png") for n in range(20)]
        for post in good:
            (image,) = completed([post])[0].images
            assert image.content == PNG
        for post in slow:
            fetched = completed([post])[0]
            assert len(fetched.images) == 10
            assert all(image.content is None for image in fetched.images)
        assert no_thread_is_busy(made)
    finally:
        made.close()
    assert len(server.seen) < 40, "few and short tries, of few pictures"


class Deaf:
    """Listens; what connects gets no answer, or cannot even connect."""

    def __init__(self, backlog: int, *, fill: bool = False) -> None:
        self._stack = ExitStack()
        listening = self._stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(backlog)
        self.port = listening.getsockname()[1]
        for _ in range(8 if fill else 0):
            filler = self._stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(params=["silent", "silent in TLS", "accepts no connection"])
def deaf_url(request: pytest.FixtureRequest) -> Iterator[str]:
    full = request.param == "accepts no connection"
    host = Deaf(0 if full else 64, fill=full)
    yield f"{'https' if 'TLS' in request.param else 'http'}://127.0.0.1:{host.port}"
    host.close()


def test_a_host_that_does_not_even_speak_is_given_up(deaf_url: str, limits: ImageLimits) -> None:
    made = ImageDownloader(limits, threads=4)
    try:
        posts = [
            begun(made, str(n), *(f"{deaf_url}/{n}-{k}.jpg" for k in range(10))) for n in range(3)
        ]
        for post in posts:
            for image in completed([post])[0].images:
                assert "in time" in (image.problem or "")
                assert image.transient
        assert no_thread_is_busy(made)
        assert made.closed_hosts() == 1
        late = completed([begun(made, "late", f"{deaf_url}/late.jpg")])[0]
        assert problems(late) == {sources.pictures.download._LEFT_ALONE}, "it is not even tried"
    finally:
        made.close()


def test_a_name_server_that_never_answers_is_given_up(
    other_server: Server, limits: ImageLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, asked = threading.Event(), []

    def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        over.wait(PATIENCE_SECONDS)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    other_server.answer = lambda handler: handler.reply(200, PNG)
    made = ImageDownloader(limits, threads=4)
    try:
        names = [f"http://h{number}.dead.example/a.jpg" for number in range(40)]
        posts = [begun(made, str(n), *names[n * 10 : n * 10 + 10]) for n in range(4)]
        good = completed([begun(made, "good", f"{other_server.url}/a.png")])[0]
        assert good.images[0].content == PNG
        for post in posts:
            assert all(image.transient for image in completed([post])[0].images)
        assert no_thread_is_busy(made)
        assert len(asked) < 20, "a domain's names are looked up as its hosts are asked"
    finally:
        over.set()
        made.close()


def test_names_under_way_are_bounded(limits: ImageLimits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.pictures.download, "_MAX_LOOKUPS", 3)
    over, asked = threading.Event(), []

    def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        over.wait(PATIENCE_SECONDS)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    made = ImageDownloader(limits, threads=8)
    try:
        urls = [f"http://www.d{number}.example/a.jpg" for number in range(8)]
        assert all(image.transient for image in completed([begun(made, "p", *urls)])[0].images)
        assert len(asked) == 3
    finally:
        over.set()
        made.close()


def test_a_name_server_that_answers_again_is_asked_again(
    server: Server, limits: ImageLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources.pictures.download, "_MAX_LOOKUPS", 1)
    answer_for(monkeypatch, {"a.example": ["127.0.0.1"], "b.example": ["127.0.0.1"]})
    server.answer = lambda handler: handler.reply(200, PNG)
    made = ImageDownloader(limits, threads=2)
    try:
        for name in ("a.example", "nobody.example", "b.example"):
            image = made.download(f"http://{name}:{server.port}/")
            assert (image.content == PNG) is (name != "nobody.example")
    finally:
        made.close()


@pytest.mark.parametrize("status", [429, 503])
def test_a_host_that_asks_for_an_hour_is_not_waited_for(
    server: Server, downloader: ImageDownloader, status: int
) -> None:
    server.answer = lambda handler: handler.reply(status, Retry_After="3600")
    first = downloader.download(f"{server.url}/1.jpg")
    assert str(status) in (first.problem or "")
    second = downloader.download(f"{server.url}/2.jpg")
    assert second.problem == sources.pictures.download._LEFT_ALONE
    assert first.transient
    assert second.transient
    assert server.paths == ["/1.jpg"]


def test_a_host_that_asks_for_a_second_gets_it(
    server: Server, downloader: ImageDownloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer = lambda handler: (
        handler.reply(429, Retry_After="1") if len(server.seen) == 1 else handler.reply(200, PNG)
    )
    assert downloader.download(server.url).content == PNG
    assert len(server.seen) == 2


def test_a_picture_that_needs_longer_than_its_first_try_comes(
    server: Server, downloader: ImageDownloader
) -> None:
    def answer(handler: Handler) -> None:
        if len(server.seen) == 1:
            server.ended.wait(5)
        handler.reply(200, PNG)

    server.answer = answer
    assert downloader.download(server.url).content == PNG


def test_a_redirect_to_a_host_that_hangs_does_not_hang_its_own(
    server: Server, other_server: Server, downloader: ImageDownloader
) -> None:
    def answer(handler: Handler) -> None:
        if handler.path == "/good":
            handler.reply(200, PNG)
        else:
            handler.reply(302, Location=f"{other_server.url}/hangs")

    server.answer, other_server.answer = answer, silence
    for number in range(4):
        assert downloader.download(f"{server.url}/{number}").problem is not None
    assert downloader.download(f"{server.url}/good").content == PNG


def test_what_came_in_time_is_there_and_what_did_not_is_named(
    server: Server, other_server: Server, downloader: ImageDownloader
) -> None:
    server.answer, other_server.answer = silence, lambda handler: handler.reply(200, PNG)
    post = begun(downloader, "1", f"{other_server.url}/a.png", f"{server.url}/b.png")
    fetched = completed([post])[0]
    assert [image.content for image in fetched.images] == [PNG, None]
    assert problems(fetched) == {None, NOT_IN_TIME}


def test_a_post_without_pictures_is_there_at_once(
    server: Server, downloader: ImageDownloader
) -> None:
    server.answer = silence
    posts = downloader.begin([Post("1", "words"), Post("2", "", (f"{server.url}/a.jpg",))])
    assert posts[0] == FetchedPost(Post("1", "words"))
    assert isinstance(posts[1], AwaitedPost)
    assert not posts[1].is_over()


def test_many_names_at_one_address_are_given_up_together(
    server: Server, limits: ImageLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"www.d{number}.example" for number in range(30)]
    answer_for(monkeypatch, {name: ["127.0.0.1"] * 9 for name in names})
    server.answer = silence
    made = ImageDownloader(limits, threads=8)
    try:
        urls = [f"http://{name}:{server.port}/a.jpg" for name in names]
        posts = [begun(made, str(n), *urls[n * 10 : n * 10 + 10]) for n in range(3)]
        for post in posts:
            assert all(image.transient for image in completed([post])[0].images)
        assert no_thread_is_busy(made)
    finally:
        made.close()
    # Some are asked twice, so requests are no measure of it.
    asked = {seen.headers["host"] for seen in server.seen}
    assert len(asked) < len(names), "not every name of that address was asked"


def test_pictures_of_one_post_share_its_time_however_many_hosts_they_are_on(
    limits: ImageLimits,
) -> None:
    # Each its own port and so its own host: neither a share nor a closed host makes it quick.
    with ExitStack() as stack:
        urls = []
        for _ in range(60):
            host = Deaf(8)
            stack.callback(host.close)
            urls.append(f"http://127.0.0.1:{host.port}/a.jpg")
        made = ImageDownloader(dataclasses.replace(limits, max_images=60), threads=4)
        try:
            fetched = completed([begun(made, "1", *urls)])[0]
            assert len(fetched.images) == 60
            assert all(image.transient for image in fetched.images)
            assert no_thread_is_busy(made)
        finally:
            made.close()
