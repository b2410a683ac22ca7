"""Posts in hand in part, and judged posts that are looked at again: the scripts against Valkey."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.intake import intake as module
from tasks.intake.chunks import Chunk, Retry
from tasks.intake.intake import Intake
from tests.integration.intake.test_intake import claim, ids, keys, run_out, take


def due(intake: Intake) -> list[bytes]:
    return [entry.partition(b"\t")[0] for entry in intake.client.zrange("deadpan:revisits", 0, -1)]


def all_are_due(intake: Intake, *, late: bool = False) -> None:
    """As if the time of every revisit had come; `late`: more than a minute ago."""
    now = int(intake.client.time()[0] * 1000)
    for entry in intake.client.zrange("deadpan:revisits", 0, -1):
        intake.client.zadd("deadpan:revisits", {entry: now - (120_000 if late else 1000)})


def judged(intake: Intake, *post_ids: str, again: bool = True) -> None:
    """Posts are pushed and judged, without a picture that may come yet."""
    intake.enqueue(post_ids)
    chunk = take(intake, claim(intake, size=512))
    assert intake.release(chunk, revisits=chunk.entries if again else ())


def revisited(intake: Intake, size: int = 8) -> Chunk:
    chunk = take(intake, claim(intake, size=size))
    assert chunk.is_revisit
    return chunk


def test_what_waits_stays_in_hand_when_its_neighbours_are_done(intake: Intake) -> None:
    intake.enqueue(["1", "2", "3", "2"])
    chunk = take(intake, claim(intake))
    waits = [entry for entry in chunk.entries if entry.id_bytes == b"2"]
    again = [Retry(chunk.entries[0], 0.0)]
    assert intake.release(chunk, retries=again, kept=waits)
    assert intake.client.lrange(f"deadpan:chunk:{chunk.id}", 0, -1) == [b"n2", b"n2"]
    assert intake.client.hget("deadpan:chunk-owners", chunk.id) == b"me"
    assert intake.client.hkeys("deadpan:traces") == [b"1", b"2"]
    assert intake.client.hgetall("deadpan:attempts") == {b"1": b"1"}
    rest = replace(chunk, entries=tuple(waits))
    assert intake.release(rest)
    assert ids(take(intake, claim(intake))) == [b"1"]


def test_what_waits_in_hand_is_dispatched_again_when_its_lease_runs_out(intake: Intake) -> None:
    intake.enqueue(["1", "2"])
    chunk = take(intake, claim(intake))
    assert intake.release(chunk, kept=chunk.entries[1:])
    run_out(intake, chunk.id)
    again = take(intake, claim(intake), owner="other")
    assert (again.id, ids(again), again.losses) == (chunk.id, [b"2"], 1)
    assert not intake.release(replace(chunk, entries=chunk.entries[1:])), "it is another's now"
    assert intake.release(again)
    assert keys(intake) == set()


def test_a_judged_post_is_looked_at_again_after_a_while(intake: Intake) -> None:
    judged(intake, "1", "2")
    assert due(intake) == [b"l1", b"l2"]
    assert intake.dispatch(chunk_size=8, lease_seconds=60) is None, "not yet"
    assert intake.revisits() == 2
    all_are_due(intake)
    chunk = revisited(intake)
    assert ids(chunk) == [b"1", b"2"]
    assert [entry.attempts for entry in chunk.entries] == [0, 0]
    assert chunk.post_seconds(chunk.entries[0]) is None, "nobody waits for it"
    assert intake.release(chunk)
    intake.client.delete("deadpan:revisiting")
    assert keys(intake) == set()


def test_a_post_is_looked_at_again_a_few_times_later_each_time(intake: Intake) -> None:
    waits = []
    judged(intake, "1")
    while intake.revisits():
        ((_, due),) = intake.client.zrange("deadpan:revisits", 0, -1, withscores=True)
        seconds, micro = intake.client.time()
        waits.append(round((due / 1000 - seconds - micro / 1e6) / 30) * 30)
        all_are_due(intake)
        chunk = revisited(intake)
        intake.release(chunk, revisits=chunk.entries)
    assert waits == list(module.REVISIT_SECONDS)
    judged(intake, "1", again=False)
    assert intake.client.hgetall("deadpan:revisited") == {}, "the next push begins anew"


def test_a_revisit_keeps_the_trace_of_its_post(intake: Intake) -> None:
    intake.enqueue(["1"])
    chunk = take(intake, claim(intake))
    intake.release(chunk, revisits=chunk.entries)
    all_are_due(intake)
    assert revisited(intake).entries[0].trace.trace_id == chunk.entries[0].trace.trace_id


def test_revisits_go_when_nothing_else_waits(intake: Intake) -> None:
    judged(intake, "old")
    all_are_due(intake)
    intake.enqueue(["new"], "low")
    assert ids(take(intake, claim(intake))) == [b"new"]
    assert ids(revisited(intake)) == [b"old"]


def test_revisits_that_are_late_go_although_others_wait_a_few_at_a_time(intake: Intake) -> None:
    judged(intake, *[f"old{n}" for n in range(40)])
    all_are_due(intake, late=True)
    intake.enqueue([f"new{n}" for n in range(100)])
    first = revisited(intake, size=64)
    assert len(first.entries) == 16
    second = take(intake, claim(intake, size=64))
    assert not second.is_revisit, "one such chunk at a time"
    assert len(second.entries) == 64
    intake.release(first)
    assert len(revisited(intake, size=64).entries) == 16


def test_a_chunk_of_revisits_that_was_lost_is_one_still(intake: Intake) -> None:
    judged(intake, "1", "2", "3")
    all_are_due(intake)
    chunk = revisited(intake)
    intake.give_back(chunk, delay_seconds=0.0, loss=True)
    chunk = revisited(intake)
    intake.give_back(chunk, delay_seconds=0.0, loss=True)
    halves = [revisited(intake), revisited(intake)]
    assert sorted(post_id for half in halves for post_id in ids(half)) == [b"1", b"2", b"3"]


def test_only_so_many_revisits_are_kept(intake: Intake) -> None:
    now = int(intake.client.time()[0] * 1000)
    for at in range(0, 100_000, 10_000):
        many = {f"l{number}": now + 10**7 for number in range(at, at + 10_000)}
        intake.client.zadd("deadpan:revisits", many)
    judged(intake, "one more")
    assert intake.revisits() == 100_000
    assert intake.client.hgetall("deadpan:revisited") == {}


@pytest.mark.parametrize("raw", [b"l1", b"l1\t" + b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"])
def test_retries_do_not_keep_a_revisit_that_is_due(intake: Intake, raw: bytes) -> None:
    """Late revisits are taken before retries that are due are moved: both are there afterwards."""
    judged(intake, "look")
    all_are_due(intake, late=True)
    intake.client.zadd("deadpan:retries", {raw: 1})
    assert ids(revisited(intake)) == [b"look"]
    assert intake.status()["retries"] == 1
    assert ids(take(intake, claim(intake))) == [b"1"]
