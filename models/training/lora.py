"""LoRA: small matrices beside the encoders' own, which are trained instead and added in the end.

Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022. Every linear layer
of every block gets them, as Dettmers et al., QLoRA, NeurIPS 2023, found necessary to come up to
training all weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from deadpan.core.errors import DataError, ModelError
from models.network.network import Network
from models.training.settings import Settings, Stage


class Adapters:
    """LoRA in the encoders of a network, from now until `merge`."""

    def __init__(self, network: Network, settings: Settings, stages: Sequence[Stage]) -> None:
        """Put it into both encoders; into none with a rank of 0. Until it is trained it changes no
        output.

        Raises:
            ModelError: the extra `train` is not installed.
            DataError: a stage trains an encoder that has no linear layer for it to stand beside.
        """
        self._held: list[tuple[Any, Any]] = []
        if not settings.lora_rank:
            return
        try:
            from peft import LoraConfig, LoraModel
        except ImportError as error:
            raise ModelError(
                f"lora_rank is {settings.lora_rank}, which needs the package peft: {error}; "
                "pip install 'deadpan[train]', or set lora_rank to 0"
            ) from error
        trained = (
            (network.text, any(stage.train_text_layers for stage in stages)),
            (network.image, any(stage.train_image_stages for stage in stages)),
        )
        for encoder, is_trained in trained:
            names = _linear_layers(encoder.backbone)
            if not names and not is_trained:
                continue
            if not names:
                raise DataError(
                    f"lora_rank is {settings.lora_rank}, and {type(encoder.backbone).__name__} has "
                    "no linear layer for it; set it to 0, or name another encoder"
                )
            config = LoraConfig(
                r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules=names
            )
            self._held.append((encoder, LoraModel(encoder.backbone, config, "default")))

    def merge(self) -> None:
        """Add what was learnt to the encoders' own weights, and take LoRA out of them."""
        while self._held:
            encoder, adapted = self._held.pop()
            encoder.backbone = adapted.merge_and_unload(safe_merge=True)
            encoder.requires_grad_(False)


def _linear_layers(backbone: nn.Module) -> list[str]:
    """Full names of the linear layers in its numbered blocks."""
    return [
        name
        for name, module in backbone.named_modules()
        if type(module) is nn.Linear and any(part.isdigit() for part in name.split("."))
    ]
