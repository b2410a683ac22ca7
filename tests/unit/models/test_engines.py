"""Engines agree, keep what they made, and say what is wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import deadpan.demo
from deadpan.errors import ModelError
from models.checkpoint import read_info
from models.classifier import Classifier
from models.config import ModelConfig
from models.engines import TOLERANCE, Engine, base, choice, openvino_engine, torch_engine
from models.engines.openvino_engine import OpenVinoEngine, _converted
from models.engines.torch_engine import TorchEngine
from models.network import Network
from models.training.run import TrainingResult

from .test_architectures import small
from .test_classifier import numbers

__all__ = ["small"]


def openvino_of(network: Network) -> OpenVinoEngine:
    config = network.config
    return OpenVinoEngine(
        *_converted(network), dim=config.text.dim, with_states=config.needs_regions
    )


@pytest.mark.parametrize("fusion", ["concat", "cross_attention"])
def test_engines_see_the_same_in_any_encoder(
    small: ModelConfig, fusion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_engine, "cpu_computes_bf16", lambda: False)
    torch.manual_seed(0)
    config = dataclasses.replace(small, fusion=fusion, image_size=64)
    network = Network(config).eval()
    engines: list[Engine] = [TorchEngine(network, "cpu"), openvino_of(network)]
    random = np.random.default_rng(0)
    texts = [list(random.integers(4, 20, int(n))) for n in random.integers(1, 40, 70)]
    pictures = list(random.integers(0, 256, (37, 64, 64, 3), np.uint8))
    (text, states), (other_text, other_states) = (one.encode_texts(texts) for one in engines)
    assert text.shape == (70, 16)
    assert torch.allclose(text, other_text, atol=0.05)
    regions, other_regions = (one.encode_images(pictures) for one in engines)
    assert regions.shape == other_regions.shape
    assert regions.shape[0] == 37
    scale = float(regions.abs().max())
    assert float((regions - other_regions).abs().max()) < 0.05 * scale
    assert len(states) == len(other_states) == (70 if fusion == "cross_attention" else 0)
    for tokens, one, other in zip(texts, states, other_states, strict=False):
        assert one.shape == other.shape == (len(tokens), 16)
        assert torch.allclose(one, other, atol=0.1)


def test_engines_judge_the_demos_posts_alike(tmp_path: Path) -> None:
    plain = Classifier.load("mini", device="cpu", engine="torch")
    fast = Classifier.load("mini", device="cpu", engine="openvino", cache=tmp_path)
    assert (plain.info.engine, fast.info.engine) == ("torch", "openvino")
    folder = Path(deadpan.demo.__file__).parent
    posts = []
    for line in (folder / "posts.jsonl").read_text().splitlines():
        post = json.loads(line)
        paths = [folder / image for image in post.get("images", [])]
        posts.append(
            plain.prepare(post["text"], [path.read_bytes() for path in paths if path.exists()])
        )
    for one, other in zip(plain.predict(posts), fast.predict(posts), strict=True):
        assert numbers(one) == pytest.approx(numbers(other), abs=TOLERANCE)


def test_what_was_converted_is_used_again_without_the_training_libraries(
    trained: TrainingResult, tmp_path: Path
) -> None:
    model = Classifier.load(trained.path, device="cpu", engine="openvino", cache=tmp_path)
    (expected,) = model.predict([model.prepare("so happy", [])])
    program = (
        "import sys; from pathlib import Path; from models.classifier import Classifier\n"
        f"model = Classifier.load({str(trained.path)!r}, device='cpu', engine='openvino',"
        f" cache=Path({str(tmp_path)!r}))\n"
        "print(model.predict([model.prepare('so happy', [])])[0].fused.sentiment.label)\n"
        "print([name for name in ('timm', 'transformers') if name in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert told.stdout.splitlines() == [expected.fused.sentiment.label, "[]"]


@pytest.mark.parametrize("harm", ["cut", "altered", "missing"])
def test_a_damaged_cache_is_made_again(trained: TrainingResult, tmp_path: Path, harm: str) -> None:
    expected = Classifier.load(trained.path, device="cpu", engine="openvino", cache=tmp_path)
    (file,) = tmp_path.glob("openvino/*/text.bin")
    content = file.read_bytes()
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-100] if harm == "cut" else content[:-1] + b"!")
    again = Classifier.load(trained.path, device="cpu", engine="openvino", cache=tmp_path)
    post = again.prepare("so happy", [])
    assert again.predict([post]) == expected.predict([post])
    assert file.read_bytes() == content


def test_a_cache_that_cannot_be_written_costs_nothing_else(
    trained: TrainingResult, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    model = Classifier.load(trained.path, device="cpu", engine="auto", cache=blocked)
    assert model.predict([model.prepare("so happy", [])])


def test_auto_measures_once_and_remembers(
    trained: TrainingResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = read_info(trained.path)
    speeds = {"torch": 10.0, "openvino": 20.0}
    asked: list[str] = []

    def posts_per_second(engine: Engine, _: object) -> float:
        asked.append(engine.name)
        return speeds[engine.name]

    monkeypatch.setattr(choice, "_posts_per_second", posts_per_second)
    engine, _ = choice.open_engine(info, device="cpu", cache=tmp_path)
    assert (engine.name, sorted(asked)) == ("openvino", ["openvino", "torch"])
    (note,) = tmp_path.glob("engines/*.json")
    assert json.loads(note.read_text())["posts_per_second"] == speeds
    speeds["torch"] = 30.0
    engine, _ = choice.open_engine(info, device="cpu", cache=tmp_path)
    assert (engine.name, len(asked)) == ("openvino", 2)
    note.write_text("{")
    engine, _ = choice.open_engine(info, device="cpu", cache=tmp_path)
    assert engine.name == "torch"


def test_auto_does_without_openvino_and_asking_for_it_says_so(
    trained: TrainingResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = read_info(trained.path)
    monkeypatch.setattr(openvino_engine, "installed", lambda: False)
    assert choice.open_engine(info, device="cpu", cache=tmp_path)[0].name == "torch"
    with pytest.raises(ModelError, match="pip install openvino"):
        choice.open_engine(info, engine="openvino", device="cpu")


def test_auto_takes_torch_where_openvino_cannot_convert(
    trained: TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: Network) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(openvino_engine, "_converted", failing)
    info = read_info(trained.path)
    assert choice.open_engine(info, device="cpu")[0].name == "torch"
    with pytest.raises(ModelError, match=r"cannot convert .*no such operation"):
        choice.open_engine(info, engine="openvino", device="cpu")


def test_wrong_engines_are_refused(
    trained: TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = read_info(trained.path)
    with pytest.raises(ModelError, match="engine is 'onnx'; it must be one of"):
        choice.open_engine(info, engine="onnx")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ModelError, match="device is 'cuda'"):
        choice.open_engine(info, engine="openvino", device="cuda")


def test_converting_reports_to_nobody(
    trained: TrainingResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = pytest.importorskip("openvino_telemetry")

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("telemetry was asked for")

    monkeypatch.setattr(telemetry.Telemetry, "__init__", never)
    monkeypatch.setattr(telemetry.Telemetry, "send_event", never)
    Classifier.load(trained.path, device="cpu", engine="openvino", cache=tmp_path)


def test_several_threads_share_an_engine(trained: TrainingResult, tmp_path: Path) -> None:
    model = Classifier.load(trained.path, device="cpu", engine="openvino", cache=tmp_path)
    posts = [model.prepare(f"day {n} of {n * n}", []) for n in range(60)]
    expected = model.predict(posts)
    found: dict[int, object] = {}

    def judge(start: int) -> None:
        found[start] = model.predict(posts[start : start + 20])

    threads = [threading.Thread(target=judge, args=(start,)) for start in (0, 20, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for start in (0, 20, 40):
        for one, other in zip(found[start], expected[start : start + 20], strict=True):  # type: ignore[call-overload]
            assert numbers(one) == pytest.approx(numbers(other), abs=TOLERANCE)


def test_batches_have_few_shapes_and_hold_every_text() -> None:
    random = np.random.default_rng(0)
    shapes = set()
    for _ in range(200):
        texts = [[7] * int(n) for n in random.integers(1, 129, int(random.integers(1, 200)))]
        rows = []
        for batch in base.text_batches(texts):
            shapes.add(tuple(batch.token_ids.shape))
            rows += batch.rows
            assert bool((batch.attention_mask.sum(dim=1) > 0).all())
            for row, index in enumerate(batch.rows):
                assert int(batch.attention_mask[row].sum()) == len(texts[index])
        assert sorted(rows) == list(range(len(texts)))
    assert shapes <= set(base.warm_shapes(128))


def test_the_cache_is_of_one_model(trained: TrainingResult, tmp_path: Path) -> None:
    Classifier.load(trained.path, device="cpu", engine="openvino", cache=tmp_path)
    other = tmp_path / "other"
    shutil.copytree(trained.path, other)
    Classifier.load("mini", device="cpu", engine="openvino", cache=tmp_path)
    assert len(list(tmp_path.glob("openvino/*/text.xml"))) == 2
