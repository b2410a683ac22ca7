"""A stand-in of `torch.cuda` on the CPU, for what may go wrong between host and device.

Tensors that are copied to it hold rubbish until somebody waits for the stream that copies, as the
device's would; memory that another stream uses has to be recorded; what does not fit raises what
torch raises; and after a poisoned kernel everything fails until the process ends. Speed, kernels
and numbers of a GPU it says nothing of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        unwaited: copies that nobody waited for when their tensor was read.
        unrecorded: uploads whose memory the allocator could give away while they are read.
        emptied: how often the cache was.
        rows: of the batches that were computed.
        poison: a token id that trips an assertion in a kernel.
    """

    def __init__(self) -> None:
        self.memory_rows = 10**6
        self.poisoned = False
        self.unwaited = 0
        self.unrecorded = 0
        self.emptied = 0
        self.rows: list[int] = []
        self.poison = -1
        self._pending: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._uploads: dict[int, bool] = {}
        self._copying = False

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put it in the place of `torch.cuda`, and where tensors and modules are moved."""
        stand_in, to, autocast = self, torch.Tensor.to, torch.autocast

        class Stream:
            def wait_stream(self, other: Stream) -> None:
                stand_in.require()
                for there, values in stand_in._pending:
                    there.copy_(values)
                stand_in._pending.clear()

        current = Stream()

        @contextmanager
        def stream(chosen: Stream) -> Iterator[None]:
            stand_in._copying = True
            try:
                yield
            finally:
                stand_in._copying = False

        def moved(tensor: torch.Tensor, *args: Any, **more: Any) -> torch.Tensor:
            here = ["cpu" if str(arg) == "cuda" else arg for arg in args]
            if here == list(args):
                return to(tensor, *args, **more)
            stand_in.require()
            if not stand_in._copying:
                return to(tensor, *here, **more)
            there = torch.full_like(tensor, 1)
            stand_in._pending.append((there, tensor.clone()))
            stand_in._uploads[id(there)] = False
            return there

        def recorded(tensor: torch.Tensor, stream: Stream) -> None:
            stand_in._uploads[id(tensor)] = True

        patch.setattr(torch.Tensor, "to", moved)
        patch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
        patch.setattr(torch.Tensor, "record_stream", recorded)
        patch.setattr(torch, "autocast", lambda device, **more: autocast("cpu", **more))
        for name, value in {
            "Stream": Stream,
            "stream": stream,
            "current_stream": lambda: current,
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
            for each in inputs:
                self.unwaited += any(each is there for there, _ in self._pending)
                self.unrecorded += not self._uploads.pop(id(each), True)
            self.rows.append(len(inputs[0]))
            self.poisoned = isinstance(module, torch_engine.TextModule) and bool(
                (inputs[0] == self.poison).any()
            )
            self.require()
            if len(inputs[0]) > self.memory_rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return forward(module, *inputs)

        return watched
