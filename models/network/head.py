"""The fusion head as it judges, in NumPy: what `models.network.fusion` trains. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models.network.config import ModelConfig
from models.network.features import Features

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Logits = dict[str, Floats]
"""Of one read-out: by question, float32 [batch, labels]."""

OWN_SHARE = 0.25
"""Of what the text encoder says of words that are not English, beside `Features.foreign`. None of
it and all of it are worse, in macro F1 on UMSAB's development part: .595 and .576 after .599."""

PAIRS = [0, 1, 3, 4, 5, 7, 8]
"""Of 3 * the sentiment of the words + that of the pictures, those that are not opposite: three that
make a negative post, one a neutral, three a positive."""

_NORM_EPS = 1e-5
"""torch's, of a layer norm."""


class Head:
    """Three read-outs; see `models.network.fusion.FusionHead`, which this computes the same as.

    Args:
        config: of the model.
        tensors: of the head, by the names of `expected_tensors`.
    """

    def __init__(self, config: ModelConfig, tensors: Mapping[str, Array]) -> None:
        self._config = config
        self._tensors = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
        self._fuse = {
            "concat": self._concat,
            "gated": self._gated,
            "cross_attention": self._cross_attention,
        }[config.fusion]

    def __call__(self, features: Features[Array]) -> dict[str, Logits]:
        """Logits by read-out: "fused", "text_alone", "image_alone". A row of a read-out that the
        post does not have means nothing."""
        config = self._config
        has_text, has_image = features.has_text, np.any(features.image_mask, axis=1)
        text, image = features.text, self._pooled(features)
        words = {q: self._linear(f"text_alone.{q}", text) for q in config.questions}
        if features.foreign is not None and features.is_foreign is not None:
            said = features.foreign + np.float32(OWN_SHARE) * words["sentiment"]
            words["sentiment"] = np.where(features.is_foreign[:, None], said, words["sentiment"])
        if config.normalise:
            text, image = self._norm("text_norm", text), self._norm("image_norm", image)
        pictures = {q: self._linear(f"image_alone.{q}", image) for q in config.of_pictures}
        fused = self._fuse(text, image, features)
        both = {q: self._linear(f"fused.{q}", fused) for q in config.of_pictures}
        if config.sides:
            sides = joined(self._linear("text_side", features.text), pictures["sentiment"])
            mean = (softmax(both["sentiment"]) + sides) / 2
            # a probability may be too small for its type, and the logarithm of 0 is no logit
            both["sentiment"] = np.log(np.maximum(mean, np.finfo(np.float32).tiny))
        found: Logits = {}
        for question in config.questions:
            nothing = self._tensors[f"nothing.{question}"]
            logits = np.broadcast_to(nothing, (len(text), len(nothing)))
            pictures.setdefault(question, logits)
            for here, said in (
                (has_image, pictures[question]),
                (has_text, words[question]),
                (has_text & has_image, both.get(question)),
            ):
                if said is not None:
                    logits = np.where(here[:, None], said, logits)
            found[question] = logits
        return {"fused": found, "text_alone": words, "image_alone": pictures}

    def _pooled(self, features: Features[Array]) -> Floats:
        """Attention over the images of a post: [batch, images, dim] to [batch, dim]."""
        scores = self._linear("attend", features.image)[..., 0]
        scores = np.where(features.image_mask, scores, np.finfo(np.float32).min)
        return np.asarray((softmax(scores)[..., None] * features.image).sum(axis=1))

    def _concat(self, text: Floats, image: Floats, features: Features[Array]) -> Floats:
        return relu(self._linear("fusion.hidden", np.concatenate((text, image), axis=-1)))

    def _gated(self, text: Floats, image: Floats, features: Features[Array]) -> Floats:
        asked = self._linear("fusion.gate", np.concatenate((text, image), axis=-1))
        # of a sigmoid's two forms the one that overflows for no number
        gate = 0.5 * (np.tanh(0.5 * asked) + 1)
        words, pictures = self._linear("fusion.text", text), self._linear("fusion.image", image)
        return np.asarray(gate * np.tanh(words) + (1 - gate) * np.tanh(pictures))

    def _cross_attention(self, text: Floats, image: Floats, features: Features[Array]) -> Floats:
        tokens, token_mask, regions = features.tokens, features.token_mask, features.regions
        assert tokens is not None
        assert token_mask is not None
        assert regions is not None
        here = np.repeat(features.image_mask, regions.shape[2], axis=1)
        words = self._linear("fusion.text", tokens)
        places = self._linear("fusion.image", regions.reshape(len(regions), -1, regions.shape[-1]))
        # a row with nothing to attend to would be NaN; its result is not used
        there = here | ~here.any(axis=1, keepdims=True)
        said = token_mask | ~features.has_text[:, None]
        seen = self._attend("fusion.to_regions", words, places, there)
        read = self._attend("fusion.to_words", places, words, said)
        words = _mean(self._norm("fusion.text_norm", words + seen), token_mask)
        places = _mean(self._norm("fusion.image_norm", places + read), here)
        hidden = np.concatenate((text, image, words, places), axis=-1)
        return relu(self._linear("fusion.hidden", hidden))

    def _attend(self, name: str, asking: Floats, asked: Floats, mask: Array) -> Floats:
        """Attention with several heads: [batch, a, dim] and [batch, b, dim], bool [batch, b], to
        [batch, a, dim]."""
        heads, dim = self._config.attention_heads, self._config.attention_dim
        weight = self._tensors[f"{name}.in_proj_weight"].reshape(3, dim, dim)
        bias = self._tensors[f"{name}.in_proj_bias"].reshape(3, dim)
        queries, keys, values = (
            (of @ weight[part].T + bias[part])
            .reshape(len(of), -1, heads, dim // heads)
            .transpose(0, 2, 1, 3)
            for part, of in enumerate((asking, asked, asked))
        )
        scores = queries @ keys.transpose(0, 1, 3, 2) / np.float32(np.sqrt(dim // heads))
        scores = np.where(mask[:, None, None, :], scores, -np.inf)
        found = (softmax(scores) @ values).transpose(0, 2, 1, 3).reshape(asking.shape)
        return self._linear(f"{name}.out_proj", found)

    def _linear(self, name: str, rows: Array) -> Floats:
        found: Floats = rows @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"]
        return found

    def _norm(self, name: str, rows: Array) -> Floats:
        centred = rows - rows.mean(axis=-1, keepdims=True)
        size = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(_NORM_EPS))
        found: Floats = (
            centred / size * self._tensors[f"{name}.weight"] + self._tensors[f"{name}.bias"]
        )
        return found


def joined(text: Array, image: Array) -> Floats:
    """The sentiment of a post from those of its sides, logits [batch, 3] each, as probabilities:
    agree, and it is that; one is neutral, and it is the other; opposites are left out."""
    pairs = (text[:, :, None] + image[:, None, :]).reshape(len(text), -1)
    shares = softmax(pairs[:, PAIRS])
    parts = shares[:, :3], shares[:, 3:4], shares[:, 4:]
    return np.stack([part.sum(axis=-1) for part in parts], axis=-1)


def softmax(logits: Array) -> Floats:
    """Along the last axis, float32."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def relu(rows: Floats) -> Floats:
    """Nothing below 0."""
    return np.maximum(rows, np.float32(0))


def _mean(states: Floats, mask: Array) -> Floats:
    weight = mask[..., None].astype(np.float32)
    return np.asarray((states * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1))
