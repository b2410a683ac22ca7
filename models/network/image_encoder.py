"""An image encoder of timm, torchvision or Hugging Face: pixels to regions and one vector."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import timm
import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from deadpan.core.errors import CheckpointError
from models.network.config import ImageEncoderConfig
from models.network.encoders import check_encoder, trainable
from models.network.own_tensors import timm_key


class ImageEncoder(nn.Module):
    """Legend: `batch` pictures, `height` and `width` in pixels, `regions` of the last feature map
    (7 x 7 of 224 x 224 pixels, for most), `dim` features."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Any, config: ImageEncoderConfig) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.kind = config.kind
        self.lower = config.lower
        self.pools_itself = config.pools_itself
        for name, values in (("mean", config.mean), ("std", config.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def load(cls, config: ImageEncoderConfig) -> Self:
        """With the weights that training started from; frozen, in evaluation mode.

        Raises:
            CheckpointError: not there, other weights, or weights that do not fit the architecture.
        """
        folder = check_encoder(config)
        path = folder / config.weights
        try:
            if path.suffix == ".safetensors":
                weights = load_file(path)
            else:
                weights = torch.load(path, map_location="cpu", weights_only=True)
            backbone, dim = _architecture(folder, config)
            if config.key_style == "lukemelas":
                stages = tuple(len(stage) for stage in backbone.blocks)
                weights = {timm_key(key, stages): value for key, value in weights.items()}
            own = backbone.state_dict()
            if config.kind in ("huggingface", "tower"):
                prefixes = (f"{backbone.base_model_prefix}.", "vision_model.")
                weights = {_own_name(name, prefixes, own): weights[name] for name in weights}
            # a classifier may be missing, or there for another number of classes; what a tower
            # pools with must be there
            heads = () if config.pools_itself else _HEADS
            fitting = {
                name: value
                for name, value in weights.items()
                if name in own and own[name].shape == value.shape
            }
            missing = [
                name
                for name in own
                if name not in fitting
                and name.partition(".")[0] not in heads
                and not name.endswith("num_batches_tracked")
            ]
            if missing:
                raise ValueError(f"{len(missing)} tensors are missing, such as {missing[0]}")
            backbone.load_state_dict(fitting, strict=False)
        except (
            OSError,
            KeyError,
            ValueError,
            RuntimeError,
            AttributeError,
            SafetensorError,
            pickle.UnpicklingError,
        ) as error:
            raise CheckpointError(
                f"cannot load {path} as {config.architecture or config.kind}: {error}; "
                f"replace {folder} with a complete copy"
            ) from error
        if dim != config.dim:
            raise CheckpointError(
                f"{config.architecture or folder} has features of width {dim}, "
                f"and the model was trained with {config.dim}; name the encoder it was trained with"
            )
        encoder = cls(backbone, config).eval()
        encoder.requires_grad_(False)
        return encoder

    def stages(self) -> list[list[nn.Parameter]]:
        """Parameters by stage, from the pixels up, classifier left out; the last entries are those
        to fine-tune first. ResNet's stages are `layer1` to `layer4`. With LoRA, its own alone."""
        found: dict[str, list[nn.Parameter]] = {}
        key = ""
        for name, parameter in trainable(self.backbone):
            parts = name.split(".")
            if parts[0] in _HEADS and not self.pools_itself:
                continue
            number = next((index for index, part in enumerate(parts) if part.isdigit()), None)
            if parts[0].startswith("layer") and parts[0] != "layernorm":
                key = parts[0]
            elif number is not None:
                key = ".".join(parts[: number + 1])
            # what has no number (stem, last convolution, last norm) belongs to what is before it
            found.setdefault(key, []).append(parameter)
        return list(found.values())

    def _normalised(self, pixels: Tensor) -> Tensor:
        # permuting NHWC bytes gives NCHW in channels-last order, which CPUs convolve fastest
        return (pixels.permute(0, 3, 1, 2).to(torch.float32) - self.mean) / self.std

    def regions(self, pixels: Tensor) -> Tensor:
        """What the last layer says of every place: uint8 [batch, height, width, 3], RGB, to float32
        [batch, regions, dim]. A tower's first region is what it says of the whole."""
        x = self._normalised(pixels)
        if self.kind == "tower":
            maps = _of_tower(self.backbone, x)
        elif self.kind == "huggingface":
            maps = self.backbone(pixel_values=x).last_hidden_state
        elif self.lower:
            b = self.backbone
            block = b.blocks(b.bn1(b.conv_stem(x)))
            maps = torch.cat((b.bn2(b.conv_head(block)), block, block.abs()), dim=1)
        elif self.kind == "timm":
            maps = self.backbone.forward_features(x)
        elif hasattr(self.backbone, "features"):
            maps = self.backbone.features(x)
        else:
            b = self.backbone
            maps = b.maxpool(b.relu(b.bn1(b.conv1(x))))
            maps = b.layer4(b.layer3(b.layer2(b.layer1(maps))))
        if maps.ndim == 4:
            maps = maps.flatten(2).transpose(1, 2)
        regions: Tensor = maps.float()
        return regions

    def pool(self, regions: Tensor) -> Tensor:
        """One vector of a picture: float32 [batch, regions, dim] to [batch, dim]."""
        return regions[:, 0] if self.pools_itself else regions.mean(dim=1)


_HEADS = ("fc", "classifier", "head", "pooler")


def _of_tower(backbone: Any, pixels: Tensor) -> Tensor:
    """What it says of the whole, then of every patch: [batch, 1 + patches, dim].

    CLIP pools by a token of its own, and norms only that; the patches are normed alike here, or
    their scale would be another. SigLIP norms all, and pools by a head.
    """
    found = backbone(pixel_values=pixels)
    # before they were flattened, these networks held the tower one level deeper
    tower = getattr(backbone, "vision_model", backbone)
    if hasattr(tower.embeddings, "class_embedding"):
        normed: Tensor = tower.post_layernorm(found.last_hidden_state)
        return normed
    return torch.cat((found.pooler_output.unsqueeze(1), found.last_hidden_state), dim=1)


def _own_name(name: str, prefixes: tuple[str, ...], own: Mapping[str, Tensor]) -> str:
    """What the network calls a tensor that a file keeps under a prefix, or without one."""
    for prefix in prefixes:
        if name not in own and (short := name.removeprefix(prefix)) in own:
            return short
        if f"{prefix}{name}" in own:
            return f"{prefix}{name}"
    return name


def vision_config(folder: Path) -> Any:
    """What a folder's `config.json` says of the network that sees, also where it stands beside one
    that reads. Raises OSError or ValueError where it is not there or names no such network."""
    architecture = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    return getattr(architecture, "vision_config", architecture)


def _architecture(folder: Path, config: ImageEncoderConfig) -> tuple[Any, int]:
    """The untrained network and the width of its features."""
    if config.kind == "timm":
        backbone: Any = timm.create_model(config.architecture, pretrained=False)
        if config.lower and backbone.blocks[-1][-1].conv_pwl.out_channels != config.lower:
            raise ValueError(f"its last block does not have {config.lower} channels")
        return backbone, int(backbone.num_features) + 2 * config.lower
    if config.kind == "torchvision":
        backbone = torchvision.models.get_model(config.architecture, weights=None)
        if hasattr(backbone, "layer4"):
            return backbone, int(backbone.fc.in_features)
        if hasattr(backbone, "features"):
            linears = [m for m in backbone.classifier.modules() if isinstance(m, nn.Linear)]
            return backbone, int(linears[0].in_features)
        raise ValueError(f"torchvision's {config.architecture} has neither layer4 nor features")
    architecture = vision_config(folder)
    backbone = AutoModel.from_config(  # type: ignore[no-untyped-call]
        architecture, trust_remote_code=False
    )
    sizes = getattr(architecture, "hidden_sizes", None)
    return backbone, int(sizes[-1] if sizes else architecture.hidden_size)
