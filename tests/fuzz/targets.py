"""What is fuzzed: each target takes any bytes, and fails where a promise about them is broken.

The same functions run in three places: under a fuzzer (`make fuzz`), over the kept corpus in the
tests, and over random bytes there.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import tempfile
import threading
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC
from ipaddress import ip_address
from urllib.parse import urlsplit

from deadpan.core.errors import ImageError
from deadpan.core.post_fields import (
    MAX_AUTHOR_CHARACTERS,
    MAX_LISTED_IMAGES,
    MAX_TEXT_CHARACTERS,
    WrongFieldError,
)
from models.posts.images import PictureFile
from models.posts.normal_form import letters
from models.posts.normal_form.normalise import MAX_CHARACTERS, normalise_text, trace_text
from sources.answer import read_answer
from sources.files import FileSource
from sources.mapping import PostMapping, post_of
from sources.net.addresses import is_public, unwrapped
from sources.net.connection import TransferError
from sources.net.transport import Transport, read_body, retry_after_seconds
from sources.pictures.allowed import ImageLimits, RefusalError, checked_url
from sources.post import FetchedPost, Post
from storage.base.text import clean_json, clean_text, post_id_problem, printed_post_id
from tasks.intake.post_ids import id_problem, printable

MAX_PIXELS = 250_000
_MAPPINGS = (
    PostMapping(),
    PostMapping(posts="", text="body.0", images="media.*.url", author="by.name"),
)


def picture(data: bytes) -> None:
    """A picture is decoded to the right shape, or is an ImageError in words."""
    try:
        squares, thumbnail, _ = PictureFile(data, MAX_PIXELS, 32).decode()
    except ImageError as error:
        assert 10 < len(str(error)) < 500
        assert str(error).isprintable()
        return
    assert {square.shape for square in squares} == {(32, 32, 3)}
    assert thumbnail is None or max(thumbnail.shape[:2]) <= 512


def posts(data: bytes) -> None:
    """An HTTP source's answer becomes posts that fit the tables and the model, or is refused."""
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        return
    for mapping in _MAPPINGS:
        found = read_answer(answer, mapping, {"1"})
        for post_id, value in found.posts if found else ():
            if post_id is None:
                continue
            with contextlib.suppress(WrongFieldError):
                _fits(post_of(post_id, value, mapping, base_url="http://platform.example/posts"))
    with contextlib.suppress(RecursionError):
        json.dumps(clean_json(answer)).encode("ascii")


def _fits(post: Post) -> None:
    assert isinstance(post.id, str)
    assert post.id
    assert len(post.text) <= MAX_TEXT_CHARACTERS
    assert len(post.images) <= MAX_LISTED_IMAGES
    assert all(isinstance(image, str) for image in post.images)
    assert post.author is None or len(post.author) <= MAX_AUTHOR_CHARACTERS
    assert post.created_at is None or post.created_at.utcoffset() == UTC.utcoffset(None)
    text(post.text[:5000].encode("utf-8", "surrogatepass"))


def file(data: bytes) -> None:
    """A JSONL file gives one result for every id, and no byte from outside its folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "posts.jsonl")
        with open(path, "wb") as made:
            made.write(data)
        # no host is allowed, so nothing is downloaded
        source = FileSource(path, limits=ImageLimits(hosts=("none.invalid",)), threads=1)
        try:
            wanted = [*list(source._index.lines)[:5], "1", "no such post"]
            found = source.fetch(wanted)
        finally:
            source.close()
        assert set(found) == set(wanted)
        for result in found.values():
            if isinstance(result, FetchedPost):
                for image in result.images:
                    assert (image.content is None) == (image.problem is not None)
                    assert image.content in (None, data)


def url(data: bytes) -> None:
    """An image address is refused, or leads to the host that every reader of it would name."""
    # The first byte says how: as UTF-8 or as it is, and with or without the usual beginning.
    given = "http://" if data[:1] and data[0] & 0x40 else ""
    given += data[1:].decode("latin-1" if data[:1] < b"\x80" else "utf-8", "surrogateescape")
    try:
        checked = checked_url(given, ImageLimits())
    except RefusalError as error:
        assert str(error)
        return
    parts = urlsplit(checked)
    assert parts.scheme in ("http", "https")
    assert parts.hostname
    assert parts.username is None
    assert parts.password is None
    assert checked.isascii()
    assert checked.isprintable()
    assert not set(checked) & set(' "<>\\^`{|}\n\r\t'), checked
    again = urlsplit(checked_url(checked, ImageLimits()))  # it leads there when read again
    assert (again.scheme, again.hostname, again.port) == (parts.scheme, parts.hostname, parts.port)
    assert parts.port is None or 1 <= parts.port <= 65535


def address(data: bytes) -> None:
    """No spelling of an address inside counts as public, and what is public has a public core."""
    with contextlib.suppress(ValueError):
        found = ip_address(data) if len(data) in (4, 16) else ip_address(data.decode("latin-1"))
        if is_public(found):
            core = unwrapped(found)
            assert core.is_global
            assert not any([core.is_private, core.is_multicast, core.is_loopback])
            assert not any([core.is_link_local, core.is_reserved, core.is_unspecified])


def answer(data: bytes) -> None:
    """Whatever a host answers, it is a body of bounded size or a TransferError in words."""
    server = _server()
    server.says = data
    try:
        with _transport().request("GET", server.url, seconds=2.0, headers={}) as response:
            assert len(read_body(response, 5000)) <= 5000
            wait = retry_after_seconds(response)
            assert wait is None or 0 <= wait <= 3600
    except TransferError as error:
        assert str(error)


def text(data: bytes) -> None:
    """Any text is made fit for the model, the databases and a log; nothing else comes through."""
    given = data.decode("utf-8", "surrogatepass" if data[:1] < b"\x80" else "surrogateescape")
    normal = normalise_text(given)
    assert len(normal) <= MAX_CHARACTERS
    normal.encode("utf-8")
    assert "\0" not in normal
    assert "\n" not in normal
    for limit in (20, 10_000):
        clean = clean_text(given, limit)
        assert len(clean) <= limit
        clean.encode("utf-8")
        assert "\0" not in clean
    shown = printed_post_id(given)
    assert len(shown.encode("utf-8")) <= 2704
    assert "\0" not in shown
    assert printable(data).isprintable()
    if id_problem(data) is None:
        assert post_id_problem(data.decode()) is None
        assert printed_post_id(data.decode()) == data.decode()


def words(data: bytes) -> None:
    """No letter of a text is lost: each is read, or is part of what was replaced as a whole: a
    name, a link, a mark of HTML, the sign of a retweet, a character that was spelt out. Names and
    links hold nothing else."""
    given = data.decode("utf-8", "surrogatepass")
    traced = trace_text(given)
    assert traced.text == normalise_text(given)
    assert len(traced.text) == len(traced.starts) == len(traced.ends)
    assert traced.starts == sorted(traced.starts)
    shown = given[:MAX_CHARACTERS]
    if len(traced.text) == MAX_CHARACTERS or len(given) > MAX_CHARACTERS:
        return  # its end is cut off
    lost = set(range(len(shown)))
    for start, end in zip(traced.starts, traced.ends, strict=True):
        assert 0 <= start < end <= len(shown) or start == end
        lost.difference_update(range(start, end))
    for start, end, kind in traced.replaced:
        assert kind in ("name", "link", "markup", "retweet", "spelling")
        lost.difference_update(range(start, end))
        if kind in ("name", "link") and normalise_text(shown[start:end]) not in ("@user", "http"):
            # nothing but Latin letters and what looks like one (a host may have others)
            others = {c for c in shown[start:end] if unicodedata.category(c) == "Lo"}
            assert not {c for c in others - letters._tables().loose.keys() if not _is_latin(c)}
    assert not {shown[at] for at in lost if shown[at].isalpha()} - _BLANKS


def _is_latin(character: str) -> bool:
    return "LATIN" in unicodedata.name(character, "")


_BLANKS = set("\u115f\u1160\u3164\uffa0")
"""Letters by category, and spaces to the eye."""


def _suppressing_undecodable(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    @functools.wraps(target)
    def run(data: bytes) -> None:
        with contextlib.suppress(UnicodeDecodeError):  # no string has these bytes
            target(data)

    return run


TARGETS: dict[str, Callable[[bytes], None]] = {
    "picture": picture,
    "posts": posts,
    "file": file,
    "url": url,
    "address": address,
    "answer": answer,
    "text": _suppressing_undecodable(text),
    "words": _suppressing_undecodable(words),
}


@functools.cache
def _transport() -> Transport:
    return Transport(connections=1)


class _Server:
    """Says the same bytes to whoever connects, and hangs up."""

    def __init__(self) -> None:
        self.says = b""
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        for client in self._clients():
            with client, contextlib.suppress(OSError):
                client.recv(4096)
                client.sendall(self.says)
                client.shutdown(socket.SHUT_WR)

    def _clients(self) -> Iterator[socket.socket]:
        while True:
            yield self._socket.accept()[0]


@functools.cache
def _server() -> _Server:
    return _Server()
