"""Threads are shared out: a domain, an address and strangers have their parts, and never more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from sources.pictures.hosts import Hosts, names_of
from sources.pictures.lanes import Lanes, Work

PATIENCE_SECONDS = 30.0


class Desk:
    """Lanes whose work goes on until a test lets it, and what was seen of it."""

    def __init__(self, threads: int) -> None:
        self.hosts = Hosts()
        self.begun: list[Work] = []
        self.refused: list[Work] = []
        self.cancelled: list[Work] = []
        self._news = threading.Condition()
        self._let_go: set[Work] = set()
        self._all = False
        self.lanes: Lanes[Work] = Lanes(
            threads,
            self.hosts,
            step=self._step,
            refuse=lambda work: self._note(self.refused, work),
            cancel=lambda work: self._note(self.cancelled, work),
        )

    def work(self, host: str, **more: object) -> Work:
        return Work(names_of(host, 443), **more)  # type: ignore[arg-type]

    def submit(self, *works: Work) -> None:
        for work in works:
            self.lanes.submit(work)

    def end(self, *works: Work) -> None:
        with self._news:
            self._let_go |= set(works)
            self._news.notify_all()

    def end_all(self) -> None:
        with self._news:
            self._all = True
            self._news.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(condition, PATIENCE_SECONDS), len(self.begun)

    def quiet(self) -> int:
        """How many have begun, once a work of a good host that came last has begun and ended."""
        last = self.work("witness.example", is_listed=True)
        self.submit(last)
        self.wait(lambda: last in self.begun)
        self.end(last)
        return len([work for work in self.begun if work.names[0][1] != "witness.example 443"])

    def _note(self, ended: list[Work], work: Work) -> None:
        with self._news:
            ended.append(work)
            self._news.notify_all()

    def _step(self, work: Work) -> float | None:
        with self._news:
            self.begun.append(work)
            self._news.notify_all()
            self._news.wait_for(lambda: self._all or work in self._let_go, PATIENCE_SECONDS)
        return None


@pytest.fixture
def desk() -> Iterator[Desk]:
    with ExitStack() as stack:
        made = Desk(8)
        stack.callback(made.lanes.close)
        stack.callback(made.end_all)
        yield made


def test_a_strangers_domain_has_a_quarter_of_the_threads(desk: Desk) -> None:
    desk.submit(*[desk.work(f"h{number}.wild.example") for number in range(40)])
    desk.wait(lambda: len(desk.begun) == 2)
    assert desk.quiet() == 2


def test_strangers_of_many_domains_have_half_of_the_threads_together(desk: Desk) -> None:
    desk.submit(*[desk.work(f"d{number}.example") for number in range(40)])
    desk.wait(lambda: len(desk.begun) == 4)
    assert desk.quiet() == 4


def test_a_good_host_has_half_of_the_threads_whatever_strangers_do(desk: Desk) -> None:
    desk.submit(*[desk.work(f"d{number}.example") for number in range(40)])
    desk.hosts.gave(names_of("cdn.good", 443), quick=True)
    desk.submit(*[desk.work("cdn.good") for _ in range(40)])
    desk.wait(lambda: len(desk.begun) == 8)
    assert sum(work.names[0][1] == "cdn.good 443" for work in desk.begun) == 4


def test_a_host_that_the_operator_named_has_three_quarters(desk: Desk) -> None:
    desk.submit(*[desk.work("cdn.named", is_listed=True) for _ in range(40)])
    desk.wait(lambda: len(desk.begun) == 6)
    assert desk.quiet() == 6


def test_hosts_that_hang_wait_among_themselves(desk: Desk) -> None:
    desk.submit(*[desk.work(f"d{number}.example", lane="slow") for number in range(40)])
    desk.wait(lambda: len(desk.begun) == 8)
    quick = desk.work("unknown.example")
    desk.submit(quick)
    desk.wait(lambda: quick in desk.begun)


def test_many_domains_at_one_address_have_a_quarter_of_the_threads(desk: Desk) -> None:
    asked: list[bool] = []
    works = [desk.work(f"d{number}.example", lane="slow") for number in range(6)]
    desk.submit(*works)
    desk.wait(lambda: len(desk.begun) == 6)
    for work in works:
        names = names_of(work.names[0][1].split()[0], 443, ip_address("203.0.113.9"))
        asked.append(desk.lanes.may_ask(work, names))
    assert asked == [True, True, False, False, False, False]
    assert desk.lanes.may_ask(works[0], works[0].names), "what it has, it has"


def test_work_whose_address_is_known_waits_for_its_turn(desk: Desk) -> None:
    at_one = [desk.work(f"d{number}.example") for number in range(6)]
    for work in at_one:
        work.names = names_of(work.names[0][1].split()[0], 443, ip_address("203.0.113.9"))
    desk.submit(*at_one)
    desk.wait(lambda: len(desk.begun) == 2)
    assert desk.quiet() == 2
    desk.end(*at_one[:2])
    desk.wait(lambda: {work for work in at_one if work in desk.begun} >= set(at_one[:4]))


def test_what_nobody_waits_for_is_dropped(desk: Desk) -> None:
    works = [desk.work("h.example") for _ in range(4)]
    desk.submit(*works)
    desk.wait(lambda: len(desk.begun) == 2)
    works[2].is_wanted = False
    desk.end(works[0])
    desk.wait(lambda: works[3] in desk.begun and desk.cancelled == [works[2]])
    assert works[2] not in desk.begun


def test_what_waits_for_a_host_that_was_closed_meanwhile_is_refused(desk: Desk) -> None:
    works = [desk.work("h.example") for _ in range(5)]
    desk.submit(*works)
    desk.wait(lambda: len(desk.begun) == 2)
    for _ in range(3):
        desk.hosts.failed(works[0].names)
    desk.end(works[0])
    desk.wait(lambda: desk.refused == works[2:])
    desk.submit(late := desk.work("h.example"))
    assert desk.refused[-1] is late, "at once"


def test_closing_cancels_what_waits_and_what_comes(desk: Desk) -> None:
    works = [desk.work("h.example") for _ in range(5)]
    desk.submit(*works)
    desk.wait(lambda: len(desk.begun) == 2)
    closing = threading.Thread(target=desk.lanes.close)
    closing.start()
    desk.wait(lambda: len(desk.cancelled) == 3)
    desk.submit(late := desk.work("h.example"))
    desk.end_all()
    closing.join()
    assert set(desk.cancelled) == {*works[2:], late}


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_work_that_goes_on_later_keeps_no_thread_meanwhile(seconds: float) -> None:
    steps: list[Work] = []
    done = threading.Event()

    def step(work: Work) -> float | None:
        steps.append(work)
        if len(steps) == 3:
            done.set()
            return None
        return seconds

    lanes: Lanes[Work] = Lanes(1, Hosts(), step=step, refuse=steps.append, cancel=steps.append)
    lanes.submit(work := Work(names_of("a.example", 80)))
    assert done.wait(PATIENCE_SECONDS)
    lanes.close()
    assert steps == [work] * 3
