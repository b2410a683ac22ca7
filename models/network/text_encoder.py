"""A Hugging Face text encoder: token ids to states and one vector."""

from __future__ import annotations

from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.utils import logging as transformers_logging

from deadpan.core.errors import CheckpointError
from models.network.config import TextEncoderConfig
from models.network.encoders import check_encoder, trainable

# It has a handler of its own, whose lines are in no form of ours.
transformers_logging.disable_default_handler()
transformers_logging.enable_propagation()


class TextEncoder(nn.Module):
    """Legend: `batch` posts, `tokens` of the longest of them, `dim` features."""

    def __init__(self, backbone: Any, pooling: str = "mean") -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling

    @classmethod
    def load(cls, config: TextEncoderConfig) -> Self:
        """With the weights that training started from; frozen, in evaluation mode.

        Loaded by hand and not by `from_pretrained`, which draws progress bars into logs and may
        ask a hub for what it misses. Heads of pre-training that come with the weights are left
        out, and so is the pooler, which nothing here uses.

        Raises:
            CheckpointError: not there, other weights, or weights that do not fit the architecture.
        """
        folder = check_encoder(config)
        path = folder / config.weights
        try:
            architecture = AutoConfig.from_pretrained(str(folder), local_files_only=True)
            # decoders are not encoders, and code from a model's folder is never run
            backbone = AutoModel.from_config(  # type: ignore[no-untyped-call]
                architecture, trust_remote_code=False
            )
            weights = load_file(path)
            prefix = f"{backbone.base_model_prefix}."
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
            found = backbone.load_state_dict(weights, strict=False)
            missing = [name for name in found.missing_keys if not name.startswith("pooler.")]
            if missing:
                raise ValueError(f"{len(missing)} tensors are missing, such as {missing[0]}")
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f"cannot load {path} as a text encoder: {error}; "
                f"replace {folder} with a complete copy"
            ) from error
        if architecture.hidden_size != config.dim:
            raise CheckpointError(
                f"{folder} has features of width {architecture.hidden_size}, "
                f"and the model was trained with {config.dim}; name the encoder it was trained with"
            )
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None
        encoder = cls(backbone, config.pooling).eval()
        encoder.requires_grad_(False)
        return encoder

    @property
    def positions(self) -> int | None:
        """How many tokens have a place; None where nothing bounds them. RoBERTa's places begin
        after the number of its padding token, so that 130 of them are 128."""
        embeddings = getattr(self.backbone, "embeddings", None)
        places = getattr(embeddings, "position_embeddings", None)
        if not isinstance(places, nn.Embedding):
            return None
        before = 0 if places.padding_idx is None else places.padding_idx + 1
        return places.num_embeddings - before

    def layers(self) -> list[list[nn.Parameter]]:
        """Parameters by layer, from the embeddings up; the last entries are those to fine-tune
        first. With LoRA, its own alone."""
        blocks: dict[str, list[nn.Parameter]] = {}
        for name, parameter in trainable(self.backbone):
            parts = name.split(".")
            number = next((index for index, part in enumerate(parts) if part.isdigit()), None)
            key = "" if number is None else ".".join(parts[: number + 1])
            blocks.setdefault(key, []).append(parameter)
        embeddings = blocks.pop("", [])
        return [embeddings, *blocks.values()]

    def states(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """What the last layer says of every token: int64 [batch, tokens], and a mask of the same
        shape that is 0 where padded, to float32 [batch, tokens, dim]."""
        states: Tensor = self.backbone(
            input_ids=token_ids, attention_mask=attention_mask
        ).last_hidden_state
        return states.float()

    def pool(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector of a text: float32 [batch, tokens, dim] to [batch, dim]."""
        if self.pooling == "first":
            return states[:, 0]
        mask = attention_mask.unsqueeze(-1).to(torch.float32)
        return (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
