"""The part that is trained: one hidden layer over both modalities, two heads."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from models.config import ModelConfig


class FusionHead(nn.Module):
    """Pooled features side by side, linear, ReLU, dropout, then one linear head for each question.

    A modality that a post does not have is a learned vector, so that "no picture" is something the
    model knows about and not a picture of nothing. Features are standardised by the statistics of
    the training posts first: the encoders' scales differ tenfold, and one learning rate has to
    serve both.

    Legend: `batch` posts; `text_dim`, `image_dim`, `hidden` widths.
    """

    text_mean: Tensor
    text_std: Tensor
    image_mean: Tensor
    image_std: Tensor

    def __init__(
        self,
        text_dim: int,
        image_dim: int,
        hidden: int,
        dropout: float,
        sentiments: int = 3,
        sarcasm_labels: int = 2,
    ) -> None:
        super().__init__()
        for name, dim in (("text", text_dim), ("image", image_dim)):
            self.register_buffer(f"{name}_mean", torch.zeros(dim))
            self.register_buffer(f"{name}_std", torch.ones(dim))
        self.text_missing = nn.Parameter(torch.zeros(text_dim))
        self.image_missing = nn.Parameter(torch.zeros(image_dim))
        self.hidden = nn.Linear(text_dim + image_dim, hidden)
        self.dropout = nn.Dropout(dropout)
        self.sentiment = nn.Linear(hidden, sentiments)
        self.sarcasm = nn.Linear(hidden, sarcasm_labels)

    @classmethod
    def from_config(cls, config: ModelConfig) -> Self:
        """Untrained, with the widths of `config`."""
        return cls(
            config.text.dim,
            config.image.dim,
            config.hidden,
            config.dropout,
            len(config.sentiments),
            len(config.sarcasm_labels),
        )

    def forward(
        self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Fuse.

        Args:
            text: float [batch, text_dim]; rows without text are ignored.
            image: float [batch, image_dim], the mean over the pictures of a post; rows without
                picture are ignored.
            has_text: bool [batch].
            has_image: bool [batch].

        Returns:
            Logits of sentiment [batch, 3] and of sarcasm [batch, 2].
        """
        text = (text - self.text_mean) / self.text_std
        image = (image - self.image_mean) / self.image_std
        text = torch.where(has_text.unsqueeze(-1), text, self.text_missing)
        image = torch.where(has_image.unsqueeze(-1), image, self.image_missing)
        fused = self.dropout(torch.relu(self.hidden(torch.cat((text, image), dim=-1))))
        return self.sentiment(fused), self.sarcasm(fused)
