"""The sample platform as a process of its own."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from benchmarks.rows.service import ROOT
from benchmarks.workload import Workload
from worker.local.embedded import free_port
from worker.local.processes import ChildProcess, Interrupts


class platform_process:  # noqa: N801 - used as a context manager, like a function
    """Serves the posts of a workload on loopback while it is open.

    Attributes:
        source: what to set `DEADPAN_SOURCE` to.
    """

    def __init__(self, workload: Workload, folder: Path) -> None:
        port = free_port()
        self._url = f"http://127.0.0.1:{port}/posts?ids="
        self.source = self._url + "{ids}"
        arguments = [str(port), *([str(workload.path)] if workload.path else [])]
        self._child = ChildProcess(
            "sample platform",
            [sys.executable, "-m", "benchmarks.programs.platform", *arguments],
            environment=os.environ | {"PYTHONPATH": str(ROOT)},
            log_path=folder / "platform.log",
        )

    def __enter__(self) -> Self:
        self._child.start()
        try:
            self._child.wait_for(self._answers, timeout_seconds=60)
        except BaseException:
            self._child.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with Interrupts.deferred():
            self._child.stop()

    def _answers(self) -> bool:
        with suppress(requests.RequestException):
            return requests.get(self._url + "0-0-x", timeout=2).status_code == 200
        return False
