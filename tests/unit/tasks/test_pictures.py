"""Posts whose pictures are on their way: in a slot, and out of every slot's way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

import tasks.moderate.aside
import tasks.moderate.pictures
from sources.pictures.allowed import ImageLimits
from sources.pictures.awaited import NOT_IN_TIME, AwaitedPost
from sources.pictures.download import ImageDownloader
from sources.post import Post
from tasks.intake.chunks import Chunk, Entry
from tasks.moderate.aside import Aside, Held
from tasks.moderate.pictures import gathered
from tasks.moderate.stages import Asked, Awaited, Fetched
from tests.unit.sources.source_server import LOOPBACK, PNG, Handler, Server, serving

PATIENCE_SECONDS = 30.0


@dataclass
class Host:
    """Serves pictures; those below /later only when a test lets it."""

    server: Server
    downloader: ImageDownloader
    open: threading.Event = field(default_factory=threading.Event)

    def answer(self, handler: Handler) -> None:
        if handler.path.startswith("/later"):
            while not (self.open.is_set() or self.server.ended.wait(0.01)):
                pass
        handler.reply(200, PNG)

    def posts(self, *paths: str) -> list[Awaited]:
        """One post for each path."""
        posts = [Post(str(n), "", (f"{self.server.url}/{path}",)) for n, path in enumerate(paths)]
        awaited = []
        for begun in self.downloader.begin(posts):
            assert isinstance(begun, AwaitedPost)
            awaited.append(waiting(begun))
        return awaited


def waiting(post: AwaitedPost) -> Awaited:
    return Awaited(Asked(Entry(f"n{post.post.id}".encode(), 0), post.post.id), post)


@pytest.fixture
def host() -> Iterator[Host]:
    limits = ImageLimits(allowed_networks=LOOPBACK, timeout_seconds=60.0)
    with serving() as server:
        made = Host(server, ImageDownloader(limits, threads=8))
        server.answer = made.answer
        yield made
        made.open.set()
        made.downloader.close()


def complete(awaited: Awaited) -> None:
    """Return when the post's pictures are there."""
    came = threading.Event()
    awaited.post.batch.tell(came.set)
    while not awaited.post.is_complete():
        assert came.wait(PATIENCE_SECONDS)
        came.clear()


def ids(posts: Sequence[Awaited | Fetched]) -> list[str]:
    return [each.asked.post_id for each in posts]


def contents(fetched: Fetched) -> list[bytes | None]:
    return [image.content for image in fetched.post.images]


def test_pictures_that_come_are_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUIET_SECONDS", "SLOT_SECONDS"):  # on a busy machine too
        monkeypatch.setattr(tasks.moderate.pictures, name, PATIENCE_SECONDS)
    posts = host.posts(*(f"{n}.png" for n in range(12)))
    came, rest = gathered(posts, {}, others=False, may_put_aside=True)
    assert (ids(came), rest) == (ids(posts), [])
    assert all(contents(each) == [PNG] for each in came)


def test_a_strangers_picture_is_not_waited_for_where_others_could_be_judged(host: Host) -> None:
    posts = host.posts("later.png")
    assert gathered(posts, {}, others=True, may_put_aside=True) == ([], posts)


def test_posts_whose_pictures_came_do_not_wait_for_those_whose_did_not(host: Host) -> None:
    posts = host.posts("a.png", "later.png", "b.png")
    for each in (posts[0], posts[2]):
        complete(each)
    came, rest = gathered(posts, {}, others=False, may_put_aside=True)
    assert ids(came) == ["0", "2"]
    assert ids(rest) == ["1"]


def test_posts_that_wait_in_vain_leave_the_slot(host: Host) -> None:
    posts = host.posts("later.png", "later2.png")
    assert gathered(posts, {}, others=False, may_put_aside=True) == ([], posts)


def test_where_nothing_can_be_put_aside_posts_are_judged_by_what_came(host: Host) -> None:
    posts = host.posts("later.png")
    (fetched,), rest = gathered(posts, {}, others=False, may_put_aside=False)
    assert (ids([fetched]), rest) == (ids(posts), [])
    assert [image.problem for image in fetched.post.images] == [NOT_IN_TIME]
    assert fetched.may_get_pictures


class Desk:
    """What an `Aside` had judged."""

    def __init__(self, *, goes_on: bool = True, max_bytes: int = 10**9) -> None:
        self.waves: list[list[str]] = []
        self.came: dict[str, list[bytes | None]] = {}
        self._goes_on = goes_on
        self._news = threading.Condition()
        self.aside = Aside(self._judge, max_bytes=max_bytes, threads=2)

    def _judge(self, held: Held, wave: list[Fetched]) -> bool:
        with self._news:
            self.came |= {post.asked.post_id: contents(post) for post in wave}
            self.waves.append(ids(wave))
            self._news.notify_all()
        return self._goes_on

    def judged(self) -> list[str]:
        return sorted(post_id for wave in self.waves for post_id in wave)

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(condition, PATIENCE_SECONDS), self.waves


def chunk(posts: list[Awaited], name: str = "c") -> Chunk:
    return Chunk(name, "me", 0, tuple(each.asked.entry for each in posts))


def test_posts_put_aside_are_judged_as_their_pictures_come(host: Host) -> None:
    desk = Desk()
    posts = host.posts("now.png", "later.png", "later2.png")
    assert desk.aside.hold(chunk(posts), posts)
    desk.wait(lambda: desk.waves == [["0"]])
    assert desk.aside.posts == 2
    host.open.set()
    desk.wait(lambda: desk.judged() == ["0", "1", "2"])
    assert desk.came["2"] == [PNG]
    assert desk.aside.close() == []


def test_posts_whose_time_is_up_are_judged_by_what_is_there(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.moderate.aside, "POST_SECONDS", 0.2)
    monkeypatch.setattr("sources.pictures.download.POST_SECONDS", 0.2)
    desk = Desk()
    posts = host.posts("later.png")
    desk.aside.hold(chunk(posts), posts)
    desk.wait(lambda: desk.waves == [["0"]])
    assert desk.came["0"] == [None]
    assert desk.aside.close() == []


def test_chunks_are_judged_apart_and_one_that_was_lost_is_dropped(host: Host) -> None:
    desk = Desk(goes_on=False)
    first, second = host.posts("a.png", "later.png"), host.posts("later2.png")
    desk.aside.hold(chunk(first, "first"), first)
    desk.aside.hold(chunk(second, "second"), second)
    desk.wait(lambda: desk.waves == [["0"]])
    desk.wait(lambda: desk.aside.posts == 1)
    assert [each.id for each in desk.aside.close()] == ["second"]


def test_what_still_waits_is_handed_back_at_the_end_and_nothing_more_taken(host: Host) -> None:
    desk = Desk()
    posts = host.posts("later.png")
    desk.aside.hold(chunk(posts), posts)
    assert [each.id for each in desk.aside.close()] == ["c"]
    assert not desk.aside.hold(chunk(posts), posts)
    assert not desk.aside.has_room()
    assert desk.waves == []


def test_there_is_room_for_so_many_posts(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.moderate.aside, "MOST_POSTS", 2)
    desk = Desk()
    posts = host.posts("later.png", "later2.png")
    assert desk.aside.has_room()
    desk.aside.hold(chunk(posts), posts)
    assert not desk.aside.has_room()
    host.open.set()
    desk.wait(lambda: desk.judged() == ["0", "1"])
    desk.aside.close()


def test_there_is_room_for_so_many_bytes_of_pictures(host: Host) -> None:
    desk = Desk(max_bytes=len(PNG))
    (post,) = host.downloader.begin(
        [Post("1", "", (f"{host.server.url}/a.png", f"{host.server.url}/later.png"))]
    )
    assert isinstance(post, AwaitedPost)
    came = threading.Event()
    post.batch.tell(came.set)
    while post.size() < len(PNG):
        assert came.wait(PATIENCE_SECONDS)
    posts = [waiting(post)]
    desk.aside.hold(chunk(posts), posts)
    assert not desk.aside.has_room()
    desk.aside.close()
