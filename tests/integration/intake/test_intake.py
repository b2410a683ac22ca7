"""The intake's scripts against a real Valkey: an id is always in exactly one place."""

from __future__ import annotations

import json

import pytest

from deadpan.core.errors import ConfigurationError, QueueRefused, QueueStateError, QueueUnavailable
from tasks import enqueue
from tasks.intake.chunks import Chunk, Retry
from tasks.intake.intake import Intake
from worker.local.embedded import EmbeddedValkey, free_port


def claim(intake: Intake, *, size: int = 8, lease_seconds: float = 60.0) -> str:
    dispatched = intake.dispatch(chunk_size=size, lease_seconds=lease_seconds)
    assert dispatched is not None
    return dispatched.chunk_id


def take(intake: Intake, chunk_id: str, *, owner: str = "me", lease_seconds: float = 60.0) -> Chunk:
    chunk = intake.take(chunk_id, owner=owner, lease_seconds=lease_seconds)
    assert chunk is not None
    return chunk


def ids(chunk: Chunk) -> list[bytes]:
    return [entry.id_bytes for entry in chunk.entries]


def keys(intake: Intake) -> set[bytes]:
    """What is left of posts: not who works, and not how many ids were ever taken."""
    return set(intake.client.keys("deadpan:*")) - {b"deadpan:workers", b"deadpan:taken"}


def run_out(intake: Intake, chunk_id: str | bytes) -> None:
    """A lease, or a rest, ends now."""
    intake.client.zadd("deadpan:chunks", {chunk_id: 1}, xx=True)


def test_ids_pushed_by_any_client_become_a_chunk_in_their_order(intake: Intake) -> None:
    intake.client.rpush("deadpan:posts", "1", "2", "3")
    chunk = take(intake, claim(intake))
    assert ids(chunk) == [b"1", b"2", b"3"]
    assert intake.client.llen("deadpan:posts") == 0


def test_a_chunk_holds_at_most_chunk_size_ids(intake: Intake) -> None:
    intake.enqueue([str(n) for n in range(20)])
    assert len(take(intake, claim(intake)).entries) == 8
    assert intake.client.llen("deadpan:posts") == 12


def test_nothing_is_claimed_from_an_empty_intake(intake: Intake) -> None:
    assert intake.dispatch(chunk_size=8, lease_seconds=60) is None
    assert keys(intake) == set()


def test_high_goes_first_and_a_flood_of_it_starves_neither_normal_nor_low(intake: Intake) -> None:
    intake.enqueue([f"h{n}" for n in range(100)], "high")
    intake.enqueue([f"n{n}" for n in range(100)], "normal")
    intake.enqueue([f"l{n}" for n in range(100)], "low")
    chunk = take(intake, claim(intake, size=64))
    by_priority = [sum(e.raw[:1] == p for e in chunk.entries) for p in (b"h", b"n", b"l")]
    assert by_priority == [52, 8, 4]
    assert chunk.entries[0].id_bytes == b"h0"


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
def test_one_priority_alone_fills_the_whole_chunk(intake: Intake, priority: str) -> None:
    intake.enqueue([str(n) for n in range(100)], priority)  # type: ignore[arg-type]
    assert len(take(intake, claim(intake, size=64)).entries) == 64


def test_a_released_chunk_leaves_nothing_behind(intake: Intake) -> None:
    intake.enqueue(["1", "2"])
    assert intake.release(take(intake, claim(intake)))
    assert keys(intake) == set()


def test_a_chunk_is_taken_once_however_often_its_message_comes(intake: Intake) -> None:
    intake.enqueue(["1"])
    chunk_id = claim(intake)
    take(intake, chunk_id, owner="first")
    assert intake.take(chunk_id, owner="second", lease_seconds=60) is None


def test_the_message_of_a_finished_chunk_is_ignored(intake: Intake) -> None:
    intake.enqueue(["1"])
    chunk_id = claim(intake)
    intake.release(take(intake, chunk_id))
    assert intake.take(chunk_id, owner="late", lease_seconds=60) is None


def test_a_chunk_whose_owner_fell_silent_is_dispatched_again_whole(intake: Intake) -> None:
    intake.enqueue(["1", "2"])
    chunk_id = claim(intake)
    take(intake, chunk_id, owner="silent")
    run_out(intake, chunk_id)
    again = intake.dispatch(chunk_size=8, lease_seconds=60)
    assert again is not None
    assert (again.chunk_id, again.posts, again.how) == (chunk_id, 2, "again")
    taken = take(intake, chunk_id, owner="other")
    assert ids(taken) == [b"1", b"2"]
    assert taken.losses == 1


def test_a_chunk_whose_message_was_lost_is_dispatched_again_and_not_blamed(intake: Intake) -> None:
    intake.enqueue(["1", "2"])
    run_out(intake, claim(intake))
    assert take(intake, claim(intake)).losses == 0


def test_an_owner_that_wakes_up_late_can_neither_renew_nor_release(intake: Intake) -> None:
    intake.enqueue(["1"])
    late = take(intake, claim(intake), owner="late")
    run_out(intake, late.id)
    current = take(intake, claim(intake), owner="current")
    assert intake.renew([late], lease_seconds=60) == {late.id}
    assert not intake.release(late)
    assert not intake.give_back(late, delay_seconds=0)
    assert intake.renew([current], lease_seconds=60) == set()
    assert intake.release(current)


def test_a_renewed_lease_does_not_run_out(intake: Intake) -> None:
    intake.enqueue(["1"])
    chunk = take(intake, claim(intake))
    run_out(intake, chunk.id)
    assert intake.renew([chunk], lease_seconds=60) == set()
    assert intake.dispatch(chunk_size=8, lease_seconds=60) is None


def test_a_chunk_that_ends_its_worker_twice_is_halved_until_the_post_stands_alone(
    intake: Intake,
) -> None:
    posts = [str(n) for n in range(8)]
    intake.enqueue(posts)
    losses_of_poison, judged = 0, []
    for _ in range(100):
        dispatched = intake.dispatch(chunk_size=8, lease_seconds=60)
        if dispatched is None:
            break
        chunk = take(intake, dispatched.chunk_id, owner=f"w{_}")
        if b"5" in ids(chunk):
            losses_of_poison = chunk.losses
            if len(chunk.entries) == 1 and chunk.losses == 5:
                intake.release(chunk)
                continue
            # The worker dies of it: its lease runs out.
            run_out(intake, chunk.id)
        else:
            judged += ids(chunk)
            intake.release(chunk)
    assert losses_of_poison == 5
    assert sorted(judged) == [str(n).encode() for n in range(8) if n != 5]
    assert keys(intake) == set()


def test_a_retry_waits_for_its_time_and_returns_to_the_front_of_its_own_list(
    intake: Intake,
) -> None:
    intake.enqueue(["1"], "low")
    chunk = take(intake, claim(intake))
    intake.release(chunk, retries=[Retry(chunk.entries[0], 60)])
    assert intake.dispatch(chunk_size=8, lease_seconds=60) is None
    assert intake.status()["retries"] == 1
    ((retry, _),) = intake.client.zrange("deadpan:retries", 0, -1, withscores=True)
    intake.client.zadd("deadpan:retries", {retry: 1})
    intake.enqueue(["2"], "low")
    entries = take(intake, claim(intake)).entries
    assert [(e.raw, e.attempts) for e in entries] == [(b"l1", 1), (b"l2", 0)]


def test_a_post_that_waits_untried_keeps_its_tries_and_its_place(intake: Intake) -> None:
    intake.enqueue(["1", "2"])
    for tried in range(3):
        chunk = take(intake, claim(intake))
        assert [(e.raw, e.attempts) for e in chunk.entries] == [(b"n1", 0), (b"n2", tried)]
        first, second = chunk.entries
        retries = [Retry(first, 0.0, counts=False), Retry(second, 0.0)]
        assert intake.release(chunk, retries=retries)
        assert intake.status()["retries"] == 2
        again = intake.client.zrange("deadpan:retries", 0, -1)
        intake.client.zadd("deadpan:retries", {b"n2": 1, b"n1": 2})
        assert sorted(again) == [b"n1", b"n2"]


def test_attempts_are_forgotten_when_the_post_is_done(intake: Intake) -> None:
    intake.enqueue(["1"])
    chunk = take(intake, claim(intake))
    intake.release(chunk, retries=[Retry(chunk.entries[0], 0.0)])
    intake.release(take(intake, claim(intake)))
    assert keys(intake) == set()


def test_a_chunk_given_back_rests_and_keeps_its_attempts_and_losses(intake: Intake) -> None:
    intake.enqueue(["1", "2"])
    chunk = take(intake, claim(intake))
    assert intake.give_back(chunk, delay_seconds=60)
    assert intake.dispatch(chunk_size=8, lease_seconds=60) is None
    run_out(intake, chunk.id)
    again = take(intake, claim(intake))
    assert (again.losses, len(again.entries)) == (0, 2)


def test_an_untaken_chunk_fills_the_slot_it_was_meant_for(intake: Intake) -> None:
    intake.enqueue([str(n) for n in range(20)])
    first = intake.dispatch(chunk_size=8, lease_seconds=60)
    assert first is not None
    assert intake.dispatch(chunk_size=8, lease_seconds=60, free_slots=1, untaken=[first]) is None
    take(intake, first.chunk_id)
    assert (
        intake.dispatch(chunk_size=8, lease_seconds=60, free_slots=1, untaken=[first]) is not None
    )


@pytest.mark.parametrize("given_back", [True, False])
def test_a_chunk_given_back_or_left_lying_fills_no_slot_of_who_dispatched_it(
    intake: Intake, given_back: bool
) -> None:
    intake.enqueue([str(n) for n in range(16)])
    first = intake.dispatch(chunk_size=8, lease_seconds=60)
    assert first is not None
    if given_back:
        intake.give_back(take(intake, first.chunk_id), delay_seconds=60)
    else:
        run_out(intake, first.chunk_id)
    dispatched = intake.dispatch(chunk_size=8, lease_seconds=60, free_slots=1, untaken=[first])
    assert dispatched is not None
    assert dispatched.how == ("new" if given_back else "again")


def test_ids_that_no_text_can_hold_travel_unchanged(intake: Intake) -> None:
    odd = [b"\xff\xfe", b"a" * 257, b"1,2", b"../../etc/passwd", b"", b"new\nline"]
    intake.client.rpush("deadpan:posts", *odd)
    assert ids(take(intake, claim(intake))) == odd


@pytest.mark.parametrize(
    ("post_id", "words"),
    [
        ("a" * 257, "257 bytes"),
        ("\udcff", "not UTF-8"),
        ("", "empty"),
        ("a\x00b", "control character"),
    ],
)
def test_a_producer_that_pushes_a_wrong_id_is_told_and_nothing_is_pushed(
    intake: Intake, post_id: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        intake.enqueue(["fine", post_id])
    assert intake.client.llen("deadpan:posts") == 0


def test_enqueue_for_producers_pushes_onto_the_lists_of_the_design(
    valkey_server: EmbeddedValkey, intake: Intake
) -> None:
    assert enqueue(["1", "2"], redis_url=valkey_server.url, prefix="deadpan") == 2
    assert enqueue("3", priority="high", redis_url=valkey_server.url, prefix="deadpan") == 1
    assert intake.client.lrange("deadpan:posts", 0, -1) == [b"1", b"2"]
    assert intake.client.lrange("deadpan:posts:high", 0, -1) == [b"3"]


def test_no_redis_is_said_with_its_address_and_the_remedy() -> None:
    port = free_port()
    away = Intake.at(f"redis://:hush@127.0.0.1:{port}/0")
    with pytest.raises(QueueUnavailable, match=f"{port}.*DEADPAN_REDIS_URL") as caught:
        away.enqueue(["1"])
    assert "hush" not in str(caught.value)
    assert not isinstance(caught.value, QueueRefused), "it may be on its way"
    away.close()


@pytest.mark.parametrize(
    ("login", "number"), [("", 0), (":wrong", 0), ("nobody:wrong", 0), (":hush", 99)]
)
def test_what_waiting_does_not_mend_is_told_from_a_redis_that_is_away(
    intake: Intake, login: str, number: int
) -> None:
    address = intake.shown_url.partition("//")[2].rpartition("/")[0]
    intake.client.config_set("requirepass", "hush")
    try:
        refused = Intake.at(f"redis://{login}@{address}/{number}")
        with pytest.raises(QueueRefused) as caught:
            refused.ping()
        assert "wrong" not in str(caught.value).partition("(")[0].partition("refused")[0]
        refused.close()
    finally:
        intake.client.config_set("requirepass", "")


def test_a_key_of_another_type_under_the_prefix_is_named(intake: Intake) -> None:
    intake.client.set("deadpan:posts", "not a list")
    with pytest.raises(QueueStateError, match="DEADPAN_PREFIX"):
        intake.dispatch(chunk_size=8, lease_seconds=60)


def test_ids_that_were_taken_are_in_a_chunk_whatever_fails_after_that(intake: Intake) -> None:
    intake.client.hset("deadpan:taken", "n", "1.5")
    intake.enqueue(["1", "2"])
    with pytest.raises(QueueUnavailable, match="not an integer"):
        intake.dispatch(chunk_size=8, lease_seconds=60)
    ((chunk_id, _),) = intake.client.zrange("deadpan:chunks", 0, -1, withscores=True)
    run_out(intake, chunk_id)
    again = intake.dispatch(chunk_size=8, lease_seconds=60)
    assert again is not None
    chunk = intake.take(again.chunk_id, owner="me", lease_seconds=60)
    assert chunk is not None
    assert [entry.id_bytes for entry in chunk.entries] == [b"1", b"2"]


def test_a_silent_worker_leaves_the_list_of_workers(intake: Intake) -> None:
    intake.say("a", ready=True, model="mini-1")
    intake.client.hset("deadpan:workers", "b", '{"name":"b","ready":true,"model":"m","seen":1}')
    assert intake.status()["workers"] == [{"name": "a", "ready": True, "model": "mini-1"}]
    intake.leave("a")
    assert intake.status()["workers"] == []


def test_a_worker_that_fell_silent_is_known_for_an_hour_unless_it_left(intake: Intake) -> None:
    now = intake.client.time()[0]
    for name, ago in (("lives", 0), ("frozen", 16), ("long ago", 3500), ("forgotten", 3700)):
        said = {"name": name, "ready": True, "model": "mini-1", "seen": now - ago}
        intake.client.hset("deadpan:workers", name, json.dumps(said))
    intake.say("left in order", ready=True, model="mini-1")
    intake.leave("left in order")
    intake.heard()
    assert intake.heard() == (1, 2)


def test_a_chunk_that_nobody_took_can_be_handed_on_and_one_that_is_held_cannot(
    intake: Intake,
) -> None:
    intake.enqueue([str(n) for n in range(16)])
    held, untaken = claim(intake), claim(intake)
    take(intake, held)
    assert intake.hand_on([held, untaken, "finished"]) == 1
    again = intake.dispatch(chunk_size=8, lease_seconds=60)
    assert again is not None
    assert (again.chunk_id, again.how) == (untaken, "again")
    assert intake.dispatch(chunk_size=8, lease_seconds=60) is None


def test_what_waits_moves_on_in_a_redis_that_is_full(intake: Intake) -> None:
    intake.enqueue([str(n) for n in range(12)])
    chunk = take(intake, claim(intake, size=4))
    intake.release(chunk, retries=[Retry(chunk.entries[0], 0.0)])
    intake.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueUnavailable, match="maxmemory"):
            intake.enqueue(["refused"])
        judged = 0
        while dispatched := intake.dispatch(chunk_size=4, lease_seconds=60):
            chunk = take(intake, dispatched.chunk_id)
            assert intake.renew([chunk], lease_seconds=60) == set()
            assert intake.release(chunk)
            judged += len(chunk.entries)
        assert judged == 9
    finally:
        intake.client.config_set("maxmemory", 0)


def test_a_poison_post_in_one_slot_makes_no_dead_letters_of_what_is_in_the_others(
    intake: Intake,
) -> None:
    """As three slots of one worker do: it dies with all that it holds, again and again."""
    intake.enqueue([str(n) for n in range(8)])
    judged: list[bytes] = []
    worst: dict[bytes, int] = {}
    for life in range(60):
        held = []
        for slot in range(3):
            dispatched = intake.dispatch(chunk_size=8, lease_seconds=60)
            if dispatched is not None:
                held.append(take(intake, dispatched.chunk_id, owner=f"{life}-{slot}"))
        for chunk in held:
            if len(chunk.entries) == 1:
                worst[ids(chunk)[0]] = max(worst.get(ids(chunk)[0], 0), chunk.losses)
        if any(b"5" in ids(chunk) and chunk.losses < 5 for chunk in held):
            intake.client.zadd("deadpan:chunks", {chunk.id: 1 for chunk in held})
            continue
        for chunk in held:
            judged += ids(chunk)
            assert intake.release(chunk)
        if len(judged) == 8:
            break
    assert sorted(judged) == [str(n).encode() for n in range(8)]
    assert worst.pop(b"5") == 5
    assert max(worst.values()) <= 2, "whatever was in its company"
    assert keys(intake) == set()


def test_a_post_keeps_its_trace_while_it_is_tried_and_lost(intake: Intake) -> None:
    theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    intake.client.rpush("deadpan:posts", "own", f"given\t{theirs}", "bad\tid")
    first = take(intake, claim(intake))
    traces = [entry.trace for entry in first.entries]
    assert traces[1].traceparent == theirs
    assert [entry.id_bytes for entry in first.entries] == [b"own", b"given", b"bad\tid"]
    run_out(intake, first.id)
    again = take(intake, claim(intake))
    assert (again.id, again.losses) == (first.id, 1)
    assert [entry.trace for entry in again.entries] == traces, "another worker sees the same"
    retries = [Retry(entry, 0.0) for entry in again.entries[:2]]
    assert intake.release(again, retries=retries)
    last = take(intake, claim(intake))
    told = {entry.id_bytes: (entry.attempts, entry.trace) for entry in last.entries}
    assert told == {b"own": (1, traces[0]), b"given": (1, traces[1])}
    assert intake.release(last)
    assert not intake.client.exists("deadpan:traces", "deadpan:attempts")
    intake.enqueue(["own"])
    (entry,) = take(intake, claim(intake)).entries
    assert entry.trace != traces[0], "pushed again, it begins anew"


def test_traces_that_an_older_worker_left_behind_go(intake: Intake) -> None:
    intake.client.hset("deadpan:traces", "forgotten", "f" * 32)
    intake.enqueue(["1", "2"])
    assert intake.release(take(intake, claim(intake)))
    assert not intake.client.exists("deadpan:traces")
