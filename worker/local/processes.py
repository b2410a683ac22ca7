"""Child processes that are started, restarted and stopped, and never left behind, even when their
parent is killed (`worker.local.reaper`).
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self, TypeVar

import structlog

from deadpan.core.errors import DeadpanError
from worker.local import reaper

log = structlog.get_logger(__name__)

FUTILE_RESTARTS = 3
"""A child that exited this often before it was ready never will be."""

LONG_LIFE_SECONDS = 60.0
"""A child that ran this long was healthy; the pause before its restart is short again."""

IMPATIENCE_SECONDS = 1.0
"""A signal this soon after another asks for the same shutdown, which is under way."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MAY_BE_IGNORED = (signal.SIGINT, signal.SIGHUP)
"""What `nohup`, and the `&` of a shell without job control, let a command ignore from its start."""

_T = TypeVar("_T")


class Interrupts:
    """Turns Ctrl-C, SIGTERM and SIGHUP into KeyboardInterrupt, but not while a child starts.

    Without it a signal between fork and the line that notes the child would leave the child behind.
    What a process was started to ignore stays ignored, as Python itself has it before: else a
    signal would count or not count by how far the start has come.
    Use in the main thread, as a context manager around everything that starts children.
    """

    _deferring = 0
    _pending = False
    _interrupted = float("-inf")

    def __enter__(self) -> Self:
        Interrupts._pending, Interrupts._interrupted = False, float("-inf")
        self._before = {
            number: signal.signal(number, self._handle)
            for number in _SIGNALS
            if number not in _MAY_BE_IGNORED or signal.getsignal(number) is not signal.SIG_IGN
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @classmethod
    def _handle(cls, number: int, frame: FrameType | None) -> None:
        if time.monotonic() - cls._interrupted < IMPATIENCE_SECONDS:
            return
        if cls._deferring:
            cls._pending = True
        else:
            cls._interrupt()

    @classmethod
    def _interrupt(cls) -> None:
        # A second KeyboardInterrupt on the way to the block that ends the children would skip it.
        cls._interrupted = time.monotonic()
        raise KeyboardInterrupt

    @classmethod
    @contextmanager
    def deferred(cls) -> Iterator[None]:
        """Hold signals back until the block ends."""
        cls._deferring += 1
        try:
            yield
        finally:
            cls._deferring -= 1
        if cls._pending and not cls._deferring:
            cls._pending = False
            cls._interrupt()


class Running(ExitStack):
    """What is started together, ended in the opposite order; signals wait while it is entered
    and left, so that each thing has either not begun or will be ended."""

    def enter_context(self, cm: AbstractContextManager[_T, bool | None]) -> _T:
        """Start something."""
        with Interrupts.deferred():
            return super().enter_context(cm)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        with Interrupts.deferred():
            return bool(super().__exit__(kind, error, trace))


class _Reaper:
    """The process that ends our children should we be killed; started with the first of them."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._children: dict[int, str] = {}
        self._lock = threading.Lock()

    @contextmanager
    def pipe(self) -> Iterator[int]:
        """The pipe in which a child that is started meanwhile registers itself."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._begin()
            yield self._pipe

    def note(self, pid: int, line: str) -> None:
        """Remember a child, for a reaper that has to follow one which was killed itself."""
        self._children[pid] = line

    def forget(self, pid: int) -> None:
        """A child has ended and was waited for: another process may get its number."""
        with self._lock:
            if self._children.pop(pid, None) is not None:
                with suppress(OSError):
                    os.write(self._pipe, f"- {pid}\n".encode())

    def _begin(self) -> None:
        self._let_go()
        end, self._pipe = os.pipe()
        self._process = subprocess.Popen(
            # Alone and at once: neither our packages nor the user's.
            [sys.executable, "-I", "-S", reaper.__file__],
            stdin=end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        os.close(end)
        for line in self._children.values():
            os.write(self._pipe, line.encode())

    def _let_go(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def end(self) -> None:
        """This process ends: what it has left to its end, if anything, is ended now."""
        with self._lock:
            self._let_go()
            if self._process is not None:
                # By now it has nothing to do, unless somebody left children to it.
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(1.0)
                self._process = None


_reaper = _Reaper()
atexit.register(_reaper.end)

_WRITE_DOWN = 'echo "+ $$ $0" >&0 && exec "$@" </dev/null'
"""A shell that tells the reaper of itself and becomes the command: whenever we end, a child is
known or never was. `$0` is its grace and its layer."""


class ChildProcess:
    """One child in a session of its own, so that Ctrl-C reaches it only through us.

    Should this process be killed, the child gets SIGTERM and its grace all the same.

    Args:
        name: for messages.
        command: what to run.
        environment: its whole environment.
        log_path: where its output goes.
        grace_seconds: from SIGTERM to SIGKILL.
        restart: whether to start it again when it ends by itself (after a growing pause).
        serves_others: whether other children need it until they have ended.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        grace_seconds: float = 10.0,
        restart: bool = False,
        serves_others: bool = False,
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._command = list(command)
        self._environment = dict(os.environ if environment is None else environment)
        self._grace_seconds = grace_seconds
        self._restart = restart
        self._reaping = f"{grace_seconds} {int(serves_others)}"
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._supervisor: threading.Thread | None = None
        self.restarts = 0

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # a signal that came while it started, too
            with Interrupts.deferred():
                self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with Interrupts.deferred():
            self.stop()

    @property
    def pid(self) -> int:
        """Process id of the child that runs now."""
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Of the child that ended, or None while it runs."""
        return self._process.poll() if self._process else None

    def require(self) -> None:
        """See that it runs, or will again.

        Raises:
            DeadpanError: it will not: the configuration is wrong; with the end of its log.
        """
        if self._restart and self.exit_code == 2:
            raise DeadpanError(f"the {self.name} cannot work as configured:\n{self.last_words()}")

    def start(self) -> None:
        """Start the child, and its supervisor where it is to be restarted."""
        with Interrupts.deferred():
            self._spawn()
            if self._restart:
                self._supervisor = threading.Thread(
                    target=self._supervise, name=f"supervise-{self.name}", daemon=True
                )
                self._supervisor.start()

    def stop(self) -> None:
        """End the child: SIGTERM, then SIGKILL for it and all that it started."""
        self._stopping.set()
        if self._supervisor:
            self._supervisor.join()
            self._supervisor = None
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(self._grace_seconds)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _reaper.forget(process.pid)

    def last_words(self, lines: int = 8) -> str:
        """The end of its log."""
        try:
            return "\n".join(
                self.log_path.read_text(errors="replace", encoding="utf-8").splitlines()[-lines:]
            )
        except OSError:
            return ""

    def wait_for(self, ready: Callable[[], bool], *, timeout_seconds: float) -> None:
        """Wait until the child can be used.

        Raises:
            DeadpanError: it ended, or was not ready in time; with the end of its log.
        """
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            # An exit code of 2 says that the configuration is wrong: no restart mends that.
            ended = self.exit_code is not None and (not self._restart or self.exit_code == 2)
            if ended or self.restarts >= FUTILE_RESTARTS:
                raise DeadpanError(
                    f"the {self.name} ended before it was ready:\n{self.last_words()}"
                )
            if time.monotonic() > deadline:
                raise DeadpanError(
                    f"the {self.name} was not ready after {timeout_seconds:.0f} seconds:\n"
                    f"{self.last_words()}"
                )
            time.sleep(0.05)

    def _spawn(self) -> None:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        if self._process is not None:
            _reaper.forget(self._process.pid)
        with self.log_path.open("ab") as output, _reaper.pipe() as pipe:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _WRITE_DOWN, self._reaping, *self._command],
                stdin=pipe,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
            _reaper.note(self._process.pid, f"+ {self._process.pid} {self._reaping}\n")

    def _supervise(self) -> None:
        pause_seconds, started = 0.2, time.monotonic()
        while not self._stopping.wait(0.1):
            code = self.exit_code
            if code is None:
                continue
            if code == 2:
                return
            log.warning("process ended; starting it again", process=self.name, code=code)
            if time.monotonic() - started > LONG_LIFE_SECONDS:
                pause_seconds = 0.2
            if self._stopping.wait(pause_seconds):
                return
            pause_seconds = min(pause_seconds * 2, 10.0)
            self.restarts += 1
            started = time.monotonic()
            self._spawn()
