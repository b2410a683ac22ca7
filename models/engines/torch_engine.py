"""The encoders in torch, on a CPU or a GPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deadpan.errors import ModelError
from models.engines.base import image_batches, text_batches
from models.network import Network


class TorchEngine:
    """See `models.engines.Engine`.

    On a GPU, batches are copied from pinned memory without waiting, and results are fetched when
    all of them are under way, so that copying and computing overlap.
    """

    name = "torch"

    def __init__(self, network: Network, device: str, *, compiled: bool = False) -> None:
        """Move the network's encoders to a device.

        Args:
            network: its head stays where it is.
            device: "cpu" or "cuda".
            compiled: let `torch.compile` make the encoders faster; takes a minute or more at first.
        """
        self.network = network
        self.device = device
        self._place = torch.device(device)
        network.text.to(self._place)
        network.image.to(self._place).to(memory_format=torch.channels_last)
        self._dtype = _precision(device)
        self.precision = str(self._dtype).removeprefix("torch.")
        self._texts = network.text_features
        self._regions = network.image.regions
        if compiled:
            self._texts = torch.compile(self._texts, dynamic=False)
            self._regions = torch.compile(self._regions, dynamic=False)
        # torch uses all cores for one batch; two batches at once would only get in each other's way
        self._lock = threading.Lock()

    def encode_texts(self, token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, list[Tensor]]:
        """See `models.engines.Engine`."""
        found: list[tuple[list[int], Tensor, Tensor]] = []
        with self._lock, torch.inference_mode(), self._autocast():
            for batch in text_batches(token_ids):
                pooled, states = self._texts(
                    self._sent(batch.token_ids), self._sent(batch.attention_mask)
                )
                found.append((batch.rows, pooled, states))
            every = torch.empty(len(token_ids), self.network.config.text.dim)
            by_index: dict[int, Tensor] = {}
            for rows, pooled, states in found:
                every[rows] = pooled[: len(rows)].float().cpu()
                if self.network.needs_regions:
                    for index, state in zip(rows, states.float().cpu(), strict=False):
                        by_index[index] = state[: len(token_ids[index])]
        return every, [by_index[index] for index in sorted(by_index)]

    def encode_images(self, pixels: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
        """See `models.engines.Engine`."""
        found = []
        with self._lock, torch.inference_mode(), self._autocast():
            for count, batch in image_batches(pixels):
                regions = self._regions(self._sent(batch))[:count]
                if not self.network.needs_regions:
                    regions = regions.mean(dim=1, keepdim=True)
                found.append(regions)
            return torch.cat([regions.float().cpu() for regions in found])

    def _autocast(self) -> AbstractContextManager[object]:
        if self._dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device, dtype=self._dtype)

    def _sent(self, tensor: Tensor) -> Tensor:
        if self.device != "cuda":
            return tensor
        return tensor.pin_memory().to(self._place, non_blocking=True)


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


def cpu_computes_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 itself; emulated, it is slower than float32.

    torch < 2.10 cannot be asked publicly, so the answer is no.
    """
    ask = getattr(torch.cpu, "get_capabilities", None)
    capabilities = ask() if ask is not None else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _precision(device: str) -> torch.dtype:
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if cpu_computes_bf16() else torch.float32
