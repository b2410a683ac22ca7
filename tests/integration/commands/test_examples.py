"""The examples, run as their users run them: a real Valkey, real workers, a real console.

All share one worker for the HTTP source and one for the database source; which platform listens at
the source's URL changes from test to test.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy import make_url
from standardwebhooks import Webhook

from tasks.intake.chunks import split
from tests.example_platforms import (
    EXAMPLES,
    READER_PASSWORD,
    RUN,
    TOKEN,
    Installation,
    installed,
    sql_redis,
)
from tests.harness import environment, outcomes, wait_until
from tests.postgres import Postgres
from tests.receiver import OTHER_SECRET, SECRET
from worker.local.embedded import EmbeddedValkey
from worker.local.processes import ChildProcess

ANGRY = "This is the worst day ever. I hate everything about it, what a horrible mess."
NODE = pytest.param(
    "node",
    marks=pytest.mark.skipif(
        shutil.which("node") is None, reason="no Node.js: install `nodejs` to run its example"
    ),
)


@pytest.fixture(scope="module")
def installation(
    tmp_path_factory: pytest.TempPathFactory, valkey_server: EmbeddedValkey, postgres: Postgres
) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("examples"), valkey_server, postgres) as running:
        yield running


@pytest.mark.long
@pytest.mark.parametrize("name", ["python", NODE])
def test_a_platform_gets_verdicts_decisions_and_deletions_through(
    installation: Installation, name: str
) -> None:
    with installation.platform(name) as platform, installation.api() as console:

        def post(number: str) -> dict[str, Any]:
            told: dict[str, Any] = platform.get(f"/posts/{number}").json()
            return told

        def wait(what: str, number: str, **expected: object) -> None:
            wait_until(
                lambda: expected.items() <= post(number).items(), what, *installation.children
            )

        picture = f"http://127.0.0.1:{installation.port}/posts/nothing.jpg"
        new = {"text": "A lovely day", "images": [picture], "author": "ann", "priority": "high"}
        happy = str(platform.post("/posts", json=new).json()["id"])
        angry = str(platform.post("/posts", json={"text": ANGRY}).json()["id"])
        wait("a verdict, though the picture cannot be had", happy, label="positive")
        wait("a flag", angry, label="negative", flagged=True)

        # An edit is judged anew.
        before = post(happy)["verdict_id"]
        platform.put(f"/posts/{happy}", json={"text": ANGRY})
        wait("the verdict of what it was edited to", happy, label="negative")
        assert post(happy)["verdict_id"] > before

        # A moderator removes the other, and takes that back.
        (flag,) = console.get("/flags", params={"post_id": angry}).json()["flags"]
        console.post(f"/flags/{flag['id']}/claim").raise_for_status()
        said = {"action": "remove", "reason_code": "hate"}
        made = console.post(f"/flags/{flag['id']}/decision", json=said).raise_for_status().json()
        wait("the removal", angry, decision="remove")
        assert "text" not in post(angry)
        console.post(f"/decisions/{made['id']}/undo").raise_for_status()
        wait("the text is back", angry, decision=None, text=ANGRY)

        # Its author deletes it.
        platform.delete(f"/posts/{angry}").raise_for_status()
        wait_until(
            lambda: outcomes(installation.database, [angry]) == {angry: "gone"},
            "the deletion",
            *installation.children,
        )


@pytest.mark.parametrize("name", ["python", NODE])
def test_a_platform_takes_signed_callbacks_only_and_each_once(
    installation: Installation, name: str
) -> None:
    with installation.platform(name, DEADPAN_REDIS_URL="redis://127.0.0.1:1/0") as platform:
        number = str(platform.post("/posts", json={"text": "words"}).json()["id"])

        def send(
            webhook_id: str, verdict_id: int, *, secret: str = SECRET, age_seconds: float = 0
        ) -> int:
            data = {"post_id": number, "verdict_id": verdict_id, "label": "neutral", "flag": None}
            body = json.dumps({"type": "verdict.created", "data": data})
            when = int(time.time() - age_seconds)
            headers = {"webhook-id": webhook_id, "webhook-timestamp": str(when)}
            headers["webhook-signature"] = signed(secret, webhook_id, when, body)
            return platform.post("/deadpan", content=body, headers=headers).status_code

        def known() -> int | None:
            told: int | None = platform.get(f"/posts/{number}").json()["verdict_id"]
            return told

        assert send("verdict-1-1", 10, secret=OTHER_SECRET) == 401
        assert send("verdict-1-1", 10, age_seconds=3600) == 401
        assert platform.post("/deadpan", content=b"{}").status_code == 401
        assert not known()
        assert send("verdict-1-1", 10, secret=SECRET) == 200
        assert known() == 10
        assert send("verdict-1-1", 11) == 200
        assert known() == 10, "the same event was taken twice"
        assert send("verdict-0-1", 9) == 200
        assert known() == 10, "a late event replaced a newer one"
        assert send("verdict-2-1", 12) == 200
        assert known() == 12
        assert platform.get("/posts", params={"ids": number}).status_code == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        told = platform.get("/posts", params={"ids": f"{number},999"}, headers=headers).json()
        assert [each["id"] for each in told["posts"]] == [number]


def signed(secret: str, webhook_id: str, when: int, body: str) -> str:
    """As `standardwebhooks` signs, for a second that may lie in the past."""
    return str(Webhook(secret).sign(webhook_id, datetime.fromtimestamp(when, UTC), body))


def test_the_platform_pushes_what_it_could_not_and_what_redis_lost(
    installation: Installation,
) -> None:
    with installation.platform("python", DEADPAN_REDIS_URL="redis://127.0.0.1:1/0") as platform:
        said = ("Words for later", "Words that Redis lost")
        later, lost = (platform.post("/posts", json={"text": t}).json()["id"] for t in said)
    path = installation.folder / "platform.db"
    with closing(sqlite3.connect(path)) as own, own:
        own.execute("DELETE FROM to_push WHERE post_id = ?", (str(lost),))
    with installation.platform("python") as platform:

        def label(number: int) -> str | None:
            told: str | None = platform.get(f"/posts/{number}").json()["label"]
            return told

        wait_until(lambda: label(later) is not None, "a verdict", *installation.children)
        done = subprocess.run(
            [*RUN["python"], "push-unanswered", "0"],
            env={**os.environ, "PLATFORM_DATABASE": str(path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "posts are pushed again" in done.stdout
        wait_until(lambda: label(lost) is not None, "a verdict", *installation.children)


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js: install `nodejs`")
def test_node_pushes_with_a_password_and_into_another_database(
    installation: Installation, tmp_path: Path
) -> None:
    with EmbeddedValkey(tmp_path) as valkey:
        client = redis.Redis.from_url(valkey.url)
        client.config_set("requirepass", "p@ss/word")
        url = f"redis://:p%40ss%2Fword@127.0.0.1:{valkey.port}/3"
        with installation.platform("node", DEADPAN_REDIS_URL=url) as platform:
            number = platform.post("/posts", json={"text": "words", "priority": "low"}).json()["id"]
            client.execute_command("AUTH", "p@ss/word")
            client.select(3)
            wait_until(
                lambda: client.lrange("deadpan:posts:low", 0, -1) == [number.encode()], "the push"
            )
        client.close()


SHELL = pytest.param(
    [str(EXAMPLES / "push/push.sh")],
    marks=pytest.mark.skipif(
        not (shutil.which("redis-cli") or shutil.which("valkey-cli")),
        reason="no redis-cli or valkey-cli: install `redis-tools`",
    ),
)


@pytest.mark.parametrize(
    "program", [[sys.executable, str(EXAMPLES / "push/push.py")], SHELL], ids=["python", "shell"]
)
def test_an_id_is_pushed_with_nothing_of_ours_and_with_its_trace(
    program: list[str], tmp_path: Path
) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with EmbeddedValkey(tmp_path) as valkey:
        settings = environment(redis_url=valkey.url)
        for arguments in (["12345"], ["a b", traceparent]):
            subprocess.run([*program, *arguments], env=settings, check=True, timeout=60)
        with redis.Redis.from_url(valkey.url) as client:
            pushed = client.lrange("deadpan:posts", 0, -1)
    assert [split(entry) for entry in pushed] == [
        (b"12345", b""),
        (b"a b", traceparent.encode()),
    ]


@pytest.mark.long
@pytest.mark.skipif(
    not (shutil.which("redis-cli") or shutil.which("valkey-cli")) or not shutil.which("curl"),
    reason="no redis-cli or valkey-cli, or no curl: install `redis-tools` and `curl`",
)
def test_a_shell_pushes_ids_and_asks_what_became_of_them(installation: Installation) -> None:
    settings = environment(redis_url=installation.valkey.url) | {
        "CONSOLE_URL": installation.console,
        "CONSOLE_TOKEN": installation.token,
    }
    script = str(EXAMPLES / "shell/judge.sh")
    with installation.platform("python", DEADPAN_REDIS_URL="redis://127.0.0.1:1/0") as platform:
        # That platform pushes nothing here; the shell does.
        number = str(platform.post("/posts", json={"text": ANGRY}).json()["id"])
        command = [script, "--priority", "high", number, "not-there"]
        done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        told = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(each["post_id"], each["outcome"]) for each in told] == [
            (number, "judged"),
            ("not-there", "gone"),
        ]
        command = [script, "--priority", "urgent", "1"]
        wrong = subprocess.run(command, env=settings, capture_output=True)
        assert wrong.returncode == 2
        assert b"'urgent' is unknown" in wrong.stderr
        closed = settings | {"DEADPAN_REDIS_URL": "redis://127.0.0.1:1/0"}
        away = subprocess.run([script, "1"], env=closed, capture_output=True, text=True)
        assert away.returncode != 0
        assert "refused" in away.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl: install it")
def test_a_shell_checks_a_signature() -> None:
    # A key of all kinds of bytes, a NUL and a line end among them.
    secret = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    body = '{"type": "verdict.created"}'
    now = int(time.time())

    def check(signature: str, said: str = body) -> int:
        return subprocess.run(
            [str(EXAMPLES / "shell/verify_callback.sh"), "verdict-1-1", str(now), signature],
            env={**os.environ, "DEADPAN_CALLBACK_SECRET": secret},
            input=said.encode(),
        ).returncode

    right = signed(secret, "verdict-1-1", now, body)
    assert check(right) == 0
    assert check(f"{signed(SECRET, 'verdict-1-1', now, body)} {right}") == 0
    assert check(signed(SECRET, "verdict-1-1", now, body)) == 1
    assert check(right, body + " ") == 1
    assert check("") == 1


@pytest.mark.long
def test_posts_are_read_from_a_database_that_notes_what_changes(
    installation: Installation,
) -> None:
    pusher = ChildProcess(
        "pusher",
        [sys.executable, str(EXAMPLES / "database/push_posts.py")],
        environment=environment(redis_url=sql_redis(installation.valkey))
        | {"PLATFORM_DATABASE_URL": installation.platform_database},
        log_path=installation.folder / "pusher.log",
    )
    with psycopg.connect(installation.platform_database, autocommit=True) as platform:
        # Numbers of their own, for the other platforms' ids are in the same tables.
        platform.execute("ALTER TABLE posts ALTER id RESTART 5001")
        for number in range(4):
            platform.execute("INSERT INTO posts (text) VALUES (%s)", (f"post {number}",))
        platform.execute("DELETE FROM posts WHERE id = 5004")
        noted = platform.execute("SELECT post_id FROM posts_to_push ORDER BY number").fetchall()
        assert [post_id for (post_id,) in noted] == [5001, 5002, 5003, 5004, 5004]
        with pusher:
            wait_until(
                lambda: (
                    outcomes(installation.database, [str(n) for n in range(5001, 5005)])
                    == {"5001": "judged", "5002": "judged", "5003": "judged", "5004": "gone"}
                ),
                "four outcomes",
                pusher,
                *installation.children,
            )
        assert platform.execute("SELECT count(*) FROM posts_to_push").fetchone() == (0,)
    reader = make_url(installation.platform_database).set(
        username="deadpan_reader", password=READER_PASSWORD
    )
    with psycopg.connect(reader.render_as_string(hide_password=False)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM posts")
