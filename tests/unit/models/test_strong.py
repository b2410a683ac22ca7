"""The recipe `strong`, cut down: encoders in the hub's layout, LoRA, sarcasm in pictures."""

from __future__ import annotations

import dataclasses
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, RobertaForMaskedLM, SiglipModel

from deadpan.core.errors import CheckpointError, DataError, ModelError
from models.checkpoint.checkpoint import read_info
from models.network.config import ModelConfig
from models.network.described import described
from models.network.encoders import pinned
from models.network.image_encoder import ImageEncoder
from models.network.network import Network
from models.network.presets import strong_config
from models.network.text_encoder import TextEncoder
from models.posts.text import TextPreparer
from models.serving.classifier import Classifier
from models.training.lora import Adapters
from models.training.recipe import Recipe, load_recipe
from models.training.run import train
from models.training.settings import DataFile, Settings, Stage

from .hub_layout import DIM, SIZE, save_clip, save_roberta, save_siglip

Save = Callable[..., Path]


@pytest.fixture
def config(tmp_path: Path) -> ModelConfig:
    text, image = save_roberta(tmp_path / "text"), save_siglip(tmp_path / "image")
    return pinned(described(strong_config(text=str(text), image=str(image))))


def picture(folder: Path, name: str, shade: int) -> str:
    # no two are the same, for a picture of a dev file is not learnt from
    pixels = np.random.default_rng(crc32(name.encode())).integers(0, 40, size=(48, 40, 3)) + shade
    Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
    return name


def write_file(file: DataFile, count: int) -> None:
    """Posts in place of a file of the recipe, with the labels that it has."""
    path = file.path
    folder = path.parents[1] if path.suffix == ".json" else path.parent
    pictures = folder / "dataset_image" if path.suffix == ".json" else folder
    for each in (path.parent, pictures):
        each.mkdir(parents=True, exist_ok=True)
    of_words = {
        "irony": ("sarcastic",),
        "isarcasm": ("sarcastic",),
        "offensive": ("offensive",),
        "hate": ("hateful",),
        "davidson": ("offensive", "hateful"),
    }
    posts: list[dict[str, object]] = []
    for number in range(count):
        name, odd = f"{path.stem}-{number}", number % 2
        if path.suffix == ".json":  # only the picture tells
            picture(pictures, f"{name}.jpg", 20 if odd else 200)
            posts.append({"text": f"what a lovely day {number}", "label": odd, "image_id": name})
            continue
        post: dict[str, object] = {"id": name, "text": f"{'see you' if odd else 'oh no'} {name}"}
        label = ("negative", "neutral", "positive")[number % 3]
        if folder.name == "mvsa":
            sides = dict.fromkeys(("sentiment", "text_sentiment", "image_sentiment"), label)
            post |= {**sides, "images": [picture(folder, f"{name}.png", 60 * (number % 3))]}
        elif "sentiment" in path.stem:
            post["sentiment"] = label
        else:
            keys = [key for key in of_words if key in path.stem]
            post |= dict.fromkeys(of_words[keys[0]], bool(odd))
        posts.append(post)
    lines = [json.dumps(posts)] if path.suffix == ".json" else map(json.dumps, posts)
    path.write_text("\n".join(lines), encoding="utf-8")


def test_a_model_sees_sarcasm_in_a_picture(tmp_path: Path) -> None:
    """The recipe as it comes, with few posts, tiny encoders and one epoch of each stage."""
    recipe = load_recipe("strong", tmp_path / "data")
    for file in recipe.train:
        write_file(file, 40 if file.called in ("mmsd2", "semeval") else 8)
    for file in recipe.dev:
        write_file(file, 8)
    text, image = save_roberta(tmp_path / "text"), save_siglip(tmp_path / "image")
    settings = dataclasses.replace(
        recipe.settings, text=str(text), image=str(image), hidden=16, ocr_share=0.0, lora_rank=2
    )
    stages = [
        dataclasses.replace(
            stage, epochs=1, batch_size=8, learning_rate=1e-2, encoder_learning_rate=1e-2
        )
        for stage in recipe.stages
    ]
    recipe = dataclasses.replace(recipe, settings=settings, stages=tuple(stages))
    result = train(recipe, tmp_path / "model", cache_dir=tmp_path / "cache", device="cpu")

    scores = result.scores["MMSD2.0, validation, with pictures"]["all"]["sarcasm"]
    assert scores["fused"]["n"] == scores["image_alone"]["n"] == 8
    trained = read_info(result.path).config.trained
    assert {name.split(".")[0] for name in trained} == {"text", "image"}
    assert not any("lora" in name for name in trained)
    assert all(name.endswith(".weight") for name in trained)
    classifier = Classifier.load(result.path, device="cpu", engine="torch")
    assert classifier.checkpoint.version == result.version
    shown = [
        (tmp_path / "data/mmsd2/dataset_image" / f"valid-{number}.jpg").read_bytes()
        for number in (0, 1)
    ]
    words = "what a lovely day 1"
    found = classifier.predict(
        [classifier.prepare(words, images) for images in ([shown[0]], [shown[1]], [])]
    )
    bright, dark, unseen = (one.fused.sarcasm for one in found)
    assert abs(dark - bright) > 0.01
    assert found[2].text_alone is not None
    assert unseen == pytest.approx(found[2].text_alone.sarcasm)
    assert found[0].fused.hateful is not None


@pytest.mark.parametrize("tower_alone", [False, True])
@pytest.mark.parametrize("save", [save_clip, save_siglip])
def test_the_tower_that_sees_is_taken_out_of_a_checkpoint(
    tmp_path: Path, save: Save, tower_alone: bool
) -> None:
    """It says what the whole checkpoint says, whichever of them the folder holds."""
    folder = save(tmp_path / "image", tower_alone=tower_alone)
    text = save_roberta(tmp_path / "text")
    config = described(strong_config(text=str(text), image=str(folder)))
    assert (config.image.dim, config.image_size) == (DIM, SIZE)
    encoder = ImageEncoder.load(config.image)
    pixels = torch.randint(0, 256, (2, SIZE, SIZE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        regions = encoder.regions(pixels)
    assert regions.shape == (2, 1 + (SIZE // 16) ** 2, DIM)

    whole = save(tmp_path / "whole")
    kind = CLIPModel if save is save_clip else SiglipModel
    model = kind.from_pretrained(whole).eval()
    processor = json.loads((whole / "preprocessor_config.json").read_text())
    mean, std = (torch.tensor(processor[key]) for key in ("image_mean", "image_std"))
    given = ((pixels / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = model.vision_model(pixel_values=given).pooler_output
    assert torch.allclose(encoder.pool(regions), expected, atol=1e-5)


@pytest.mark.parametrize("save", [save_clip, save_siglip])
def test_encoders_saved_by_the_example_can_be_trained(tmp_path: Path, save: Save) -> None:
    text, image = save_roberta(tmp_path / "text"), save(tmp_path / "image")
    example = Path(__file__).parents[3] / "examples/python/save_encoders.py"
    runpy.run_path(str(example))["save"](str(text), str(image), tmp_path / "saved")
    places = {name: str(tmp_path / "saved" / name) for name in ("text", "image")}
    network = Network(described(strong_config(**places)))
    again = Network(described(strong_config(text=str(text), image=str(image))))
    for name, tensor in network.state_dict().items():
        if name.startswith(("text.", "image.")):
            assert tensor.equal(again.state_dict()[name]), name
    prepare, before = (
        TextPreparer(Path(place), max_tokens=128) for place in (places["text"], text)
    )
    assert prepare("a lovely day", ["soon"]) == before("a lovely day", ["soon"])


@pytest.mark.parametrize(("lacking", "save"), [("head.", save_siglip), ("layers.1.", save_clip)])
def test_a_tower_that_lacks_a_part_is_refused(tmp_path: Path, lacking: str, save: Save) -> None:
    folder = save(tmp_path / "image")
    weights = load_file(folder / "model.safetensors")
    less = {name: value for name, value in weights.items() if lacking not in name}
    save_file(less, folder / "model.safetensors", metadata={"format": "pt"})
    image = dataclasses.replace(strong_config(image=str(folder)).image, dim=DIM)
    with pytest.raises(CheckpointError, match="tensors are missing, such as"):
        ImageEncoder.load(image)


def test_a_folder_that_does_not_say_how_pictures_are_scaled_is_refused(tmp_path: Path) -> None:
    text, image = save_roberta(tmp_path / "text"), save_clip(tmp_path / "image")
    config = strong_config(text=str(text), image=str(image))
    assert described(config).image.mean == pytest.approx((122.771, 116.746, 104.094), abs=0.001)
    (image / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5]}')
    with pytest.raises(CheckpointError, match="does not say image_mean and image_std"):
        described(config)
    document = json.loads((image / "config.json").read_text())
    document["vision_config"]["image_size"] = None
    (image / "config.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="pictures of no fixed size"):
        described(config)


def test_roberta_says_the_same_of_a_padded_text_up_to_its_last_place(
    tmp_path: Path, config: ModelConfig
) -> None:
    encoder = TextEncoder.load(config.text)
    assert encoder.positions == config.max_tokens == 128
    prepare = TextPreparer(Path(config.text.location), max_tokens=128)
    _, ids = prepare("what a lovely day", ["see you soon"])
    assert ids[0] == 0
    assert ids[-1] == 2
    assert ids.count(2) == 3  # RoBERTa parts a pair by two of them
    whole = RobertaForMaskedLM.from_pretrained(config.text.location).eval().roberta
    padded = torch.zeros(1, 128, dtype=torch.int64)
    padded[0, : len(ids)] = torch.tensor(ids)
    mask = (torch.arange(128) < len(ids)).long().unsqueeze(0)
    with torch.inference_mode():
        found = encoder.states(padded, mask)[0, : len(ids)]
        expected = whole(torch.tensor([ids])).last_hidden_state[0]
    assert torch.allclose(found, expected, atol=1e-5)


def test_an_encoder_that_reads_fewer_tokens_than_texts_have_is_refused(
    tmp_path: Path, config: ModelConfig
) -> None:
    short = save_roberta(tmp_path / "short", positions=66)
    text = dataclasses.replace(config.text, location=str(short), sha256="")
    with pytest.raises(CheckpointError, match="reads 64 tokens, and texts have up to 128"):
        Network(dataclasses.replace(config, text=text))


def test_merged_lora_says_what_it_said_beside_the_weights(config: ModelConfig) -> None:
    network = Network(config).eval()
    untrained = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    stages = (Stage(train_text_layers=1, train_image_stages=2),)
    adapters = Adapters(network, Settings(lora_rank=2), stages)
    for encoder, groups in ((network.text, network.text.layers()), (network.image, None)):
        for group in groups or network.image.stages():
            for parameter in group:
                torch.nn.init.normal_(parameter, std=0.3)
        assert any("lora_B" in name for name, _ in encoder.named_parameters())
    pixels = torch.randint(0, 256, (1, SIZE, SIZE, 3), dtype=torch.uint8)
    ids = torch.tensor([[0, 9, 8, 7, 2]])

    def said() -> list[torch.Tensor]:
        with torch.inference_mode():
            return [network.text.states(ids, torch.ones_like(ids)), network.image.regions(pixels)]

    beside = said()
    adapters.merge()
    assert set(network.state_dict()) == set(untrained)
    for one, other in zip(beside, said(), strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    changed = [
        name for name, tensor in network.state_dict().items() if not tensor.equal(untrained[name])
    ]
    # every linear layer of both encoders' blocks, six in each, and nothing else
    assert len(changed) == 2 * 2 * 6
    assert not any(parameter.requires_grad for parameter in network.text.parameters())


def test_lora_without_its_package_or_a_layer_for_it_is_refused(
    config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(config)
    stages = (Stage(train_text_layers=1),)
    network.text.backbone = torch.nn.Sequential(torch.nn.Conv1d(2, 2, 1))
    with pytest.raises(DataError, match="Sequential has no linear layer for it"):
        Adapters(network, Settings(lora_rank=2), stages)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match=r"pip install 'deadpan\[train\]'"):
        Adapters(network, Settings(lora_rank=2), stages)
    Adapters(network, Settings(), stages).merge()


def test_every_stage_of_the_recipe_trains_adapters_alone(tmp_path: Path) -> None:
    recipe: Recipe = load_recipe("strong", tmp_path)
    assert recipe.settings.lora_rank > 0
    assert "sarcasm" in recipe.settings.of_pictures
    assert [stage.train_image_stages for stage in recipe.stages] == [0, 12]
