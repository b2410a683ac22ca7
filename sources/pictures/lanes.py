"""Threads for downloads from strangers, shared out so that nobody has all of them.

A download runs in one of two sets of threads: the *quick* one takes each picture's first try, which
is short; what is not over by then goes on in the *slow* one, and hosts that hang are asked there
from the beginning. So whoever hangs waits with others that hang. In each, a domain and an address
have a part of the threads and never more, and hosts of which nothing good is known have together
at most half of the quick ones.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from sources.pictures.hosts import Hosts, Name, Standing

Lane = Literal["quick", "slow"]

_GROUPS: dict[Lane, tuple[Standing, ...]] = {"quick": ("good", "unknown"), "slow": ("slow",)}
_LOOKED_AT = 16  # of one domain's downloads, for one whose address has a part left


@dataclass(eq=False, slots=True)
class Work:
    """A download, as its lane sees it.

    Attributes:
        names: of the host that is asked next: host and domain, and its address once it is known.
        is_listed: whether the operator named the host: it has a larger part.
        lane: in which it goes on.
        is_wanted: whether anybody still waits for it; otherwise it is dropped.
        has_begun: whether a thread ever took it.
        held: the domain and the address of which it has a thread now.
    """

    names: tuple[Name, ...]
    is_listed: bool = False
    lane: Lane = "quick"
    is_wanted: bool = True
    has_begun: bool = False
    held: list[Name] = field(default_factory=list)


W = TypeVar("W", bound=Work)


class _Set(Generic[W]):
    """One set of threads, and what waits for them: by how it is thought of, and by domain."""

    def __init__(self, lane: Lane, most: int, lock: threading.Lock) -> None:
        self.most = most
        self.change = threading.Condition(lock)
        self.waiting: dict[Standing, OrderedDict[Name, deque[W]]] = {
            group: OrderedDict() for group in _GROUPS[lane]
        }
        self.queued = 0
        self.threads: list[threading.Thread] = []
        self.idle = 0
        self.strangers = 0
        self.busy: Counter[Name] = Counter()
        self.turn = 0


class Lanes(Generic[W]):
    """Runs downloads.

    Args:
        threads: in each of the two sets, started when they are needed.
        hosts: says who is good, who is slow, and who is not asked.
        step: does one step of a download. Gives the seconds until the next one, in the work's
            lane, or None when it is over. Must not raise.
        refuse: ends a download whose host is not asked now.
        cancel: ends a download that nobody waits for, or that cannot go on because of `close`.
    """

    def __init__(
        self,
        threads: int,
        hosts: Hosts,
        *,
        step: Callable[[W], float | None],
        refuse: Callable[[W], None],
        cancel: Callable[[W], None],
    ) -> None:
        self._hosts = hosts
        self._step = step
        self._refuse = refuse
        self._cancel = cancel
        self._lock = threading.Lock()
        self._is_closed = False
        self._sets: dict[Lane, _Set[W]] = {
            "quick": _Set("quick", threads, self._lock),
            "slow": _Set("slow", threads, self._lock),
        }
        self._later: list[tuple[float, int, W]] = []
        self._number = itertools.count()

    def submit(self, work: W) -> None:
        """Begin a download as soon as its host has a thread left."""
        if self._hosts.is_closed(work.names, asks=False):
            self._refuse(work)
            return
        with self._lock:
            is_closed = self._is_closed
            if not is_closed:
                self._put(work)
        if is_closed:
            self._cancel(work)

    def close(self) -> None:
        """Cancel what waits, and return when what is under way is over."""
        with self._lock:
            self._is_closed = True
            dropped = [work for _, _, work in self._later]
            self._later.clear()
            for each in self._sets.values():
                for domains in each.waiting.values():
                    dropped += [work for queue in domains.values() for work in queue]
                    domains.clear()
                each.change.notify_all()
        for work in dropped:
            self._cancel(work)
        for each in self._sets.values():
            for thread in each.threads:
                thread.join()

    def may_ask(self, work: W, names: tuple[Name, ...]) -> bool:
        """Note at which address a host was found, for a download in hand.

        Returns:
            False when that address has its part of the threads: the work has to wait for its turn.
        """
        with self._lock:
            threads = self._sets[work.lane]
            work.names = names
            address = names[-1]
            if address in work.held:
                return True
            if threads.busy[address] >= self._part(work, threads):
                return False
            threads.busy[address] += 1
            work.held.append(address)
            return True

    def _put(self, work: W) -> None:
        threads = self._sets[work.lane]
        group = "slow" if work.lane == "slow" else self._group(work)
        threads.waiting[group].setdefault(work.names[1], deque()).append(work)
        threads.queued += 1
        if threads.queued > threads.idle and len(threads.threads) < threads.most:
            name = f"deadpan-image-{work.lane}-{len(threads.threads)}"
            thread = threading.Thread(
                target=self._run, args=(threads, work.lane), name=name, daemon=True
            )
            threads.threads.append(thread)
            thread.start()
        threads.change.notify()

    def _group(self, work: W) -> Standing:
        is_good = work.is_listed or self._hosts.standing(work.names) == "good"
        return "good" if is_good else "unknown"

    def _part(self, work: W, threads: _Set[W]) -> int:
        """How many threads of a set one domain, or one address, may have."""
        if work.is_listed:
            part = 0.75 if work.lane == "quick" else 0.5
        else:
            part = 0.5 if work.lane == "quick" and self._group(work) == "good" else 0.25
        return max(1, int(threads.most * part))

    def _run(self, threads: _Set[W], lane: Lane) -> None:
        while True:
            refused: list[W] = []
            with self._lock:
                work = self._taken(threads, lane, refused)
                while work is None and not refused and not self._is_closed:
                    threads.idle += 1
                    threads.change.wait(self._seconds_until_later())
                    threads.idle -= 1
                    work = self._taken(threads, lane, refused)
                is_stranger = work is not None and lane == "quick" and self._group(work) != "good"
                threads.strangers += is_stranger
            for each in refused:
                self._refuse(each) if each.is_wanted else self._cancel(each)
            if work is not None:
                self._carry_on(threads, work, is_stranger)
            elif not refused:
                return

    def _carry_on(self, threads: _Set[W], work: W, is_stranger: bool) -> None:
        wait_seconds = self._step(work)
        with self._lock:
            threads.strangers -= is_stranger
            for name in work.held:
                threads.busy[name] -= 1
                if not threads.busy[name]:
                    del threads.busy[name]
            work.held.clear()
            if wait_seconds is not None and not self._is_closed:
                if wait_seconds > 0:
                    at = time.monotonic() + wait_seconds
                    heapq.heappush(self._later, (at, next(self._number), work))
                else:
                    self._put(work)
                wait_seconds = None
            # this thread goes on with what has its turn; another may take what it made room for
            threads.change.notify()
        if wait_seconds is not None:
            self._cancel(work)

    def _taken(self, threads: _Set[W], lane: Lane, refused: list[W]) -> W | None:
        """Take the work that has its turn, with its domain's and its address's thread."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._put(heapq.heappop(self._later)[2])
        groups = _GROUPS[lane]
        threads.turn += 1
        for group in (groups[(n + threads.turn) % len(groups)] for n in range(len(groups))):
            if group == "unknown" and threads.strangers >= max(1, threads.most // 2):
                continue
            domains = threads.waiting[group]
            for domain in list(domains):
                queue = domains[domain]
                work = self._first(queue, threads, refused)
                domains.move_to_end(domain)
                if not queue:
                    del domains[domain]
                if work is not None:
                    work.has_begun = True
                    work.held = list(work.names[1:])
                    threads.busy.update(work.held)
                    return work
        return None

    def _first(self, queue: deque[W], threads: _Set[W], refused: list[W]) -> W | None:
        for _ in range(min(len(queue), _LOOKED_AT)):
            work = queue.popleft()
            part = self._part(work, threads)
            if work.is_wanted and threads.busy[work.names[1]] >= part:
                queue.appendleft(work)  # the whole domain waits, in order
                return None
            if work.is_wanted and any(threads.busy[name] >= part for name in work.names[2:]):
                queue.append(work)
                continue
            threads.queued -= 1
            if not work.is_wanted or self._hosts.is_closed(work.names):
                refused.append(work)
                continue
            return work
        return None

    def _seconds_until_later(self) -> float | None:
        return max(0.0, self._later[0][0] - time.monotonic()) if self._later else None
