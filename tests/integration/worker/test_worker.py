"""From RPUSH to rows: one real worker, a real Valkey, a real platform, both databases."""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine, Table, func, select

from storage import tables
from storage.base.database import connect, transaction
from storage.flags import worklist
from storage.flags.worklist import Filter
from storage.judging import queries
from storage.migrations.schema import migrate
from storage.tables import flags, verdicts
from tasks.intake.intake import Intake
from tests.harness import outcomes, wait_until, worker
from tests.platform import Platform
from worker.local.embedded import EmbeddedValkey, free_port
from worker.local.processes import ChildProcess

SETTINGS = {
    "allow_private_addresses": "127.0.0.0/8",
    "retry_base_seconds": 0.05,
    "max_attempts": 3,
    "fetch_timeout_seconds": 5,
}


@contextmanager
def running(
    folder: Path, valkey: EmbeddedValkey, database_url: str, platform: Platform, **more: object
) -> Iterator[ChildProcess]:
    child = worker(
        folder,
        redis_url=valkey.url,
        database_url=database_url,
        source=platform.source,
        evidence_url=folder / "evidence",
        **{**SETTINGS, **more},
    )
    with child:
        yield child


def jpeg(colour: str = "navy") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (320, 240), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def count(database: Engine, table: Table) -> int:
    with transaction(database) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def finished(intake: Intake, database: Engine, ids: list[str]) -> Callable[[], bool]:
    """Every id has an outcome and its chunk has left Redis."""
    return lambda: len(outcomes(database, ids)) == len(set(ids)) and empty(intake)


def empty(intake: Intake) -> bool:
    """Nothing waits, nothing is in hand, nothing is to be tried again."""
    told = intake.status()
    return not any([*told["intake"].values(), told["chunks"], told["retries"]])


def letters(database: Engine) -> dict[str, tables.DeadLetter]:
    with transaction(database) as connection:
        return {x.post_id: x for x in queries.dead_letters(connection, limit=100)}


def test_200_posts_pushed_by_any_client_end_as_200_outcomes(
    tmp_path: Path,
    valkey_server: EmbeddedValkey,
    intake: Intake,
    database_url: str,
    database: Engine,
) -> None:
    posts = {f"p{n}": {"text": f"this is the worst day {n}", "author": "a"} for n in range(190)}
    for n in range(0, 190, 10):
        posts[f"p{n}"]["images"] = ["blue.jpg"]  # type: ignore[assignment]
    with Platform(posts, {"blue.jpg": jpeg()}) as platform:
        ids = [f"p{n}" for n in range(200)]  # the last ten are gone
        intake.client.rpush("deadpan:posts", *ids[:100])
        intake.client.rpush("deadpan:posts:high", *ids[100:150])
        intake.client.rpush("deadpan:posts:low", *ids[150:])
        with running(tmp_path, valkey_server, database_url, platform) as child:
            wait_until(finished(intake, database, ids), "200 outcomes", child)
    told = outcomes(database, ids)
    assert [told[i] for i in ids] == ["judged"] * 190 + ["gone"] * 10
    assert count(database, verdicts) == 190
    about_all = {b"deadpan:workers", b"deadpan:taken", b"deadpan:arrivals"}
    left = set(intake.client.keys("deadpan:*")) - about_all
    features = {key for key in left if key.startswith(b"deadpan:features:")}
    assert len(features) == 1, "one picture, posted 19 times"
    assert intake.client.ttl(features.pop()) > 0
    left = {key for key in left if not key.startswith(b"deadpan:features:")}
    assert not [key for key in left if b"celery" not in key]


def test_one_worker_meets_everything_that_can_be_wrong_with_a_post(
    tmp_path: Path,
    valkey_server: EmbeddedValkey,
    intake: Intake,
    database_url: str,
    database: Engine,
) -> None:
    flaky = {"left": 4}  # more often than a post has tries

    def meddle(ids: list[str]) -> tuple[int, dict[str, str], bytes] | None:
        if "flaky" in ids and flaky["left"]:
            flaky["left"] -= 1
            return 429, {"Retry-After": "0"}, b""
        return None

    posts: dict[str, dict[str, Any]] = {
        "fine": {"text": "a lovely day"},
        "broken-image": {"text": "look", "images": ["broken.jpg"]},
        "no-image": {"text": "look", "images": ["missing.jpg"]},
        "half": {"text": "look", "images": ["fine.jpg", "broken.jpg"]},
        "../../etc/passwd": {"text": "a strange name"},
        "wrong-shape": {"text": 42},
        "flaky": {"text": "at last"},
        "": {"text": "never asked for"},
        "nul": {"text": "a\x00b \ud800 c"},
    }
    images = {"broken.jpg": jpeg()[:200], "fine.jpg": jpeg()}
    with Platform(posts, images, meddle=meddle) as platform:
        # Chunks of their own, so that the platform's mood about one id is about that id.
        with running(tmp_path, valkey_server, database_url, platform, chunk_size=4) as child:
            steps: list[list[bytes]] = [
                [b"fine", b"broken-image", b"no-image", b"half"],
                [b"../../etc/passwd", b"wrong-shape", b"nul"],
                [b"1,2"],
                [b"\xff\xfe", b"x" * 257, b"a\nb", b""],
                [b"flaky"],
                [b"fine"] * 100,
            ]
            for step in steps:
                intake.client.rpush("deadpan:posts", *step)
                wait_until(
                    lambda: empty(intake),
                    f"an end of {step[:3]}",
                    child,
                )
    with transaction(database) as connection:
        judged = queries.verdicts_of(connection, list(posts))
    assert set(judged) == {
        "fine", "broken-image", "no-image", "half", "../../etc/passwd", "flaky", "nul"
    }  # fmt: skip
    assert judged["fine"].degraded == []
    assert "404" in judged["no-image"].degraded[0]["problem"]
    assert judged["broken-image"].degraded[0]["problem"]
    assert judged["broken-image"].image_alone is None
    assert [d["image"] for d in judged["half"].degraded] == [1]
    assert judged["half"].image_alone is not None
    assert count(database, verdicts) == len(judged), "the same id pushed 100 times is judged once"
    dead = letters(database)
    assert "text" in dead["wrong-shape"].error
    assert "comma" in dead["1,2"].error
    intake_errors = [x.error for x in dead.values() if x.stage == "intake"]
    assert len(intake_errors) == 4
    for words in ("257 bytes", "not UTF-8", "control character", "empty"):
        assert any(words in error for error in intake_errors)


def test_a_flag_carries_its_reasons_and_the_evidence_of_what_was_seen(
    tmp_path: Path,
    valkey_server: EmbeddedValkey,
    intake: Intake,
    database_url: str,
    database: Engine,
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[[rules]]\nname = "all"\nwhen = "sarcasm >= 0.0"\nqueue = "everything"\npriority = 7\n'
    )
    posts: dict[str, dict[str, Any]] = {
        "p": {"text": "so <b>great</b>\x00", "images": ["a.jpg"], "author": "zoë"}
    }
    with Platform(posts, {"a.jpg": jpeg("red")}) as platform:
        with running(tmp_path, valkey_server, database_url, platform, policy=policy) as child:
            intake.enqueue(["p"])
            wait_until(finished(intake, database, ["p"]), "an outcome", child)
            # The same post again: nothing new is written.
            intake.enqueue(["p"])
            wait_until(lambda: empty(intake), "an end", child)
    with transaction(database) as connection:
        (flag,) = worklist.page(connection, Filter(), limit=10)
    assert (flag.post_id, flag.queue, flag.priority) == ("p", "everything", 7)
    assert flag.reasons[0]["rule"] == "all"
    assert flag.verdict.author == "zoë"
    kinds = {item["kind"]: item["sha256"] for item in flag.verdict.evidence}
    assert set(kinds) == {"original_text", "text", "image"}
    stored = tmp_path / "evidence"
    found = {path.name: path for path in stored.rglob("*") if path.is_file()}
    assert found[kinds["original_text"]].read_bytes() == b"so <b>great</b>\x00"
    with Image.open(found[kinds["image"]]) as picture:
        assert picture.format == "JPEG"
        assert max(picture.size) <= 512
    assert count(database, verdicts) == 1
    assert count(database, flags) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_worker_says_that_it_is_ready_and_counts_its_work(
    tmp_path: Path,
    valkey_server: EmbeddedValkey,
    intake: Intake,
    database_url: str,
    database: Engine,
) -> None:
    port = free_port()

    def ask(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    with Platform({"p": {"text": "hello"}}) as platform:
        with running(tmp_path, valkey_server, database_url, platform, metrics_port=port) as child:
            wait_until(lambda: ask("/healthz")[0] == 200, "health", child)
            wait_until(lambda: ask("/readyz")[0] == 200, "readiness", child)
            (said,) = intake.status()["workers"]
            assert said["ready"] is True
            assert said["model"].startswith("mini-")
            intake.enqueue(["p", "away"])
            wait_until(finished(intake, database, ["p", "away"]), "outcomes", child)
            wait_until(
                lambda: 'deadpan_posts_total{outcome="gone"} 1.0' in ask("/metrics")[1],
                "metrics",
                child,
            )
            metrics = ask("/metrics")[1]
            assert 'deadpan_posts_total{outcome="judged"} 1.0' in metrics
            assert "deadpan_worker_ready 1.0" in metrics
            assert 'deadpan_stage_seconds_count{stage="predict"} 1.0' in metrics
        assert child.exit_code == 0
    assert intake.status()["workers"] == [], "a worker that ends in order leaves the list"
    events = [
        json.loads(line) for line in child.log_path.read_text().splitlines() if line[:1] == "{"
    ]
    recorded = [event for event in events if event["event"] == "chunk recorded"]
    assert recorded
    assert all(event["chunk"] for event in recorded)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": ""}, "DEADPAN_SOURCE"),
        ({"source": "ftp://x"}, "ftp://x"),
        ({"model": "/nowhere"}, "/nowhere"),
        ({"policy": "/nowhere.toml"}, "/nowhere.toml"),
        ({"chunk_size": "x"}, "DEADPAN_CHUNK_SIZE"),
        ({"database_url": "sqlite:////tmp/never-migrated-{unique}.db"}, "deadpan db migrate"),
        ({"database_url": "mysql://x"}, "mysql"),
    ],
)
def test_a_worker_that_cannot_do_its_job_says_why_and_ends_without_a_stack_trace(
    tmp_path: Path, valkey_server: EmbeddedValkey, settings: dict[str, str], words: str
) -> None:
    url = f"sqlite:///{tmp_path / 'deadpan.db'}"
    engine = connect(url)
    migrate(engine)
    engine.dispose()
    given = {"source": "file:posts.jsonl", "database_url": url, **settings}
    given = {k: v.format(unique=tmp_path.name, ids="{ids}") for k, v in given.items()}
    (tmp_path / "posts.jsonl").write_text('{"id": "1", "text": "x"}\n')
    given["source"] = given["source"].replace("posts.jsonl", str(tmp_path / "posts.jsonl"))
    child = worker(tmp_path, redis_url=valkey_server.url, **given)
    with child:
        wait_until(lambda: child.exit_code is not None, "the end of the worker", child)
    log = child.log_path.read_text()
    assert words in log
    assert '"event": "ended by an error"' in log
    assert "Traceback" not in log
    assert child.exit_code in (1, 2)


# Each is a worker of its own; what a database makes of it, the test above says.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("explain", "up_to", "method"),
    [("on", 8, "occlusion"), ("on", 0, "features"), ("off", 8, None)],
)
def test_a_flagged_post_says_which_words_moved_its_score(
    tmp_path: Path,
    valkey_server: EmbeddedValkey,
    intake: Intake,
    database_url: str,
    database: Engine,
    explain: str,
    up_to: int,
    method: str | None,
) -> None:
    posts = {
        "sad": {"text": "what an awful day, I hate it", "images": ["blue.jpg"]},
        "plain": {"text": "what a wonderful day, I love it"},
    }
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[[rules]]\nname = "words"\nwhen = "text_alone.sentiment.negative >= 0.5"\n'
        'queue = "negative"\npriority = 1\n'
    )
    with Platform(posts, {"blue.jpg": jpeg()}) as platform:
        intake.client.rpush("deadpan:posts", *posts)
        more = {"policy": policy, "explain": explain, "explain_up_to": up_to}
        with running(tmp_path, valkey_server, database_url, platform, **more) as child:
            wait_until(finished(intake, database, list(posts)), "both judged", child)
    with transaction(database) as connection:
        found = queries.verdicts_of(connection, posts)
    assert found["plain"].explanation is None
    told = found["sad"].explanation
    assert (told and told["method"]) == method
    if told is not None:
        assert told["score"] == "text_alone.sentiment.negative"
        assert len(told["words"]) == 7
        if method == "occlusion":
            assert max(told["words"], key=lambda word: word["effect"])["word"] in ("awful", "hate")
        assert told["regions"] == []
        assert 0 <= told["disagreement"] <= 1
        assert found["sad"].timings["explain"] > 0
