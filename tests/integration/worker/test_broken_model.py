"""A post that breaks the model, and a model that is broken: whole chunks through lives of a worker.

A life is a runner with an engine on a stand-in of `torch.cuda`; when its device is lost, the
next begins, as whoever supervises a worker sees to.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine

from deadpan.core.errors import ModelBroken, ModelError
from deadpan.core.settings import load
from models.checkpoint.checkpoint import read_info
from models.checkpoint.loading import load_network
from models.checkpoint.reading import load_head
from models.engines.torch_engine import TorchEngine
from models.network.network import Network
from models.serving.classifier import Classifier, make_preparer
from sources.post import FetchedPost, FetchResult, Post
from sources.source import PostSource
from storage.base.database import connect, transaction
from storage.judging import queries
from storage.judging.evidence import EvidenceStore
from storage.migrations.schema import migrate
from tasks.intake.intake import Intake
from tasks.intake.leases import LeaseKeeper
from tasks.moderate.judge import Judge
from tasks.moderate.runner import GIVE_BACK_SECONDS, LONGEST_BREAK_SECONDS, ChunkRunner
from tasks.policy.rules import parse_policy
from tasks.watches import model_breaks
from tasks.watches.tries import Tries
from tests.cuda_stand_in import StandIn
from tests.harness import outcomes
from worker import runtime

MAX_ATTEMPTS = 3
POISON = "zebra"
POLICY = parse_policy(
    {"rules": [{"name": "none", "when": "sarcasm >= 1.0", "queue": "q", "priority": 1}]}
)


class Posts(PostSource):
    """A source in memory."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def fetch(self, post_ids: Sequence[str]) -> dict[str, FetchResult]:
        return {each: FetchedPost(Post(each, self.texts[each]), ()) for each in post_ids}

    def close(self) -> None:
        """Nothing to give back."""


class Lives:
    """Lives of one worker, one after the other.

    Attributes:
        ended: why each of them ended.
    """

    def __init__(self, folder: Path, intake: Intake, device: StandIn, network: Network) -> None:
        self.source, self.intake, self.device = Posts(), intake, device
        self.database: Engine = connect(f"sqlite:///{folder / 'deadpan.db'}")
        migrate(self.database)
        self.ended: list[str] = []
        self._evidence = EvidenceStore(str(folder / "evidence"))
        checkpoint = read_info("mini")
        self.engine = TorchEngine(network, "cuda")
        self.classifier = Classifier(
            checkpoint,
            self.engine,
            load_head(checkpoint),
            make_preparer(checkpoint.config, max_image_pixels=10_000_000),
        )

    def push(self, **texts: str) -> None:
        self.source.texts |= texts
        self.intake.enqueue(texts)

    def live(self, *, slots: int = 1, chunk_size: int = 4) -> bool:
        """Work until nothing is left to do, or the model is broken; gives whether it is."""
        self.device.poisoned, self.engine.fault = False, None
        self.classifier.probe()
        leases = LeaseKeeper(self.intake, lease_seconds=60)
        tries = Tries(MAX_ATTEMPTS, 0.0)
        judge = Judge(
            source=self.source,
            classifier=self.classifier,
            policy=POLICY,
            database=self.database,
            evidence=self._evidence,
            tries=tries,
            explain=False,
        )
        runner = ChunkRunner(
            judge,
            intake=self.intake,
            leases=leases,
            database=self.database,
            tries=tries,
            on_broken=self.ended.append,
        )
        while claimed := [
            found
            for _ in range(slots)
            if (found := self.intake.dispatch(chunk_size=chunk_size, lease_seconds=60))
        ]:
            for number, chunk in enumerate(claimed):
                runner.run(chunk.chunk_id, owner=f"{len(self.ended)}/{number}")
            if runner.broken is not None:
                return True
        return False

    def wait(self) -> None:
        """Until all that was given back may be taken again."""
        for chunk in self.intake.client.zrange("deadpan:chunks", 0, -1):
            self.intake.client.zadd("deadpan:chunks", {chunk: 1})

    def dead_letters(self) -> list[tuple[str, str, int]]:
        with transaction(self.database, read_only=True) as connection:
            found = queries.dead_letters(connection, limit=100)
        return [(each.post_id, each.stage, each.attempts) for each in found]


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(read_info("mini"))


@pytest.fixture
def lives(
    tmp_path: Path, intake: Intake, network: Network, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lives]:
    device = StandIn()
    device.install(monkeypatch)
    made = Lives(tmp_path, intake, device, network)
    (_, token, _) = made.classifier.encode(POISON)
    device.poison = token
    yield made
    made.database.dispose()


@pytest.mark.parametrize("slots", [1, 3])
def test_a_post_that_poisons_the_device_ends_alone_as_a_dead_letter(
    lives: Lives, slots: int
) -> None:
    lives.push(**{f"p{n}": POISON if n == 5 else f"post number {n}" for n in range(12)})
    ends = 0
    while lives.live(slots=slots):
        ends += 1
        assert ends < 30
        lives.wait()
    told = outcomes(lives.database, lives.source.texts)
    assert told == {f"p{n}": "dead_letter" if n == 5 else "judged" for n in range(12)}
    assert lives.dead_letters() == [("p5", "worker", MAX_ATTEMPTS)]
    # with four posts twice, with two once, and alone until it is known
    assert 5 <= ends <= 7
    assert lives.intake.client.hkeys("deadpan:model-breaks") == []


def test_a_device_that_every_post_poisons_makes_no_dead_letter_however_long_it_lasts(
    lives: Lives,
) -> None:
    """It does well by the post that is known to be good, each time that a process starts."""
    lives.push(**{f"p{n}": f"{POISON} {n}" for n in range(5)})
    for _ in range(20):
        assert lives.live()
        lives.wait()
    assert outcomes(lives.database, lives.source.texts) == {}
    assert lives.intake.client.hgetall("deadpan:attempts") == {}
    lives.device.poison = -1
    while lives.intake.status()["chunks"]:
        lives.live()
        lives.wait()
    assert set(outcomes(lives.database, lives.source.texts).values()) == {"judged"}


def test_one_post_alone_is_to_blame_only_once_the_model_has_judged_others(lives: Lives) -> None:
    lives.push(p=POISON)
    waits = []
    for _ in range(8):
        assert lives.live()
        ((chunk, due),) = lives.intake.client.zrange("deadpan:chunks", 0, -1, withscores=True)
        waits.append(round(due / 1000 - lives.intake.now()))
        assert lives.intake.client.hget("deadpan:chunk-losses", chunk) is None
        lives.wait()
    assert waits[0] == pytest.approx(GIVE_BACK_SECONDS, abs=2)
    assert waits[2] == pytest.approx(4 * GIVE_BACK_SECONDS, abs=2)
    assert waits[-1] == pytest.approx(LONGEST_BREAK_SECONDS, abs=2), "others have their turn first"
    assert lives.live()
    lives.push(q="well")
    assert not lives.live(), "while it rests"
    for _ in range(MAX_ATTEMPTS):
        lives.wait()
        assert lives.live()
    lives.wait()
    assert not lives.live()
    assert lives.dead_letters() == [("p", "worker", MAX_ATTEMPTS)]


def test_a_model_that_fails_before_it_got_any_post_is_said_and_ends_its_worker(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def warm(self) -> None:
            raise RuntimeError("CUDA error: no CUDA-capable device is detected")

    monkeypatch.setattr(runtime, "load_classifier", lambda *_, **__: Broken())
    worker = object.__new__(runtime.Runtime)
    worker.name, worker._settings = "first@here", load()
    worker._intake, worker._features = intake, None
    assert model_breaks.last(intake) is None
    with pytest.raises(ModelBroken, match="before it got any post") as broken:
        worker._warm()
    assert broken.value.exit_code == 1
    told = model_breaks.last(intake)
    assert told is not None
    assert (told["worker"], "no CUDA-capable" in told["why"]) == ("first@here", True)
    model_breaks.show(intake)
    assert REGISTRY.get_sample_value("deadpan_model_broken") == 1.0
    intake.client.delete("deadpan:model-broken")
    model_breaks.show(intake)
    assert REGISTRY.get_sample_value("deadpan_model_broken") == 0.0


def test_a_challenger_that_broke_the_device_is_not_loaded_again(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a worker whose champion runs on the same GPU; a champion on a CPU goes on."""
    monkeypatch.setenv("DEADPAN_CHALLENGER", "another")
    asked: list[tuple[bool, int]] = []

    def worker(device: str) -> runtime.Runtime:
        made = object.__new__(runtime.Runtime)
        made.name, made._settings, made._breaking = "w", load(), threading.Lock()
        made._not_ready = None
        info = SimpleNamespace(device=device)
        made._intake, made._classifier = intake, SimpleNamespace(info=info)
        made.ending = SimpleNamespace(ask=lambda now, exit_code: asked.append((now, exit_code)))
        return made

    loaded = object()
    monkeypatch.setattr(runtime, "load_challenger", lambda *_: loaded)
    worker("cpu")._end_for_challenger("it has no memory")
    assert asked == []
    assert worker("cuda")._load_challenger() is loaded
    worker("cuda")._end_for_challenger("CUDA error: an illegal memory access was encountered")
    assert asked == [(True, 1)]
    with pytest.raises(ModelError, match="redis-cli DEL deadpan:challenger-left-out:"):
        worker("cuda")._load_challenger()
    monkeypatch.setenv("DEADPAN_CHALLENGER", "a third one")
    assert worker("cuda")._load_challenger() is loaded
