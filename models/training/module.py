"""The network with its loss, and what training does to its inputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.network.fusion import Features, Logits
from models.network.network import Network, make_features
from models.training.dataset import UNKNOWN
from models.training.settings import Stage

INPUTS = ("token_ids", "attention_mask", "has_text", "pictures", "image_index")
"""What of a batch is input, and not label."""

NOTHING_WEIGHT = 0.05
"""Of what is said of a post with nothing, in the loss: it only has to learn how frequent labels
are."""


class TrainingModule(nn.Module):
    """Two questions, three read-outs, one loss: cross entropy over the labels that are known.

    Legend: `batch` posts; see `Collator` for what each input is.
    """

    def __init__(self, network: Network, stage: Stage) -> None:
        """Unfreeze what `stage` trains of the encoders."""
        super().__init__()
        self.network = network
        self.stage = stage
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
        """For the optimizer: encoders and head have their own rates, matrices decay."""
        stage = self.stage
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                head = name.startswith("network.head.")
                rate = stage.learning_rate if head else stage.encoder_learning_rate
                decay = stage.weight_decay if parameter.ndim > 1 else 0.0
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
    ) -> Features:
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
        states = network.text.states(token_ids, attention_mask)
        text = network.text.pool(states, attention_mask)
        if pictures.dtype == torch.uint8:
            if len(pictures):
                pictures = network.image.regions(pictures)
                if not network.needs_regions:
                    pictures = pictures.mean(dim=1, keepdim=True)
            else:
                pictures = text.new_zeros(0, 1, network.config.image.dim)
        return make_features(
            network.needs_regions,
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
        sentiment: Tensor,
        sarcasm: Tensor,
        sentiment_weight: Tensor,
        sarcasm_weight: Tensor,
    ) -> dict[str, Tensor]:
        """Loss and fused logits; in training mode, modalities are hidden and pictures borrowed.

        Args:
            token_ids, attention_mask, has_text, pictures, image_index: of `features`.
            sentiment: int64 [batch], -1 where unknown.
            sarcasm: the same.
            sentiment_weight: float [batch], of each post in the loss.
            sarcasm_weight: the same.

        Returns:
            "loss", a number; "sentiment_logits" float32 [batch, 3], "sarcasm_logits" [batch, 2].
        """
        hide_text = hide_image = None
        if self.training:
            image_index = self._borrow(image_index, sentiment, sarcasm)
            both = has_text & (image_index >= 0).any(dim=1)
            chance = torch.rand(len(has_text), device=has_text.device)
            hide_text = both & (chance < self.stage.drop_modality)
            hide_image = both & (chance > 1.0 - self.stage.drop_modality)
        features = self.features(token_ids, attention_mask, has_text, pictures, image_index)
        found = self.network.head(features, hide_text, hide_image)
        labels = {"sentiment": (sentiment, sentiment_weight), "sarcasm": (sarcasm, sarcasm_weight)}
        fused: Logits = found["fused"]
        return {
            "loss": self._loss(found, features, labels),
            "sentiment_logits": fused.sentiment.float(),
            "sarcasm_logits": fused.sarcasm.float(),
        }

    def _borrow(self, image_index: Tensor, sentiment: Tensor, sarcasm: Tensor) -> Tensor:
        """No data set here labels sarcasm of posts with pictures. Without this, the fused sarcasm
        head would meet its first picture in use; with it, it learns that a picture alone tells it
        nothing."""
        count = int(image_index.max()) + 1
        if not count:
            return image_index
        wanted = (image_index < 0).all(dim=1) & (sarcasm != UNKNOWN) & (sentiment == UNKNOWN)
        wanted &= torch.rand(len(wanted), device=wanted.device) < self.stage.borrow_images
        borrowed = torch.randint(count, (len(wanted),), device=wanted.device)
        image_index = image_index.clone()
        image_index[:, 0] = torch.where(wanted, borrowed, image_index[:, 0])
        return image_index

    def _loss(
        self,
        found: Mapping[str, Logits],
        features: Features,
        labels: Mapping[str, tuple[Tensor, Tensor]],
    ) -> Tensor:
        has_text, has_image = features.has_text, features.image_mask.any(dim=1)
        # a post with one modality only has its fused read-out from there, which counts it once
        both = (has_text & has_image).float()
        total = features.text.new_zeros(())
        for head, (target, weight) in labels.items():
            for read_out, share in (
                ("fused", torch.ones_like(both)),
                ("text_alone", both * self.stage.text_alone_weight),
                ("image_alone", both * self.stage.image_alone_weight),
            ):
                logits = getattr(found[read_out], head)
                total = total + self._cross_entropy(logits, target, weight * share)
            nothing = self.network.head.nothing[head].expand(len(target), -1)
            total = total + self._cross_entropy(nothing, target, weight * NOTHING_WEIGHT)
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
