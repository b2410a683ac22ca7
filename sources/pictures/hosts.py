"""What is known of the hosts that pictures come from: who answers, who hangs, who is left alone.

It is known by three names for each host, because an author may choose two of them freely: the host,
the domain it belongs to (a wildcard gives a domain any number of hosts), and the address it was
found at (any number of domains may lead to one). Kept in this process only, and only so many.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_address
from typing import Literal

from sources.net.addresses import Address

Standing = Literal["good", "unknown", "slow"]

FAILURES = {"host": 3, "domain": 6, "address": 6}
"""Pictures in a row that do not come before nobody is asked any more. A domain and an address have
more, for others may share them: any picture that comes from there begins the count anew."""

CLOSED_SECONDS = 30.0
"""For how long a host that does not answer is not asked; doubles each time."""

LONGEST_CLOSED_SECONDS = 300.0

ALONE_SECONDS = 30.0
"""For at most so long a host is left alone that asks for it (Retry-After)."""

PROBE_SECONDS = 10.0
"""For so long one picture decides whether a host answers again; the others are not asked for."""

MOST_NAMES = 10_000

Name = tuple[Literal["host", "domain", "address"], str]


@dataclass(slots=True)
class _Known:
    is_good: bool = False
    slow: int = 0
    failed: int = 0
    closed_until: float = 0.0
    closed_seconds: float = 0.0
    probed_until: float = 0.0


class Hosts:
    """Remembers how hosts answered. Safe to use from several threads.

    Args:
        closed: is told that a name is not asked any more, and for how many seconds.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        closed: Callable[[Name, float], None] = lambda name, seconds: None,
    ) -> None:
        self._clock = clock
        self._tell_closed = closed
        self._known: OrderedDict[Name, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def standing(self, names: Iterable[Name]) -> Standing:
        """`good` where the host's last picture came at once, `slow` where the last ones did not."""
        with self._lock:
            found: Standing = "unknown"
            for name in names:
                known = self._known.get(name)
                if known is None:
                    continue
                if known.slow >= (1 if name[0] == "host" else FAILURES[name[0]]):
                    return "slow"
                if name[0] == "host" and known.is_good:
                    found = "good"
            return found

    def is_closed(self, names: Iterable[Name], *, asks: bool = True) -> bool:
        """Whether the host is not asked now. Of those that ask after its time, one is let through:
        what it gets decides for all.

        Args:
            asks: whether the host is asked at once if it may be.
        """
        now = self._clock()
        with self._lock:
            closed = [k for k in map(self._known.get, names) if k is not None and k.closed_until]
            if any(now < max(k.closed_until, k.probed_until) for k in closed):
                return True
            for known in closed if asks else ():
                known.probed_until = now + PROBE_SECONDS
            return False

    def gave(self, names: Iterable[Name], *, quick: bool) -> None:
        """A host answered, be it with a 404; `quick`: with a picture, in its first try."""
        with self._lock:
            for name in names:
                known = self._of(name)
                known.failed = 0
                known.closed_until = known.closed_seconds = known.probed_until = 0.0
                if quick:
                    known.slow = 0
                    known.is_good = True

    def hung(self, names: Iterable[Name]) -> None:
        """A try was not over in its time; the picture may come yet."""
        with self._lock:
            for name in names:
                known = self._of(name)
                known.slow += 1
                known.is_good = False

    def failed(self, names: Iterable[Name]) -> None:
        """A picture did not come in any try."""
        now = self._clock()
        closed = []
        with self._lock:
            for name in names:
                known = self._of(name)
                known.is_good = False
                known.failed += 1
                if known.failed >= FAILURES[name[0]] and now >= known.closed_until:
                    seconds = min(
                        2 * known.closed_seconds or CLOSED_SECONDS, LONGEST_CLOSED_SECONDS
                    )
                    is_first = not known.closed_until
                    known.closed_seconds, known.closed_until = seconds, now + seconds
                    known.probed_until = 0.0
                    if is_first:
                        closed.append((name, seconds))
        for name, seconds in closed:
            self._tell_closed(name, seconds)

    def leave_alone(self, name: Name, seconds: float) -> None:
        """A host asked not to be asked for a while."""
        until = self._clock() + min(seconds, ALONE_SECONDS)
        with self._lock:
            known = self._of(name)
            known.closed_until = max(known.closed_until, until)

    def closed(self) -> int:
        """How many hosts are not asked now."""
        now = self._clock()
        with self._lock:
            return sum(
                name[0] == "host" and known.closed_until > now
                for name, known in self._known.items()
            )

    def _of(self, name: Name) -> _Known:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = _Known()
            if len(self._known) > MOST_NAMES:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(name)
        return known


def names_of(host: str, port: int, address: Address | None = None) -> tuple[Name, ...]:
    """By what a host is known: with its port, for on the platform's own network each port is
    another service, and with the address that it was found at, once that is known."""
    names: tuple[Name, ...] = (
        ("host", f"{host} {port}"),
        ("domain", f"{domain_of(host)} {port}"),
    )
    return names if address is None else (*names, ("address", f"{place_of(address)} {port}"))


def place_of(address: Address) -> str:
    """An address, or the network of one: whoever has one IPv6 address has 2^64."""
    if address.version == 6:
        return str(IPv6Network((int(address), 64), strict=False))
    return str(address)


_SECOND_LEVELS = frozenset(
    ("ac", "co", "com", "edu", "gob", "gouv", "gov", "mil", "ne", "net", "nom", "or", "org")
)


def domain_of(host: str) -> str:
    """The domain that a host's owner had to register: its last two names, or three as in `co.uk`.

    Not by the list of public suffixes: where several owners share a domain, such as `github.io`,
    they share its part of the threads, and each other's good name.
    """
    host = host.rstrip(".").lower()
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        labels = host.split(".")
        is_below = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVELS
        return ".".join(labels[-3 if is_below else -2 :])
    return host
