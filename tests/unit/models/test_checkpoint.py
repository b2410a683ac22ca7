"""A checkpoint is whole and accounts for itself, or it is not loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from deadpan.core.errors import CheckpointError, ModelError
from models.checkpoint import checkpoint
from models.checkpoint.checkpoint import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, read_info, validate
from models.checkpoint.model_card import model_card
from models.network.config import ModelConfig, expected_tensors
from models.network.fusion import FusionHead
from models.network.presets import bert_resnet50_config, mini_config
from models.serving.classifier import Classifier
from models.training.run import TrainingResult


@pytest.fixture
def folder(trained: TrainingResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.path, tmp_path / "copy"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((folder / CONFIG_FILE).read_text())
    change(document)
    (folder / CONFIG_FILE).write_text(json.dumps(document))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change tensors and let config.json state the new file's SHA-256."""
    tensors = load_file(folder / WEIGHTS_FILE)
    change(tensors)
    save_file(tensors, folder / WEIGHTS_FILE)
    sha256 = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    edit(folder, lambda document: document["weights"].update(sha256=sha256))


def refused(folder: Path, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        read_info(folder)
    assert len(validate(folder)) == 1
    with pytest.raises(CheckpointError, match=reason):
        Classifier.load(folder, device="cpu")


def test_a_whole_checkpoint_has_no_problem(folder: Path) -> None:
    assert validate(folder) == []
    info = read_info(folder)
    assert info.version.startswith("toy-")
    assert info.data["train"][0]["name"] == "Toy"


def test_the_fusion_head_has_the_tensors_that_are_checked_without_torch() -> None:
    for fusion in ("concat", "gated", "cross_attention"):
        for base in (mini_config(), bert_resnet50_config()):
            config = dataclasses.replace(base, fusion=fusion)
            state = FusionHead(config).state_dict()
            shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
            assert shapes == expected_tensors(config)


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, name)


def test_an_unknown_model_is_refused_and_the_presets_are_named() -> None:
    with pytest.raises(CheckpointError, match=r"'huge' is neither a preset \(.*\) nor a folder"):
        read_info("huge")


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_weights_cut_short_are_refused(folder: Path, keep: int) -> None:
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:keep])
    refused(folder, "is not a complete safetensors file")


def test_altered_weights_are_refused(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    refused(folder, "has SHA-256")


@pytest.mark.parametrize("key", ["data", "scores", "versions"])
def test_a_model_that_does_not_name_its_data_scores_and_versions_is_refused(
    folder: Path, key: str
) -> None:
    edit(folder, lambda document: document.update({key: {}}))
    refused(folder, rf"{key}.*what it learnt from and how well it does")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: model.update(format_version=99), "model.format_version is 99; it must be 3"),
        (lambda model: model.update(preprocessing_version=99), "preprocessing_version is 99"),
        (lambda model: model.update(colour="red"), "model.colour is unknown"),
        (lambda model: model.pop("hidden"), "model.hidden is missing"),
        (
            lambda model: model.update(dropout="much"),
            "model.dropout is 'much'; it must be a valid number",
        ),
        (
            lambda model: model["text"].update(dim=True),
            "model.text.dim is True; it must be a valid integer",
        ),
        (lambda model: model["image"].update(mean=[1.0]), "model.image.mean.1 is missing"),
        (
            lambda model: model["image"].update(kind="onnx"),
            "image.kind is 'onnx'; it must be timm or torchvision",
        ),
        (lambda model: model.update(sentiments=["bad", "good"]), "model.sentiments is"),
    ],
)
def test_a_configuration_that_cannot_be_run_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    edit(folder, lambda document: change(document["model"]))
    refused(folder, reason)


def test_all_problems_of_a_configuration_are_named_at_once(folder: Path) -> None:
    edit(folder, lambda document: document["model"].update(colour="red", hidden="x"))
    with pytest.raises(CheckpointError, match=r"model\.hidden.*model\.colour"):
        read_info(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, "\xff"])
def test_a_configuration_that_is_no_json_object_is_refused(folder: Path, content: str) -> None:
    (folder / CONFIG_FILE).write_text(content, encoding="latin-1")
    refused(folder, CONFIG_FILE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors: tensors.pop("text_missing"), "text_missing is missing"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "extra is unknown"),
        (
            lambda tensors: tensors.update({"text_alone.sarcasm.bias": torch.zeros(3)}),
            r"text_alone\.sarcasm\.bias is \[3\], not \[2\]",
        ),
    ],
)
def test_weights_that_do_not_fit_the_configuration_are_refused(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], object], reason: str
) -> None:
    edit_weights(folder, change)
    refused(folder, reason)


def test_weights_that_are_not_numbers_are_refused(folder: Path) -> None:
    edit_weights(folder, lambda tensors: tensors["text_alone.sarcasm.bias"].fill_(float("nan")))
    with pytest.raises(CheckpointError, match="NaN"):
        Classifier.load(folder, device="cpu")


def test_another_encoder_than_the_one_it_was_trained_with_is_refused(folder: Path) -> None:
    edit(folder, lambda document: document["model"]["text"].update(sha256="0" * 64))
    assert "the model was trained with 000000000000" in validate(folder)[0]
    with pytest.raises(CheckpointError, match="the model was trained with 000000000000"):
        Classifier.load(folder, device="cpu")


def test_the_version_changes_with_weights_and_with_configuration(folder: Path) -> None:
    versions = {read_info(folder).version}
    edit_weights(folder, lambda tensors: tensors["text_alone.sarcasm.bias"].add_(1))
    versions.add(read_info(folder).version)
    edit(folder, lambda document: document["model"].update(max_tokens=64))
    versions.add(read_info(folder).version)
    assert len(versions) == 3


def test_a_configuration_survives_json() -> None:
    config = mini_config()
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_saving_over_something_else_is_refused(trained: TrainingResult, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="is not a model"):
        checkpoint.save(tmp_path, read_info(trained.path).config, b"", {})
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_save_that_fails_leaves_the_old_model_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_info(folder)

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", full)
    with pytest.raises(ModelError, match="No space left on device; free some space"):
        checkpoint.save(folder, before.config, b"", {})
    assert read_info(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_model_card_names_data_scores_and_versions(trained: TrainingResult) -> None:
    card = (trained.path / CARD_FILE).read_text(encoding="utf-8")
    for needed in ("Toy", "drawn here", "macro_f1", "torch 2", trained.version, "bootstrap"):
        assert needed in card


def test_the_model_card_names_all_that_a_model_is_asked(trained: TrainingResult) -> None:
    document = json.loads((trained.path / CONFIG_FILE).read_text())
    document["model"]["questions"] += ["offensive", "hateful"]
    document["model"]["of_pictures"] = ["sentiment"]
    document["model"]["languages"] = ["de", "en"]
    (file, *_) = document["data"]["train"]
    file["offensive"] = {"True": 1234, "False": 4321}
    (part, *_) = document["scores"].values()
    part["all"]["offensive"] = part["all"]["sarcasm"] or part["all"]["sentiment"]
    card = model_card(document)
    for needed in (
        "whether its words are offensive or hateful",
        "heads for sentiment, each fused, of words alone and of pictures alone, and of words alone "
        "for sarcasm and offensive and hateful",
        "languages learnt: de, en",
        "1,234 offensive, 4,321 not offensive",
        "| offensive | fused |",
    ):
        assert needed in card


def test_checking_a_model_needs_no_torch(trained: TrainingResult) -> None:
    script = (
        "import sys, models.posts.prediction; from models.checkpoint.checkpoint import validate;"
        f"print(validate({str(trained.path)!r}), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] False"


def test_the_preset_loads_and_is_small() -> None:
    info = read_info("mini")
    assert validate("mini") == []
    assert sum(path.stat().st_size for path in info.path.iterdir()) < 24_000_000
    assert any("MVSA-Single" in file["name"] for file in info.data["train"])
    for file in info.data["train"]:
        assert file["source"]
        assert "checkpoint trained on it may be shipped" in file["licence"]
