"""Which NVIDIA GPUs there are, and whether the torch that is installed could use them.

Needs no torch: whoever only starts workers asks here, and a driver keeps a context of several
hundred megabytes for every process that has loaded CUDA.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_ASK_SECONDS = 10.0
_NAMED = re.compile(r"\d+|(GPU|MIG)-[0-9A-Za-z/-]+")
"""What CUDA takes in CUDA_VISIBLE_DEVICES: indexes, and UUIDs or the beginning of one."""

_MIG_DEVICE = re.compile(r"^\s+MIG .*\(UUID:\s*(MIG-[^)\s]+)\)")
_GPU = re.compile(r"^GPU (\d+):")


@dataclass(frozen=True, slots=True)
class Gpu:
    """What one worker may have: a GPU, or a part of one (MIG).

    Attributes:
        name: for people and files: letters, digits and hyphens.
        environment: lets a process see this one and no other.
    """

    name: str
    environment: Mapping[str, str]


def visible() -> list[Gpu]:
    """GPUs that processes started here may use: those of CUDA_VISIBLE_DEVICES where it is set.

    CUDA counts the fastest first, `nvidia-smi` by place on the bus. So what the tool names is given
    with CUDA_DEVICE_ORDER=PCI_BUS_ID; what CUDA_VISIBLE_DEVICES names keeps its own order.
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return _on_this_machine()
    found: dict[str, Gpu] = {}
    for name in (part.strip() for part in given.split(",")):
        if not _NAMED.fullmatch(name):
            break  # CUDA sees nothing behind what it cannot read, such as -1
        found.setdefault(name, Gpu(_shown(name), {"CUDA_VISIBLE_DEVICES": name}))
    return list(found.values())


def _on_this_machine() -> list[Gpu]:
    """A GPU that is divided (MIG) has as many as its parts: a process can use one part alone, and
    none of the whole."""
    divided: dict[str, bool] = {}
    for line in _ask("--query-gpu=index,mig.mode.current", "--format=csv,noheader"):
        index, _, mig = (part.strip() for part in line.partition(","))
        if index.isdecimal():
            divided[index] = mig == "Enabled"
    parts: dict[str, list[str]] = {}
    if not divided or any(divided.values()):
        uuids: list[str] = []
        for line in _ask("-L"):
            if gpu := _GPU.match(line):
                uuids = parts.setdefault(gpu[1], [])
            elif part := _MIG_DEVICE.match(line):
                uuids.append(part[1])
    # drivers from before there was MIG do not answer the first question
    divided = divided or {index: bool(uuids) for index, uuids in parts.items()}
    found: list[Gpu] = []
    for index, is_divided in divided.items():
        if is_divided:
            names = parts.get(index, [])
            found += [Gpu(_shown(name), {"CUDA_VISIBLE_DEVICES": name}) for name in names]
        else:
            order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": index}
            found.append(Gpu(_shown(index), order))
    return found


def _shown(name: str) -> str:
    """gpu0 for an index; of a UUID its end, which differs where the beginning may not."""
    if name.isdecimal():
        return f"gpu{name}"
    kind = "mig" if name.startswith("MIG") else "gpu"
    return f"{kind}-{re.sub('[^0-9A-Za-z]+', '-', name)[-20:].strip('-')}"


def _ask(*arguments: str) -> list[str]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        done = subprocess.run(
            [tool, *arguments], capture_output=True, timeout=_ASK_SECONDS, check=True
        )
    except (subprocess.SubprocessError, OSError):
        return []
    return done.stdout.decode("utf-8", "replace").splitlines()


def torch_uses_gpus() -> bool:
    """Whether the torch that is installed was built for GPUs (CUDA or ROCm), without loading it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        # made when torch is built: cuda: Optional[str] = '13.0', or None
        told = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return "+cpu" not in torch_version()
    return re.search(r"^(cuda|hip)\b[^=\n]*=\s*['\"]", told, re.MULTILINE) is not None


def torch_version() -> str:
    """Of the torch that is installed, such as 2.14.1+cpu; "" where there is none."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""


def no_torch_for_gpus() -> str:
    """What is the matter where `torch_uses_gpus` is not so, and what to do."""
    version = torch_version()
    if not version:
        return "torch is not installed; pip install 'deadpan[gpu]', or set DEADPAN_DEVICE to cpu"
    return (
        f"torch {version} is built for CPUs alone; install a torch that is built for this driver's "
        "CUDA (pytorch.org says which), or set DEADPAN_DEVICE to cpu"
    )


def unusable_problem() -> str | None:
    """Why workers here could use no GPU although there is one, and what to install; else None."""
    if torch_uses_gpus():
        return None
    gpus = visible()
    if not gpus:
        return None
    count = "a GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs"
    return f"there is {count} ({', '.join(gpu.name for gpu in gpus)}), and {no_torch_for_gpus()}"
