"""Tiny encoders with random weights, in folders as the Hugging Face hub has them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionModel,
    RobertaConfig,
    RobertaForMaskedLM,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipVisionModel,
)

DIM, PATCH, SIZE = 16, 16, 32

_SIZES = {
    "hidden_size": DIM,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


def save_roberta(folder: Path, *, positions: int = 130) -> Path:
    """RoBERTa as it was pre-trained, with its head, and a byte-level tokenizer as RoBERTa's.

    Args:
        positions: 130 is what BERTweet has, for 128 tokens.
    """
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        ["what a lovely day", "see you soon"],
        trainers.BpeTrainer(
            vocab_size=280,
            special_tokens=special,
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))  # type: ignore[assignment]
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=positions,
        pad_token_id=1,
        type_vocab_size=1,
        **_SIZES,
    )
    torch.manual_seed(1)
    RobertaForMaskedLM(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def save_clip(folder: Path, *, tower_alone: bool = False) -> Path:
    """CLIP, both towers or the one that sees."""
    config = CLIPConfig(
        text_config={**_SIZES, "vocab_size": 40, "max_position_embeddings": 8},
        vision_config={**_SIZES, "image_size": SIZE, "patch_size": PATCH},
        projection_dim=8,
    )
    torch.manual_seed(2)
    model = CLIPModel(config)
    tower = CLIPVisionModel(config.vision_config)
    tower.load_state_dict(model.vision_model.state_dict())
    (tower if tower_alone else model).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": SIZE}).save_pretrained(folder)
    return folder


def save_siglip(folder: Path, *, tower_alone: bool = False) -> Path:
    """SigLIP, or SigLIP 2 of one fixed size, which is the same network."""
    config = SiglipConfig(
        text_config={**_SIZES, "vocab_size": 40, "max_position_embeddings": 8},
        vision_config={**_SIZES, "image_size": SIZE, "patch_size": PATCH},
    )
    torch.manual_seed(3)
    model = SiglipModel(config)
    tower = SiglipVisionModel(config.vision_config)
    tower.load_state_dict(model.vision_model.state_dict())
    (tower if tower_alone else model).save_pretrained(folder)
    SiglipImageProcessor(size={"height": SIZE, "width": SIZE}).save_pretrained(folder)
    return folder
