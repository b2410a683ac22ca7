"""What is remembered of image hosts: who is asked, who is left alone, and for how long."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from sources.pictures import hosts
from sources.pictures.hosts import Hosts, Name, domain_of, names_of


class Clock:
    """Seconds that a test turns on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(clock: Clock) -> Hosts:
    return Hosts(clock=clock)


A = names_of("a.example", 443, ip_address("203.0.113.1"))


def closed(known: Hosts, names: tuple[Name, ...] = A) -> bool:
    return known.is_closed(names, asks=False)


def test_a_host_is_not_asked_after_a_few_pictures_in_a_row_did_not_come(known: Hosts) -> None:
    for _ in range(hosts.FAILURES["host"] - 1):
        known.failed(A)
    assert not closed(known)
    known.failed(A)
    assert closed(known)
    assert known.closed() == 1
    assert not closed(known, names_of("b.other", 443, ip_address("203.0.113.2")))


def test_a_picture_that_comes_begins_the_count_anew(known: Hosts) -> None:
    for _ in range(10):
        known.failed(A)
        known.failed(A)
        known.gave(A, quick=False)
    assert not closed(known)


def test_after_its_time_one_picture_decides_whether_a_host_is_asked_again(
    known: Hosts, clock: Clock
) -> None:
    for _ in range(3):
        known.failed(A)
    clock.now += hosts.CLOSED_SECONDS
    assert [known.is_closed(A) for _ in range(3)] == [False, True, True]
    known.gave(A, quick=True)
    assert not known.is_closed(A)
    assert not known.is_closed(A)


def test_a_probe_of_which_nothing_is_heard_does_not_keep_a_host_closed(
    known: Hosts, clock: Clock
) -> None:
    for _ in range(3):
        known.failed(A)
    clock.now += hosts.CLOSED_SECONDS
    assert not known.is_closed(A)
    clock.now += hosts.PROBE_SECONDS
    assert not known.is_closed(A)


def test_a_host_that_stays_silent_is_left_alone_for_longer_up_to_a_bound(
    known: Hosts, clock: Clock
) -> None:
    for _ in range(3):
        known.failed(A)
    lasted = []
    for _ in range(6):
        began = clock.now
        while known.is_closed(A):
            clock.now += 1
        lasted.append(clock.now - began)
        known.failed(A)
    assert lasted == [30, 60, 120, 240, 300, 300]


def test_many_hosts_of_a_domain_or_of_an_address_are_counted_together(known: Hosts) -> None:
    for number in range(hosts.FAILURES["domain"]):
        known.failed(names_of(f"h{number}.wild.example", 443, ip_address(f"203.0.113.{number}")))
    assert closed(known, names_of("never-seen.wild.example", 443))
    for number in range(hosts.FAILURES["address"]):
        known.failed(names_of(f"d{number}.example", 443, ip_address("198.51.100.7")))
    assert closed(known, names_of("other.example", 443, ip_address("198.51.100.7")))
    assert not closed(known, names_of("other.example", 443, ip_address("198.51.100.8")))


def test_one_network_of_ipv6_is_one_address(known: Hosts) -> None:
    for number in range(hosts.FAILURES["address"]):
        known.failed(names_of(f"d{number}.example", 443, ip_address(f"2001:db9::{number:x}")))
    assert closed(known, names_of("other.example", 443, ip_address("2001:db9::ffff:1")))
    assert not closed(known, names_of("other.example", 443, ip_address("2001:db9:0:1::1")))


def test_others_on_a_shared_domain_keep_it_open(known: Hosts) -> None:
    for number in range(40):
        known.failed(names_of(f"bad{number}.cdn.example", 443))
        if number % 3 == 0:
            known.gave(names_of("good.cdn.example", 443), quick=True)
    assert not closed(known, names_of("good.cdn.example", 443))


def test_a_host_that_asks_for_an_hour_is_left_alone_for_seconds(known: Hosts, clock: Clock) -> None:
    known.leave_alone(A[0], 3600.0)
    assert closed(known)
    clock.now += hosts.ALONE_SECONDS
    assert not closed(known)


def test_a_host_is_good_after_a_quick_picture_and_slow_after_a_try_in_vain(known: Hosts) -> None:
    assert known.standing(A) == "unknown"
    known.gave(A, quick=True)
    assert known.standing(A) == "good"
    known.hung(A)
    assert known.standing(A) == "slow"
    known.gave(A, quick=False)
    assert known.standing(A) == "slow", "it came late"
    known.gave(A, quick=True)
    assert known.standing(A) == "good"


def test_only_so_many_hosts_are_remembered(known: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "MOST_NAMES", 100)
    for number in range(1000):
        known.failed(names_of(f"h{number}.d{number}.example", 443))
    assert len(known._known) == 100


def test_what_is_closed_is_told_once(clock: Clock) -> None:
    told: list[tuple[Name, float]] = []
    known = Hosts(clock=clock, closed=lambda name, seconds: told.append((name, seconds)))
    for _ in range(5):
        known.failed(A)
    assert told == [(("host", "a.example 443"), 30.0)]
    clock.now += 30
    assert not known.is_closed(A)
    known.failed(A)
    assert [name for name, _ in told if name[0] == "host"] == [("host", "a.example 443")]


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("img.example.com", "example.com"),
        ("a.b.c.example.com.", "example.com"),
        ("example.com", "example.com"),
        ("A.Example.CO.UK", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("x.y.com.au", "y.com.au"),
        ("x.t.co", "t.co"),
        ("localhost", "localhost"),
        ("203.0.113.9", "203.0.113.9"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_a_hosts_domain_is_what_its_owner_registered(host: str, domain: str) -> None:
    assert domain_of(host) == domain
