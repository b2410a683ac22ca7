"""Image addresses and redirects that lead where they should not. Nothing leaves this machine."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from ipaddress import ip_network
from urllib.parse import quote

import pytest

from sources.pictures.allowed import ImageLimits
from sources.pictures.download import ImageDownloader
from tests.unit.sources.downloads import answer_for, downloaded
from tests.unit.sources.source_server import PNG, Handler, Server, serving

ONE = ImageLimits(allowed_networks=(ip_network("127.0.0.1/32"),), timeout_seconds=5)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


SPELLINGS = [
    "127.0.0.2",
    "127.0.2",
    "127.2",
    "2130706434",
    "017700000002",
    "0177.0.0.2",
    "0x7f000002",
    "0x7F.0x0.0x0.0x2",
    "0x7f.0.0.02",
    "00000177.00.00.02",
    "127.0.0.2.",
    "%31%32%37.0.0.2",
    "127%2e0%2e0%2e2",
    "１２７.０.０.２",
    "127。0。0。2",
    "127．0．0．2",
    "①②⑦.⓪.⓪.②",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟐",
    "0",
    "0.0.0.0",
    "[::]",
    "[::1]",
    "[::127.0.0.2]",
    "[::ffff:127.0.0.2]",
    "[::ffff:7f00:2]",
    "[0:0:0:0:0:ffff:7f00:0002]",
    "[64:ff9b::127.0.0.2]",
    "[2002:7f00:2::]",
    "[2001:0:7f00:2::1]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[fe80::1%lo]",
    "[::1%251]",
    "[2a00::5efe:127.0.0.2]",
    "ip6-localhost",
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_an_address_inside_is_connected_to(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, to: connected.append(to))
    image = downloaded(f"http://{host}/latest/meta-data", ONE)
    assert image.content is None
    assert image.problem
    assert connected == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}@evil.example/",
        "http://evil.example@127.0.0.1:{port}/",
        "http://:@127.0.0.1:{port}/",
        "http://evil.example\\@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}%2f@evil.example/",
        "http:127.0.0.1:{port}/",
        "http:/127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "\x00http://127.0.0.1:{port}/",
        "gopher://127.0.0.1:{port}/_GET%20/",
        "unix:///var/run/docker.sock",
        "jar:http://127.0.0.1:{port}/!/",
        "javascript:alert(1)",
        "view-source:http://127.0.0.1:{port}/",
    ],
)
def test_an_address_that_two_readers_would_read_differently_is_not_asked(
    server: Server, url: str
) -> None:
    image = downloaded(url.format(port=server.port), ONE)
    assert image.content is None
    assert image.problem
    assert server.seen == []


@pytest.mark.parametrize(
    "path", ["/a\r\nX-Evil: 1\r\n\r\n", "/%0d%0aX-Evil:%201", "/a b\tc", "/ü/\u202e", "/a#frag"]
)
def test_nothing_in_a_path_becomes_a_header(server: Server, path: str) -> None:
    server.answer = lambda handler: handler.reply(200, PNG)
    downloaded(f"{server.url}{path}", ONE)
    for seen in server.seen:
        assert set(seen.headers) == {"host", "user-agent", "accept", "accept-encoding"}
        assert seen.path.isascii()
        assert " " not in seen.path


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("file:///etc/passwd", "does not begin with http"),
        ("ftp://127.0.0.1/", "does not begin with http"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "does not begin with http"),
        ("data:image/png;base64,AAAA", "does not begin with http"),
        ("http://user:secret@127.0.0.1/", "user name or password"),
        ("//127.0.0.2/", "private network"),
        ("http://127.0.0.2/", "private network"),
        ("http://[::ffff:127.0.0.2]/", "private network"),
        ("http://2130706434/", "private network"),
        ("http://[::1/", "an invalid address"),
        ("http://inside.example/", "private network"),
        ("http://outside.example:22/", "uses port 22"),
        ("http://" + "a" * 9000, "longer than 8192"),
    ],
)
def test_a_redirect_is_checked_as_the_first_address_was(
    server: Server, monkeypatch: pytest.MonkeyPatch, location: str, words: str
) -> None:
    names = {"inside.example": ["10.0.0.1"], "outside.example": ["8.8.8.8"]}
    real = socket.getaddrinfo
    answer_for(monkeypatch, names)
    table = socket.getaddrinfo

    def look_up(host: str, port: int, **more: object) -> object:
        return (table if host in names else real)(host, port, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    server.answer = lambda handler: handler.reply(302, Location=location)
    image = downloaded(f"{server.url}/a.png", ONE)
    assert words in (image.problem or "")
    assert len(server.seen) == 1


def test_a_redirect_that_leads_to_itself_ends(server: Server) -> None:
    server.answer = lambda handler: handler.reply(307, Location=handler.path)
    image = downloaded(f"{server.url}/loop", ONE)
    assert image.problem == f"the image was redirected more than {ONE.max_redirects} times"
    assert len(server.seen) == ONE.max_redirects + 1


def test_a_redirect_to_a_host_that_is_not_listed_is_not_followed(server: Server) -> None:
    listed = dataclasses.replace(ONE, hosts=("127.0.0.1",))
    server.answer = lambda handler: handler.reply(301, Location=f"http://localhost:{server.port}/b")
    assert "not one of the allowed hosts" in (downloaded(f"{server.url}/a", listed).problem or "")
    assert server.paths == ["/a"]


def test_every_hop_is_looked_up_once_and_its_own_answer_is_used(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each name would lead inside when asked a second time.
    names = {name: ["127.0.0.1", "10.0.0.1"] for name in ("a.example", "b.example", "c.example")}
    asked = answer_for(monkeypatch, names)

    def answer(handler: Handler) -> None:
        host = handler.headers["Host"].partition(".")[0]
        if host == "c":
            handler.reply(200, PNG)
        else:
            handler.reply(302, Location=f"http://{chr(ord(host) + 1)}.example:{server.port}/")

    server.answer = answer
    assert downloaded(f"http://a.example:{server.port}/", ONE).content == PNG
    assert asked == ["a.example", "b.example", "c.example"]


def test_a_name_that_now_leads_inside_is_refused_though_its_connection_is_still_open(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_for(monkeypatch, {"a.example": ["127.0.0.1", "127.0.0.2"]})
    server.answer = lambda handler: handler.reply(200, PNG)
    made = ImageDownloader(ONE, threads=1)
    try:
        assert made.download(f"http://a.example:{server.port}/1").content == PNG
        assert "private network" in (
            made.download(f"http://a.example:{server.port}/2").problem or ""
        )
    finally:
        made.close()
    assert server.paths == ["/1"]


def test_nothing_that_one_host_gave_is_sent_to_another(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_for(monkeypatch, {"a.example": ["127.0.0.1"], "b.example": ["127.0.0.1"]})
    monkeypatch.setenv("http_proxy", "http://proxyuser:proxypass@127.0.0.1:1")

    def answer(handler: Handler) -> None:
        if handler.path == "/1":
            handler.reply(
                302, Location=f"http://b.example:{server.port}/2", Set_Cookie="s=1; Domain=example"
            )
        else:
            handler.reply(200, PNG)

    server.answer = answer
    assert downloaded(f"http://a.example:{server.port}/1", ONE).content == PNG
    for seen in server.seen:
        assert set(seen.headers) == {"host", "user-agent", "accept", "accept-encoding"}
    assert [seen.headers["host"][0] for seen in server.seen] == ["a", "b"]


@pytest.mark.parametrize(
    ("allowed", "address", "opened"),
    [
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.0.0/16", "10.2.0.1", False),
        ("10.1.0.0/16", "169.254.169.254", False),
        ("10.1.0.0/16", "127.0.0.1", False),
        ("10.1.0.0/16", "::1", False),
        ("10.1.0.0/16", "::ffff:10.1.2.3", True),
        ("10.1.0.0/16", "::ffff:10.2.0.1", False),
        ("10.1.0.0/16", "2002:a01:203::", False),
        ("fd00:1::/32", "fd00:1::5", True),
        ("fd00:1::/32", "fd00:2::5", False),
        ("fd00:1::/32", "10.1.2.3", False),
    ],
)
def test_only_the_named_networks_are_opened(
    monkeypatch: pytest.MonkeyPatch, allowed: str, address: str, opened: bool
) -> None:
    tried: list[str] = []

    def connect(_: object, to: tuple[str, int]) -> None:
        tried.append(to[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    answer_for(monkeypatch, {"named.example": [address]})
    image = downloaded(
        "http://named.example/", ImageLimits(allowed_networks=(ip_network(allowed),))
    )
    assert image.content is None
    assert bool(tried) is opened
    assert ("private network" in (image.problem or "")) is not opened
    assert address not in (image.problem or "")  # it would tell a stranger about the network


def test_the_address_of_an_image_is_shown_quoted_or_not_at_all() -> None:
    evil = "http://\x1b[31m\n\u202e<script>.example/"
    image = downloaded(evil, ImageLimits())
    assert image.problem
    assert image.problem.isprintable()
    assert quote("<script>") not in image.problem
