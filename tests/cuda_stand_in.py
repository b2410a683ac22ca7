"""A stand-in for `torch.cuda` on the CPU, for what may go wrong on a device.

What does not fit raises what torch raises, and after a poisoned kernel everything fails until the
process ends. It says nothing of a GPU's speed, kernels and numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from models.engines import torch_engine

POISONED = "CUDA error: device-side assert triggered"


class StandIn:
    """The device.

    Attributes:
        memory_rows: rows that fit in one batch; more raise OutOfMemoryError.
        poisoned: the context is lost.
        emptied: how often the cache was.
        rows: of the batches that were computed.
        poison: a token id that trips an assertion in a kernel.
    """

    def __init__(self) -> None:
        self.memory_rows = 10**6
        self.poisoned = False
        self.emptied = 0
        self.rows: list[int] = []
        self.poison = -1

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put it in the place of `torch.cuda`, and where tensors and modules are moved."""
        stand_in, to, autocast = self, torch.Tensor.to, torch.autocast

        def moved(tensor: torch.Tensor, *args: Any, **more: Any) -> torch.Tensor:
            here = ["cpu" if str(arg) == "cuda" else arg for arg in args]
            if here != list(args):
                stand_in.require()
            return to(tensor, *here, **more)

        patch.setattr(torch.Tensor, "to", moved)
        patch.setattr(torch, "autocast", lambda device, **more: autocast("cpu", **more))
        for name, value in {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "is_bf16_supported": lambda **_: True,
            "empty_cache": self._empty,
        }.items():
            patch.setattr(torch.cuda, name, value)
        for module in (torch_engine.TextModule, torch_engine.ImageModule):
            patch.setattr(module, "forward", self._watched(module.forward))

    def require(self) -> None:
        """Raise what a lost context raises."""
        if self.poisoned:
            raise torch.AcceleratorError(POISONED)

    def _empty(self) -> None:
        self.require()
        self.emptied += 1

    def _watched(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def watched(module: Any, *inputs: torch.Tensor) -> Any:
            self.require()
            self.rows.append(len(inputs[0]))
            self.poisoned = isinstance(module, torch_engine.TextModule) and bool(
                (inputs[0] == self.poison).any()
            )
            self.require()
            if len(inputs[0]) > self.memory_rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return forward(module, *inputs)

        return watched
