"""The article's way, and other ways to put a queue and batches around the same model."""

from __future__ import annotations

import http.client
import sys
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from benchmarks.feeders import CeleryFeeder, HttpFeeder
from benchmarks.rows.service import Service
from benchmarks.venvs import python_of
from worker.local.embedded import EmbeddedValkey, free_port
from worker.local.processes import ChildProcess

READY_SECONDS = 180.0


class Peer(Service):
    """A process of its own that writes to SQLite by itself."""

    child: ChildProcess

    def problem(self) -> str | None:
        """A process that ended brings nothing."""
        if self.child.exit_code is not None:
            return f"{self.name} ended: {self.child.last_words(3)}"
        return None

    def _run(
        self, running: ExitStack, python: Path | str, arguments: Sequence[str], **more: str
    ) -> None:
        environment = self.setup.environment(
            BENCH_DATABASE=str(self.setup.database), BENCH_SOURCE=self.setup.source, **more
        )
        self.child = running.enter_context(
            ChildProcess(
                self.name,
                [str(python), *arguments],
                environment=environment,
                log_path=self.setup.folder / "peer.log",
            )
        )


class _OnCelery(Peer):
    module: str

    def _start(self, running: ExitStack) -> None:
        python = self._python()
        valkey = running.enter_context(EmbeddedValkey(self.setup.folder / "valkey"))
        self._feeder = CeleryFeeder(valkey.url)
        running.callback(self._feeder.close)
        options = ["--quiet", "-A", self.module, "worker", "--loglevel", "INFO"]
        options += ["--without-gossip", "--without-mingle", *self._options()]
        self._run(running, python, ["-m", "celery", *options], BENCH_BROKER=valkey.url)
        log = self.setup.folder / "peer.log"
        self.child.wait_for(
            lambda: log.exists() and " ready." in log.read_text(errors="replace", encoding="utf-8"),
            timeout_seconds=READY_SECONDS,
        )

    @abstractmethod
    def _python(self) -> Path | str:
        """The interpreter of the row's environment."""

    def _options(self) -> list[str]:
        return []

    def push_all(self, post_ids: Sequence[str]) -> Callable[[], None]:
        """Written before, handed over at once."""
        return self._feeder.push_all(post_ids)

    def push(self, post_id: str) -> None:
        """One message."""
        self._feeder.push(post_id)


class Naive(_OnCelery):
    """One post a task; see `benchmarks.programs.naive_worker`."""

    name = "naive"
    share = 1 / 8
    warm_posts = 16
    module = "benchmarks.programs.naive_worker"

    def _python(self) -> Path | str:
        return sys.executable


class CeleryBatches(_OnCelery):
    """celery-batches, with the threads pool, as Deadpan has it."""

    name = "celery-batches"
    module = "benchmarks.programs.batches_worker"

    def _python(self) -> Path | str:
        return python_of("celery-batches", self.setup.venvs)

    def _options(self) -> list[str]:
        return ["--pool", "threads"]


class _OnHttp(Peer):
    def _listen(self, running: ExitStack, port: int, request: Callable[[str], bytes]) -> None:
        self.child.wait_for(lambda: self._answers(port), timeout_seconds=READY_SECONDS)
        self._feeder = HttpFeeder(port, request)
        running.callback(self._feeder.close)

    @abstractmethod
    def _answers(self, port: int) -> bool:
        """Whether a request about a post that does not exist gets any answer from the app."""

    def push_all(self, post_ids: Sequence[str]) -> Callable[[], None]:
        """As fast as the server takes them, with a few batches of requests at once."""
        return self._feeder.push_all(post_ids)

    def push(self, post_id: str) -> None:
        """One request."""
        self._feeder.push(post_id)

    def problem(self) -> str | None:
        """Also an answer that is an error."""
        if self._feeder.problems:
            return f"{self.name}: {self._feeder.problems[0]}; {self.child.last_words(2)}"
        return super().problem()


class RayServe(_OnHttp):
    """Ray Serve with `@serve.batch`."""

    name = "ray-serve"

    def _start(self, running: ExitStack) -> None:
        python = python_of("ray-serve", self.setup.venvs)
        port = free_port()
        arguments = ["-m", "benchmarks.programs.ray_server", str(port)]
        # Ray's socket paths must be short; what it writes there is deleted with the row
        self._run(
            running,
            python,
            [*arguments, str(self.setup.folder / "r")],
            RAY_USAGE_STATS_ENABLED="0",
        )

        def request(post_id: str) -> bytes:
            return f"GET /?id={post_id} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()

        self._listen(running, port, request)

    def _answers(self, port: int) -> bool:
        log = self.setup.folder / "peer.log"
        return log.exists() and "\nserving" in "\n" + log.read_text(
            errors="replace", encoding="utf-8"
        )


class LitServe(_OnHttp):
    """LitServe with batching."""

    name = "litserve"

    def _start(self, running: ExitStack) -> None:
        python = python_of("litserve", self.setup.venvs)
        port = free_port()
        self._run(running, python, ["-m", "benchmarks.programs.litserve_server", str(port)])

        def request(post_id: str) -> bytes:
            body = f'{{"id": "{post_id}"}}'
            return (
                "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            ).encode()

        self._listen(running, port, request)

    def _answers(self, port: int) -> bool:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
                connection.request("GET", "/health")
                return connection.getresponse().status == 200
        except OSError:
            return False
