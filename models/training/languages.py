"""The last step of training: sentiment of words that are not English, from features that stay.

Two logistic regressions, each a convex problem with one solution, so that neither seed nor order
matter: over the multilingual encoder's vectors, and over runs of letters. Together they are what
`models.network.foreign` computes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from models.network.config import ModelConfig, MultilingualConfig
from models.network.foreign import PREFIX, MultilingualEncoder, runs
from models.network.presets import multilingual_config
from models.posts.prediction import SENTIMENTS
from models.training.corpus import Row

VECTOR_DECAY = 0.03
RUNS_DECAY = 3e-5
"""Of half the squared weights, where a text's features are standardised, or have length 1. Chosen
on UMSAB's development part among three to four values each."""

_STEPS = 100
"""Of L-BFGS, at most."""

Array = npt.NDArray[np.float32]


def with_languages(
    config: ModelConfig, rows: Sequence[Row]
) -> tuple[ModelConfig, dict[str, npt.NDArray[np.float16]]]:
    """A configuration whose second reader learnt from the posts that say what language they are in,
    and its tensors; as it was, and none, where no post has a sentiment in another than English.

    Raises:
        CheckpointError: the encoder is not there, or is another one.
    """
    known = [row for row in rows if row.post.language and row.post.sentiment and row.token_ids]
    if all(row.post.language == "en" for row in known):
        return config, {}
    multilingual = multilingual_config()
    labels = [SENTIMENTS.index(row.post.sentiment) for row in known]
    tensors = learn_foreign(multilingual, [row.text for row in known], labels)
    return dataclasses.replace(config, multilingual=multilingual), tensors


def learn_foreign(
    config: MultilingualConfig, texts: Sequence[str], labels: Sequence[int]
) -> dict[str, npt.NDArray[np.float16]]:
    """The tensors of `ForeignWords`, by their names in a checkpoint.

    Args:
        config: of the encoder.
        texts: prepared, in any language; English ones do no harm.
        labels: of each, a place in `SENTIMENTS`.

    Raises:
        CheckpointError: the encoder is not there, or is another one.
    """
    truth = torch.tensor(labels)
    weight, bias = _of_vectors(MultilingualEncoder(config)(texts), truth)
    table, more = _of_runs(texts, truth, config.buckets)
    found = {"weight": weight, "bias": bias + more, "runs": table}
    return {PREFIX + name: array.astype(np.float16) for name, array in found.items()}


def _of_vectors(vectors: Array, truth: Tensor) -> tuple[Array, Array]:
    """Float32 [texts, dim] to weight [labels, dim] and bias [labels]."""
    mean, scale = vectors.mean(axis=0), vectors.std(axis=0) + 1e-6
    inputs = torch.from_numpy((vectors - mean) / scale).double()
    weight, bias = _fit(lambda w: inputs @ w, inputs.shape[1], truth, VECTOR_DECAY)
    own = weight / scale[:, None]
    return own.T.astype(np.float32), (bias - mean @ own).astype(np.float32)


def _of_runs(texts: Sequence[str], truth: Tensor, buckets: int) -> tuple[Array, Array]:
    """The table of runs of letters, float32 [buckets, labels + 1], and bias [labels]."""
    places = [runs(text, buckets) for text in texts]
    counts = np.array([len(each) for each in places])
    index = np.concatenate(places)
    seen = np.bincount(index, minlength=buckets)
    rarity = np.where(seen > 0, np.log((len(texts) + 1) / (seen + 1)), 0.0)
    lengths = np.sqrt([max(float(np.square(rarity[each]).sum()), 1e-12) for each in places])
    each_weight = torch.from_numpy(rarity[index] / np.repeat(lengths, counts)).float()
    starts = torch.from_numpy(np.cumsum(counts) - counts)
    where = torch.from_numpy(index)

    def score(table: Tensor) -> Tensor:
        return functional.embedding_bag(
            where, table.float(), starts, mode="sum", per_sample_weights=each_weight
        ).double()

    weight, bias = _fit(score, buckets, truth, RUNS_DECAY)
    table = np.concatenate((weight * rarity[:, None], np.square(rarity)[:, None]), axis=1)
    return table.astype(np.float32), bias.astype(np.float32)


def _fit(
    score: Callable[[Tensor], Tensor], inputs: int, truth: Tensor, decay: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weights, float64 [inputs, labels], and biases, with the least cross entropy."""
    weight = torch.zeros(inputs, len(SENTIMENTS), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(SENTIMENTS), dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        found = functional.cross_entropy(score(weight) + bias, truth)
        found = found + decay * weight.square().sum() / 2
        found.backward()  # type: ignore[no-untyped-call]
        return found

    search.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach().numpy(), bias.detach().numpy()
