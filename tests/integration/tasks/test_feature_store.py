"""Features in a real Valkey: shared, bounded, and costing nothing when it is away or full."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from tasks.intake.intake import Intake
from tasks.moderate.feature_store import RedisFeatures
from worker.local.embedded import EmbeddedValkey, free_port

SIZE = 100


def name(picture: object, identity: str = "m") -> str:
    return f"{identity}:{hashlib.sha256(str(picture).encode()).hexdigest()}"


@pytest.fixture
def store(valkey_server: EmbeddedValkey, intake: Intake) -> Iterator[RedisFeatures]:
    """A store on an empty Valkey."""
    made = RedisFeatures.at(valkey_server.url, "deadpan", seconds=60, max_bytes=10_000)
    yield made
    made.close()


def test_features_are_found_by_another_worker_and_by_no_other_model(
    store: RedisFeatures, valkey_server: EmbeddedValkey
) -> None:
    store.save({name("a"): b"a" * SIZE}, SIZE)
    other = RedisFeatures.at(valkey_server.url, "deadpan", seconds=60, max_bytes=10_000)
    assert other.load([name("a"), name("b"), name("a", "n")], SIZE) == {name("a"): b"a" * SIZE}
    other.close()


def test_they_take_a_bounded_number_of_keys_that_all_expire(
    store: RedisFeatures, intake: Intake
) -> None:
    values = {name(number): bytes(SIZE) for number in range(500)}
    store.save(values, SIZE)
    keys = list(intake.client.scan_iter("deadpan:features:*"))
    assert 0 < len(keys) <= 10_000 // SIZE
    assert all(0 < intake.client.ttl(key) <= 60 for key in keys)
    found = store.load(values, SIZE)
    assert len(found) == len(keys), "a place holds the picture that came last, under its own name"


def test_they_take_no_more_than_an_eighth_of_what_redis_may_use(
    valkey_server: EmbeddedValkey, intake: Intake
) -> None:
    intake.client.config_set("maxmemory", 8 * 2**20)
    try:
        store = RedisFeatures.at(valkey_server.url, "deadpan", seconds=60, max_bytes=2**40)
        assert store._places(SIZE) <= 2**20 // SIZE
        store.close()
    finally:
        intake.client.config_set("maxmemory", 0)


def test_a_full_redis_costs_nothing_but_the_saving(
    valkey_server: EmbeddedValkey, intake: Intake
) -> None:
    store = RedisFeatures.at(valkey_server.url, "deadpan", seconds=60, max_bytes=10_000)
    store.load([name("a")], SIZE)
    intake.client.config_set("maxmemory", 1)
    try:
        store.save({name("a"): bytes(SIZE)}, SIZE)
        assert store.load([name("a")], SIZE) == {}
    finally:
        intake.client.config_set("maxmemory", 0)
    store.close()


def test_a_redis_that_is_away_is_left_alone_for_a_while() -> None:
    store = RedisFeatures.at(
        f"redis://127.0.0.1:{free_port()}/0", "deadpan", seconds=60, max_bytes=10_000
    )
    assert store.load([name("a")], SIZE) == {}
    assert store._is_paused()
    store.save({name("a"): bytes(SIZE)}, SIZE)
    assert store.load([name("a")], SIZE) == {}
    store.close()
