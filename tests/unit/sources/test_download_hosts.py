"""Which hosts images come from: none that is private, and none that another certificate names."""

from __future__ import annotations

import dataclasses
import socket
import ssl
from ipaddress import ip_network
from pathlib import Path

import pytest
import trustme

from sources.pictures.allowed import ImageLimits
from tests.unit.sources.downloads import answer_for, downloaded
from tests.unit.sources.source_server import LOOPBACK, PNG, Server, serving


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("data:image/png;base64,iVBORw0KGgo=", "does not begin with http"),
        ("file:///etc/passwd", "does not begin with http"),
        ("ftp://example.com/a.png", "does not begin with http"),
        ("a.png", "does not begin with http"),
        ("", "does not begin with http"),
        ("http://", "not a valid URL"),
        ("http://[::1", "cannot be used"),
        ("http://example.com:99999/", "cannot be used"),
        ("http://" + "a" * 9000, "longer than 8192"),
        ("http://user:secret@example.com/a.png", "user name or password"),
        ("http://exa mple.com/a.png", "cannot be used"),
        ("http://\x00/", "cannot be used"),
        ("http://\ud800.example/", "cannot be used"),
    ],
)
def test_an_address_that_is_no_web_address_is_refused_in_words(url: str, words: str) -> None:
    image = downloaded(url, ImageLimits())
    assert image.content is None
    assert words in (image.problem or "")
    assert not image.transient


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "127.0.0.1.",
        "1\u2082\u20677.0.0.1".replace("\u2067", ""),
    ],
)
def test_every_spelling_of_a_private_address_is_refused(server: Server, host: str) -> None:
    image = downloaded(f"http://{host}/latest/meta-data", ImageLimits())
    assert image.content is None
    assert image.problem is not None
    assert server.seen == []


@pytest.mark.parametrize("host", ["127.0.0.3", "[::1]", "169.254.169.254", "10.0.0.1"])
def test_a_redirect_into_a_private_network_is_refused(server: Server, host: str) -> None:
    inside = ImageLimits(allowed_networks=(ip_network("127.0.0.1/32"),))
    server.answer = lambda handler: handler.reply(302, Location=f"http://{host}/secret")
    redirected = downloaded(f"{server.url}/a.png", inside)
    assert "private network" in (redirected.problem or "")
    assert len(server.seen) == 1


def test_a_name_that_changes_its_address_after_the_check_is_looked_up_once(
    server: Server, monkeypatch: pytest.MonkeyPatch, limits: ImageLimits
) -> None:
    # 127.0.0.1 stands for the address that is allowed, 127.6.6.6 for the one that is not.
    asked = answer_for(monkeypatch, {"rebinding.example": ["127.0.0.1", "127.6.6.6"]})
    server.answer = lambda handler: handler.reply(200, PNG)
    narrow = dataclasses.replace(limits, allowed_networks=(ip_network("127.0.0.1/32"),))
    image = downloaded(f"http://rebinding.example:{server.port}/a.png", narrow)
    assert image.content == PNG
    assert asked == ["rebinding.example"]
    assert server.seen[0].headers["host"] == f"rebinding.example:{server.port}"


def test_one_private_address_among_public_ones_refuses_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer_for(monkeypatch, {"mixed.example": ["8.8.8.8 10.0.0.1"]})
    assert "private network" in (downloaded("http://mixed.example/", ImageLimits()).problem or "")


def test_a_checked_address_that_refuses_is_followed_by_the_next(
    server: Server, monkeypatch: pytest.MonkeyPatch, limits: ImageLimits
) -> None:
    # The server listens on IPv4 only.
    answer_for(monkeypatch, {"two.example": ["::1 127.0.0.1"]})
    server.answer = lambda handler: handler.reply(200, PNG)
    both = dataclasses.replace(limits, allowed_networks=(*LOOPBACK, ip_network("::1/128")))
    assert downloaded(f"http://two.example:{server.port}/", both).content == PNG


def test_a_port_other_than_the_webs_is_refused_outside_allowed_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer_for(monkeypatch, {"public.example": ["8.8.8.8"]})
    image = downloaded("http://public.example:6379/", ImageLimits())
    assert "uses port 6379" in (image.problem or "")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("img.example.com", True),
        ("IMG.Example.com", True),
        ("a.cdn.example.net", True),
        ("cdn.example.net", False),
        ("evilcdn.example.net", False),
        ("img.example.com.evil.example", False),
    ],
)
def test_only_listed_hosts_are_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch, limits: ImageLimits, host: str, allowed: bool
) -> None:
    answer_for(monkeypatch, {host.lower(): ["127.0.0.1"]})
    server.answer = lambda handler: handler.reply(200, PNG)
    listed = dataclasses.replace(limits, hosts=("img.example.com", "*.cdn.example.net"))
    image = downloaded(f"http://{host}:{server.port}/", listed)
    assert (image.content == PNG) is allowed
    assert allowed or "not one of the allowed hosts" in (image.problem or "")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Signs the certificates of this module."""
    return trustme.CA()


@pytest.mark.parametrize(
    ("host", "trusted"), [("img.example", True), ("other.example", True), ("img.example", False)]
)
def test_tls_verifies_the_name_while_the_address_is_pinned(
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    trusted: bool,
) -> None:
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("img.example").configure_cert(context)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    if trusted:
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    asked = answer_for(monkeypatch, {host: ["127.0.0.1", "127.6.6.6"]})

    def wrap(plain: socket.socket) -> socket.socket:
        return context.wrap_socket(plain, server_side=True)

    with serving(wrap) as server:
        server.answer = lambda handler: handler.reply(200, PNG)
        image = downloaded(f"https://{host}:{server.port}/", ImageLimits(allowed_networks=LOOPBACK))
    assert asked == [host]
    assert names[0] == host
    if host == "img.example" and trusted:
        assert image.content == PNG
        assert server.seen[0].headers["host"] == f"img.example:{server.port}"
    else:
        assert "no valid certificate" in (image.problem or "")
        assert server.seen == []


def test_a_tls_handshake_that_never_ends_is_given_up(limits: ImageLimits) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        quick = dataclasses.replace(limits, timeout_seconds=0.2)
        image = downloaded(f"https://127.0.0.1:{silent.getsockname()[1]}/", quick)
    assert "in time" in (image.problem or "")
    assert image.transient
