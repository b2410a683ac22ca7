"""Predict: posts in, predictions out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from deadpan.errors import CheckpointError, ModelError
from models.calibration import READ_OUTS, given, patterns_of
from models.checkpoint import WEIGHTS_FILE, CheckpointInfo, read_info
from models.config import ModelConfig
from models.encoders import encoder_folder
from models.fusion import Features
from models.network import Network, gather_images, make_features
from models.ocr import Reader
from models.prediction import (
    ImageProblem,
    Prediction,
    PreparedImage,
    PreparedPost,
    Scores,
    Sentiment,
)
from models.preprocessing import Preparer, TextPreparer

BATCH_SIZE = 32
"""Texts or pictures in one pass: larger batches are no faster on a CPU and need more memory."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which model it is, and where it runs.

    Attributes:
        name: for people.
        version: changes with configuration or weights.
        calibration_version: "none" when its probabilities are as trained.
        device: "cpu" or "cuda".
        engine: "torch".
    """

    name: str
    version: str
    calibration_version: str
    device: str
    engine: str


class Encoders:
    """A network's encoders on a device: token ids and pixels to features.

    Not safe to call from several threads at once; whoever holds it has a lock.
    """

    def __init__(self, network: Network, device: str) -> None:
        self.device = torch.device(device)
        self.network = network
        self.network.text.to(self.device)
        self.network.image.to(self.device).to(memory_format=torch.channels_last)
        self._low_precision = device == "cuda" or cpu_computes_bf16()

    def _precision(self) -> AbstractContextManager[object]:
        if not self._low_precision:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def encode_texts(self, token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, list[Tensor]]:
        """Features of texts, each computed with texts of about its length.

        Args:
            token_ids: not padded; at least one id each.

        Returns:
            Float32 [texts, dim], and, where the fusion needs them, states of each text,
            [tokens, dim]; on the CPU.
        """
        order = sorted(range(len(token_ids)), key=lambda index: len(token_ids[index]))
        pooled: dict[int, Tensor] = {}
        states: dict[int, Tensor] = {}
        for start in range(0, len(order), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            ids, mask = pad([token_ids[index] for index in rows])
            with torch.inference_mode(), self._precision():
                features, tokens = self.network.text_features(
                    ids.to(self.device), mask.to(self.device)
                )
            pooled |= zip(rows, features.float().cpu(), strict=True)
            if self.network.needs_regions:
                for index, state in zip(rows, tokens.float().cpu(), strict=True):
                    states[index] = state[: len(token_ids[index])]
        every = range(len(token_ids))
        return torch.stack([pooled[index] for index in every]), [
            states[index] for index in every if index in states
        ]

    def encode_images(self, pixels: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
        """Features of pictures.

        Args:
            pixels: uint8 [image_size, image_size, 3] each.

        Returns:
            float32 [pictures, regions, dim] on the CPU; one region, the mean of all, where the
            fusion needs no more.
        """
        parts = []
        for start in range(0, len(pixels), BATCH_SIZE):
            batch = torch.from_numpy(np.stack(pixels[start : start + BATCH_SIZE]))
            with torch.inference_mode(), self._precision():
                regions = self.network.image.regions(batch.to(self.device))
                if not self.network.needs_regions:
                    regions = regions.mean(dim=1, keepdim=True)
            parts.append(regions.float().cpu())
        return torch.cat(parts)


def pad(token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, int64 [texts, tokens of the longest]."""
    ids = torch.zeros(len(token_ids), max(1, *map(len, token_ids), 1), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(token_ids):
        ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
        mask[row, : len(tokens)] = 1
    return ids, mask


class Classifier:
    """A loaded model. `prepare` and `predict` may be called from several threads at once."""

    info: ModelInfo

    def __init__(self, checkpoint: CheckpointInfo, encoders: Encoders, preparer: Preparer) -> None:
        self.checkpoint = checkpoint
        self.info = ModelInfo(
            name=checkpoint.config.name,
            # Words read in pictures change what the model sees, and so its verdicts.
            version=checkpoint.version + ("+ocr" if preparer.reads_pictures else ""),
            calibration_version=checkpoint.calibration.version,
            device=encoders.device.type,
            engine="torch",
        )
        self._encoders = encoders
        self._preparer = preparer
        self._calibration = checkpoint.calibration
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        spec: str | Path = "mini",
        *,
        device: str = "auto",
        max_image_pixels: int = 50_000_000,
        threads: int | None = None,
        ocr: Reader | None = None,
    ) -> Self:
        """Load a model.

        Args:
            spec: the name of a preset, or a checkpoint folder.
            device: "auto", "cpu" or "cuda".
            max_image_pixels: a picture with more is not decoded.
            threads: CPU threads for the whole process; None leaves torch's choice.
            ocr: reads the words in pictures; None leaves them unread.

        Raises:
            CheckpointError: the checkpoint or an encoder is missing, altered or does not fit.
            ModelError: the device is not there.
        """
        device = choose_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        checkpoint = read_info(spec)
        config = checkpoint.config
        return cls(
            checkpoint,
            Encoders(load_network(checkpoint), device),
            make_preparer(config, max_image_pixels=max_image_pixels, ocr=ocr),
        )

    def prepare(self, text: str, images: Sequence[bytes | ImageProblem]) -> PreparedPost:
        """Prepare one post: see `Preparer`. Content never makes this raise."""
        return self._preparer(text, images)

    def encode(self, joined: str) -> tuple[int, ...]:
        """Token ids of a prepared post's text, or of a part of it: see `Preparer.encode`."""
        return self._preparer.encode(joined)

    def predict(self, posts: Sequence[PreparedPost]) -> list[Prediction]:
        """Judge posts.

        A prediction depends on its own post only, within 0.01: in bfloat16, sums may be ordered
        by what else is in the batch. The head runs on the CPU in float32; it takes little time.

        Args:
            posts: any number.

        Returns:
            One prediction for every post, in order.
        """
        if not posts:
            return []
        logits = self.logits(posts)
        has_text, has_image = given(posts)
        sentiments = {name: read_outs["sentiment"] for name, read_outs in logits.items()}
        sarcasms = {name: read_outs["sarcasm"] for name, read_outs in logits.items()}
        patterns = patterns_of(has_text, has_image)

        def scores(read_out: str) -> list[Scores]:
            calibrated = (
                self._calibration.probabilities(head, by_name[read_out], patterns[read_out])
                for head, by_name in (("sentiment", sentiments), ("sarcasm", sarcasms))
            )
            return [
                Scores(Sentiment(*sentiment), sarcasm[1])
                for sentiment, sarcasm in zip(*(p.tolist() for p in calibrated), strict=True)
            ]

        rows = zip(*(scores(read_out) for read_out in READ_OUTS), has_text, has_image, strict=True)
        return [
            Prediction(fused, text if with_text else None, image if with_image else None)
            for fused, text, image, with_text, with_image in rows
        ]

    def logits(
        self, posts: Sequence[PreparedPost]
    ) -> dict[str, dict[str, npt.NDArray[np.float64]]]:
        """What the heads say before calibration.

        Args:
            posts: any number.

        Returns:
            By read-out ("fused", "text_alone", "image_alone") and head ("sentiment", "sarcasm"),
            float64 [posts, classes]. A row of a read-out that the post does not have means nothing.
        """
        if not posts:
            return {
                read_out: {"sentiment": np.zeros((0, 3)), "sarcasm": np.zeros((0, 2))}
                for read_out in READ_OUTS
            }
        with self._lock:
            features = self._features(posts)
            with torch.inference_mode():
                found = self._encoders.network.head(features)
        return {
            read_out: {
                head: getattr(found[read_out], head).double().numpy()
                for head in ("sentiment", "sarcasm")
            }
            for read_out in READ_OUTS
        }

    def warm(self) -> None:
        """Run the usual shapes once, so that no post waits while kernels are set up."""
        size = self.checkpoint.config.image_size
        blank = np.zeros((size, size, 3), dtype=np.uint8)
        words = self.prepare("living my best life", [])
        pictures = [PreparedImage(str(index), blank, blank) for index in range(BATCH_SIZE)]
        for count in (1, BATCH_SIZE):
            self.predict([replace(words, images=(picture,)) for picture in pictures[:count]])

    def _features(self, posts: Sequence[PreparedPost]) -> Features:
        config = self.checkpoint.config
        count = len(posts)
        has_text = torch.tensor([bool(post.token_ids) for post in posts])
        longest = max(1, *(len(post.token_ids) for post in posts), 1)
        text = torch.zeros(count, config.text.dim)
        states = torch.zeros(count, longest, config.text.dim)
        mask = torch.zeros(count, longest, dtype=torch.int64)
        if has_text.any():
            rows = has_text.nonzero().flatten().tolist()
            pooled, tokens = self._encoders.encode_texts([posts[row].token_ids for row in rows])
            text[rows] = pooled
            for row, state in zip(rows, tokens, strict=False):
                states[row, : len(state)] = state
                mask[row, : len(state)] = 1
        seen = [
            [image for image in post.images if isinstance(image, PreparedImage)] for post in posts
        ]
        # one picture posted many times is computed once
        distinct = {image.sha256: image.pixels for images in seen for image in images}
        index = torch.full((count, max(1, *map(len, seen), 1)), -1)
        regions = torch.zeros(0, 1, config.image.dim)
        if distinct:
            regions = self._encoders.encode_images(list(distinct.values()))
            places = {sha256: row for row, sha256 in enumerate(distinct)}
            for row, images in enumerate(seen):
                for column, image in enumerate(images):
                    index[row, column] = places[image.sha256]
        network = self._encoders.network
        images_found = gather_images(regions, index, network.needs_regions)
        return make_features(network, text, states, mask, has_text, images_found)


def choose_device(device: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda".

    Raises:
        ModelError: unknown, or not there.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ModelError(f"device is {device!r}; it must be auto, cpu or cuda (DEADPAN_DEVICE)")
    if device == "cpu":
        return "cpu"
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise ModelError(
            "device is 'cuda', and torch finds no GPU here; "
            "set DEADPAN_DEVICE to auto or cpu, or give the process a GPU and its driver"
        )
    return "cuda" if available else "cpu"


def make_preparer(
    config: ModelConfig, *, max_image_pixels: int, ocr: Reader | None = None
) -> Preparer:
    """The preparer that goes with a model."""
    text = TextPreparer(encoder_folder(config.text), max_tokens=config.max_tokens)
    return Preparer(text, image_size=config.image_size, max_image_pixels=max_image_pixels, ocr=ocr)


def load_network(checkpoint: CheckpointInfo) -> Network:
    """The encoders with the trained tensors over them, in evaluation mode.

    Raises:
        CheckpointError: an encoder is not there or is another one, or the weights cannot be read,
            do not fit, or are not finite numbers.
    """
    path = checkpoint.path / WEIGHTS_FILE
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be loaded: {error}; replace the folder by a whole copy"
        ) from error
    try:
        return Network.with_weights(checkpoint.config, tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path} cannot be used: {error}") from error


def cpu_computes_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 itself; emulated, it is slower than float32.

    torch < 2.10 cannot be asked publicly, so the answer is no.
    """
    ask = getattr(torch.cpu, "get_capabilities", None)
    capabilities = ask() if ask is not None else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
