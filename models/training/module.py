"""The network with its loss, and what training does to its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.network.features import Features
from models.network.fusion import Logits
from models.network.network import Network, make_features
from models.training.settings import Stage
from models.training.targets import IMAGE_SIDE, TEXT_SIDE, UNKNOWN, Target, own_head

INPUTS = ("token_ids", "attention_mask", "has_text", "pictures", "image_index")
"""What of a batch is input, and not label."""

NOTHING_WEIGHT = 0.05
"""Of what is said of a post with nothing, in the loss: it only has to learn how frequent labels
are."""


class TrainingModule(nn.Module):
    """Many targets, three read-outs, one loss: cross entropy over the labels that are known.

    Legend: `batch` posts; `targets` that there are labels for; see `Collator` for what each input
    is.
    """

    def __init__(
        self, network: Network, stage: Stage, targets: Sequence[Target], own_heads: nn.ModuleDict
    ) -> None:
        """Unfreeze what `stage` trains of the encoders.

        Args:
            own_heads: of the targets that the model has no head for; trained in place.
        """
        super().__init__()
        self.network = network
        self.own_heads = own_heads
        self.stage = stage
        self.targets = tuple(targets)
        # what a frozen text encoder says of a text, by its token ids
        self._texts: dict[tuple[int, ...], Tensor] = {}
        self.train_images = stage.train_image_stages > 0
        # safetensors writes nothing else, and inputs in channels-last order are as fast
        network.image.to(memory_format=torch.contiguous_format)
        network.requires_grad_(False)
        network.head.requires_grad_(True)
        layers = network.text.layers()
        wanted = stage.train_text_layers
        count = len(layers) if isinstance(wanted, str) else min(wanted, len(layers) - 1)
        stages = network.image.stages()
        for layer in layers[len(layers) - count :]:
            for parameter in layer:
                parameter.requires_grad_(True)
        for part in stages[max(0, len(stages) - stage.train_image_stages) :]:
            for parameter in part:
                parameter.requires_grad_(True)

        # told to Trainer, which saves only what is trained
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        self._keys_to_ignore_on_save = set(self.state_dict()) - trained

    def tie_weights(self) -> None:
        """Trainer asks for it after loading; no weights are tied here."""

    def train(self, mode: bool = True) -> TrainingModule:
        """Batch norms of the image encoder keep their statistics: batches here are too small."""
        super().train(mode)
        self.network.image.eval()
        if self.stage.train_text_layers == 0:
            self.network.text.eval()
        return self

    def parameter_groups(self) -> list[dict[str, object]]:
        """For the optimizer: encoders and head have their own rates. Matrices decay, except vectors
        of words: one that no post holds stays as it is, and costs a checkpoint nothing."""
        stage = self.stage
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                head = name.startswith(("network.head.", "own_heads."))
                rate = stage.learning_rate if head else stage.encoder_learning_rate
                decays = parameter.ndim > 1 and "embeddings." not in name
                decay = stage.weight_decay if decays else 0.0
                groups.setdefault((rate, decay), []).append(parameter)
        return [
            {"params": parameters, "lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ]

    def features(
        self,
        token_ids: Tensor,
        attention_mask: Tensor,
        has_text: Tensor,
        pictures: Tensor,
        image_index: Tensor,
    ) -> Features[Tensor]:
        """Encode a batch, as `Collator` makes it.

        Args:
            token_ids: int64 [batch, tokens].
            attention_mask: int64 [batch, tokens].
            has_text: bool [batch].
            pictures: of all posts together: features, float [pictures, regions, dim], or pixels,
                uint8 [pictures, size, size, 3].
            image_index: int64 [batch, images], a row of `pictures`, or -1 for none.
        """
        network = self.network
        if self.stage.train_text_layers == 0 and not network.needs_regions:
            # single words are not looked at, so that nothing reads the states
            states, text = token_ids, self._known_texts(token_ids, attention_mask)
        else:
            states = network.text.states(token_ids, attention_mask)
            text = network.text.pool(states, attention_mask)
        if pictures.dtype == torch.uint8:
            if len(pictures):
                if self.training and self.train_images:
                    pictures = augmented(pictures)
                pictures = network.image.regions(pictures)
                if not network.needs_regions:
                    pictures = network.image.pool(pictures).unsqueeze(1)
            else:
                pictures = text.new_zeros(0, 1, network.config.image.dim)
        return make_features(
            network.config,
            text,
            states,
            attention_mask,
            has_text,
            pictures.float(),
            image_index,
        )

    def forward(
        self,
        token_ids: Tensor,
        attention_mask: Tensor,
        has_text: Tensor,
        pictures: Tensor,
        image_index: Tensor,
        labels: Tensor,
        weights: Tensor,
    ) -> dict[str, Tensor]:
        """Loss, and logits of every target; in training mode, modalities are hidden.

        Args:
            token_ids, attention_mask, has_text, pictures, image_index: of `features`.
            labels: int64 [batch, targets], -1 where unknown.
            weights: float [batch, targets], of each post in the loss.

        Returns:
            "loss", a number; by the target's name, float32 [batch, its labels].
        """
        hide_text = hide_image = None
        if self.training:
            both = has_text & (image_index >= 0).any(dim=1)
            chance = torch.rand(len(has_text), device=has_text.device)
            hide_text = both & (chance < self.stage.drop_modality)
            hide_image = both & (chance > 1.0 - self.stage.drop_modality)
        features = self.features(token_ids, attention_mask, has_text, pictures, image_index)
        found = self.network.head(features, hide_text, hide_image)
        return {
            "loss": self._loss(found, features, labels, weights),
            **{
                target.name: self._logits(target, found, features).float()
                for target in self.targets
            },
        }

    def _known_texts(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Pooled features of texts, float [batch, dim]; those that were not met before are encoded.

        A frozen encoder says the same of a text in every epoch.
        """
        network = self.network
        keys = [
            tuple(ids[: int(count)].tolist())
            for ids, count in zip(token_ids.cpu(), attention_mask.sum(dim=1).cpu(), strict=True)
        ]
        new = [row for row, key in enumerate(keys) if key not in self._texts]
        if new:
            with torch.no_grad():
                states = network.text.states(token_ids[new], attention_mask[new])
                pooled = network.text.pool(states, attention_mask[new])
            self._texts |= zip((keys[row] for row in new), pooled, strict=True)
        return torch.stack([self._texts[key] for key in keys])

    def _logits(
        self, target: Target, found: Mapping[str, Logits], features: Features[Tensor]
    ) -> Tensor:
        """What is said of a target: float [batch, its labels]."""
        if target.has_own_head:
            text = functional.dropout(features.text, 0.1, self.training)
            logits: Tensor = own_head(self.own_heads, target)(text)
            return logits
        read_out = {TEXT_SIDE: "text_side", IMAGE_SIDE: "image_alone"}.get(target.name, "fused")
        return found[read_out][target.question]

    def _loss(
        self,
        found: Mapping[str, Logits],
        features: Features[Tensor],
        labels: Tensor,
        weights: Tensor,
    ) -> Tensor:
        has_text, has_image = features.has_text, features.image_mask.any(dim=1)
        both = has_text & has_image
        stage = self.stage
        sides = {target.name for target in self.targets} & {TEXT_SIDE, IMAGE_SIDE}
        total = features.text.new_zeros(())
        for column, target in enumerate(self.targets):
            label, weight = labels[:, column], weights[:, column]
            if not bool((label != UNKNOWN).any()):
                continue
            logits = self._logits(target, found, features)
            name, question = target.name, target.question
            if target.has_own_head:
                total = total + self._cross_entropy(logits, label, weight * has_text)
            elif name == TEXT_SIDE:
                total = total + self._cross_entropy(logits, label, weight * both)
            elif name == IMAGE_SIDE:
                share = both * stage.image_alone_weight
                total = total + self._cross_entropy(logits, label, weight * share)
            else:
                # What the fusion says learns by itself, and not through its mean with the sides.
                if question in found["direct"]:
                    logits = torch.where(both.unsqueeze(-1), found["direct"][question], logits)
                # a post with one modality only has its fused read-out from there, which counts it
                # once
                total = total + self._cross_entropy(logits, label, weight)
                for read_out, portion in (
                    ("text_alone", stage.text_alone_weight),
                    ("image_alone", 0.0 if sides else stage.image_alone_weight),
                ):
                    if portion > 0 and question in found["direct"]:
                        alone = found[read_out][question]
                        total = total + self._cross_entropy(alone, label, weight * both * portion)
                nothing = self.network.head.nothing[question].expand(len(label), -1)
                total = total + self._cross_entropy(nothing, label, weight * NOTHING_WEIGHT)
        return total

    def _cross_entropy(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Weighted sum over the posts whose label is known, divided by all posts of the batch, so
        that a post counts the same whatever company it is in."""
        losses = functional.cross_entropy(
            logits.float(),
            target.clamp(min=0),
            reduction="none",
            label_smoothing=self.stage.label_smoothing,
        )
        return (losses * weight * (target != UNKNOWN)).sum() / len(target)


def augmented(pictures: Tensor) -> Tensor:
    """Pictures as they might as well have been taken: mirrored, moved and enlarged by chance.

    Args:
        pictures: uint8 [pictures, height, width, 3].

    Returns:
        The same shape and type.
    """
    count, device = len(pictures), pictures.device
    # in half precision, a place is up to half a pixel beside where it should be
    with torch.autocast(device.type, enabled=False):
        scale = 1.0 - 0.25 * torch.rand(count, device=device)
        shift = (1.0 - scale).unsqueeze(1) * (2 * torch.rand(count, 2, device=device) - 1)
        mirrored = torch.where(torch.rand(count, device=device) < 0.5, -1.0, 1.0)
        places = torch.zeros(count, 2, 3, device=device)
        places[:, 0, 0] = scale * mirrored
        places[:, 1, 1] = scale
        places[:, :, 2] = shift
        pixels = pictures.permute(0, 3, 1, 2).float()
        grid = functional.affine_grid(places, list(pixels.shape), align_corners=False)
        seen = functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    return seen.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8)
