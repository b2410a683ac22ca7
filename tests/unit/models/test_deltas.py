"""What training changed of an encoder takes few bits, and comes back as it was stored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load, load_file, save

from deadpan.core.errors import CheckpointError
from models.checkpoint import checkpoint
from models.checkpoint.checkpoint import CONFIG_FILE, WEIGHTS_FILE, read_info, validate
from models.checkpoint.deltas import CODES, SCALES, names_in, pack, problems_in, unpack
from models.checkpoint.loading import load_network
from models.network.config import ModelConfig
from models.network.encoders import encoder_folder
from models.serving.classifier import Classifier
from models.training.run import TrainingResult
from models.training.settings import Stage

from .conftest import Toy

Arrays = dict[str, npt.NDArray[np.generic]]

NAME = "text.encoder.layer.5.output.dense.weight"


def encoder(*shape: int) -> Arrays:
    return {NAME: np.random.default_rng(0).normal(size=shape).astype(np.float32)}


def moved(own: Arrays, by: float = 0.05) -> Arrays:
    random = np.random.default_rng(1)
    return {
        name: (tensor + by * random.normal(size=tensor.shape)).astype(np.float32)
        for name, tensor in own.items()
    }


def through_a_file(trained: Arrays, own: Arrays, bits: int = 4) -> Arrays:
    return unpack(load(save(pack(trained, own, bits=bits))), own)


@pytest.mark.parametrize("shape", [(30, 8), (30, 7), (5, 1), (6, 4, 3, 3), (4, 3, 1, 1)])
@pytest.mark.parametrize("bits", [4, 8])
def test_no_weight_is_further_off_than_its_row_allows(shape: tuple[int, ...], bits: int) -> None:
    own = encoder(*shape)
    trained = moved(own)
    found = through_a_file(trained, own, bits)[NAME]
    assert found.shape == shape
    assert found.dtype == np.float32
    difference = (trained[NAME] - own[NAME]).reshape(len(own[NAME]), -1)
    off = np.abs(found - trained[NAME]).reshape(difference.shape)
    # half a step of the largest difference, or what a smaller step cuts off of it
    largest = np.abs(difference).max(axis=1)
    assert (off.max(axis=1) <= 0.61 * largest).all()
    step = largest / (2 ** (bits - 1) - 1)
    assert (np.sqrt(np.square(off).mean(axis=1)) <= 0.5 * step + 1e-6).all()


def test_two_differences_share_a_byte() -> None:
    own = encoder(30, 7)
    stored = pack(moved(own), own, bits=4)
    assert set(stored) == {NAME + CODES, NAME + SCALES}
    assert stored[NAME + CODES].shape == (30, 4)
    assert stored[NAME + CODES].dtype == np.uint8


def test_an_embedding_gets_4_bits_and_all_else_8() -> None:
    for rows, shape, dtype in ((5000, (5000, 3), np.uint8), (30, (30, 6), np.int8)):
        own = encoder(rows, 6)
        codes = pack(moved(own), own)[NAME + CODES]
        assert (codes.shape, codes.dtype) == (shape, dtype)


def test_every_row_has_its_own_scale() -> None:
    own = encoder(4, 64)
    trained = moved(own, by=0.01)
    trained[NAME][2] += 100 * (trained[NAME][2] - own[NAME][2])
    off = np.abs(through_a_file(trained, own)[NAME] - trained[NAME]).max(axis=1)
    assert off[2] > 0.05
    assert np.delete(off, 2).max() < 0.01


def test_rows_that_training_did_not_move_are_left_out() -> None:
    own = encoder(6, 10)
    trained = moved(own)
    trained[NAME][1] = own[NAME][1]
    trained[NAME][4] = own[NAME][4] * (1 - 1e-3)  # by weight decay alone
    stored = pack(trained, own)
    assert len(stored[NAME + CODES]) == 4
    assert np.flatnonzero(stored[NAME + SCALES] == 0).tolist() == [1, 4]
    found = unpack(stored, own)[NAME]
    assert (found[[1, 4]] == own[NAME][[1, 4]]).all()
    assert (found[[0, 2, 3, 5]] != own[NAME][[0, 2, 3, 5]]).any(axis=1).all()


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_a_tensor_that_nothing_moved_takes_no_room(start: float) -> None:
    own: Arrays = {NAME: np.full((5, 9), start, dtype=np.float32)}
    stored = load(save(pack(own, own)))
    assert stored[NAME + CODES].size == 0
    assert (unpack(stored, own)[NAME] == own[NAME]).all()


def test_a_tensor_of_zeros_may_become_one_of_numbers() -> None:
    own: Arrays = {NAME: np.zeros((5, 9), dtype=np.float32)}
    trained = moved(own)
    trained[NAME][3] = 0
    found = through_a_file(trained, own)[NAME]
    assert (found[3] == 0).all()
    assert np.abs(found - trained[NAME]).max() < 0.05


def test_the_head_and_what_is_no_matrix_stay_in_half_precision() -> None:
    own: Arrays = {
        "text.norm.weight": np.ones(8, dtype=np.float32),
        "image.position": np.ones((1, 5, 8), dtype=np.float32),
        "image.count": np.array(3.0, dtype=np.float32),
    }
    trained = moved(own) | {"fusion.hidden.weight": np.full((4, 8), 0.1, dtype=np.float32)}
    stored = pack(trained, own)
    assert set(stored) == set(trained)
    assert {tensor.dtype for tensor in stored.values()} == {np.dtype(np.float16)}
    found = unpack(stored, own)
    assert all(np.allclose(found[name], trained[name], rtol=1e-3) for name in trained)


def test_an_embedding_of_many_rows_is_packed_like_its_parts() -> None:
    own = encoder(5000, 6)
    trained = moved(own)
    found = through_a_file(trained, own)[NAME]
    part = {NAME: own[NAME][4000:]}
    assert (found[4000:] == through_a_file({NAME: trained[NAME][4000:]}, part)[NAME]).all()


def test_the_same_tensors_give_the_same_bytes_and_the_encoder_is_left_alone() -> None:
    own = encoder(30, 7)
    trained, before = moved(own), own[NAME].copy()
    first = save(pack(trained, own))
    assert save(pack(dict(reversed(trained.items())), own)) == first
    unpack(load(first), own)
    assert (own[NAME] == before).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [NAME, "text.norm.weight", "fused.bias"])
def test_what_is_no_number_is_not_packed(name: str, value: float) -> None:
    own = encoder(3, 4) | {"text.norm.weight": np.ones(4, dtype=np.float32)}
    trained = moved(own) | {"fused.bias": np.ones(3, dtype=np.float32)}
    trained[name].flat[1] = value
    with pytest.raises(CheckpointError, match=rf"{name} holds NaN"):
        pack(trained, own)


def test_what_half_precision_cannot_hold_is_not_packed() -> None:
    with pytest.raises(CheckpointError, match=r"fused\.bias holds .* too large for float16"):
        pack({"fused.bias": np.array([1.0, 1e6], dtype=np.float32)}, {})


def break_scale(value: float) -> Callable[[Arrays], None]:
    def change(stored: Arrays) -> None:
        stored[NAME + SCALES] = stored[NAME + SCALES].copy()
        stored[NAME + SCALES][1] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (break_scale(np.nan), "scale that is negative, NaN or infinity"),
        (break_scale(np.inf), "scale that is negative, NaN or infinity"),
        (break_scale(-1.0), "scale that is negative, NaN or infinity"),
        (break_scale(0.0), r"has 6 scales and codes \[6, 2\], not 6 and \[5, 2\]"),
        (
            lambda stored: stored.update({NAME + CODES: stored[NAME + CODES][:, :1]}),
            r"codes \[6, 1\], not 6 and \[6, 2\]",
        ),
        (
            lambda stored: stored.update({NAME + SCALES: np.ones(7, dtype=np.float32)}),
            r"has 7 scales and codes \[6, 2\], not 6 and \[7, 2\]",
        ),
        (
            lambda stored: stored.update({"text.x" + part: stored[NAME + part] for part in PARTS}),
            r"text\.x is unknown",
        ),
    ],
)
def test_differences_that_do_not_fit_the_encoder_are_refused(
    change: Callable[[Arrays], object], reason: str
) -> None:
    own = encoder(6, 4)
    stored = pack(moved(own), own, bits=4)
    change(stored)
    with pytest.raises(CheckpointError, match=reason):
        unpack(stored, own)


def test_differences_of_what_has_no_rows_are_refused() -> None:
    stored = pack(moved(encoder(4, 1)), encoder(4, 1))
    with pytest.raises(CheckpointError, match=r"is \[4\], and cannot have rows of differences"):
        unpack(stored, encoder(4))


PARTS = (CODES, SCALES)


@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        ({"a": ("F16", (3,)), "b": ("F32", (2, 2))}, None),
        ({"a/codes": ("U8", (3, 2)), "a/scales": ("F32", (4,))}, None),
        ({"a/codes": ("I8", (0, 2)), "a/scales": ("F32", (4,))}, None),
        ({"a": ("BF16", (3,))}, "a is BF16; it must be F16 or F32"),
        ({"a/codes": ("I8", (3, 2))}, "a/codes is I8; it must be F16 or F32"),
        ({"a/codes": ("I32", (3, 2)), "a/scales": ("F32", (4,))}, "a/codes is I32"),
        ({"a/codes": ("I8", (3,)), "a/scales": ("F32", (4,))}, r"a/codes is I8 \[3\]"),
        ({"a/codes": ("I8", (3, 2)), "a/scales": ("F16", (4,))}, "a/scales is F16"),
        ({"a/codes": ("I8", (3, 2)), "a/scales": ("F32", (2,))}, "of which 3 are kept"),
        (
            {"a": ("F16", (3, 2)), "a/codes": ("I8", (3, 2)), "a/scales": ("F32", (3,))},
            "a is there twice",
        ),
    ],
)
def test_a_file_is_checked_by_its_header(
    layout: dict[str, tuple[str, tuple[int, ...]]], reason: str | None
) -> None:
    problems = problems_in(layout)
    if reason is None:
        assert problems == []
    else:
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError("; ".join(problems))


@pytest.fixture
def packed(trained: TrainingResult, tmp_path: Path) -> Path:
    """A checkpoint that changed one tensor of the words' encoder."""
    folder = Path(shutil.copytree(trained.path, tmp_path / "packed"))
    config = read_info(folder).config
    weights = load_file(encoder_folder(config.text) / config.text.weights)
    own = {NAME: weights[NAME.removeprefix("text.")]}
    stored = load_file(folder / WEIGHTS_FILE) | pack(moved(own, by=0.01), own)
    document = json.loads((folder / CONFIG_FILE).read_text())
    document["model"]["trained"] = [NAME]
    (folder / CONFIG_FILE).write_text(json.dumps(document))
    return rewritten(folder, stored)


def rewritten(folder: Path, stored: Arrays) -> Path:
    """The checkpoint with other tensors, and a configuration that knows them."""
    document = json.loads((folder / CONFIG_FILE).read_text())
    config = ModelConfig.from_json(document["model"])
    parts = ("data", "scores", "versions", "training")
    provenance = {part: document[part] for part in parts}
    checkpoint.save(folder, config, save(stored), provenance)
    return folder


def refused(folder: Path, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        Classifier.load(folder, device="cpu")


def test_a_packed_checkpoint_is_the_encoder_with_the_differences_added(packed: Path) -> None:
    assert validate(packed) == []
    info = read_info(packed)
    stored = load_file(packed / WEIGHTS_FILE)
    own = load_file(encoder_folder(info.config.text) / info.config.text.weights)
    network = load_network(info)
    found = network.state_dict()["text.backbone." + NAME.removeprefix("text.")].numpy()
    expected = unpack(stored, {NAME: own[NAME.removeprefix("text.")]})[NAME]
    assert (found == expected).all()
    assert not (found == own[NAME.removeprefix("text.")]).all(axis=1).any()
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_tensor_may_be_stored_as_it_is(packed: Path) -> None:
    stored = load_file(packed / WEIGHTS_FILE)
    own = load_file(encoder_folder(read_info(packed).config.text) / "model.safetensors")
    whole = unpack(stored, {NAME: own[NAME.removeprefix("text.")]})
    before = read_info(packed).version
    rewritten(packed, whole)
    assert validate(packed) == []
    assert read_info(packed).version != before
    found = load_network(read_info(packed)).state_dict()
    assert (found["text.backbone." + NAME.removeprefix("text.")].numpy() == whole[NAME]).all()


def test_the_version_changes_with_a_single_difference(packed: Path) -> None:
    before = read_info(packed).version
    stored = load_file(packed / WEIGHTS_FILE)
    stored[NAME + CODES][3, 5] ^= 1
    assert read_info(rewritten(packed, stored)).version != before


def test_a_damaged_difference_is_refused(packed: Path) -> None:
    content = bytearray((packed / WEIGHTS_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (packed / WEIGHTS_FILE).write_bytes(bytes(content))
    assert "has SHA-256" in validate(packed)[0]
    refused(packed, "has SHA-256")


def test_a_checkpoint_of_halves_is_not_written(packed: Path) -> None:
    stored = load_file(packed / WEIGHTS_FILE)
    del stored[NAME + SCALES]
    with pytest.raises(CheckpointError, match=rf"{NAME} is missing; {NAME}/codes is unknown"):
        rewritten(packed, stored)


def test_the_head_cannot_be_differences(packed: Path) -> None:
    stored = load_file(packed / WEIGHTS_FILE)
    head = {"fusion.hidden.weight": stored.pop("fusion.hidden.weight")}
    with pytest.raises(CheckpointError, match=r"fusion\.hidden\.weight is the head's"):
        rewritten(packed, stored | pack(head, head))


def test_scales_that_are_no_numbers_are_refused_when_the_network_is_made(packed: Path) -> None:
    stored = load_file(packed / WEIGHTS_FILE)
    stored[NAME + SCALES][2] = np.nan
    rewritten(packed, stored)
    refused(packed, f"{NAME} has a scale that is negative, NaN or infinity; replace the folder")


def test_training_writes_differences_and_measures_what_it_wrote(toy: Toy, tmp_path: Path) -> None:
    result = toy.run(tmp_path / "model", Stage(epochs=1, batch_size=16, train_text_layers=1))
    stored = load_file(result.path / WEIGHTS_FILE)
    changed = set(read_info(result.path).config.trained)
    assert NAME in changed
    assert changed <= names_in(stored)
    assert stored[NAME + CODES].dtype == np.int8
    assert {stored[name].dtype for name in changed & set(stored)} == {np.dtype(np.float16)}
    own = load_file(encoder_folder(read_info(result.path).config.text) / "model.safetensors")
    found = unpack(stored, {f"text.{name}": tensor for name, tensor in own.items()})
    network = load_network(read_info(result.path))
    for name in changed:
        place = "text.backbone." + name.removeprefix("text.")
        assert (network.state_dict()[place].numpy() == found[name]).all(), name
