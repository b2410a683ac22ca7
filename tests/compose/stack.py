"""A Docker engine, and docker-compose.yml brought up on it under a project name of its own."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from worker.local.embedded import free_port

ROOT = Path(__file__).parents[2]
PROJECT = "deadpan-compose-test"
IMAGE = "deadpan:compose-test"
CALLBACK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class NoEngine(Exception):
    """There is nothing here to run it on; says what is missing."""


class NotFound(Exception):
    """Something that was to be found was not."""


def find_compose() -> list[str]:
    """The words that Compose begins with: the plugin, or docker-compose 1.29.

    Raises:
        NoEngine: there is no client, no engine that answers, or no Compose.
    """
    if not shutil.which("docker"):
        raise NoEngine("no `docker` on the PATH")
    try:
        asked = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NoEngine("the Docker engine does not answer within 30 seconds") from None
    if asked.returncode != 0:
        said = (asked.stderr or asked.stdout).strip().splitlines()[-1:]
        raise NoEngine(f"no Docker engine answers: {' '.join(said)}")
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise NoEngine("neither `docker compose` nor docker-compose is installed")


def base_images() -> list[str]:
    """Images that are not built here."""
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    built = re.findall(r"^FROM (\S+:\S+)", dockerfile, re.M)
    return [*built, *(services[name]["image"] for name in ("redis", "postgres"))]


class Stack:
    """Everything of docker-compose.yml with the profile `cpu`, and a platform.

    Leaving the block removes its containers, networks, volumes and image; build layers stay in the
    engine's cache.

    Args:
        deadline: when the whole trial gives up, on the clock of `time.monotonic`.
    """

    def __init__(self, posts: int, deadline: float) -> None:
        self._compose = find_compose()
        self._deadline = deadline
        self.console_port = free_port()
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("DEADPAN_", "COMPOSE_"))},
            "DOCKER_BUILDKIT": "1",
            "COMPOSE_DOCKER_CLI_BUILD": "1",
            "COMPOSE_PROFILES": "cpu",
            "REDIS_PASSWORD": secrets.token_hex(24),
            "POSTGRES_PASSWORD": secrets.token_hex(24),
            "GRAFANA_PASSWORD": secrets.token_hex(24),
            "DEADPAN_SECRET_KEY": secrets.token_hex(24),
            "DEADPAN_SOURCE": "http://platform:8080/posts?ids={ids}",
            "DEADPAN_ALLOW_PRIVATE_ADDRESSES": "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
            "DEADPAN_CALLBACK_URL": "http://platform:8080/callbacks",
            "DEADPAN_CALLBACK_SECRET": CALLBACK_SECRET,
            "DEADPAN_CHUNK_SIZE": "8",
            "DEADPAN_LEASE_SECONDS": "10",
            "PLATFORM_POSTS": str(posts),
            "CONSOLE_PORT": str(self.console_port),
            "REDIS_PORT": str(free_port()),
        }

    def __enter__(self) -> Self:
        self._pull()
        self.compose(
            "down", "--volumes", "--remove-orphans", quiet=True
        )  # of a run that was killed
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._deadline = time.monotonic() + 180
        if kind is not None and kind is not NoEngine:
            self.compose("ps", check=False)
            self.compose("logs", "--no-color", "--tail", "25", check=False)
        self.compose("down", "--volumes", "--remove-orphans", quiet=True, check=False)
        self.docker("image", "rm", IMAGE, check=False)

    def _pull(self) -> None:
        for image in base_images():
            if self.docker("image", "inspect", image, check=False) == "":
                try:
                    self.docker("pull", "--quiet", image)
                except NotFound as error:
                    raise NoEngine(f"{image} is not there and cannot be pulled: {error}") from None

    def compose(self, *words: str, quiet: bool = False, check: bool = True) -> None:
        """Run Compose; what it says goes to the terminal unless `quiet`.

        Raises:
            NotFound: it failed, or took longer than there is time left.
        """
        files = ["-f", "docker-compose.yml", "-f", "tests/compose/platform.yml"]
        self._run([*self._compose, "-p", PROJECT, *files, *words], check, capture=quiet)

    def docker(self, *words: str, check: bool = True, given: str | None = None) -> str:
        """Run `docker`, and return what it printed; "" where it failed and `check` is off.

        Raises:
            NotFound: as `compose`.
        """
        return self._run(["docker", *words], check, capture=True, given=given)

    def _run(
        self, words: list[str], check: bool, *, capture: bool, given: str | None = None
    ) -> str:
        left = max(1.0, self._deadline - time.monotonic())
        try:
            done = subprocess.run(
                words, cwd=ROOT, env=self.environment, text=True, timeout=left, input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                stdout=subprocess.PIPE if capture else None,
                stderr=subprocess.PIPE if capture else None,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise NotFound(f"{' '.join(words[:6])} took more than {left:.0f} s") from None
        if done.returncode == 0:
            return done.stdout or ""
        if check:
            raise NotFound(f"{' '.join(words)} failed: {(done.stderr or '').strip()[-2000:]}")
        return ""

    def containers(self, service: str) -> list[str]:
        """Ids of the containers of a service, running or not."""
        label = "com.docker.compose"
        filters = [f"label={label}.project={PROJECT}", f"label={label}.service={service}"]
        options = [word for f in filters for word in ("--filter", f)]
        return self.docker("ps", "--all", "--quiet", "--no-trunc", *options).split()

    def inspect(self, container: str) -> dict[str, Any]:
        described: list[dict[str, Any]] = json.loads(self.docker("inspect", container))
        return described[0]

    def inside(self, service: str, *words: str, given: str | None = None) -> str:
        """Run a command in the first container of a service."""
        options = ["--interactive"] if given is not None else []
        return self.docker("exec", *options, self.containers(service)[0], *words, given=given)

    def rows(self, query: str) -> list[str]:
        """Ask the database; one column."""
        words = ["psql", "--username", "deadpan", "--no-psqlrc", "-tAc", query]
        return self.inside("postgres", *words).split()

    def wait_healthy(self, service: str, number: int, seconds: float) -> None:
        """Wait until so many containers of a service are healthy.

        Raises:
            NotFound: as `wait`.
        """

        def done() -> bool:
            states = [self.inspect(container)["State"] for container in self.containers(service)]
            healthy = [s for s in states if s.get("Health", {}).get("Status") == "healthy"]
            return len(healthy) == number

        self.wait(f"{number} healthy {service}", done, seconds)

    def wait(self, what: str, done: Callable[[], bool], seconds: float) -> None:
        """Ask again and again until it is so.

        Raises:
            NotFound: it was not so within `seconds`, nor within the trial's time.
        """
        until = min(self._deadline, time.monotonic() + seconds)
        while not done():
            if time.monotonic() > until:
                raise NotFound(f"not within {seconds:.0f} s: {what}")
            time.sleep(0.3)
