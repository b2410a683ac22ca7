"""The age of bare ids against a real Valkey, with push times that the test knows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deadpan.errors import DeadpanError, QueueStateError
from tasks.arrivals import SAMPLE_SECONDS, Signal, note_sample, read_signal
from tasks.chunks import Retry
from tasks.intake import PRIORITIES, Intake, Priority
from worker.embedded import EmbeddedValkey

WITHIN_SECONDS = 2.0


@contextmanager
def sampling(intake: Intake, samplers: int = 1, ready: int = 1) -> Iterator[None]:
    """Somebody looks once a second, as a worker does, also while Redis is away."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            try:
                note_sample(intake, ready=ready)
            except DeadpanError:
                stop.wait(0.1)
                continue
            stop.wait(SAMPLE_SECONDS)

    threads = [threading.Thread(target=run) for _ in range(samplers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def push(intake: Intake, *ids: str, priority: Priority = "normal") -> float:
    """Push as any client would; the time of the push."""
    intake.client.rpush(intake.list_key(priority), *ids)
    return time.monotonic()


def claim(intake: Intake, size: int) -> str:
    dispatched = intake.claim(chunk_size=size, lease_seconds=60)
    assert dispatched
    return dispatched.chunk_id


def fronts(intake: Intake) -> dict[Priority, bytes]:
    """The first id of each list that has one."""
    first = {p: intake.client.lindex(intake.list_key(p), 0) for p in PRIORITIES}
    return {priority: front for priority, front in first.items() if front}


def age(intake: Intake, priority: Priority = "normal") -> float:
    return read_signal(intake, ready=1).waiting[priority].oldest_age_seconds


def true_age(pushed: float) -> object:
    return pytest.approx(time.monotonic() - pushed, abs=WITHIN_SECONDS)


def test_the_age_follows_the_front_of_each_list_whoever_samples(intake: Intake) -> None:
    with sampling(intake, samplers=3):
        pushed: dict[bytes, float] = {}
        for n in range(4):
            for priority in PRIORITIES:
                ids = [f"{priority}{n}{letter}" for letter in "abc"]
                at = push(intake, *ids, priority=priority)
                pushed |= {each.encode(): at for each in ids}
                time.sleep(0.5)
        seen = 0
        while front := fronts(intake):
            signal = read_signal(intake, ready=1)
            for priority, first in front.items():
                assert signal.waiting[priority].oldest_age_seconds == true_age(pushed[first])
                seen += 1
            oldest = max(w.oldest_age_seconds for w in signal.waiting.values())
            assert signal.oldest_age_seconds == oldest
            claim(intake, 4)
        assert seen > 12
    assert read_signal(intake, ready=1).oldest_age_seconds == 0.0


def test_an_id_that_came_after_the_last_sample_is_young(intake: Intake) -> None:
    note_sample(intake, ready=1)
    time.sleep(0.6)
    note_sample(intake, ready=1)
    assert age(intake) == 0.0
    pushed = push(intake, "1")
    assert age(intake) == true_age(pushed)


def test_ages_survive_a_restart_of_the_server(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as valkey:
        intake = Intake.at(valkey.url)
        with sampling(intake):
            first = push(intake, "1")
            time.sleep(2.0)
            second = push(intake, "2")
            time.sleep(1.5)
            valkey.stop()
            valkey.process.start()
            valkey.wait()
            assert age(intake) == true_age(first)
            time.sleep(1.5)
            third = push(intake, "3")
            time.sleep(1.5)
            claim(intake, 1)
            assert age(intake) == true_age(second)
            claim(intake, 1)
            assert age(intake) == true_age(third)
        intake.close()


def test_after_a_pause_without_samplers_an_age_is_at_most_too_high(intake: Intake) -> None:
    with sampling(intake):
        push(intake, "before")
        time.sleep(1.2)
    last_looked = time.monotonic()
    time.sleep(3.0)
    during = push(intake, "during")
    time.sleep(1.0)
    with sampling(intake):
        time.sleep(1.5)
        after = push(intake, "after")
        time.sleep(1.2)
        claim(intake, 1)
        now = time.monotonic()
        assert now - during <= age(intake) <= now - last_looked + WITHIN_SECONDS
        claim(intake, 1)
        assert age(intake) == true_age(after)


def test_a_deleted_list_leaves_no_age_behind(intake: Intake) -> None:
    with sampling(intake):
        push(intake, *(str(n) for n in range(100)))
        time.sleep(2.5)
        intake.client.delete("deadpan:posts")
        time.sleep(1.2)
        assert age(intake) == 0.0
        pushed = push(intake, "new")
        time.sleep(1.2)
        assert age(intake) == true_age(pushed)


def test_a_flushed_server_starts_anew(intake: Intake) -> None:
    with sampling(intake):
        push(intake, *(str(n) for n in range(100)))
        claim(intake, 10)
        time.sleep(1.2)
        intake.client.flushall()
        pushed = push(intake, "new")
        time.sleep(1.2)
        assert age(intake) == true_age(pushed)


def test_a_retry_is_no_arrival_and_stands_where_it_stood(intake: Intake) -> None:
    note_sample(intake, ready=1)
    with sampling(intake):
        pushed = push(intake, *(f"a{n}" for n in range(4)))
        time.sleep(2.2)
        later = push(intake, *(f"b{n}" for n in range(8)))
        time.sleep(1.2)
        chunk = intake.take(claim(intake, 4), owner="me", lease_seconds=60)
        assert chunk
        assert age(intake) == true_age(later)
        intake.release(chunk, retries=[Retry(entry, 0.0) for entry in chunk.entries])
        before = read_signal(intake, ready=1)
        # Due retries go to the front and leave at once, but for places kept for low.
        push(intake, "low", priority="low")
        claim(intake, 4)
        after = read_signal(intake, ready=1)
        assert sum(w.posts for w in after.waiting.values()) + after.in_hand == 13
        assert after.waiting["normal"].oldest_age_seconds == true_age(pushed)
        assert before.retries == 4
        came = [posts for _, posts in after.arrivals]
        assert came[-1] == 12, "four and eight ids came; retries did not come again"
        while intake.claim(chunk_size=8, lease_seconds=60):
            pass
        assert read_signal(intake, ready=1).oldest_age_seconds == 0.0


def test_chunks_and_retries_count_as_unfinished(intake: Intake) -> None:
    push(intake, *(str(n) for n in range(10)))
    claim(intake, 4)
    signal = read_signal(intake, ready=0)
    assert (signal.waiting["normal"].posts, signal.in_hand, signal.unfinished) == (6, 4, 10)


def rewind(intake: Intake, seconds: float) -> None:
    """Make all samples older, as if time had passed."""
    key = intake.key("arrivals")
    lines = [line.split(b" ", 1) for line in intake.client.lrange(key, 0, -1)]
    intake.client.delete(key)
    moved = [b"%d %s" % (int(at) - round(seconds * 1000), rest) for at, rest in lines]
    intake.client.rpush(key, *moved)


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


def test_a_clock_that_goes_back_keeps_ages(intake: Intake) -> None:
    with sampling(intake):
        pushed = push(intake, "1")
        time.sleep(2.2)
    rewind(intake, -3600)
    assert age(intake) == true_age(pushed)
    pushed_later = push(intake, "2")
    note_sample(intake, ready=1)
    claim(intake, 1)
    assert age(intake) == true_age(pushed_later)


def test_what_deadpan_did_not_write_is_named(intake: Intake) -> None:
    intake.client.rpush("deadpan:arrivals", "1 2 3")
    with pytest.raises(QueueStateError, match="deadpan:arrivals"):
        read_signal(intake, ready=1)


def test_the_pace_of_a_worker_is_measured_while_posts_wait(intake: Intake) -> None:
    push(intake, *(str(n) for n in range(200)))
    with sampling(intake, ready=4):
        time.sleep(0.2)
        for _ in range(12):
            chunk = intake.take(claim(intake, 10), owner="me", lease_seconds=60)
            assert chunk
            intake.release(chunk)
            time.sleep(1.0)
        signal: Signal = read_signal(intake, ready=4)
    assert signal.worker_posts_per_second == pytest.approx(10 / 4, rel=0.3)
    assert signal.stalled_seconds < 2.5
    assert signal.drain_seconds is None or signal.drain_seconds > 0


def test_a_chunk_knows_how_long_its_posts_waited_by_priority(intake: Intake) -> None:
    with sampling(intake):
        push(intake, "0")
        time.sleep(1.2)
        push(intake, "old", priority="low")
        time.sleep(3.0)
        push(intake, "1", "2")
        assert intake.client.lpop("deadpan:posts") == b"0"
        intake.client.hincrby("deadpan:taken", "n", 1)
        chunk = intake.take(claim(intake, 8), owner="me", lease_seconds=60)
    assert chunk
    assert [entry.raw for entry in chunk.entries] == [b"n1", b"n2", b"lold"]
    normal, _, low = (chunk.post_seconds(entry) for entry in chunk.entries)
    assert normal == pytest.approx(0.0, abs=1.5)
    assert low == pytest.approx(3.0, abs=1.5)


def test_a_chunk_before_the_first_sample_is_new(intake: Intake) -> None:
    push(intake, "1")
    chunk = intake.take(claim(intake, 1), owner="me", lease_seconds=60)
    assert chunk
    assert chunk.post_seconds(chunk.entries[0]) == pytest.approx(0.0, abs=1.5)
