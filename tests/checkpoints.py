"""More models for tests, made of the preset."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from models.checkpoint.checkpoint import CONFIG_FILE, PRESETS, WEIGHTS_FILE, CheckpointInfo
from models.checkpoint.checkpoint import save as save_checkpoint
from models.network.config import ModelConfig
from models.network.foreign import PREFIX as FOREIGN
from models.network.presets import multilingual_config
from models.posts.prediction import OF_WORDS


def contrary(folder: Path) -> CheckpointInfo:
    """A checkpoint that sees many posts otherwise than `mini`."""
    document, tensors = _mini()
    turned = [name for name in tensors if not name.startswith(("text.", "image.", FOREIGN))]
    assert turned
    for name in turned:
        tensors[name] = -tensors[name]
    return _saved(folder, document, tensors, name="contrary")


def asked(folder: Path, *of_words: str) -> CheckpointInfo:
    """A checkpoint that answers at random whether words are offensive, hateful, or one or none of
    the two.
    """
    document, tensors = _mini()
    generator = torch.Generator().manual_seed(7)
    for question in OF_WORDS:
        for name in ("text_alone.{}.weight", "text_alone.{}.bias", "nothing.{}"):
            tensors.pop(name.format(question), None)
            if question in of_words:
                like = tensors[name.format("sarcasm")]
                found = torch.randn(like.shape, generator=generator)
                tensors[name.format(question)] = found.to(like.dtype)
    questions = ["sentiment", "sarcasm", *of_words]
    return _saved(folder, document, tensors, name="asked", questions=questions)


def polyglot(folder: Path) -> CheckpointInfo:
    """A checkpoint that reads words that are not English in another way, at random, and says that
    it learnt German.
    """
    document, tensors = _mini()
    generator = torch.Generator().manual_seed(7)
    config = replace(multilingual_config(), buckets=1024)
    for name, shape in {"weight": (3, 512), "bias": (3,), "runs": (1024, 4)}.items():
        found = torch.randn(shape, generator=generator).abs()
        tensors[f"foreign.{name}"] = found.half()
    changes = {"languages": ["de", "en"], "multilingual": asdict(config)}
    return _saved(folder, document, tensors, name="polyglot", **changes)


def _mini() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    source = PRESETS / "mini"
    return json.loads((source / CONFIG_FILE).read_text()), load_file(source / WEIGHTS_FILE)


def _saved(
    folder: Path, document: dict[str, Any], tensors: dict[str, torch.Tensor], **changes: Any
) -> CheckpointInfo:
    config = ModelConfig.from_json({**document["model"], **changes})
    provenance = {
        key: document[key] for key in ("data", "scores", "versions", "training", "calibration")
    }
    return save_checkpoint(folder, config, save(tensors), provenance)
