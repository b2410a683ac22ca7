"""Messages on Celery's own list that Deadpan did not write, and keys of another type."""

from __future__ import annotations

import base64
import json
import pickle
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection, Queue

from storage.base.database import connect
from storage.migrations.schema import migrate
from tasks.intake.intake import Intake
from tasks.intake.keys import expected, wrong_key
from tasks.intake.spoilt import KEPT_BYTES, KEPT_MESSAGES, Spoilt, count
from tests.harness import outcomes, wait_until, worker
from tests.platform import Platform
from worker.local.embedded import EmbeddedValkey
from worker.messages import guard, message_problem, stored_problem

QUEUE = "deadpan:celery"


def message(tag: str = "tag", **changes: Any) -> dict[str, Any]:
    """What Celery writes for a chunk, with changes: a dict changes what is below a name."""
    body = [["chunk.n1"], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    whole: dict[str, Any] = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": "deadpan.moderate",
            "id": "6f0e",
            "eta": None,
            "expires": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": "6f0e",
            "argsrepr": "('chunk.n1',)",
            "stamps": {},
        },
        "properties": {
            "correlation_id": "6f0e",
            "reply_to": "7a",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": tag,
        },
    }
    for name, value in changes.items():
        if isinstance(value, dict):
            whole[name] = {**whole[name], **value}
        else:
            whole[name] = value
    return whole


def without(name: str, below: str | None = None) -> dict[str, Any]:
    whole = message()
    del (whole[below] if below else whole)[name]
    return whole


def body(content: Any) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


SHAPES: dict[str, Any] = {
    "a list": [],
    "null": None,
    "a number": 7,
    "text": "text",
    "an empty object": {},
    "no headers": without("headers"),
    "no properties": without("properties"),
    "no body": without("body"),
    "no content type": without("content-type"),
    "no delivery info": without("delivery_info", "properties"),
    "no delivery tag": without("delivery_tag", "properties"),
    "no task": without("task", "headers"),
    "no id": without("id", "headers"),
    "headers are a list": {**message(), "headers": []},
    "properties are text": {**message(), "properties": "x"},
    "delivery info is a list": message(properties={"delivery_info": ["a"]}),
    "an exchange is a list": message(properties={"delivery_info": {"exchange": []}}),
    "a consumer tag is a list": message(
        properties={"delivery_info": {"exchange": "", "routing_key": QUEUE, "consumer_tag": []}}
    ),
    "a tag is an object": message(properties={"delivery_tag": {}}),
    "a tag is a lone surrogate": message(properties={"delivery_tag": "\ud800"}),
    "an id is a lone surrogate": message(headers={"id": "a\udcff"}),
    "an id is an object": message(headers={"id": {"a": 1}}),
    "priority is endless": message(properties={"priority": float("inf")}),
    "an unknown task": message(headers={"task": "celery.backend_cleanup"}),
    "a task is a list": message(headers={"task": []}),
    "an unknown content type": message(**{"content-type": "application/x-yaml"}),
    "a pickle": message(
        **{"content-type": "application/x-python-serialize", "content-encoding": "binary"},
        body=base64.b64encode(pickle.dumps(1)).decode(),
    ),
    "an unknown encoding": message(**{"content-encoding": "utf-99"}),
    "an unknown body encoding": message(properties={"body_encoding": "rot13"}),
    "base64 that is none": message(body="***"),
    "compressed": message(
        headers={"compression": "application/x-gzip"},
        body=base64.b64encode(zlib.compress(b"[]")).decode(),
    ),
    "no arguments": message(body=body([[], {}, {}])),
    "two arguments": message(body=body([["a", "b"], {}, {}])),
    "a named argument": message(body=body([[], {"chunk": "a"}, {}])),
    "an argument is a number": message(body=body([[1], {}, {}])),
    "an argument is a lone surrogate": message(body=body([["\ud800"], {}, {}])),
    "arguments are an object": message(body=body([{}, [], {}])),
    "a body is an object": message(body=body({"args": ["a"]})),
    "a body is a number": message(body=7),
    "a body with a type of kombu's": message(
        body=body([[{"__type__": "datetime", "__value__": "never"}], {}, {}])
    ),
    "a task that calls others": message(body=body([["a"], {}, {"callbacks": [{"task": "x"}]}])),
    "a time": message(headers={"eta": "never"}),
    "a time limit": message(headers={"timelimit": 7}),
    "retries are text": message(headers={"retries": "many"}),
    "the first protocol": {**message(headers={}), "body": body({"task": "deadpan.moderate"})},
}
BYTES: dict[str, bytes] = {
    "no JSON": b"{not json",
    "nothing": b"",
    "no UTF-8": b"\xff\xfe\x00",
    "half a message": json.dumps(message()).encode()[:-40],
    "deep brackets": b"[" * 30_000,
    "a long number": b"9" * 30_000,
    "ten million bytes": b"rubbish!" * 1_250_000,
    "a pickle alone": pickle.dumps({"a": 1}),
    **{name: json.dumps(shape).encode() for name, shape in SHAPES.items()},
}


@pytest.mark.parametrize("name", BYTES)
def test_what_is_no_message_is_known_before_celery_sees_it(name: str) -> None:
    why = message_problem(BYTES[name])
    assert why
    assert why.isprintable()
    assert len(why) < 250


@pytest.mark.parametrize(
    "good",
    [
        message(),
        message(body=body([[], {"chunk_id": "chunk.n1"}, {}])),
        message(headers={"dispatched_at": 1.5, "new_in_celery_6": {"a": 1}}),
        message(
            properties={
                "delivery_info": {"exchange": "", "routing_key": QUEUE, "redelivered": True}
            }
        ),
    ],
    ids=["as sent", "a named argument", "more headers", "redelivered"],
)
def test_what_celery_writes_is_a_message(good: dict[str, Any]) -> None:
    assert message_problem(json.dumps(good).encode()) is None
    assert stored_problem(json.dumps([good, "", QUEUE]).encode()) is None


def test_what_this_celery_sends_is_a_message(valkey_server: EmbeddedValkey, intake: Intake) -> None:
    import worker

    with Connection(valkey_server.url) as connection:
        worker.app.send_task("deadpan.moderate", ("chunk.n1",), connection=connection, queue=QUEUE)
    raw = intake.client.rpop(QUEUE)
    assert raw
    assert message_problem(raw) is None


@pytest.fixture
def drained(valkey_server: EmbeddedValkey, intake: Intake) -> Iterator[Callable[[], list[Any]]]:
    """Takes what waits on the list, as a worker's consumer does; gives what came through."""
    spoilt = Spoilt(intake, worker="w@test")
    got: list[Any] = []
    with Connection(valkey_server.url) as connection:
        guard(connection.transport, spoilt.put_aside)
        queue = Queue(QUEUE, routing_key=QUEUE, exchange="", channel=connection.default_channel)

        def take(raw: Any) -> None:
            got.append(raw.delivery_tag)
            raw.ack()

        with connection.Consumer([queue], on_message=take):

            def all_of_it() -> list[Any]:
                while intake.client.llen(QUEUE):
                    with suppress(Empty, socket.timeout):
                        connection.drain_events(timeout=2)
                return got

            yield all_of_it


def kept(intake: Intake) -> list[dict[str, Any]]:
    return [json.loads(entry) for entry in intake.client.lrange("deadpan:spoilt", 0, -1)]


def test_spoilt_messages_are_put_aside_whole_and_those_behind_them_come_through(
    intake: Intake, drained: Callable[[], list[Any]]
) -> None:
    for name, raw in BYTES.items():
        intake.client.lpush(QUEUE, raw)
        intake.client.lpush(QUEUE, json.dumps(message(f"after {name}")))
    assert drained() == [f"after {name}" for name in BYTES]
    aside = kept(intake)[::-1]
    assert count(intake) == len(BYTES)
    for raw, entry in zip(BYTES.values(), aside, strict=True):
        assert base64.b64decode(entry["bytes"]) == raw[:KEPT_BYTES]
        assert entry["length"] == len(raw)
        assert entry["why"] == message_problem(raw)
        assert entry["worker"] == "w@test"
    assert not intake.client.exists("unacked")


def test_what_is_put_aside_is_bounded(intake: Intake) -> None:
    spoilt = Spoilt(intake, worker="w")
    for n in range(KEPT_MESSAGES + 5):
        spoilt.put_aside(b"%d" % n, "it is a number")
    assert count(intake) == KEPT_MESSAGES
    assert base64.b64decode(kept(intake)[0]["bytes"]) == b"%d" % (KEPT_MESSAGES + 4)


def test_what_redis_does_not_take_is_kept_until_it_does(intake: Intake) -> None:
    intake.client.set("deadpan:spoilt", "a string")
    spoilt = Spoilt(intake, worker="w")
    spoilt.put_aside(b"first", "why")
    spoilt.put_aside(b"second", "why")
    intake.client.delete("deadpan:spoilt")
    spoilt.flush()
    assert [base64.b64decode(entry["bytes"]) for entry in kept(intake)] == [b"second", b"first"]


def test_rubbish_among_unacknowledged_messages_is_put_aside_and_good_ones_come_back(
    intake: Intake, valkey_server: EmbeddedValkey
) -> None:
    rubbish = {
        "a": b"{not json",
        "b": b"[]",
        "c": b'[[], "", ""]',
        "d": b'[{"headers": 1}, "", ""]',
    }
    good = json.dumps([message("good"), "", QUEUE]).encode()
    of_another_app = json.dumps([{"body": "x", "headers": {}, "properties": {}}, "", "other"])
    for tag, raw in {**rubbish, "good": good, "other": of_another_app}.items():
        intake.client.hset("unacked", tag, raw)
        intake.client.zadd("unacked_index", {tag: 1})
    spoilt = Spoilt(intake, worker="w")
    with Connection(valkey_server.url) as connection:
        guard(connection.transport, spoilt.put_aside)
        channel = connection.default_channel
        Queue(QUEUE, routing_key=QUEUE, exchange="", channel=channel).declare()
        channel.qos.restore_visible(num=20)
    assert {base64.b64decode(entry["bytes"]) for entry in kept(intake)} == set(rubbish.values())
    assert [
        json.loads(raw)["properties"]["delivery_tag"] for raw in intake.client.lrange(QUEUE, 0, -1)
    ] == ["good"]
    assert not intake.client.exists("unacked", "unacked_index")


def test_a_key_of_another_type_is_named(intake: Intake) -> None:
    assert wrong_key(intake, QUEUE) is None
    for key, kind in expected(intake, QUEUE).items():
        if kind == "hash":
            intake.client.rpush(key, "x")
        else:
            intake.client.hset(key, "x", "x")
        said = wrong_key(intake, QUEUE)
        assert said
        assert f"Redis key {key} is not a {kind}" in said
        intake.client.delete(key)


def test_a_worker_lives_through_all_that_may_be_on_celerys_list(
    tmp_path: Path, intake: Intake, valkey_server: EmbeddedValkey
) -> None:
    database = connect(f"sqlite:///{tmp_path}/deadpan.db")
    migrate(database)
    posts = {str(n): {"text": f"post {n}"} for n in range(4)}
    intake.client.hset("unacked", "rubbish", b"{not json")
    intake.client.zadd("unacked_index", {"rubbish": 1})
    with Platform(posts) as platform:
        child = worker(
            tmp_path,
            redis_url=valkey_server.url,
            database_url=database.url,
            evidence_url=tmp_path / "evidence",
            source=platform.source,
            engine="torch",
            explain="off",
        )

        def judged(*ids: str) -> Callable[[], bool]:
            return lambda: len(outcomes(database, ids)) == len(ids)

        with child:
            intake.enqueue(["0"])
            wait_until(judged("0"), "an outcome", child)
            wait_until(lambda: count(intake) == 1, "rubbish from before put aside", child)

            intake.client.lpush(QUEUE, *BYTES.values())
            for shape in (
                b"{not json",
                b"[]",
                b'{"properties": {}}',
                json.dumps(message(body="*")),
            ):
                intake.client.publish("/0.celery.pidbox", shape)
            wait_until(lambda: count(intake) >= len(BYTES) + 4, "all put aside", child)
            intake.enqueue(["1"])
            wait_until(judged("1"), "the next post's outcome", child)

            # The list itself is something else: said, waited for, and gone on.
            intake.client.delete(QUEUE)
            intake.client.set(QUEUE, "a string")
            wait_until(lambda: not intake.status()["workers"][0]["ready"], "unreadiness", child)
            intake.enqueue(["2"])
            intake.client.delete(QUEUE)
            wait_until(judged("2"), "the outcome after the list was mended", child)
            wait_until(lambda: intake.status()["workers"][0]["ready"], "readiness", child)
            assert child.exit_code is None
    log = child.log_path.read_text()
    assert "Redis key deadpan:celery is not a list" in log
    assert "Unrecoverable" not in log
    assert log.count("message put aside") == count(intake)
    database.dispose()
