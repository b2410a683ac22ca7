"""A Hugging Face text encoder, mean-pooled."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from deadpan.errors import CheckpointError
from models.config import TextEncoderConfig


class TextEncoder(nn.Module):
    """Legend: `batch` posts, `tokens` of the longest of them, `dim` features."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    @classmethod
    def from_folder(cls, folder: Path, config: TextEncoderConfig) -> Self:
        """Load from `config.json` and a safetensors file, frozen, in evaluation mode.

        Loaded by hand and not by `from_pretrained`, which draws progress bars into logs and may
        ask a hub for what it misses.

        Raises:
            CheckpointError: the weights do not fit the architecture.
        """
        path = folder / config.weights
        try:
            architecture = AutoConfig.from_pretrained(str(folder), local_files_only=True)
            backbone = AutoModel.from_config(architecture)  # type: ignore[no-untyped-call]
            weights = load_file(path)
            # written by old versions of transformers; it is a constant
            weights.pop("embeddings.position_ids", None)
            backbone.load_state_dict(weights, strict=True)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f"{path} cannot be loaded as a text encoder: {error}; "
                f"install {config.distribution}=={config.version} again"
            ) from error
        if architecture.hidden_size != config.dim:
            raise CheckpointError(
                f"{folder} has features of width {architecture.hidden_size}, "
                f"and the model was trained with {config.dim}"
            )
        encoder = cls(backbone).eval()
        encoder.requires_grad_(False)
        return encoder

    def forward(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Pool over words.

        Args:
            token_ids: int64 [batch, tokens].
            attention_mask: int64 [batch, tokens], 0 where padded.

        Returns:
            float32 [batch, dim].
        """
        states: Tensor = self.backbone(
            input_ids=token_ids, attention_mask=attention_mask
        ).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(torch.float32)
        return (states.float() * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
