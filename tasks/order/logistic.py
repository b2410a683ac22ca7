"""Logistic regression with a ridge penalty, by Newton's method; nothing but NumPy."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

_STEPS: Final = 30
_DONE: Final = 1e-5


def fit(x: Floats, y: Floats, penalty: Floats) -> tuple[Floats, float]:
    """Fits weights and an intercept.

    With the intercept free of penalty, the mean of the predicted probabilities is the share of ones
    that it learnt from: so they are calibrated as a whole. (Iteratively reweighted least squares,
    as in T. Hastie and others, The Elements of Statistical Learning, 4.4.1, with halved steps.)

    Args:
        x: [examples, features].
        y: [examples], 0 or 1; there must be both.
        penalty: [features], of the squared weights, as of a sum of losses over examples.

    Returns:
        weights [features], intercept.
    """
    n, d = x.shape
    with_one = np.concatenate([x, np.ones((n, 1), x.dtype)], axis=1)
    ridge = np.append(penalty, 0.0)
    share = float(np.mean(y))
    weights = np.zeros(d + 1)
    weights[-1] = np.log(share / (1 - share))
    before = _loss(with_one, y, weights, ridge)
    for _ in range(_STEPS):
        p = sigmoid(with_one @ weights)
        gradient = with_one.T @ (p - y) + ridge * weights
        spread = (p * (1 - p)).astype(x.dtype)
        curvature = (with_one * spread[:, None]).T @ with_one + np.diag(ridge + 1e-8)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while (after := _loss(with_one, y, weights - size * step, ridge)) > before and size > 1e-3:
            size /= 2
        weights = weights - size * step
        if before - after < _DONE * n:
            break
        before = after
    return weights[:-1], float(weights[-1])


def sigmoid(z: Floats) -> Floats:
    """Probabilities of log odds."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(z, np.float64))))


def log_losses(p: Floats, y: Floats) -> Floats:
    """The logarithmic loss of each probability."""
    safe = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(-np.where(y > 0.5, np.log(safe), np.log1p(-safe)))


def _loss(x: Floats, y: Floats, weights: Floats, ridge: Floats) -> float:
    z = x @ weights
    # log(1 + exp(z)) - y z, without an overflow
    return float(np.sum(np.logaddexp(0, z) - y * z) + 0.5 * np.sum(ridge * weights**2))
