"""Addresses that a stranger may and may not send the worker to."""

from __future__ import annotations

import socket
import threading
from ipaddress import ip_address, ip_network

import pytest

from sources.net.addresses import NameLookupError, is_public, is_within, resolve

REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "2a00:1450::5efe:10.0.0.1",
    "2a00:1450::200:5efe:8.8.8.8",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "192.0.1.1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
]


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert is_public(ip_address(address))


def test_an_allowed_network_holds_an_address_in_every_form() -> None:
    networks = (ip_network("10.0.0.0/8"),)
    assert is_within(ip_address("10.1.2.3"), networks)
    assert is_within(ip_address("::ffff:10.1.2.3"), networks)
    assert is_within(ip_address("64:ff9b::10.1.2.3"), networks)
    assert not is_within(ip_address("11.1.2.3"), networks)


def test_a_name_server_that_is_silent_does_not_hold_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = threading.Event()

    def silent(*_: object, **__: object) -> list[object]:
        ended.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    with pytest.raises(NameLookupError, match="did not answer in time") as raised:
        resolve("slow.example", 80, seconds=0.05)
    ended.set()
    assert raised.value.transient


@pytest.mark.parametrize(
    ("code", "transient"), [(socket.EAI_AGAIN, True), (socket.EAI_NONAME, False)]
)
def test_a_name_that_is_not_known_is_tried_again_only_where_the_name_server_was_away(
    monkeypatch: pytest.MonkeyPatch, code: int, transient: bool
) -> None:
    def failing(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(code, "no")

    monkeypatch.setattr(socket, "getaddrinfo", failing)
    with pytest.raises(NameLookupError) as raised:
        resolve("gone.example", 80, seconds=5)
    assert raised.value.transient is transient


def test_a_name_that_no_host_can_have_is_not_known() -> None:
    with pytest.raises(NameLookupError):
        resolve("a" * 70 + ".example", 80, seconds=5)
