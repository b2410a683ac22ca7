"""From RPUSH to rows: one real worker, a real Valkey, a real platform, both databases."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine, func, select

from deadpan.core.settings import load
from storage import tables
from storage.base.database import connect, transaction
from storage.flags import worklist
from storage.judging import explanations, policies, queries
from storage.migrations.schema import migrate
from storage.tables import ExplanationRow, verdicts
from tasks.intake.intake import Intake
from tasks.policy.rules import load_policy
from tests.harness import outcomes, wait_until, worker
from tests.platform import Platform
from worker.checks import configuration_problems
from worker.local.embedded import EmbeddedValkey
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


@dataclass
class Place:
    """One warm worker, and what is around it, for tests that only give it posts of their own."""

    folder: Path
    intake: Intake
    database: Engine
    platform: Platform
    child: ChildProcess

    def wait(self, ids: list[str]) -> None:
        """Until every id has an outcome and nothing is in hand."""
        wait_until(finished(self.intake, self.database, ids), f"outcomes of {ids[:3]}", self.child)

    def verdicts(self, ids: list[str]) -> int:
        """How many verdicts posts have."""
        with transaction(self.database) as connection:
            asked = select(func.count()).where(verdicts.c.post_id.in_(ids))
            return connection.execute(asked).scalar_one()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    url = f"sqlite:///{folder}/deadpan.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").create_database()
    (folder / "policy.toml").write_text(SAD)
    with (
        closing_database(url) as database,
        EmbeddedValkey(folder / "valkey") as valkey,
        closing(Intake.at(valkey.url)) as intake,
        Platform(images={"blue.jpg": jpeg()}) as platform,
        running(folder, valkey, url, platform, policy=folder / "policy.toml") as child,
    ):
        yield Place(folder, intake, database, platform, child)


@contextmanager
def closing_database(url: str) -> Iterator[Engine]:
    database = connect(url)
    migrate(database)
    yield database
    database.dispose()


SAD = """
[[rules]]
name = "words"
when = "text_alone.sentiment.negative >= 0.5"
queue = "sad"
priority = 7
"""


def test_200_posts_pushed_by_any_client_end_as_200_outcomes(place: Place) -> None:
    posts = {f"p{n}": {"text": f"a bus at nine {n}", "author": "a"} for n in range(190)}
    for n in range(0, 190, 10):
        posts[f"p{n}"]["images"] = ["blue.jpg"]  # type: ignore[assignment]
    place.platform.posts.update(posts)
    redis = place.intake.client
    before = set(redis.keys("deadpan:features:*"))
    ids = [f"p{n}" for n in range(200)]  # the last ten are gone
    redis.rpush("deadpan:posts", *ids[:100])
    redis.rpush("deadpan:posts:high", *ids[100:150])
    redis.rpush("deadpan:posts:low", *ids[150:])
    place.wait(ids)
    told = outcomes(place.database, ids)
    assert [told[i] for i in ids] == ["judged"] * 190 + ["gone"] * 10
    assert place.verdicts(ids) == 190
    assert len(set(redis.keys("deadpan:features:*")) - before) == 1, "one picture, posted 19 times"
    wait_until(lambda: not redis.llen("deadpan:celery"), "the last message", place.child)


def test_one_worker_meets_everything_that_can_be_wrong_with_a_post(place: Place) -> None:
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
    place.platform.posts.update(posts)
    place.platform.images.update({"broken.jpg": jpeg()[:200], "fine.jpg": jpeg()})
    place.platform.meddle = meddle
    # One after the other, so that the platform's mood about one id is about that id.
    steps: list[list[bytes]] = [
        [b"fine", b"broken-image", b"no-image", b"half"],
        [b"../../etc/passwd", b"wrong-shape", b"nul"],
        [b"1,2"],
        [b"\xff\xfe", b"x" * 257, b"a\nb", b""],
        [b"flaky"],
        [b"fine"] * 100,
    ]
    for step in steps:
        place.intake.client.rpush("deadpan:posts", *step)
        wait_until(lambda: empty(place.intake), f"an end of {step[:3]}", place.child)
    with transaction(place.database) as connection:
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
    many = place.verdicts(list(posts))
    assert many == len(judged), "the same id pushed 100 times is judged once"
    dead = letters(place.database)
    assert "text" in dead["wrong-shape"].error
    assert "comma" in dead["1,2"].error
    intake_errors = [x.error for x in dead.values() if x.stage == "intake"]
    assert len(intake_errors) == 4
    for words in ("257 bytes", "not UTF-8", "control character", "empty"):
        assert any(words in error for error in intake_errors)


def test_a_worker_writes_down_the_policy_that_it_judges_by(place: Place) -> None:
    place.intake.enqueue(["of-the-policy"])
    place.wait(["of-the-policy"])
    with transaction(place.database, read_only=True) as connection:
        (known,) = policies.history(connection, limit=5)
    version = load_policy(str(place.folder / "policy.toml")).version
    assert (known.version, known.text) == (version, SAD)


def test_a_flag_carries_its_reasons_the_words_that_moved_it_and_what_was_seen(place: Place) -> None:
    text = "what an <b>awful</b>\x00 day, I hate it"
    place.platform.posts["sad"] = {"text": text, "images": ["red.jpg"], "author": "zoë"}
    place.platform.posts["glad"] = {"text": "what a wonderful day, I love it"}
    place.platform.images["red.jpg"] = jpeg("red")
    features = "deadpan:features:*"
    before = set(place.intake.client.keys(features))
    for _ in range(2):  # the same post again: nothing new is written
        place.intake.enqueue(["sad", "glad"])
        place.wait(["sad", "glad"])
    with transaction(place.database) as connection:
        (flag,) = worklist.of_post(connection, "sad", limit=9)
    assert (flag.queue, flag.priority, flag.reasons[0]["rule"]) == ("sad", 7, "words")
    assert flag.verdict.author == "zoë"
    kinds = {item["kind"]: item["sha256"] for item in flag.verdict.evidence}
    assert set(kinds) == {"original_text", "text", "image"}
    stored = place.folder / "evidence"
    seen = {path.name: path for path in stored.rglob("*") if path.is_file()}
    assert seen[kinds["original_text"]].read_bytes() == text.encode()
    with Image.open(seen[kinds["image"]]) as picture:
        assert picture.format == "JPEG"
        assert max(picture.size) <= 512
    assert place.verdicts(["sad", "glad"]) == 2
    (feature,) = set(place.intake.client.keys(features)) - before
    assert place.intake.client.ttl(feature) > 0
    wait_until(lambda: _explanation(place.database, flag).state == "done", "its explanation")
    told = _explanation(place.database, flag).explanation
    assert told is not None
    assert (told["method"], told["score"]) == ("occlusion", "text_alone.sentiment.negative")
    assert len(told["words"]) == 7
    assert max(told["words"], key=lambda word: word["effect"])["word"] in ("awful", "hate")
    assert told["regions"] == []
    assert 0 <= told["disagreement"] <= 1


def _explanation(database: Engine, flag: worklist.Flag) -> ExplanationRow:
    with transaction(database, read_only=True) as connection:
        found = explanations.of_flag(connection, flag.id, flag.verdict_id)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        # One that Celery's own settings meet, one of ours, and one that only a service tells.
        ({"chunk_size": "x"}, "DEADPAN_CHUNK_SIZE"),
        ({"source": ""}, "DEADPAN_SOURCE"),
        ({"database_url": "sqlite:////tmp/never-migrated-{unique}.db"}, "deadpan db migrate"),
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


@pytest.mark.parametrize(
    ("name", "value"),
    [("source", "ftp://x"), ("model", "/nowhere"), ("policy", "/nowhere.toml")],
)
def test_what_keeps_a_worker_from_its_job_is_named_with_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    settings = {"source": "file:posts.jsonl", name: value}
    for each, given in settings.items():
        monkeypatch.setenv(f"DEADPAN_{each.upper()}", given)
    assert any(value in problem for problem in configuration_problems(load()))
