"""CPU time by stage in a process, for the benchmark only: production code is not touched.

Functions with a name that others may use are wrapped, and each thread's own CPU clock is read when
one is entered and left; what a function spends in another wrapped one counts there. Threads that
the model's libraries start have no Python in them: their CPU is the model's.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

#: stage -> what counts to it: a function, a method, or a context manager with its block.
TARGETS: dict[str, tuple[str, ...]] = {
    "fetch": ("sources.http:HttpSource.fetch",),
    "decode": ("models.posts.images:PictureFile.decode",),
    "tokenise": (
        "models.posts.text:TextPreparer.__call__",
        "models.posts.text:TextPreparer.all",
        "models.posts.text:TextPreparer.encode",
    ),
    "prepare": (
        "models.serving.classifier:Classifier.prepare",
        "models.serving.classifier:Classifier.prepare_all",
    ),
    "predict": (
        "models.serving.classifier:Classifier.predict",
        "models.serving.classifier:Classifier.logits",
        # on threads of its own
        "models.engines.openvino_engine:OpenVinoEngine._infer",
    ),
    "explain": ("models.serving.explain:explain",),
    "decide": (
        "tasks.policy.rules:decide",
        "tasks.policy.rules:scores_of",
        "tasks.moderate.verdict:new_verdict",
        "tasks.moderate.verdict:keep_evidence",
        "tasks.moderate.stages:content_hash",
    ),
    "record": ("storage.base.database:transaction",),
    "queue": (
        "tasks.intake.intake:Intake.claim",
        "tasks.intake.intake:Intake.take",
        "tasks.intake.intake:Intake.renew",
        "tasks.intake.intake:Intake.release",
        "tasks.intake.intake:Intake.give_back",
        "tasks.intake.intake:Intake.say",
        "tasks.intake.intake:Intake.ping",
    ),
}
_CONTEXT_MANAGERS = {"storage.base.database:transaction"}
#: Threads of the sources: what no wrapped function claims in them is fetching.
_FETCHING_THREADS = ("deadpan-source", "deadpan-image", "deadpan-lookup")
MODEL = ("decode", "tokenise", "predict")
"""The stages that the bare loop has too."""


def _thread_seconds() -> Iterator[tuple[int, float]]:
    """Native id and CPU seconds of each thread of this process; nothing where it is not Linux."""
    for task in Path("/proc/self/task").glob("*"):
        with suppress(OSError):  # it has ended
            # nanoseconds, where /proc/self/task/N/stat counts in hundredths of a second
            yield (
                int(task.name),
                int((task / "schedstat").read_text(encoding="utf-8").split()[0]) / 1e9,
            )


class _Thread:
    """One thread's account."""

    __slots__ = ("last", "seconds", "stack")

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.stack: list[str] = []
        self.last = 0.0


class StageClock:
    """Wraps `TARGETS`, and tells how much CPU went where.

    Attributes:
        missing: targets that are not there (any more); their time counts to what calls them.
    """

    def __init__(self) -> None:
        self._local = threading.local()
        self._threads: dict[int, _Thread] = {}
        self.missing: list[str] = []

    def install(self, *stages: str) -> None:
        """Wrap the targets of these stages, or of all; to be called before work begins."""
        for stage in stages or TARGETS:
            for target in TARGETS[stage]:
                if not self._wrap(target, stage):
                    self.missing.append(target)

    def snapshot(self) -> dict[str, float]:
        """CPU seconds so far by stage; `other` is what no stage claims, `total` the process's."""
        names = {t.native_id: t.name for t in threading.enumerate() if t.native_id is not None}
        found = dict.fromkeys(TARGETS, 0.0)
        for account in list(self._threads.values()):
            for stage, seconds in list(account.seconds.items()):
                found[stage] += seconds
        for number, seconds in _thread_seconds():
            known = self._threads.get(number)
            if number not in names and known is None:
                found["predict"] += seconds
            elif names.get(number, "").startswith(_FETCHING_THREADS):
                claimed = sum(known.seconds.values()) if known else 0.0
                found["fetch"] += max(0.0, seconds - claimed)
        total = time.process_time()
        return {**found, "other": max(0.0, total - sum(found.values())), "total": total}

    def write(self, path: Path, *, interval_seconds: float = 0.25) -> None:
        """Append a snapshot to a file again and again, from a thread of its own."""

        def run() -> None:
            with path.open("a", encoding="utf-8") as file:
                while True:
                    print(json.dumps(self.snapshot()), file=file, flush=True)
                    time.sleep(interval_seconds)

        threading.Thread(target=run, name="stage-clock", daemon=True).start()

    def _wrap(self, target: str, stage: str) -> bool:
        module_name, _, path = target.partition(":")
        try:
            holder: Any = importlib.import_module(module_name)
            *owners, name = path.split(".")
            for owner in owners:
                holder = getattr(holder, owner)
            original = getattr(holder, name)
        except (ImportError, AttributeError):
            return False
        wrapped = (
            self._context(original, stage)
            if target in _CONTEXT_MANAGERS
            else self._function(original, stage)
        )
        setattr(holder, name, wrapped)
        # `from module import name` has bound the original elsewhere
        for module in list(sys.modules.values()):
            for bound, value in list(getattr(module, "__dict__", {}).items()):
                if value is original:
                    setattr(module, bound, wrapped)
        return True

    def _function(self, original: Callable[..., Any], stage: str) -> Callable[..., Any]:
        @functools.wraps(original)
        def timed(*args: Any, **kwargs: Any) -> Any:
            account = self._enter(stage)
            try:
                return original(*args, **kwargs)
            finally:
                self._leave(account)

        return timed

    def _context(
        self, original: Callable[..., AbstractContextManager[Any]], stage: str
    ) -> Callable[..., Any]:
        @functools.wraps(original)
        @contextmanager
        def timed(*args: Any, **kwargs: Any) -> Iterator[Any]:
            account = self._enter(stage)
            try:
                with original(*args, **kwargs) as value:
                    yield value
            finally:
                self._leave(account)

        return timed

    def _enter(self, stage: str) -> _Thread:
        account: _Thread | None = getattr(self._local, "account", None)
        if account is None:
            account = self._local.account = _Thread()
            self._threads[threading.get_native_id()] = account
        now = time.thread_time()
        if account.stack:
            self._add(account, now)
        account.stack.append(stage)
        account.last = now
        return account

    def _leave(self, account: _Thread) -> None:
        now = time.thread_time()
        self._add(account, now)
        account.stack.pop()
        account.last = now

    @staticmethod
    def _add(account: _Thread, now: float) -> None:
        stage = account.stack[-1]
        account.seconds[stage] = account.seconds.get(stage, 0.0) + now - account.last
