"""Every encoder, every fusion, posts with any number of pictures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    ResNetConfig,
    ResNetModel,
    RobertaConfig,
    RobertaModel,
    ViTConfig,
    ViTModel,
)

from deadpan.core.errors import CheckpointError
from models.checkpoint.loading import put_stored, stored_tensors
from models.network.config import ImageEncoderConfig, ModelConfig
from models.network.encoders import pinned
from models.network.features import Features
from models.network.fusion import FusionHead
from models.network.image_encoder import ImageEncoder
from models.network.network import Network
from models.network.presets import bert_resnet50_config
from models.network.text_encoder import TextEncoder
from models.training.module import TrainingModule
from models.training.settings import Stage
from models.training.targets import own_heads, targets_of


def save_text(folder: Path, kind: str = "bert", **sizes: int) -> Path:
    """A text encoder with random weights, as a folder."""
    sizes = {
        "vocab_size": 20,
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    } | sizes
    folder.mkdir(parents=True)
    if kind == "bert":
        model: torch.nn.Module = BertModel(BertConfig(**sizes))
        model.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
    else:
        model = RobertaModel(RobertaConfig(**sizes))
        model.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
    # as a model with heads of pre-training would be published
    weights = {f"{kind}.{name}": value.contiguous() for name, value in model.state_dict().items()}
    save_file({**weights, "cls.predictions.bias": torch.zeros(20)}, folder / "model.safetensors")
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    words.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))  # type: ignore[assignment]
    words.save(str(folder / "tokenizer.json"))
    return folder


def save_resnet(folder: Path) -> Path:
    """ResNet-50 with random weights, as a folder."""
    folder.mkdir(parents=True)
    state = torchvision.models.resnet50(weights=None).state_dict()
    save_file(
        {name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors"
    )
    return folder


@pytest.fixture
def small(tmp_path: Path) -> ModelConfig:
    """`bert-resnet50` with a small BERT."""
    config = bert_resnet50_config(
        text=str(save_text(tmp_path / "text")), image=str(save_resnet(tmp_path / "image"))
    )
    both = ("sentiment", "sarcasm")
    text = dataclasses.replace(config.text, dim=16)
    return pinned(dataclasses.replace(config, text=text, of_pictures=both))


def batch(config: ModelConfig, pixels: int = 64, vocabulary: int = 20) -> dict[str, torch.Tensor]:
    """Posts with words and two pictures, words only, and a picture only."""
    return {
        "token_ids": torch.randint(4, vocabulary, (3, 5)),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]),
        "has_text": torch.tensor([True, True, False]),
        "pictures": torch.randint(0, 255, (3, pixels, pixels, 3), dtype=torch.uint8),
        "image_index": torch.tensor([[0, 1], [-1, -1], [2, -1]]),
        "labels": torch.tensor([[0, 1], [2, -1], [-1, 0]]),
        "weights": torch.ones(3, 2),
    }


def taught(network: Network, stage: Stage) -> TrainingModule:
    """Of the model's own questions."""
    targets = targets_of(network.config, (), ())
    return TrainingModule(network, stage, targets, own_heads(targets, network.config.text.dim))


def test_a_word_that_no_post_holds_keeps_its_vector(small: ModelConfig) -> None:
    network = Network(small)
    vectors = network.text.backbone.embeddings.word_embeddings.weight
    before = vectors.detach().clone()
    module = taught(network, Stage(train_text_layers="all", weight_decay=0.5)).train()
    optimizer = torch.optim.AdamW(module.parameter_groups())
    posts = batch(small)
    module(**posts)["loss"].backward()
    optimizer.step()
    changed = (vectors != before).any(dim=1).nonzero().flatten().tolist()
    assert changed
    assert set(changed) <= set(posts["token_ids"].flatten().tolist())


@pytest.mark.parametrize("fusion", ["concat", "gated", "cross_attention"])
def test_every_fusion_trains_the_last_layers_and_no_others(small: ModelConfig, fusion: str) -> None:
    config = dataclasses.replace(small, fusion=fusion)
    network = Network(config)
    base = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    module = taught(network, Stage(train_text_layers=2, train_image_stages=1)).train()
    optimizer = torch.optim.SGD(module.parameter_groups(), lr=1.0)
    module(**batch(config))["loss"].backward()
    optimizer.step()
    tensors = network.trained_tensors(base)
    changed = [name for name in tensors if name.startswith(("text.", "image."))]
    text = {name.split(".")[3] for name in changed if name.startswith("text.")}
    image = {name.split(".")[1] for name in changed if name.startswith("image.")}
    assert text == {"1", "2"}
    # the article's last stage is ResNet's pooling, which has no weights
    assert image == {"layer4"}
    # what a checkpoint holds is enough to make the network again
    again = Network(config)
    stored = stored_tensors(network, base)
    put_stored(again, stored, again.state_dict())
    put_stored(network, stored, base)
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_all_layers_are_trained_with_the_embeddings(small: ModelConfig) -> None:
    module = taught(Network(small), Stage(train_text_layers="all"))
    assert all(p.requires_grad for p in module.network.text.parameters())
    assert not any(p.requires_grad for p in module.network.image.parameters())
    frozen = taught(Network(small), Stage(train_text_layers=0)).train()
    assert not any(p.requires_grad for p in frozen.network.text.parameters())
    assert not frozen.network.text.training


@pytest.mark.parametrize("of_pictures", [("sentiment",), ("sentiment", "sarcasm")])
def test_a_post_without_pictures_is_judged_by_its_words_and_the_other_way_round(
    small: ModelConfig, of_pictures: tuple[str, ...]
) -> None:
    small = dataclasses.replace(small, of_pictures=of_pictures)
    module = taught(Network(small), Stage()).eval()
    given = batch(small)
    inputs = {name: given[name] for name in list(given)[:5]}
    with torch.inference_mode():
        found = module.network.head(module.features(**inputs))
    for head in ("sentiment", "sarcasm"):
        fused = found["fused"][head]
        assert torch.equal(fused[1], found["text_alone"][head][1])
        assert torch.equal(fused[2], found["image_alone"][head][2])
        # pictures take part in what the configuration says, and in nothing else
        by_words = torch.equal(fused[0], found["text_alone"][head][0])
        assert by_words == (head not in of_pictures)


@pytest.mark.parametrize("fusion", ["concat", "gated", "cross_attention"])
def test_of_what_is_not_there_nothing_shows(small: ModelConfig, fusion: str) -> None:
    """Padding tokens, missing pictures and the order of pictures change no answer."""
    head = FusionHead(dataclasses.replace(small, fusion=fusion)).eval()
    torch.nn.init.normal_(head.attend.weight)
    tokens, regions = torch.randn(1, 4, 16), torch.randn(1, 2, 9, 2048)
    features = Features(
        text=torch.randn(1, 16),
        has_text=torch.tensor([True]),
        image=regions.mean(dim=2),
        image_mask=torch.tensor([[True, True]]),
        tokens=tokens,
        token_mask=torch.ones(1, 4, dtype=torch.bool),
        regions=regions,
    )
    padded = features._replace(
        image=torch.cat((features.image.flip(1), torch.randn(1, 1, 2048)), dim=1),
        image_mask=torch.tensor([[True, True, False]]),
        tokens=torch.cat((tokens, torch.randn(1, 3, 16)), dim=1),
        token_mask=torch.tensor([[True] * 4 + [False] * 3]),
        regions=torch.cat((regions.flip(1), torch.randn(1, 1, 9, 2048)), dim=1),
    )
    with torch.inference_mode():
        one, other = head(features), head(padded)
        nothing = head(
            padded._replace(
                has_text=torch.tensor([False]), image_mask=torch.zeros(1, 3, dtype=torch.bool)
            )
        )
    for read_out in one:
        found, same = one[read_out]["sentiment"], other[read_out]["sentiment"]
        assert torch.allclose(found, same, atol=1e-4)
    assert torch.equal(nothing["fused"]["sentiment"][0], head.nothing["sentiment"])


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_another_family_of_text_encoders(tmp_path: Path, pooling: str) -> None:
    config = bert_resnet50_config(text=str(save_text(tmp_path / "roberta", "roberta"))).text
    config = dataclasses.replace(config, dim=16, pooling=pooling)
    encoder = TextEncoder.load(config)
    mask = torch.ones(1, 3, dtype=torch.int64)
    assert encoder.pool(encoder.states(torch.tensor([[3, 4, 5]]), mask), mask).shape == (1, 16)
    assert len(encoder.layers()) == 4
    with pytest.raises(CheckpointError, match="features of width 16, and the model was trained"):
        TextEncoder.load(dataclasses.replace(config, dim=17))


def vision(folder: Path, name: str) -> ImageEncoderConfig:
    """An image encoder with random weights."""
    folder.mkdir()
    architecture, dim = "", 16
    if name == "vit":
        model: torch.nn.Module = ViTModel(
            ViTConfig(
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=24,
                image_size=64,
            )
        )
        model.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
    elif name == "resnet":
        model = ResNetModel(
            ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        )
        model.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
    elif name == "mobilenet_v3_small":
        model, architecture, dim = torchvision.models.get_model(name, weights=None), name, 576
    else:
        model, architecture, dim = timm.create_model(name, pretrained=False), name, 192
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors"
    )
    kind = {"vit": "huggingface", "resnet": "huggingface", "mobilenet_v3_small": "torchvision"}
    base = bert_resnet50_config(image=str(folder)).image
    return dataclasses.replace(
        base, kind=kind.get(name, "timm"), architecture=architecture, dim=dim
    )


@pytest.mark.parametrize("name", ["vit", "resnet", "mobilenet_v3_small", "vit_tiny_patch16_224"])
def test_image_encoders_of_three_libraries(tmp_path: Path, name: str) -> None:
    config = vision(tmp_path / name, name)
    encoder = ImageEncoder.load(config)
    size = 224 if "tiny" in name else 64
    regions = encoder.regions(torch.zeros(2, size, size, 3, dtype=torch.uint8))
    assert regions.shape[0] == 2
    assert regions.shape[2] == config.dim
    assert len(encoder.stages()) > 1


def test_weights_that_lack_a_layer_are_refused(tmp_path: Path) -> None:
    folder = save_text(tmp_path / "text")
    document = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(document | {"num_hidden_layers": 4}))
    config = bert_resnet50_config(text=str(folder)).text
    with pytest.raises(CheckpointError, match=r"tensors are missing, such as encoder\.layer\.3"):
        TextEncoder.load(dataclasses.replace(config, dim=16))


def test_the_articles_system_in_full_size_goes_forward_and_backward(tmp_path: Path) -> None:
    text = save_text(
        tmp_path / "text",
        vocab_size=30522,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
    )
    config = bert_resnet50_config(text=str(text), image=str(save_resnet(tmp_path / "image")))
    assert (config.max_tokens, config.image.dim, config.hidden) == (128, 2048, 512)
    network = Network(pinned(config))
    module = taught(network, Stage(train_text_layers=2, train_image_stages=1)).train()
    found = module(**batch(config, pixels=224, vocabulary=30522))
    found["loss"].backward()
    assert found["sentiment"].shape == (3, 3)
    gradients = {name for name, p in network.named_parameters() if p.grad is not None}
    assert any("encoder.layer.11." in name for name in gradients)
    assert any("layer4" in name for name in gradients)
    assert not any("encoder.layer.9." in name or "layer3" in name for name in gradients)
