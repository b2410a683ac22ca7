"""The whole model as one module: encoders and fusion head, and what of it a checkpoint holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from deadpan.core.errors import CheckpointError
from models.network.config import ModelConfig, expected_tensors
from models.network.features import Features
from models.network.fusion import FusionHead

_PREFIXES = {"text.": "text.backbone.", "image.": "image.backbone."}


class Network(nn.Module):
    """Encoders and head.

    Legend: `batch` posts, `tokens` of the longest text, `pictures` of all posts together.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Encoders with the weights that training starts from, frozen; a fresh head. Raises
        CheckpointError when an encoder is not there, or is another one."""
        super().__init__()
        # their libraries take seconds to import, and a worker with a converted model needs none
        from models.network.image_encoder import ImageEncoder
        from models.network.text_encoder import TextEncoder

        self.config = config
        self.text = TextEncoder.load(config.text)
        places = self.text.positions
        if places is not None and places < config.max_tokens:
            raise CheckpointError(
                f"{config.text.location} reads {places} tokens, and texts have up to "
                f"{config.max_tokens}; name another text encoder"
            )
        self.image = ImageEncoder.load(config.image)
        self.head = FusionHead(config)

    def load_trained(self, tensors: Mapping[str, Tensor]) -> None:
        """Put tensors of any float type, named as by `trained_tensors`, over the network's own.

        Raises:
            CheckpointError: they do not fit, or are not finite numbers.
        """
        own = self.state_dict()
        problems = []
        for name, tensor in tensors.items():
            place = _place(name)
            if place not in own:
                problems.append(f"{name} is unknown")
            elif own[place].shape != tensor.shape:
                problems.append(f"{name} is {list(tensor.shape)}, not {list(own[place].shape)}")
            elif not bool(tensor.isfinite().all()):
                problems.append(f"{name} holds NaN or infinity")
        if problems:
            raise CheckpointError("; ".join(problems[:10]))
        with torch.no_grad():
            for name, tensor in tensors.items():
                own[_place(name)].copy_(tensor)

    def trained_tensors(self, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What a checkpoint must tell, by its names, float32, on the CPU: the head, and what of the
        encoders differs from `base`, the state of a fresh network of this configuration."""
        names = expected_tensors(self.config)
        found = {}
        for place, tensor in self.state_dict().items():
            name = _name(place)
            if name in names or not torch.equal(tensor.cpu(), base[place].cpu()):
                found[name] = tensor.detach().cpu().float().contiguous()
        return found

    def image_sha256(self) -> str:
        """Of the image encoder's weights, in hexadecimal: what its features depend on."""
        digest = hashlib.sha256()
        for tensor in self.image.state_dict().values():
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def needs_regions(self) -> bool:
        """See `ModelConfig`."""
        return self.config.needs_regions


def make_features(
    config: ModelConfig,
    text: Tensor,
    states: Tensor,
    attention_mask: Tensor,
    has_text: Tensor,
    regions: Tensor,
    image_index: Tensor,
) -> Features[Tensor]:
    """Put the encoders' outputs together for the head, and the pictures of a batch to its posts.

    Args:
        config: of the model.
        text: float [batch, text_dim], pooled.
        states: float [batch, tokens, text_dim]; ignored unless the fusion `needs_regions`.
        attention_mask: int [batch, tokens], 0 where a text is shorter; ignored likewise.
        has_text: bool [batch].
        regions: float [pictures, regions, image_dim]; pooled features have one region.
        image_index: int64 [batch, images], a row of `regions`, or -1 for none.
    """
    if not len(regions):
        regions = regions.new_zeros(1, 1, regions.shape[-1])
    chosen = regions[image_index.clamp(min=0)]
    whole = chosen[:, :, 0] if config.image.pools_itself else chosen.mean(dim=2)
    found = Features(text, has_text, image=whole, image_mask=image_index >= 0)
    if not config.needs_regions:
        return found
    return found._replace(tokens=states, token_mask=attention_mask.bool(), regions=chosen)


def encoders_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a network's state, the encoders' tensors, by a checkpoint's names."""
    prefixes = tuple(_PREFIXES.values())
    return {_name(place): tensor for place, tensor in state.items() if place.startswith(prefixes)}


def _place(name: str) -> str:
    """Where a checkpoint's tensor belongs in `Network`."""
    for prefix, place in _PREFIXES.items():
        if name.startswith(prefix):
            return place + name.removeprefix(prefix)
    return f"head.{name}"


def _name(place: str) -> str:
    """How a checkpoint names a tensor of `Network`."""
    for name, prefix in _PREFIXES.items():
        if place.startswith(prefix):
            return name + place.removeprefix(prefix)
    return place.removeprefix("head.")
