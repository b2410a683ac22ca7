"""Engines: the same predictions, kept files that may be damaged, no telemetry."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deadpan.core.errors import ModelError
from models.checkpoint.checkpoint import CheckpointInfo, read_info
from models.checkpoint.loading import load_network
from models.checkpoint.reading import load_head
from models.engines import (
    base,
    choose,
    conversion,
    files,
    graphs,
    loading,
    openvino_engine,
    torch_engine,
)
from models.engines.torch_engine import TorchEngine
from models.network.encoders import pinned
from models.network.network import Network
from models.network.presets import bert_resnet50_config
from models.posts.prediction import Prediction
from models.serving.classifier import Classifier, make_preparer
from models.training.run import TrainingResult
from tests.unit.models.test_architectures import save_resnet, save_text, vision

TOLERANCE = 0.05
"""Of any probability, against torch in float32, as docs/model.md states it."""

POSTS = (
    ("RT @venus: You are a #manifestation of energetic potential. #truth", ["teal"]),
    ("living my best life", ["black", "white"]),
    ("Oh great, the kitchen is under water again 🙄 http://t.co/abc", ["navy"]),
    ("Thank you to Sam L. for helping to hang 7th grade #SafeDates cards. #Caring", []),
    ("", ["orange"]),
    ("so sad about the news today, awful, simply awful " * 20, ["grey"]),
    ("", []),
    ("ok", []),
)


def photo(colour: str, seed: int) -> bytes:
    """A picture with structure: colour, gradient and noise."""
    random = np.random.default_rng(seed)
    flat = np.asarray(Image.new("RGB", (160, 120), colour), dtype=np.int64)
    noisy = flat + random.integers(-40, 40, size=flat.shape) + np.arange(160)[None, :, None] // 2
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


def probabilities(predictions: list[Prediction]) -> list[float]:
    return [
        number
        for prediction in predictions
        for scores in (prediction.fused, prediction.text_alone, prediction.image_alone)
        if scores is not None
        for number in (*scores.sentiment, scores.sarcasm)
    ]


def judge(classifier: Classifier) -> list[Prediction]:
    return classifier.predict(
        [
            classifier.prepare(text, [photo(colour, seed) for seed, colour in enumerate(colours)])
            for text, colours in POSTS
        ]
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


def test_engines_agree_on_the_shipped_model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = read_info("mini")
    head = load_head(checkpoint)
    preparer = make_preparer(checkpoint.config, max_image_pixels=10_000_000)
    network = load_network(checkpoint)
    found = {}
    for precision, has_bf16 in (("bf16", True), ("fp32", False)):
        for module in (torch_engine, openvino_engine):
            monkeypatch.setattr(module, "cpu_computes_bf16", lambda has_bf16=has_bf16: has_bf16)
        engines: tuple[base.Engine, ...] = (
            TorchEngine(network, "cpu"),
            loading.load_engine(checkpoint, cache_dir=cache),
        )
        for engine in engines:
            assert (engine.precision, engine.device) == (precision, "cpu")
            found[engine.name, precision] = probabilities(
                judge(Classifier(checkpoint, engine, head, preparer))
            )
    expected = found.pop(("torch", "fp32"))
    assert found.pop(("openvino", "fp32")) == pytest.approx(expected, abs=0.001)
    for (name, _), others in found.items():
        assert others == pytest.approx(expected, abs=TOLERANCE), name


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize(
    ("text", "image", "fusion", "pooling"),
    [
        ("bert", "resnet50", "cross_attention", "mean"),
        ("roberta", "vit", "gated", "first"),
        ("bert", "mobilenet_v3_small", "concat", "mean"),
    ],
)
def test_engines_agree_on_other_encoders(
    tmp_path: Path, text: str, image: str, fusion: str, pooling: str, bf16: bool
) -> None:
    torch.manual_seed(1)
    folder = save_text(tmp_path / "text", text)
    if image == "resnet50":
        config = bert_resnet50_config(text=str(folder), image=str(save_resnet(tmp_path / "image")))
    else:
        config = bert_resnet50_config(text=str(folder), image=str(tmp_path / "image"))
        config = dataclasses.replace(config, image=vision(tmp_path / "image", image))
    config = dataclasses.replace(
        config,
        text=dataclasses.replace(config.text, dim=16, pooling=pooling),
        fusion=fusion,
        image_size=64,
        max_tokens=30,
    )
    network = Network(pinned(config)).eval()
    converted = loading.read_converted(conversion.convert(network))
    engine = openvino_engine.OpenVinoEngine(converted, config, threads=2, bf16=bf16)
    conversion.check_conversion(network, engine)
    plain = TorchEngine(network, "cpu")
    random = np.random.default_rng(3)
    texts = [random.integers(2, 20, size=n).tolist() for n in (30, 1, 9, 8, 17, 3) * 5]
    pixels = list(random.integers(0, 256, size=(7, 64, 64, 3), dtype=np.uint8))
    for one, other in (
        (plain.encode_texts(texts)[0], engine.encode_texts(texts)[0]),
        (plain.encode_images(pixels), engine.encode_images(pixels)),
    ):
        assert one.dtype == other.dtype == np.float32
        assert one.shape == other.shape
        assert conversion.relative_difference(one, other) < 0.06
    states, others = plain.encode_texts(texts)[1], engine.encode_texts(texts)[1]
    assert len(states) == len(others) == (len(texts) if fusion == "cross_attention" else 0)
    for tokens, state, other in zip(texts, states, others, strict=False):
        assert state.shape == other.shape == (len(tokens), 16)
        assert conversion.relative_difference(state[None], other[None]) < 0.06


def test_many_threads_get_their_own_answers(cache: Path) -> None:
    classifier = Classifier.load("mini", device="cpu", engine="openvino", cache_dir=cache)
    classifier.warm()
    posts = [
        classifier.prepare(f"{word} day {index}", [photo(colour, index)])
        for index, (word, colour) in enumerate(
            [("happy", "pink"), ("awful", "black"), ("usual", "tan"), ("lovely", "gold")] * 3
        )
    ]
    expected = classifier.predict(posts)
    found: dict[int, Prediction] = {}

    def run(index: int) -> None:
        found[index] = classifier.predict([posts[index]])[0]

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(posts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, prediction in enumerate(expected):
        assert probabilities([found[index]]) == pytest.approx(probabilities([prediction]), abs=0.01)


FIRST_AT_ONCE = """
import builtins, faulthandler, threading, time

from models.checkpoint.checkpoint import read_info
from models.engines.loading import load_engine

real = builtins.__import__

def slow(name, *arguments, **more):
    if name.startswith("numpy") and threading.current_thread() is not threading.main_thread():
        time.sleep(0.3)  # whoever imports lets the other threads go on
    return real(name, *arguments, **more)

# not by a thread of Python's: none would run
faulthandler.dump_traceback_later(100, exit=True)
checkpoint = read_info("mini")
builtins.__import__ = slow
engine = load_engine(checkpoint, cache_dir=None, threads=2)
engine.encode_texts([[0] * 5] * 40)
"""
"""OpenVINO imports NumPy in its first conversion, so that two can meet: here they do."""


def test_threads_that_compute_for_the_first_time_do_not_wait_for_each_other_for_ever() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_AT_ONCE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("damage", ["a turned bit", "cut short", "no manifest", "a missing file"])
def test_damaged_files_are_made_again(
    trained: TrainingResult, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    checkpoint = read_info(trained.path)
    folder = loading.cache_folder(checkpoint, tmp_path)
    assert folder is not None
    good = {name: name.encode() * 100 for name in ("text.bin", "text.xml")}
    assert files.write_files(folder, good)
    assert files.read_files(folder) == good
    path = folder / "text.bin"
    if damage == "a turned bit":
        path.write_bytes(b"\x00" + path.read_bytes()[1:])
    elif damage == "cut short":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "no manifest":
        (folder / files.MANIFEST).unlink()
    else:
        path.unlink()
    assert files.read_files(folder) is None
    assert "is damaged" in caplog.text
    assert files.write_files(folder, good)
    assert files.read_files(folder) == good
    assert [each.name for each in folder.parent.iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written_costs_the_conversion_only(
    trained: TrainingResult,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choose, "MEASURE_SECONDS", 0.0)
    (tmp_path / "cache").write_text("a file where the folder should be")
    classifier = Classifier.load(
        trained.path, device="cpu", engine="auto", cache_dir=tmp_path / "cache"
    )
    assert "set DEADPAN_CACHE_DIR" in caplog.text
    assert len(judge(classifier)) == len(POSTS)


def test_auto_measures_once_and_says_what_it_chose(
    trained: TrainingResult,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO)
    figures = {
        "torch": {"texts": 1000.0, "pictures": 90.0},
        "openvino": {"texts": 900.0, "pictures": 300.0},
    }
    measured: list[str] = []

    def measure(engines: dict[str, object], checkpoint: CheckpointInfo) -> object:
        measured.append(",".join(sorted(engines)))
        return figures

    monkeypatch.setattr(choose, "measure", measure)

    def load() -> Classifier:
        return Classifier.load(trained.path, device="cpu", engine="auto", cache_dir=tmp_path)

    assert load().info.engine == "openvino"
    assert "torch 1000 texts/s and 90 pictures/s" in caplog.text
    caplog.clear()
    assert load().info.engine == "openvino"
    assert "as measured before: torch 1000 texts/s" in caplog.text
    assert measured == ["openvino,torch"]
    (kept,) = (tmp_path / "engines").glob("*.json")
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"chosen": "torch"}))
    assert load().info.engine == "torch"
    # what cannot be read is measured again
    kept.write_text('{"chosen": "torch"}')
    figures["torch"]["pictures"] = 3000.0
    assert load().info.engine == "torch"
    assert len(measured) == 2


def test_engines_are_measured_on_texts_and_pictures(trained: TrainingResult) -> None:
    checkpoint = read_info(trained.path)
    engine = TorchEngine(load_network(checkpoint), "cpu")
    figures = choose.measure({"torch": engine}, checkpoint)
    assert figures["torch"].keys() == {"texts", "pictures"}
    assert min(figures["torch"].values()) > 0


def test_a_model_that_openvino_cannot_express_runs_on_torch(
    trained: TrainingResult, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(network: Network, engine: openvino_engine.OpenVinoEngine) -> None:
        raise ModelError("OpenVINO computes other features of texts than torch")

    monkeypatch.setattr(graphs, "why_not", lambda config: "it is of another family")
    monkeypatch.setattr(conversion, "check_conversion", wrong)
    assert Classifier.load(trained.path, device="cpu", engine="auto").info.engine == "torch"
    assert "engine is torch: OpenVINO computes other features" in caplog.text
    with pytest.raises(ModelError, match="other features of texts than torch"):
        Classifier.load(trained.path, device="cpu", engine="openvino")


def test_a_conversion_that_changes_the_features_is_found(trained: TrainingResult) -> None:
    network = load_network(read_info(trained.path))
    converted = loading.read_converted(conversion.convert(network))
    engine = openvino_engine.OpenVinoEngine(converted, network.config, threads=1)
    with torch.no_grad():
        next(network.text.backbone.encoder.layer[0].parameters()).mul_(3.0)
    with pytest.raises(
        ModelError, match=r"computes other features of texts than torch for toy.* DEADPAN_ENGINE"
    ):
        conversion.check_conversion(network, engine)


def test_an_engine_that_is_not_there_is_refused_with_the_remedy(
    trained: TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="DEADPAN_DEVICE to auto or cpu, or DEADPAN_ENGINE"):
        Classifier.load(trained.path, device="cuda", engine="openvino")
    with pytest.raises(ModelError, match="engine is 'onnx'; it must be auto, torch or openvino"):
        Classifier.load(trained.path, engine="onnx")
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(choose, "version", lambda: "")
    with pytest.raises(ModelError, match="pip install openvino"):
        Classifier.load(trained.path, device="cpu", engine="openvino")
    assert Classifier.load(trained.path, device="cpu", engine="auto").info.engine == "torch"


def test_openvino_never_phones_home(tmp_path: Path) -> None:
    """A fresh home folder is where its telemetry would write an identity, and take no refusal."""
    code = """
import socket, sys, threading
def refuse(*arguments, **others):
    print("connected", arguments, flush=True)
    raise OSError("no network in this test")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from models.engines.openvino_engine import import_openvino
from models.checkpoint.checkpoint import read_info
from models.checkpoint.loading import load_network
ov = import_openvino()
from models.engines.conversion import convert
convert(load_network(read_info("mini")))
from openvino.tools.ovc import telemetry, telemetry_utils
print(type(telemetry).__module__, telemetry_utils.tm.__name__)
print([name for name in sys.modules if name.startswith("openvino_telemetry.")])
"""
    environment = {
        "HOME": str(tmp_path),
        "PATH": "",
        "PYTHONPATH": ":".join(filter(None, sys.path)),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    stub = "openvino.tools.ovc.telemetry_stub"
    assert done.stdout.splitlines() == [f"{stub} {stub}", "[]"], done.stderr
    assert not (tmp_path / "intel").exists()
