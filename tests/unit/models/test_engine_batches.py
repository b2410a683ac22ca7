"""Batches of an engine: bounded shapes, padding that changes nothing, threads within a quota."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.engines import base, conversion
from models.engines.base import pad, padded_length, split, text_batches
from models.engines.torch_engine import TorchEngine
from models.network.config import ModelConfig
from models.network.encoders import pinned
from models.network.network import Network
from models.network.presets import bert_resnet50_config
from tests.unit.models.test_architectures import save_resnet, save_text


def test_texts_of_about_one_length_go_together() -> None:
    lengths = [3, 128, 9, 8, 40, 1, 127, 16, 33]
    batches = text_batches(lengths, max_tokens=128, batch_size=4)
    assert [batch.tokens for batch in batches] == [16, 128, 128]
    assert sorted(row for batch in batches for row in batch.rows) == list(range(9))
    for batch in batches:
        assert max(lengths[row] for row in batch.rows) <= batch.tokens
    spread = text_batches([5] * 6, max_tokens=128, batch_size=16, at_once=2)
    assert [len(batch.rows) for batch in spread] == [3, 3]


def test_shapes_are_bounded() -> None:
    assert base.lengths_up_to(128) == [*range(8, 65, 8), 80, 96, 112, 128]
    assert base.lengths_up_to(30) == [8, 16, 24, 30]
    assert [padded_length(n, 30) for n in (0, 1, 24, 25, 30)] == [8, 8, 24, 30, 30]
    assert padded_length(4, 4) == 4
    assert [list(part) for part in split(5, batch_size=4, at_once=2)] == [[0, 1, 2], [3, 4]]
    assert [len(part) for part in split(9, batch_size=4, at_once=2)] == [4, 4, 1]
    assert split(0, batch_size=4) == []
    assert [base.power_of_two(count) for count in (1, 2, 3, 17, 64)] == [1, 2, 4, 32, 64]


def test_padded_rows_are_texts_of_one_token() -> None:
    ids, mask = pad([[5, 6, 7], [8]], rows=4, tokens=5)
    assert ids.tolist() == [[5, 6, 7, 0, 0], [8, 0, 0, 0, 0], [0] * 5, [0] * 5]
    assert mask.tolist() == [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]]


@pytest.mark.parametrize("fusion", ["concat", "cross_attention"])
def test_the_padded_batches_of_a_gpu_change_no_features(tmp_path: Path, fusion: str) -> None:
    """The padding that a GPU gets, computed on the CPU; copying there cannot be tried here."""
    config: ModelConfig = bert_resnet50_config(
        text=str(save_text(tmp_path / "text")), image=str(save_resnet(tmp_path / "image"))
    )
    config = dataclasses.replace(
        config, text=dataclasses.replace(config.text, dim=16), fusion=fusion, image_size=64
    )
    engine = TorchEngine(Network(pinned(config)).eval(), "cpu")
    texts = [[3, 4, 5], [6], [7, 8]]
    pixels = list(np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8))
    expected = engine.encode_texts(texts), engine.encode_images(pixels)
    engine._cuda = True
    assert [engine._rows(count, 32) for count in (1, 3, 32)] == [1, 4, 32]
    pooled, states = engine.encode_texts(texts)
    assert conversion.relative_difference(expected[0][0], pooled) < 0.03
    assert [len(state) for state in states] == ([3, 1, 2] if states else [])
    assert bool(states) == (fusion == "cross_attention")
    assert conversion.relative_difference(expected[1], engine.encode_images(pixels)) < 0.03


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 6), ("150000 100000", 2), ("nonsense", 6)]
)
def test_a_quota_of_cpus_is_respected(
    monkeypatch: pytest.MonkeyPatch, quota: str, expected: int
) -> None:
    read: Callable[..., str] = Path.read_text

    def read_text(path: Path, *arguments: str, **others: str) -> str:
        return quota if path.name == "cpu.max" else read(path, *arguments, **others)

    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(Path, "read_text", read_text)
    assert base.available_cpus() == expected
