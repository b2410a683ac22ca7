"""Calibration: probabilities that mean what they say. Needs no torch.

A trained network is surer than it is right. Dividing its logits by one number, the temperature,
mends most of that and changes no answer (Guo et al., On Calibration of Modern Neural Networks, ICML
2017). How much too sure depends on what the model could see, so each head has a temperature for
posts of words and pictures, of words only and of pictures only.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field

from deadpan.core.errors import CheckpointError
from models.network.config import STRICT, one_of, read_strictly
from models.posts.prediction import QUESTIONS, PreparedImage, PreparedPost

READ_OUTS = ("fused", "text_alone", "image_alone")
HEADS = tuple(QUESTIONS)

PATTERNS = ("both", "text", "image")
"""What of a post the model could see. A read-out of words alone has the temperature of posts that
are words alone, so that leaving out a picture that says nothing changes nothing."""

MIN_POSTS = 100
"""Fewer labelled posts of a pattern give no temperature: at 100, it is known to 15 % or so."""

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.1, 10.0

UNCALIBRATED = "none"
"""The version of no calibration."""

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def _named(file: Mapping[str, Any]) -> Mapping[str, Any]:
    if not (file.get("name") and file.get("sha256")):
        raise ValueError("it must state the file's name and SHA-256")
    return file


NamedFile = Annotated[Mapping[str, Any], AfterValidator(_named)]
"""What a checkpoint says of a data file: at least its "name" and its "sha256"."""

_Head = Annotated[str, one_of(*HEADS)]
_Pattern = Annotated[str, one_of(*PATTERNS)]
_Temperature = Annotated[float, Field(ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperatures, and where they come from.

    Attributes:
        temperatures: by head, then by pattern; a pattern that is not there has 1.
        data: "name", "sha256" and "n" of each file they were fitted on.
        measured: by head and pattern: what `models.evaluation.calibrate` reports.
        thresholds: chosen on the same data, a mapping each; for people, not used by the model.
    """

    __pydantic_config__: ClassVar = STRICT

    temperatures: Mapping[_Head, Mapping[_Pattern, _Temperature]] = field(default_factory=dict)
    data: tuple[NamedFile, ...] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)
    thresholds: tuple[Mapping[str, Any], ...] = ()

    @property
    def version(self) -> str:
        """12 hexadecimal digits that change with, and only with, a temperature."""
        if all(t == 1.0 for by_pattern in self.temperatures.values() for t in by_pattern.values()):
            return UNCALIBRATED
        text = json.dumps(self.temperatures, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def temperature(self, head: str, pattern: str) -> float:
        """What the logits of a head are divided by."""
        return self.temperatures.get(head, {}).get(pattern, 1.0)

    def probabilities(self, head: str, logits: Array, patterns: Sequence[str]) -> Array:
        """Calibrated probabilities: float [posts, classes] to float64 of the same shape.

        Args:
            head: one of `HEADS`.
            logits: float [posts, classes].
            patterns: of each post, one of `PATTERNS`, or "" for a post with nothing to see.
        """
        known = {pattern: self.temperature(head, pattern) for pattern in ("", *PATTERNS)}
        temperatures = np.array([known[pattern] for pattern in patterns])
        return softmax(logits / temperatures.reshape(-1, 1))

    def to_json(self) -> dict[str, Any]:
        """Plain objects, as `from_json` reads them."""
        return {
            "version": self.version,
            "temperatures": {head: dict(found) for head, found in self.temperatures.items()},
            "data": [dict(file) for file in self.data],
            "measured": dict(self.measured),
            "thresholds": [dict(threshold) for threshold in self.thresholds],
        }

    @classmethod
    def from_json(cls, document: object) -> Calibration:
        """Read what `to_json` wrote; None is a model that was never calibrated.

        Raises:
            CheckpointError: it is not a calibration, or was altered.
        """
        if document is None:
            return cls()
        if not isinstance(document, Mapping):
            raise CheckpointError(f"calibration is {document!r:.60}; it must be an object")
        stated = document.get("version")
        fields = {name: value for name, value in document.items() if name != "version"}
        found = read_strictly(cls, fields, "calibration")
        if found.version != stated:
            raise CheckpointError(
                f"calibration.version is {stated!r:.60}, and its temperatures have "
                f"{found.version}: they were altered"
            )
        if found.version != UNCALIBRATED and not found.data:
            raise CheckpointError("calibration.data is empty; temperatures come from data")
        return found


def given(posts: Sequence[PreparedPost]) -> tuple[Bools, Bools]:
    """Whether each post has words, and whether it has a picture that can be seen: bool [posts]."""
    return (
        np.array([bool(post.token_ids) for post in posts], dtype=bool),
        np.array(
            [any(isinstance(image, PreparedImage) for image in post.images) for post in posts],
            dtype=bool,
        ),
    )


def patterns_of(has_text: Bools, has_image: Bools) -> dict[str, list[str]]:
    """The pattern of every post, one of `PATTERNS` or "" for nothing, by read-out."""

    def pattern(text: bool, image: bool) -> str:
        return ("" if not image else "image") if not text else ("both" if image else "text")

    pairs = list(zip(has_text.tolist(), has_image.tolist(), strict=True))
    return {
        "fused": [pattern(text, image) for text, image in pairs],
        "text_alone": [pattern(text, False) for text, _ in pairs],
        "image_alone": [pattern(False, image) for _, image in pairs],
    }


def softmax(logits: Array) -> Array:
    """Probabilities along the last axis: float [..., classes] to float64 of the same shape."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float64)


def negative_log_likelihood(logits: Array, labels: npt.NDArray[np.int64]) -> float:
    """Mean over posts, of logits, float [posts, classes], and labels, int [posts]."""
    highest = logits.max(axis=1)
    total = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
    return float((total - logits[np.arange(len(labels)), labels]).mean())


def fit_temperature(logits: Array, labels: npt.NDArray[np.int64]) -> float:
    """The temperature with the least negative log-likelihood, with four decimals, within bounds.

    The likelihood is convex in 1 / temperature, so golden-section search on the logarithm of the
    temperature finds the one minimum. Of logits, float [posts, classes], and labels, int [posts].
    """
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    low, high = math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(logits / math.exp(log_temperature), labels)

    left, right = high - ratio * (high - low), low + ratio * (high - low)
    loss_left, loss_right = loss(left), loss(right)
    while high - low > 1e-5:
        if loss_left <= loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - ratio * (high - low)
            loss_left = loss(left)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + ratio * (high - low)
            loss_right = loss(right)
    return round(math.exp((low + high) / 2), 4)
