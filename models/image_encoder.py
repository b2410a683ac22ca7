"""A timm image encoder, average-pooled."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Self

import timm
import torch
from torch import Tensor, nn

from deadpan.errors import CheckpointError
from models.config import ImageEncoderConfig
from models.encoders import timm_key


class ImageEncoder(nn.Module):
    """Legend: `batch` pictures, `height` and `width` in pixels, `dim` features."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Any, config: ImageEncoderConfig) -> None:
        super().__init__()
        self.backbone: Any = backbone
        for name, values in (("mean", config.mean), ("std", config.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def from_folder(cls, folder: Path, config: ImageEncoderConfig) -> Self:
        """Load frozen, in evaluation mode.

        Raises:
            CheckpointError: the weights do not fit the architecture.
        """
        path = folder / config.weights
        try:
            backbone: Any = timm.create_model(config.architecture, pretrained=False)
            weights = torch.load(path, map_location="cpu", weights_only=True)
            stages = tuple(len(stage) for stage in backbone.blocks)
            renamed = {timm_key(key, stages): value for key, value in weights.items()}
            backbone.load_state_dict(renamed, strict=True)
        except (OSError, KeyError, RuntimeError, AttributeError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"{path} cannot be loaded as {config.architecture}: {error}; "
                f"install {config.distribution}=={config.version} again"
            ) from error
        if backbone.num_features != config.dim:
            raise CheckpointError(
                f"{config.architecture} has features of width {backbone.num_features}, "
                f"and the model was trained with {config.dim}"
            )
        encoder = cls(backbone, config).eval()
        encoder.requires_grad_(False)
        return encoder.to(memory_format=torch.channels_last)

    def _normalised(self, pixels: Tensor) -> Tensor:
        # permuting NHWC bytes gives NCHW in channels-last order, which CPUs convolve fastest
        return (pixels.permute(0, 3, 1, 2).to(torch.float32) - self.mean) / self.std

    def forward(self, pixels: Tensor) -> Tensor:
        """Pool over places.

        Args:
            pixels: uint8 [batch, height, width, 3], RGB.

        Returns:
            float32 [batch, dim].
        """
        maps: Tensor = self.backbone.forward_features(self._normalised(pixels))
        return maps.float().mean(dim=(2, 3))

    def classify(self, pixels: Tensor) -> Tensor:
        """ImageNet logits, float32 [batch, 1000], to check the weights against known ones."""
        logits: Tensor = self.backbone(self._normalised(pixels))
        return logits.float()
