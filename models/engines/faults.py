"""Errors of what a model runs on: they say nothing of the post that was in hand when they came."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from deadpan.core.errors import DeviceLost, OutOfMemory

_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|std::bad_alloc|_ALLOC_FAILED|CL_OUT_OF_HOST_MEMORY"
    r"|CL_MEM_OBJECT_ALLOCATION_FAILURE",
    re.IGNORECASE,
)
"""What torch's CPU allocator, CUDA's libraries and OpenVINO say in a plain RuntimeError."""

_DEVICE = re.compile(
    r"CUDA (driver )?error|device-side assert|illegal memory access|unspecified launch failure"
    r"|uncorrectable ECC|CUBLAS_STATUS|CUDNN_STATUS|cuDNN error|CUSOLVER_STATUS|CUSPARSE_STATUS"
    r"|CUFFT_|NVRTC_ERROR|HIP error|device (is )?lost|no CUDA-capable device|CL_OUT_OF_RESOURCES"
    r"|CL_DEVICE_NOT_AVAILABLE|CL_INVALID_COMMAND_QUEUE|\[GPU\]",
    re.IGNORECASE,
)
"""The same of a device: what an extension or an older torch raises as a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the device or of this process; fewer posts at once may fit."""
    return any(
        isinstance(each, (MemoryError, OutOfMemory, *_of_torch("OutOfMemoryError")))
        or (isinstance(each, RuntimeError) and _OUT_OF_MEMORY.search(str(each)) is not None)
        for each in _chain(error)
    )


def is_of_device(error: BaseException) -> bool:
    """Whether the device failed, and not for want of memory.

    On CUDA such an error stays: whatever is asked of it afterwards fails in the same way, until the
    process ends. A post can cause it (an index out of range trips an assertion in a kernel), but
    which post did is found by who is in hand when fresh processes end, and not by the error.
    """
    return not is_out_of_memory(error) and any(
        isinstance(each, (DeviceLost, *_of_torch("AcceleratorError")))
        or (isinstance(each, RuntimeError) and _DEVICE.search(str(each)) is not None)
        for each in _chain(error)
    )


def _of_torch(name: str) -> tuple[type[BaseException], ...]:
    """torch's class of errors, where torch is loaded: else nothing can have raised one."""
    torch = sys.modules.get("torch")
    return () if torch is None else (getattr(torch, name),)


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__
