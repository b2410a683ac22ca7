"""GPUs are named as CUDA understands them, and count only where torch can use them.

In the place of `nvidia-smi` stands a program that prints what NVIDIA's prints.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from deadpan.core.errors import ModelError
from deadpan.core.settings import load
from models.engines import choose, gpus
from worker.checks import configuration_problems, device_warnings
from worker.fleet.local import Place, places

TWO = {"query": "0, Disabled\n1, [N/A]\n"}
DIVIDED = {
    "query": "0, Enabled\n1, Disabled\n2, Enabled\n",
    "-L": (
        "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)\n"
        "  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)\n"
        "  MIG 3g.20gb     Device  1: (UUID: MIG-GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77/2/0)\n"
        "GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-0b757d4e-e5ce-46b6-90b1-d5ce8a1cdb85)\n"
        "GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-8f8b7e93-3c2b-46d1-9c5d-1d2c3b4a5f60)\n"
    ),
}
BUS = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
MIG = "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f"
OLD_MIG = "MIG-GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77/2/0"


class Machine:
    """One with GPUs, of which `nvidia-smi` tells."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder, self._patch = folder, patch
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        patch.setenv("PATH", str(folder), prepend=":")
        self.torch_for_gpus(True)

    def has(self, answers: dict[str, str]) -> None:
        (self._folder / "answers").write_text(json.dumps(answers))
        tool = self._folder / "nvidia-smi"
        tool.write_text(
            f"#!{sys.executable}\nimport json, sys\n"
            f"answers = json.load(open({str(self._folder / 'answers')!r}))\n"
            "key = 'query' if 'query' in sys.argv[1] else sys.argv[1]\n"
            "sys.stdout.write(answers[key]) if key in answers else sys.exit(2)\n"
        )
        tool.chmod(0o755)

    def torch_for_gpus(self, is_so: bool) -> None:
        self._patch.setattr(gpus, "torch_uses_gpus", lambda: is_so)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def environments(found: list[Place]) -> list[dict[str, str]]:
    return [dict(place.environment) for place in found]


def test_the_tools_indexes_are_given_in_the_tools_order(machine: Machine) -> None:
    machine.has(TWO)
    found = places(3, device="auto")
    assert [place.name for place in found] == ["gpu0", "gpu1", "gpu0"]
    assert environments(found) == [BUS | {"CUDA_VISIBLE_DEVICES": n} for n in "010"]
    assert len(places(0, device="cuda")) == 2
    assert {place.name[:3] for place in places(2, device="cpu")} == {"cpu"}


@pytest.mark.parametrize("answers", [DIVIDED, {"-L": DIVIDED["-L"].rsplit("GPU 2", 1)[0]}])
def test_a_divided_gpu_has_a_worker_for_each_of_its_parts_by_uuid(
    machine: Machine, answers: dict[str, str]
) -> None:
    machine.has(answers)
    found = places(0, device="auto")
    assert environments(found) == [
        {"CUDA_VISIBLE_DEVICES": MIG},
        {"CUDA_VISIBLE_DEVICES": OLD_MIG},
        BUS | {"CUDA_VISIBLE_DEVICES": "1"},
    ], "and the third, divided into nothing, has none"
    names = [place.name for place in found]
    assert len(set(names)) == 3
    assert all(name.replace("-", "").isalnum() for name in names), "they name files and processes"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", []),
        ("-1", []),
        ("2, 0", ["2", "0"]),
        ("1,1", ["1"]),
        ("0,-1,1", ["0"]),
        ("NoDevFiles", []),
        (f"{MIG},{OLD_MIG}", [MIG, OLD_MIG]),
        ("GPU-5d5ba0d6,3", ["GPU-5d5ba0d6", "3"]),
    ],
)
def test_what_the_environment_names_is_read_as_cuda_reads_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, given: str, expected: list[str]
) -> None:
    machine.has(TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert [gpu.environment for gpu in gpus.visible()] == [
        {"CUDA_VISIBLE_DEVICES": name} for name in expected
    ]


@pytest.mark.parametrize("answers", [{}, {"query": "No devices were found\n"}])
def test_a_driver_without_a_gpu_is_no_gpu(machine: Machine, answers: dict[str, str]) -> None:
    machine.has(answers)
    assert gpus.visible() == []
    assert places(1, device="auto")[0].name == "cpu0"


def test_a_gpu_counts_for_nothing_beside_a_torch_that_is_built_for_cpus(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.has(TWO)
    monkeypatch.setenv("DEADPAN_SOURCE", "file:posts.jsonl")
    assert device_warnings(load()) == []
    machine.torch_for_gpus(False)
    assert places(1, device="auto")[0].name == "cpu0"
    (warning,) = device_warnings(load())
    assert "2 GPUs (gpu0, gpu1)" in warning
    assert "install a torch that is built for this driver's CUDA" in warning
    monkeypatch.setenv("DEADPAN_DEVICE", "cpu")
    assert device_warnings(load()) == []
    monkeypatch.setenv("DEADPAN_DEVICE", "cuda")
    (problem,) = [each for each in configuration_problems(load()) if "DEADPAN_DEVICE" in each]
    assert "built for CPUs alone; install" in problem


def test_a_model_asked_onto_a_gpu_by_a_torch_for_cpus_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.version.cuda", None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ModelError, match="built for CPUs alone; install a torch"):
        choose.choose_device("cuda")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", True),
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", False),
        ("cuda = None\nhip = '6.4'\n", True),
    ],
)
def test_what_torch_was_built_for_is_read_without_loading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, expected: bool
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError\n")
    (tmp_path / "torch" / "version.py").write_text(told)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch")
    assert gpus.torch_uses_gpus() is expected
