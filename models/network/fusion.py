"""From features to logits: how words and pictures are put together, and the read-outs.

This is what trains; `models.network.head` computes the same to judge.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.network.config import ModelConfig
from models.network.features import Features
from models.network.head import OWN_SHARE, PAIRS
from models.posts.prediction import QUESTIONS

Logits = dict[str, Tensor]
"""Of one read-out: by question, float [batch, labels]."""


class Heads(nn.Module):
    """One linear layer for each question: float [batch, dim] to logits."""

    def __init__(self, dim: int, dropout: float, questions: Sequence[str]) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.questions = questions
        for question in questions:
            self.add_module(question, nn.Linear(dim, len(QUESTIONS[question])))

    def forward(self, features: Tensor) -> Logits:
        """Answer every question."""
        features = self.dropout(features)
        return {question: getattr(self, question)(features) for question in self.questions}


class Concat(nn.Module):
    """Side by side, linear, ReLU: the article's fusion."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(config.text.dim + config.image.dim, config.hidden)

    def forward(self, text: Tensor, image: Tensor, features: Features[Tensor]) -> Tensor:
        """Float [batch, text_dim] and [batch, image_dim] to [batch, hidden]."""
        return torch.relu(self.hidden(torch.cat((text, image), dim=-1)))


class Gated(nn.Module):
    """Each modality in the same space, mixed by a gate that sees both.

    Source: Arevalo et al., Gated Multimodal Units for Information Fusion, 2017.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.text = nn.Linear(config.text.dim, config.hidden)
        self.image = nn.Linear(config.image.dim, config.hidden)
        self.gate = nn.Linear(config.text.dim + config.image.dim, config.hidden)

    def forward(self, text: Tensor, image: Tensor, features: Features[Tensor]) -> Tensor:
        """Float [batch, text_dim] and [batch, image_dim] to [batch, hidden]."""
        gate = torch.sigmoid(self.gate(torch.cat((text, image), dim=-1)))
        return gate * torch.tanh(self.text(text)) + (1 - gate) * torch.tanh(self.image(image))


class CrossAttention(nn.Module):
    """Words attend to the regions of all images of the post, and regions to words.

    Each side is pooled after it has looked at the other; the pooled features of `Concat` stay in,
    so that attention adds to it. Source: Lu et al., ViLBERT, NeurIPS 2019, one layer of it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.attention_dim
        self.hidden = nn.Linear(config.text.dim + config.image.dim + 2 * dim, config.hidden)
        self.text = nn.Linear(config.text.dim, dim)
        self.image = nn.Linear(config.image.dim, dim)
        self.to_regions = nn.MultiheadAttention(dim, config.attention_heads, batch_first=True)
        self.to_words = nn.MultiheadAttention(dim, config.attention_heads, batch_first=True)
        self.text_norm = nn.LayerNorm(dim)
        self.image_norm = nn.LayerNorm(dim)

    def forward(self, text: Tensor, image: Tensor, features: Features[Tensor]) -> Tensor:
        """Float [batch, text_dim] and [batch, image_dim], with tokens and regions, to
        [batch, hidden]."""
        assert features.tokens is not None
        assert features.token_mask is not None
        assert features.regions is not None
        words = self.text(features.tokens)
        regions = self.image(features.regions.flatten(1, 2))
        here = features.image_mask.repeat_interleave(features.regions.shape[2], dim=1)
        # a row with nothing to attend to would be NaN; its result is not used
        words_hidden = ~(features.token_mask | ~features.has_text.unsqueeze(-1))
        regions_hidden = ~(here | ~here.any(dim=1, keepdim=True))
        seen, _ = self.to_regions(
            words, regions, regions, key_padding_mask=regions_hidden, need_weights=False
        )
        read, _ = self.to_words(
            regions, words, words, key_padding_mask=words_hidden, need_weights=False
        )
        words = _mean(self.text_norm(words + seen), features.token_mask)
        regions = _mean(self.image_norm(regions + read), here)
        return torch.relu(self.hidden(torch.cat((text, image, words, regions), dim=-1)))


FUSIONS: dict[str, type[Concat] | type[Gated] | type[CrossAttention]] = {
    "concat": Concat,
    "gated": Gated,
    "cross_attention": CrossAttention,
}


class FusionHead(nn.Module):
    """Three read-outs that share the encoders: fused, words alone, pictures alone.

    Each has heads of its own: how often people are positive differs between tweets and posts with
    pictures, and one head would have to settle for something between. So the fused read-out of a
    post without pictures is that of its words, and the other way round; what to say of a post with
    nothing is learned too. A question that pictures take no part in is answered by the words, and
    of pictures alone as of nothing.

    With `sides`, the fused sentiment is the mean of two probabilities: that of the fusion, and that
    which follows from what the words say (`text_side`) and what the pictures say (`image_alone`) by
    the rule that MVSA's labels follow: agree, and it is that; one is neutral, and it is the other;
    opposite does not occur. In these data one side's label says more of the whole than the other's,
    and few posts have to teach it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        text, image = config.text.dim, config.image.dim
        self.normalise = config.normalise
        if config.normalise:
            # the encoders' scales differ tenfold, and one learning rate has to serve both
            self.text_norm = nn.LayerNorm(text)
            self.image_norm = nn.LayerNorm(image)
        self.attend = nn.Linear(image, 1)
        nn.init.zeros_(self.attend.weight)
        self.text_missing = nn.Parameter(torch.zeros(text))
        self.image_missing = nn.Parameter(torch.zeros(image))
        self.fusion = FUSIONS[config.fusion](config)
        self.fused = Heads(config.hidden, config.dropout, config.of_pictures)
        self.text_alone = Heads(text, 0.1, config.questions)
        self.image_alone = Heads(image, config.dropout, config.of_pictures)
        self.text_side = nn.Linear(text, len(QUESTIONS["sentiment"])) if config.sides else None
        self.nothing = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(len(QUESTIONS[name]))) for name in config.questions}
        )

    def forward(
        self,
        features: Features[Tensor],
        hide_text: Tensor | None = None,
        hide_image: Tensor | None = None,
    ) -> dict[str, Logits]:
        """Fuse.

        Args:
            features: of the encoders.
            hide_text: bool [batch]: posts whose words are hidden from the fused read-out (modality
                dropout).
            hide_image: bool [batch]: the same for pictures.

        Returns:
            Logits by read-out: "fused", "text_alone", "image_alone", and for training "direct",
            what the fusion says, and with `sides` "text_side". A row of a read-out that the post
            does not have means nothing.
        """
        has_text, has_image = features.has_text, features.image_mask.any(dim=1)
        image = self._pool(features)
        text = features.text
        alone = {
            "text_alone": self.text_alone(text),
            "image_alone": self.image_alone(self.image_norm(image) if self.normalise else image),
        }
        if features.foreign is not None and features.is_foreign is not None:
            words = alone["text_alone"]
            said = features.foreign + OWN_SHARE * words["sentiment"]
            words["sentiment"] = torch.where(
                features.is_foreign.unsqueeze(-1), said, words["sentiment"]
            )
        if self.normalise:
            text, image = self.text_norm(text), self.image_norm(image)
        if hide_text is not None:
            text = torch.where(hide_text.unsqueeze(-1), self.text_missing, text)
            if features.tokens is not None:
                tokens = torch.where(hide_text[:, None, None], self.text_missing, features.tokens)
                features = features._replace(tokens=tokens)
        if hide_image is not None:
            image = torch.where(hide_image.unsqueeze(-1), self.image_missing, image)
            if features.regions is not None:
                regions = torch.where(
                    hide_image[:, None, None, None], self.image_missing, features.regions
                )
                features = features._replace(regions=regions)
        direct = self.fused(self.fusion(text, image, features))
        both = direct
        if self.text_side is not None:
            sides = {"sentiment": self.text_side(features.text)}
            alone["text_side"] = sides
            from_sides = _joined(sides["sentiment"], alone["image_alone"]["sentiment"])
            mean = (direct["sentiment"].softmax(dim=-1) + from_sides) / 2
            # a probability may be too small for its type, and the logarithm of 0 is no logit
            both = {**direct, "sentiment": mean.clamp(min=torch.finfo(mean.dtype).tiny).log()}
        fused = {}
        for question, nothing in self.nothing.items():
            logits = nothing.expand(len(text), -1)
            alone["image_alone"].setdefault(question, logits)
            for here, found in (
                (has_image, alone["image_alone"]),
                (has_text, alone["text_alone"]),
                (has_text & has_image, both),
            ):
                if question in found:
                    logits = torch.where(here.unsqueeze(-1), found[question], logits)
            fused[question] = logits
        return {"fused": fused, "direct": direct, **alone}

    def _pool(self, features: Features[Tensor]) -> Tensor:
        """Attention over the images of a post: [batch, images, dim] to [batch, dim]."""
        scores = self.attend(features.image).squeeze(-1)
        scores = scores.masked_fill(~features.image_mask, torch.finfo(scores.dtype).min)
        pooled: Tensor = (scores.softmax(dim=-1).unsqueeze(-1) * features.image).sum(dim=1)
        return pooled


def _joined(text: Tensor, image: Tensor) -> Tensor:
    """The sentiment of a post from those of its sides, logits [batch, 3] each, as probabilities:
    agree, and it is that; one is neutral, and it is the other; opposites are left out."""
    pairs = (text.unsqueeze(2) + image.unsqueeze(1)).flatten(1)
    # one softmax over the pairs that occur: sides that are certain of opposites leave no 0 / 0
    shares = pairs[:, PAIRS].softmax(dim=-1)
    negative, neutral, positive = shares[:, :3], shares[:, 3:4], shares[:, 4:]
    return torch.stack([part.sum(dim=-1) for part in (negative, neutral, positive)], dim=-1)


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    weight = mask.unsqueeze(-1).to(states.dtype)
    mean: Tensor = (states * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)
    return mean
