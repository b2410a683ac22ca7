"""The way through a GPU, on a stand-in for `torch.cuda`; no GPU was there to try it on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from deadpan.core.errors import DeviceLost, OutOfMemory
from models.checkpoint.checkpoint import read_info
from models.checkpoint.loading import load_network
from models.checkpoint.reading import load_head
from models.engines import torch_engine
from models.engines.torch_engine import SMALL_SECONDS, BatchBound, TorchEngine
from models.network.network import Network
from models.serving.classifier import Classifier, make_preparer
from tests.cuda_stand_in import StandIn
from tests.unit.models.test_engines import TOLERANCE, judge, probabilities

TEXTS = [[101, 7, 8, 9, 102], [101, 5, 102], [101, 2000, 2001, 2002, 102] * 3] * 4


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(read_info("mini"))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    made.install(monkeypatch)
    return made


@pytest.fixture
def engine(network: Network, device: StandIn) -> TorchEngine:
    return TorchEngine(network, "cuda")


def pictures(count: int) -> list[Any]:
    random = np.random.default_rng(0)
    return list(random.integers(0, 255, (count, 224, 224, 3), dtype=np.uint8))


def classifier(network: Network, device: str) -> Classifier:
    checkpoint = read_info("mini")
    preparer = make_preparer(checkpoint.config, max_image_pixels=10_000_000)
    return Classifier(checkpoint, TorchEngine(network, device), load_head(checkpoint), preparer)


def test_a_gpu_says_what_the_cpu_says(
    network: Network, device: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_engine, "cpu_computes_bf16", lambda: False)
    expected = probabilities(judge(classifier(network, "cpu")))
    device.rows.clear()
    on_gpu = classifier(network, "cuda")
    assert on_gpu.info.precision == "bf16"
    assert probabilities(judge(on_gpu)) == pytest.approx(expected, abs=TOLERANCE)
    assert all(rows & (rows - 1) == 0 for rows in device.rows), "batches are powers of two"


def test_weights_are_cast_once_and_not_in_every_pass(network: Network, engine: TorchEngine) -> None:
    """What autocast would make of them, and the same numbers, bit for bit."""
    plain = torch_engine.TextModule(network)
    image = torch_engine.ImageModule(network)
    assert all(p.dtype is torch.float32 for p in network.parameters()), "the network stays as it is"
    assert {p.dtype for p in engine._text.parameters()} == {torch.float32, torch.bfloat16}  # type: ignore[attr-defined]
    ids = torch.tensor([TEXTS[0], TEXTS[0]])
    pixels = torch.from_numpy(np.stack(pictures(2)))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(engine._text(ids, torch.ones_like(ids))[0], plain(ids, ids * 0 + 1)[0])
        assert torch.equal(engine._image(pixels)[0], image(pixels)[0])
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as after:
            engine._text(ids, torch.ones_like(ids))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as before:
            plain(ids, torch.ones_like(ids))

    def casts(profile: Any) -> int:
        return sum(each.count for each in profile.key_averages() if each.key == "aten::_to_copy")

    linears = sum(isinstance(part, torch.nn.Linear) for part in network.text.modules())
    # weight and bias of each
    assert casts(before) - casts(after) >= 2 * linears


def test_a_batch_that_does_not_fit_is_halved_and_stays_small_for_a_while(
    engine: TorchEngine, device: StandIn
) -> None:
    expected = engine.encode_texts(TEXTS)[0]
    device.memory_rows = 3
    device.rows.clear()
    found = engine.encode_texts(TEXTS)[0]
    assert np.allclose(found, expected, atol=0.05)
    assert device.rows == [16, 8, 4, 2, 2, 2, 2, 2, 2]
    assert device.emptied == 3
    device.rows.clear()
    engine.encode_texts(TEXTS)
    assert set(device.rows) == {2}, "the smaller batch is remembered"
    engine.encode_images(pictures(3))
    assert device.rows[-3:] == [4, 2, 1], "pictures have a bound of their own"


def test_no_memory_for_a_single_row_says_so_and_the_device_is_not_lost(
    engine: TorchEngine, device: StandIn
) -> None:
    device.memory_rows = 0
    with pytest.raises(OutOfMemory, match="pictures, even one at a time: OutOfMemoryError: CUDA"):
        engine.encode_images(pictures(3))
    with pytest.raises(OutOfMemory):
        engine.encode_texts(TEXTS[:1])
    assert engine.fault is None
    device.memory_rows = 100
    assert np.isfinite(engine.encode_texts(TEXTS[:1])[0]).all()


def test_a_small_batch_grows_again_after_a_while() -> None:
    now = [0.0]
    bound = BatchBound(64, clock=lambda: now[0])
    assert bound.halve(16) == bound.rows == 8
    now[0] = SMALL_SECONDS - 1
    assert bound.rows == 8
    now[0] = 2 * SMALL_SECONDS
    assert bound.rows == 32
    now[0] = 9 * SMALL_SECONDS
    assert bound.rows == 64
    assert bound.halve(1) == 1


def test_a_lost_device_is_asked_nothing_more_and_says_who_met_it_first(
    engine: TorchEngine, device: StandIn
) -> None:
    engine.encode_texts(TEXTS)
    device.poisoned = True
    with pytest.raises(DeviceLost, match="device-side assert") as first:
        engine.encode_texts(TEXTS)
    assert first.value.first
    assert engine.fault is not None
    device.rows.clear()
    for ask in (lambda: engine.encode_images(pictures(1)), lambda: engine.encode_texts(TEXTS)):
        with pytest.raises(DeviceLost, match="failed before") as later:
            ask()
        assert not later.value.first
    assert device.rows == []


def test_compiled_encoders_need_one_graph_each_and_warming_makes_them_all(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU: what is compiled is the same, and dynamo asks a real device for more."""
    graphs: list[str] = []

    def backend(module: Any, inputs: Any) -> Any:
        graphs.append(type(module).__name__)
        return module.forward

    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda what: compiler(what, backend=backend))
    torch._dynamo.reset()
    engine = TorchEngine(network, "cpu", compiled=True)
    engine.warm()
    made = len(graphs)
    assert made <= 4, "one for texts and one for pictures, or two where an encoder has two ways"
    engine.encode_texts(TEXTS)
    engine.encode_texts([[101, 102]])
    engine.encode_texts([[101] * 77] * 33)
    engine.encode_images(pictures(3))
    assert len(graphs) == made, "nothing is compiled while posts wait"
    torch._dynamo.reset()
