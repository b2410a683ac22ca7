"""Which addresses on the network an image may be downloaded from.

A post's image URL is written by a stranger. Without a check it reaches the worker's own network:
a metadata service that hands out credentials, a database without a password, a neighbour's console.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Python's `is_global` differs between patch releases (CVE-2024-4032: before 3.11.10 it called
# 192.0.0.0/24 and 64:ff9b:1::/48 global), so what it may miss is listed here.
_REFUSED_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; holds the metadata service of one cloud
        "168.63.129.16/32",  # a public number, and yet the metadata service of another cloud
        "192.0.0.0/24",  # holds the metadata service of a third
        "192.88.99.0/24",  # 6to4 relays, deprecated by RFC 7526
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")  # all that IANA has handed out as global unicast
_REFUSED_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # special purposes; holds Teredo, a tunnel to any IPv4 address
        "2001:db8::/32",
        "2002::/16",  # 6to4, a tunnel to any IPv4 address, deprecated by RFC 7526
        "3fff::/20",
    )
)
_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_NUMBER = re.compile(r"0x[0-9a-f]{0,8}|[0-9]{1,12}")
_NAT64 = IPv6Network("64:ff9b::/96")
# ISATAP (RFC 5214, section 6.1): the second half of an address of any prefix that names an IPv4
# host behind that prefix's router; the universal bit may be set or not.
_ISATAP = 0x0000_5EFE
_ISATAP_BITS = 0xFDFF_FFFF


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv4-mapped or NAT64 address really leads to, else itself.

    NAT64 is unwrapped rather than refused: on a network that speaks only IPv6, it is how every
    IPv4 host looks (RFC 6052, RFC 6147).
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def is_within(address: Address, networks: Iterable[Network]) -> bool:
    """Whether an address, as written or unwrapped, lies in one of the networks."""
    forms = {address, unwrapped(address)}
    return any(
        form in network for network in networks for form in forms if form.version == network.version
    )


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, whatever form it is written in."""
    inner = unwrapped(address)
    if isinstance(inner, IPv4Address):
        return inner.is_global and not any(inner in network for network in _REFUSED_IPV4)
    return (
        inner.is_global
        and inner in _GLOBAL_IPV6
        and int(inner) >> 32 & _ISATAP_BITS != _ISATAP
        and not any(inner in network for network in _REFUSED_IPV6)
    )


def written_addresses(host: str) -> tuple[Address, ...]:
    """The addresses that a host is known to lead to without asking anybody: none for most names.

    Systems read more spellings than the usual one (`127.1`, `0x7f000001`, `2130706433`, octal
    parts), and `localhost` and what ends in `.localhost` is this machine (RFC 6761).

    Args:
        host: a name or an address, without brackets, as `sources.net.transport.canonical` gives it.
    """
    host = host.rstrip(".").lower()
    try:
        return (ip_address(host),)
    except ValueError:
        pass
    if host == "localhost" or host.endswith((".localhost", ".localdomain")):
        return _LOOPBACK
    parts = host.split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        return ()
    *first, last = (
        int(part[2:] or "0", 16) if part[:2] == "0x" else _octal(part) for part in parts
    )
    room = 256 ** (4 - len(first))
    if any(number > 255 for number in first) or last >= room:
        return ()
    value = last
    for place, number in enumerate(first):
        value += number << 8 * (3 - place)
    return (IPv4Address(value),)


def _octal(part: str) -> int:
    return int(part, 8) if part[0] == "0" and set(part) <= set("01234567") else int(part)


class NameLookupError(Exception):
    """A host name has no address.

    Args:
        transient: whether the name server may know it later.
    """

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


def resolve(
    host: str,
    port: int,
    *,
    seconds: float,
    lookups: threading.BoundedSemaphore | None = None,
) -> list[Address]:
    """Look a host name up, once.

    Args:
        host: a name or an address, without brackets.
        seconds: how long to wait.
        lookups: bounds how many names are looked up at once, those that nobody waits for among
            them.

    Returns:
        All addresses, each once, in the order the system prefers them.

    Raises:
        NameLookupError: there is none, or none in time.
    """
    try:
        return [ip_address(host)]
    except ValueError:
        pass
    found: Future[list[Address]] = Future()

    def look_up() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.set_result(list(dict.fromkeys(ip_address(str(at[4][0])) for at in entries)))
        except (OSError, UnicodeError, ValueError) as error:
            found.set_exception(error)
        finally:
            if lookups is not None:
                lookups.release()

    # getaddrinfo cannot be given a time limit, nor interrupted; it ends by itself after the
    # resolver's own (up to half a minute). A daemon thread waits for that instead of the caller.
    ends_at = time.monotonic() + seconds
    if lookups is not None and not lookups.acquire(timeout=max(0.0, seconds)):
        raise NameLookupError("too many names are being looked up", transient=True)
    threading.Thread(target=look_up, name="deadpan-lookup", daemon=True).start()
    try:
        addresses = found.result(max(0.0, ends_at - time.monotonic()))
    except TimeoutError:
        raise NameLookupError("the name server did not answer in time", transient=True) from None
    except (OSError, UnicodeError, ValueError) as error:
        again = isinstance(error, socket.gaierror) and error.errno in (
            socket.EAI_AGAIN,
            socket.EAI_SYSTEM,
        )
        raise NameLookupError("the host name is not known", transient=again) from None
    if not addresses:
        raise NameLookupError("the host name has no address", transient=False)
    return addresses
