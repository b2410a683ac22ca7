"""The head with its loss, and what training does to its inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.fusion import FusionHead
from models.training.dataset import UNKNOWN, PostTable

DROP_ONE = 0.15
"""Of posts with both modalities: how often the words are hidden, and how often the picture."""

DROP_BOTH = 0.02
"""Of all posts: how often everything is hidden, which teaches what to say of nothing."""

BORROW = 0.5
"""Of posts without picture that are labelled for sarcasm only: how often one gets a picture from
another post. No data set here labels sarcasm of posts with pictures, and without this the sarcasm
head would meet its first picture in use; with it, it learns that a picture tells it nothing."""


class FusionTrainingModule(nn.Module):
    """Two questions, one loss: cross entropy over the labels that are known.

    Legend: `batch` posts; see `PostTable` for what each input is.
    """

    pictures: Tensor
    sentiment_weight: Tensor
    sarcasm_weight: Tensor

    def __init__(self, head: FusionHead, table: PostTable) -> None:
        """Prepare for training on `table`: feature statistics and class weights are its own."""
        super().__init__()
        self.head = head
        pictures = table.images[1:]
        _standardise(head, "text", table.text[table.has_text])
        _standardise(head, "image", pictures)
        self.register_buffer("pictures", pictures, persistent=False)
        for name, classes, labels in (
            ("sentiment", head.sentiment.out_features, table.sentiment),
            ("sarcasm", head.sarcasm.out_features, table.sarcasm),
        ):
            weight = class_weights(labels, table.weight, classes)
            self.register_buffer(f"{name}_weight", weight, persistent=False)

    def forward(
        self,
        text: Tensor,
        image: Tensor,
        has_text: Tensor,
        has_image: Tensor,
        sentiment: Tensor,
        sarcasm: Tensor,
        weight: Tensor,
    ) -> dict[str, Tensor]:
        """Loss and logits; in training mode, modalities are dropped and pictures borrowed."""
        if self.training:
            image, has_image = self._borrow(image, has_image, sentiment, sarcasm)
            has_text, has_image = _drop(has_text, has_image)
        sentiment_logits, sarcasm_logits = self.head(text, image, has_text, has_image)
        loss = _loss(sentiment_logits, sentiment, weight, self.sentiment_weight)
        loss = loss + _loss(sarcasm_logits, sarcasm, weight, self.sarcasm_weight)
        return {
            "loss": loss,
            "sentiment_logits": sentiment_logits,
            "sarcasm_logits": sarcasm_logits,
        }

    def _borrow(
        self, image: Tensor, has_image: Tensor, sentiment: Tensor, sarcasm: Tensor
    ) -> tuple[Tensor, Tensor]:
        if not len(self.pictures):
            return image, has_image
        wanted = ~has_image & (sarcasm != UNKNOWN) & (sentiment == UNKNOWN)
        borrowed = wanted & (torch.rand(len(image), device=image.device) < BORROW)
        chosen = torch.randint(len(self.pictures), (len(image),), device=image.device)
        image = torch.where(borrowed.unsqueeze(-1), self.pictures[chosen], image)
        return image, has_image | borrowed


def class_weights(labels: Tensor, weight: Tensor, classes: int) -> Tensor:
    """Square roots of inverse frequencies, with mean 1 over posts: a mild correction.

    Args:
        labels: int [posts], `UNKNOWN` where there is none.
        weight: float [posts].
        classes: how many.

    Returns:
        float [classes]; 1 for a class that does not occur.
    """
    known = labels != UNKNOWN
    counts = torch.bincount(labels[known], weight[known].double(), minlength=classes)
    weights = counts.clamp(min=1e-9).rsqrt()
    weights[counts == 0] = 0.0
    mean = (weights * counts).sum() / counts.sum().clamp(min=1e-9)
    weights = weights / mean.clamp(min=1e-9)
    weights[counts == 0] = 1.0
    return weights.float()


def _standardise(head: FusionHead, name: str, features: Tensor) -> None:
    if len(features) < 2:
        return
    std, mean = torch.std_mean(features, dim=0)
    getattr(head, f"{name}_mean").copy_(mean)
    getattr(head, f"{name}_std").copy_(std.clamp(min=1e-3))


def _drop(has_text: Tensor, has_image: Tensor) -> tuple[Tensor, Tensor]:
    chance = torch.rand(len(has_text), device=has_text.device)
    both = has_text & has_image
    no_text = both & (chance < DROP_ONE)
    no_image = both & (chance >= DROP_ONE) & (chance < 2 * DROP_ONE)
    nothing = chance > 1.0 - DROP_BOTH
    return has_text & ~no_text & ~nothing, has_image & ~no_image & ~nothing


def _loss(logits: Tensor, labels: Tensor, weight: Tensor, classes: Tensor) -> Tensor:
    """Weighted mean over the posts whose label is known; 0 when there is none."""
    known = labels != UNKNOWN
    target = labels.clamp(min=0)
    weight = weight * classes[target] * known
    losses = functional.cross_entropy(logits, target, reduction="none")
    return (losses * weight).sum() / weight.sum().clamp(min=1e-9)
