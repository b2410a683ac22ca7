"""The age of bare ids against a real Valkey, with push times that the test knows."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from deadpan.core.errors import QueueStateError
from tasks.intake.arrivals import SAMPLE_SECONDS, Signal, note_sample, read_signal
from tasks.intake.chunks import Retry
from tasks.intake.intake import Intake
from tasks.intake.keys import PRIORITIES, Priority
from worker.local.embedded import EmbeddedValkey

WITHIN_SECONDS = 2.0
"""Samples are a second apart, and what came between two of them is taken to have come evenly."""


class Clock:
    """Time that a test lets pass, on top of the time that it takes: nobody sleeps, so that nothing
    depends on how busy the machine is.

    Args:
        samplers: look once a second, as workers do.
        ready: workers that each of them takes for ready.
    """

    def __init__(self, intake: Intake, samplers: int = 1, ready: int = 1) -> None:
        self._intake = intake
        self._samplers = samplers
        self._ready = ready
        self._passed = 0.0

    def now(self) -> float:
        """Seconds that only grow."""
        return time.monotonic() + self._passed

    def look(self) -> None:
        """Every sampler looks."""
        for _ in range(self._samplers):
            note_sample(self._intake, ready=self._ready)

    def pass_by(self, seconds: float, *, unseen: bool = False) -> None:
        """Let time pass: what was noted becomes older.

        Args:
            unseen: nobody looks meanwhile.
        """
        while seconds > 0:
            step = min(seconds, SAMPLE_SECONDS)
            rewind(self._intake, step)
            self._passed += step
            seconds -= step
            if not unseen:
                self.look()

    def push(self, *ids: str, priority: Priority = "normal") -> float:
        """Push as any client would; the time of the push."""
        self._intake.client.rpush(self._intake.list_key(priority), *ids)
        return self.now()

    def check_age(self, pushed: float, priority: Priority = "normal") -> None:
        """The age of the front of a list is that of what was pushed then."""
        at_least = self.now() - pushed
        found = age(self._intake, priority)
        assert at_least - WITHIN_SECONDS <= found <= self.now() - pushed + WITHIN_SECONDS


@pytest.fixture
def clock(intake: Intake) -> Clock:
    made = Clock(intake)
    made.look()
    return made


def rewind(intake: Intake, seconds: float) -> None:
    """Make all samples older, as if time had passed."""
    key = intake.key("arrivals")
    lines = [line.split(b" ", 1) for line in intake.client.lrange(key, 0, -1)]
    moved = [b"%d %s" % (int(at) - round(seconds * 1000), rest) for at, rest in lines]
    intake.client.delete(key)
    if moved:
        intake.client.rpush(key, *moved)


def claim(intake: Intake, size: int) -> str:
    dispatched = intake.dispatch(chunk_size=size, lease_seconds=60)
    assert dispatched
    return dispatched.chunk_id


def fronts(intake: Intake) -> dict[Priority, bytes]:
    """The first id of each list that has one."""
    first = {p: intake.client.lindex(intake.list_key(p), 0) for p in PRIORITIES}
    return {priority: front for priority, front in first.items() if front}


def age(intake: Intake, priority: Priority = "normal") -> float:
    return read_signal(intake, ready=1).waiting[priority].oldest_age_seconds


def test_the_age_follows_the_front_of_each_list_whoever_samples(intake: Intake) -> None:
    clock = Clock(intake, samplers=3)
    clock.look()
    pushed: dict[bytes, float] = {}
    for n in range(4):
        for priority in PRIORITIES:
            ids = [f"{priority}{n}{letter}" for letter in "abc"]
            at = clock.push(*ids, priority=priority)
            pushed |= {each.encode(): at for each in ids}
            clock.pass_by(0.5)
    seen = 0
    while front := fronts(intake):
        for priority, first in front.items():
            clock.check_age(pushed[first], priority)
            seen += 1
        signal = read_signal(intake, ready=1)
        oldest = max(w.oldest_age_seconds for w in signal.waiting.values())
        assert signal.oldest_age_seconds == oldest
        claim(intake, 4)
    assert seen > 12
    assert read_signal(intake, ready=1).oldest_age_seconds == 0.0


def test_an_id_that_came_after_the_last_sample_is_young(intake: Intake, clock: Clock) -> None:
    clock.pass_by(1)
    assert age(intake) == 0.0
    clock.check_age(clock.push("1"))


def test_ages_survive_a_restart_of_the_server(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as valkey:
        intake = Intake.at(valkey.url)
        clock = Clock(intake)
        clock.look()
        first = clock.push("1")
        clock.pass_by(2)
        second = clock.push("2")
        clock.pass_by(2)
        valkey.stop()
        valkey.process.start()
        valkey.wait()
        clock.check_age(first)
        clock.pass_by(2)
        third = clock.push("3")
        clock.pass_by(2)
        claim(intake, 1)
        clock.check_age(second)
        claim(intake, 1)
        clock.check_age(third)
        intake.close()


def test_after_a_pause_without_samplers_an_age_is_at_most_too_high(
    intake: Intake, clock: Clock
) -> None:
    clock.push("before")
    clock.pass_by(1)
    last_looked = clock.now()
    clock.pass_by(3, unseen=True)
    during = clock.push("during")
    clock.pass_by(1, unseen=True)
    clock.pass_by(2)
    after = clock.push("after")
    clock.pass_by(1)
    claim(intake, 1)
    at_least = clock.now() - during
    assert at_least <= age(intake) <= clock.now() - last_looked + WITHIN_SECONDS
    claim(intake, 1)
    clock.check_age(after)


def test_a_deleted_list_leaves_no_age_behind(intake: Intake, clock: Clock) -> None:
    clock.push(*(str(n) for n in range(100)))
    clock.pass_by(3)
    intake.client.delete("deadpan:posts")
    clock.pass_by(1)
    assert age(intake) == 0.0
    pushed = clock.push("new")
    clock.pass_by(1)
    clock.check_age(pushed)


def test_a_flushed_server_starts_anew(intake: Intake, clock: Clock) -> None:
    clock.push(*(str(n) for n in range(100)))
    claim(intake, 10)
    clock.pass_by(1)
    intake.client.flushall()
    pushed = clock.push("new")
    clock.pass_by(1)
    clock.check_age(pushed)


def test_a_retry_is_no_arrival_and_stands_where_it_stood(intake: Intake, clock: Clock) -> None:
    pushed = clock.push(*(f"a{n}" for n in range(4)))
    clock.pass_by(3)
    later = clock.push(*(f"b{n}" for n in range(8)))
    clock.pass_by(2)
    chunk = intake.take(claim(intake, 4), owner="me", lease_seconds=60)
    assert chunk
    clock.check_age(later)
    intake.release(chunk, retries=[Retry(entry, 0.0) for entry in chunk.entries])
    before = read_signal(intake, ready=1)
    # Due retries go to the front and leave at once, but for places kept for low.
    clock.push("low", priority="low")
    claim(intake, 4)
    after = read_signal(intake, ready=1)
    assert sum(w.posts for w in after.waiting.values()) + after.in_hand == 13
    clock.check_age(pushed)
    assert before.retries == 4
    came = [posts for _, posts in after.arrivals]
    assert came[-1] == 12, "four and eight ids came; retries did not come again"
    while intake.dispatch(chunk_size=8, lease_seconds=60):
        pass
    assert read_signal(intake, ready=1).oldest_age_seconds == 0.0


def test_chunks_and_retries_count_as_unfinished(intake: Intake) -> None:
    intake.enqueue(str(n) for n in range(10))
    claim(intake, 4)
    signal = read_signal(intake, ready=0)
    assert (signal.waiting["normal"].posts, signal.in_hand, signal.unfinished) == (6, 4, 10)


def test_samples_stay_bounded_and_far_ages_right_in_proportion(intake: Intake) -> None:
    """Ten hours of one push a second: samplers' lines, half an hour at a time."""
    key, hours, at_once = intake.key("arrivals"), 10, 1800
    seconds = hours * 3600
    for start in range(0, seconds, at_once):
        if start:
            rewind(intake, at_once)
        server_seconds, microseconds = intake.client.time()
        now = server_seconds * 1000 + microseconds // 1000 - 600
        lines = [
            f"{now - 1000 * (at_once - n - 1)} 0 {start + n + 1} 0 0 0 0 0 1"
            for n in range(at_once)
        ]
        intake.client.rpush(key, *lines)
        intake.client.rpush("deadpan:posts", *range(start, start + at_once))
        note_sample(intake, ready=1)
        assert intake.client.llen(key) <= 801
    for taken in (0, 6 * 3600, 9 * 3600, 9 * 3600 + 3500, 10 * 3600 - 60):
        intake.client.hset("deadpan:taken", "n", taken)
        intake.client.ltrim("deadpan:posts", -(seconds - taken), -1)
        true = seconds - taken
        assert age(intake) == pytest.approx(true, abs=max(WITHIN_SECONDS, 0.05 * true))
    profile = read_signal(intake, ready=1).waiting["normal"].profile
    assert profile[-1][1] == 60
    assert len(profile) < 60


def test_a_clock_that_goes_back_keeps_ages(intake: Intake, clock: Clock) -> None:
    pushed = clock.push("1")
    clock.pass_by(3)
    rewind(intake, -3600)
    clock.check_age(pushed)
    pushed_later = clock.push("2")
    clock.look()
    claim(intake, 1)
    clock.check_age(pushed_later)


def test_what_deadpan_did_not_write_is_named(intake: Intake) -> None:
    intake.client.rpush("deadpan:arrivals", "1 2 3")
    with pytest.raises(QueueStateError, match="deadpan:arrivals"):
        read_signal(intake, ready=1)


def test_the_pace_of_a_worker_is_measured_while_posts_wait(intake: Intake) -> None:
    clock = Clock(intake, ready=4)
    clock.push(*(str(n) for n in range(200)))
    clock.look()
    began = clock.now()
    for _ in range(12):
        chunk = intake.take(claim(intake, 10), owner="me", lease_seconds=60)
        assert chunk
        intake.release(chunk)
        clock.pass_by(1)
    signal: Signal = read_signal(intake, ready=4)
    each_second = 120 / (clock.now() - began)
    assert signal.worker_posts_per_second == pytest.approx(each_second / 4, rel=0.3)
    assert signal.stalled_seconds < (clock.now() - began) / 2
    assert signal.drain_seconds is None or signal.drain_seconds > 0


def test_a_chunk_knows_how_long_its_posts_waited_by_priority(intake: Intake, clock: Clock) -> None:
    clock.push("0")
    clock.pass_by(1)
    old = clock.push("old", priority="low")
    clock.pass_by(30)
    new = clock.push("1", "2")
    assert intake.client.lpop("deadpan:posts") == b"0"
    intake.client.hincrby("deadpan:taken", "n", 1)
    chunk = intake.take(claim(intake, 8), owner="me", lease_seconds=60)
    assert chunk
    assert [entry.raw for entry in chunk.entries] == [b"n1", b"n2", b"lold"]
    at_least = clock.now()
    normal, _, low = (chunk.post_seconds(entry) for entry in chunk.entries)
    at_most = clock.now()
    for waited, pushed in ((normal, new), (low, old)):
        assert waited is not None
        assert at_least - pushed - WITHIN_SECONDS <= waited <= at_most - pushed + WITHIN_SECONDS


def test_a_chunk_before_the_first_sample_is_new(intake: Intake) -> None:
    intake.enqueue(["1"])
    chunk = intake.take(claim(intake, 1), owner="me", lease_seconds=60)
    assert chunk
    assert chunk.post_seconds(chunk.entries[0]) == pytest.approx(0.0, abs=1.5)
