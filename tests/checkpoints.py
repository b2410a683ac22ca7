"""A second model for tests: the preset, with a head that was turned around."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save

from models.checkpoint.checkpoint import CONFIG_FILE, PRESETS, WEIGHTS_FILE, CheckpointInfo
from models.checkpoint.checkpoint import save as save_checkpoint
from models.network.config import ModelConfig


def contrary(folder: Path) -> CheckpointInfo:
    """A checkpoint that sees many posts otherwise than `mini`."""
    source = PRESETS / "mini"
    document = json.loads((source / CONFIG_FILE).read_text())
    tensors = load_file(source / WEIGHTS_FILE)
    turned = [name for name in tensors if not name.startswith(("text.", "image."))]
    assert turned
    for name in turned:
        tensors[name] = -tensors[name]
    model = {**document["model"], "name": "contrary"}
    provenance = {
        key: document[key] for key in ("data", "scores", "versions", "training", "calibration")
    }
    return save_checkpoint(folder, ModelConfig.from_json(model), save(tensors), provenance)
