"""What workers saw in pictures, shared through a real Valkey, and never worth a post."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import redis

from models.feature_cache import Features
from tasks.intake import Intake, connect
from worker import shared_features
from worker.embedded import EmbeddedValkey, free_port
from worker.shared_features import SharedFeatures

DIM = 8


def sha256(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def seen(number: int, regions: int = 1) -> Features:
    return np.full((regions, DIM), number, dtype=np.float16)


def shared(client: redis.Redis, *, identity: str = "model", places: int = 1000) -> SharedFeatures:
    return SharedFeatures(client, prefix="deadpan", identity=identity, dim=DIM, places=places)


def test_one_worker_knows_what_another_saw(intake: Intake) -> None:
    pictures = {sha256(n): seen(n, regions=1 + n) for n in range(3)}
    shared(intake.client).put(pictures)
    found = shared(intake.client).get([*pictures, sha256(9)])
    assert found.keys() == pictures.keys()
    for name, features in pictures.items():
        assert np.array_equal(found[name], features)
    assert shared(intake.client, identity="another model").get(list(pictures)) == {}
    assert all(0 < intake.client.ttl(key) <= 86400 for key in intake.client.keys("*"))


def test_it_cannot_outgrow_its_places(intake: Intake) -> None:
    small = shared(intake.client, places=10)
    for start in range(0, 500, 50):
        small.put({sha256(n): seen(n) for n in range(start, start + 50)})
    assert len(intake.client.keys("deadpan:features:*")) == 10
    found = small.get([sha256(n) for n in range(500)])
    assert 1 <= len(found) <= 10
    for number in range(500):
        if sha256(number) in found:
            assert found[sha256(number)][0, 0] == number % 2048


def test_what_somebody_else_wrote_there_is_not_taken_for_features(intake: Intake) -> None:
    one = shared(intake.client)
    one.put({sha256(1): seen(1)})
    (key,) = intake.client.keys("deadpan:features:*")
    whole = bytes.fromhex(sha256(1))
    nonsense = np.full((1, DIM), np.nan, dtype=np.float16).tobytes()
    for value in (b"", b"x", whole, whole + b"x" * 7, whole + nonsense):
        intake.client.set(key, value)
        assert one.get([sha256(1)]) == {}
    intake.client.delete(key)
    intake.client.rpush(key, "a list")
    assert one.get([sha256(1)]) == {}
    one.put({sha256(1): seen(1)})
    assert list(one.get([sha256(1)])) == [sha256(1)]


def test_without_redis_it_knows_nothing_and_does_not_ask_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = connect(f"redis://127.0.0.1:{free_port()}")
    asked: list[int] = []
    mget = client.mget

    def counting(keys: list[str]) -> object:
        asked.append(len(keys))
        return mget(keys)

    monkeypatch.setattr(client, "mget", counting)
    away = shared(client)
    for _ in range(100):
        assert away.get([sha256(1)]) == {}
        away.put({sha256(1): seen(1)})
    assert asked == [1]
    client.close()


def test_a_full_redis_keeps_nothing_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_features, "AWAY_SECONDS", 0.0)
    with EmbeddedValkey(tmp_path) as valkey:
        client = connect(valkey.url)
        client.config_set("maxmemory", 1)
        client.config_set("maxmemory-policy", "noeviction")
        full = shared(client)
        full.put({sha256(1): seen(1)})
        assert full.get([sha256(1)]) == {}
        client.config_set("maxmemory", 0)
        full.put({sha256(1): seen(1)})
        assert list(full.get([sha256(1)])) == [sha256(1)]
        client.close()
