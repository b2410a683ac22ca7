"""A challenger is beside the champion, never in its way, and nothing comes of what it says."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from prometheus_client import REGISTRY
from sqlalchemy import Engine, select

from deadpan.core.errors import CheckpointError
from deadpan.core.settings import load
from models.posts.prediction import ImageProblem, PreparedPost
from models.serving.classifier import Classifier
from storage.base.database import connect, transaction
from storage.judging.outcomes import record
from storage.judging.values import NewFlag, NewVerdict
from storage.keeping import erasure
from storage.migrations.schema import migrate
from storage.tables import challenger_verdicts, compatibility, metadata
from tasks.challenger import challenger as module
from tasks.challenger.challenger import Challenger, JudgedPost, in_share
from tasks.policy.rules import parse_policy
from tests.checkpoints import contrary
from tests.harness import wait_until
from worker.checks import challenger_problems, configuration_problems
from worker.model import load_challenger

POLICY = parse_policy(
    {"rules": [{"name": "all", "when": "sarcasm >= 0.0", "queue": "q", "priority": 1}]}
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier.load(contrary(tmp_path_factory.mktemp("model") / "m").path, device="cpu")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path}/deadpan.db")
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def make(database: Engine) -> Iterator[Callable[..., Challenger]]:
    """Challengers that are stopped in the end."""
    made: list[Challenger] = []

    def start(load: Callable[[], Classifier | None], share: float = 1.0, **more: Any) -> Challenger:
        made.append(Challenger(load=load, policy=POLICY, database=database, share=share, **more))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.stop()


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(buffer, "JPEG")
    return buffer.getvalue()


@dataclass(frozen=True)
class Offered:
    """A post as it was fetched."""

    post_id: str
    text: str = "words"
    images: tuple[bytes | ImageProblem, ...] = ()


def item(post_id: str, text: str = "words", images: Sequence[bytes | None] = ()) -> Offered:
    files = tuple(content or ImageProblem("it answered 404") for content in images)
    return Offered(post_id, text, files)


def judged(post_id: str, content: str = "a" * 64) -> NewVerdict:
    flag = NewFlag("q", 1, [{"rule": "one"}])
    return NewVerdict(
        post_id, content, "champ", "none", POLICY.version, 0.2, 0.3, 0.5, 0.1, flag=flag
    )


def offer(challenger: Challenger, *items: Offered) -> None:
    challenger.offer(
        [
            JudgedPost(each.text, each.images, judged(each.post_id, f"{index:064x}"))
            for index, each in enumerate(items)
        ]
    )


def rows(database: Engine) -> list[Any]:
    with transaction(database, read_only=True) as connection:
        statement = select(challenger_verdicts).order_by(challenger_verdicts.c.post_id)
        return list(connection.execute(statement).all())


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("deadpan_challenger_posts_total", {"outcome": outcome}) or 0.0


def everything_else(database: Engine) -> dict[str, list[Any]]:
    with transaction(database, read_only=True) as connection:
        return {
            table.name: list(connection.execute(select(table)).all())
            for table in metadata.sorted_tables
            if table not in (challenger_verdicts, compatibility)
        }


def test_what_it_says_is_kept_apart_and_once(
    make: Callable[..., Challenger], model: Classifier, database: Engine
) -> None:
    before = everything_else(database)
    assert before["flags"] == before["outbox"] == []
    challenger = make(lambda: model)
    items = [item("1"), item("2", "", [jpeg(), None, b"broken"]), item("3", "more")]
    for _ in range(2):
        at = counted("judged")
        offer(challenger, *items)
        wait_until(lambda at=at: counted("judged") == at + 3, "its verdicts")
    found = rows(database)
    assert [row.post_id for row in found] == ["1", "2", "3"]
    for row in found:
        assert (row.model_version, row.champion_model_version) == (model.info.version, "champ")
        assert row.policy_version == POLICY.version
        assert (row.rules, row.champion_rules) == (["all"], ["one"])
        assert row.negative + row.neutral + row.positive == pytest.approx(1.0)
    alone = model.predict([model.prepare("more", [])])[0].fused
    assert found[2].negative == pytest.approx(alone.sentiment.negative, abs=0.02)
    assert everything_else(database) == before


def test_what_breaks_it_is_left_out_and_its_neighbours_are_not(
    make: Callable[..., Challenger],
    model: Classifier,
    database: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predict = model.predict

    def fragile(posts: Sequence[PreparedPost], *more: Any) -> Any:
        if any("poison" in post.text for post in posts):
            raise RuntimeError("it breaks")
        return predict(posts, *more)

    monkeypatch.setattr(model, "predict", fragile)
    challenger = make(lambda: model)
    good, bad = counted("judged"), counted("failed")
    offer(challenger, item("1"), item("2", "poison"), item("3"))
    wait_until(lambda: counted("failed") == bad + 1, "its failure")
    wait_until(lambda: counted("judged") == good + 2, "its verdicts")
    assert [row.post_id for row in rows(database)] == ["1", "3"]


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), False),
    ],
)
def test_without_a_device_or_memory_it_is_given_up_and_says_whether_the_champion_is_hit(
    make: Callable[..., Challenger],
    model: Classifier,
    database: Engine,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    is_lost: bool,
) -> None:
    asked: list[int] = []
    heard: list[str] = []

    def broken(posts: Sequence[PreparedPost], *more: Any) -> Any:
        asked.append(len(posts))
        raise error

    monkeypatch.setattr(model, "predict", broken)
    challenger = make(lambda: model, on_device_lost=heard.append)
    failed, skipped = counted("failed"), counted("skipped")
    offer(challenger, item("1"))
    wait_until(lambda: counted("failed") == failed + 1, "its failure")
    wait_until(lambda: REGISTRY.get_sample_value("deadpan_challenger_ready") == 0.0, "its end")
    offer(challenger, item("2"), item("3"))
    assert counted("skipped") == skipped + 2
    assert asked == [1], "it is asked nothing more"
    assert bool(heard) == is_lost
    assert rows(database) == []


def test_a_database_that_refuses_costs_the_challenger_its_posts_and_no_more(
    make: Callable[..., Challenger], model: Classifier, database: Engine
) -> None:
    with transaction(database) as connection:
        challenger_verdicts.drop(connection)
    challenger = make(lambda: model)
    bad, good = counted("failed"), counted("judged")
    offer(challenger, item("1"), item("2"))
    wait_until(lambda: counted("failed") == bad + 2, "its failures")
    with transaction(database) as connection:
        challenger_verdicts.create(connection)
    offer(challenger, item("3"))
    wait_until(lambda: counted("judged") == good + 1, "its verdict")


def test_nobody_waits_for_one_that_is_busy(
    make: Callable[..., Challenger],
    model: Classifier,
    database: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WAITING_POSTS", 3)
    monkeypatch.setattr(module, "WAITING_BYTES", 100)
    loaded = threading.Event()

    def load() -> Classifier:
        loaded.wait()
        return model

    challenger = make(load)
    skipped, good = counted("skipped"), counted("judged")
    offer(challenger, item("1"), item("2", "", [b"x" * 101]), item("3"), item("4"), item("5"))
    assert counted("skipped") == skipped + 2, "one is too large, and for one there is no room"
    loaded.set()
    wait_until(lambda: counted("judged") == good + 3, "its verdicts")
    assert [row.post_id for row in rows(database)] == ["1", "3", "4"]
    challenger.stop()
    offer(challenger, item("6"))
    assert counted("skipped") == skipped + 3


def test_one_that_cannot_be_loaded_is_left_out(
    make: Callable[..., Challenger], database: Engine
) -> None:
    def load() -> None:
        raise RuntimeError("no such file")

    challenger = make(load)
    skipped = counted("skipped")
    offer(challenger, item("1"))
    wait_until(lambda: counted("skipped") == skipped + 1, "its end")
    offer(challenger, item("2"))
    assert counted("skipped") == skipped + 2
    assert rows(database) == []


def test_the_champion_itself_misses_no_post(
    make: Callable[..., Challenger], database: Engine
) -> None:
    loading = threading.Event()

    def load() -> None:
        loading.wait()

    challenger = make(load)
    skipped = counted("skipped")
    offer(challenger, item("1"))
    loading.set()
    wait_until(
        lambda: all(thread.name != "challenger" for thread in threading.enumerate()), "its end"
    )
    offer(challenger, item("2"))
    assert counted("skipped") == skipped
    assert rows(database) == []


def test_an_offer_that_makes_no_sense_raises_nothing(make: Callable[..., Challenger]) -> None:
    make(lambda: None).offer([item("1")])


def test_a_share_is_the_same_for_every_worker_and_grows_around_itself() -> None:
    ids = [f"post {n}" for n in range(4000)]
    tenth = {i for i in ids if in_share(i, 0.1)}
    half = {i for i in ids if in_share(i, 0.5)}
    assert tenth < half
    assert 300 < len(tenth) < 500
    assert 1850 < len(half) < 2150
    assert all(in_share(i, 1.0) for i in ids)
    # written out, so that a new version has the same posts
    assert sorted(tenth)[:3] == ["post 1003", "post 1007", "post 1008"]


def test_a_post_that_was_erased_meanwhile_is_left_out_and_erasing_removes_what_is_there(
    make: Callable[..., Challenger], model: Classifier, database: Engine
) -> None:
    with transaction(database) as connection:
        record(connection, verdicts=[judged("1"), judged("2")])
        erasure.erase(connection, "post", "2", requested_by="t")
    challenger = make(lambda: model)
    good = counted("judged")
    offer(challenger, item("1"), item("2"), item("3"))
    wait_until(lambda: counted("judged") == good + 3, "its verdicts")
    assert [row.post_id for row in rows(database)] == ["1", "3"]
    with transaction(database) as connection:
        erasure.erase(connection, "post", "1", requested_by="t")
    assert [row.post_id for row in rows(database)] == ["3"]


def test_the_setting_that_names_the_champion_loads_nothing(
    model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loading(*_: object, **__: object) -> None:
        raise AssertionError("it is loaded")

    monkeypatch.setattr(Classifier, "load", loading)
    settings = load({"DEADPAN_CHALLENGER": str(model.checkpoint.path)})
    assert load_challenger(settings, model) is None


def test_another_model_is_loaded_on_the_engine_of_the_champion(model: Classifier) -> None:
    settings = load({"DEADPAN_CHALLENGER": "mini", "DEADPAN_ENGINE": "auto"})
    found = load_challenger(settings, model)
    assert found is not None
    assert found.info.engine == model.info.engine == "torch"
    assert found.info.version != model.info.version


def test_what_is_wrong_with_a_challenger_names_its_setting(model: Classifier) -> None:
    settings = load({"DEADPAN_CHALLENGER": "/nowhere", "DEADPAN_SOURCE": "file:x.jsonl"})
    (problem,) = challenger_problems(settings)
    assert "'/nowhere' is neither a preset" in problem
    assert "DEADPAN_MODEL" not in problem
    # and keeps no worker from its job
    assert not any("nowhere" in each for each in configuration_problems(settings))
    with pytest.raises(CheckpointError, match="set DEADPAN_CHALLENGER"):
        load_challenger(settings, model)
    assert challenger_problems(load({})) == []
