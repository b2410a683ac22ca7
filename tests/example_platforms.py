"""Deadpan installed for the examples: workers, a console, and platforms that come and go."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from sqlalchemy import Engine, make_url

from storage.base.database import connect
from storage.migrations.schema import migrate
from tests.harness import environment
from tests.postgres import Postgres
from tests.receiver import SECRET
from worker.local.embedded import EmbeddedValkey, free_port
from worker.local.processes import ChildProcess

EXAMPLES = Path(__file__).parents[1] / "examples"
TOKEN = "a-token-of-the-platform"
READER_PASSWORD = "reads-only"
RUN = {
    "python": [sys.executable, str(EXAMPLES / "python/sample_platform.py")],
    "node": ["node", str(EXAMPLES / "node/sample_platform.mjs")],
}


@dataclass
class Installation:
    """Deadpan as it runs: what a platform has to know of it, and where its tables are."""

    folder: Path
    valkey: EmbeddedValkey
    port: int  # where the platform is expected
    database: Engine
    console: str
    token: str
    children: list[ChildProcess]
    platform_database: str  # URL of the platform's own PostgreSQL

    @contextmanager
    def platform(self, name: str, **more: str) -> Iterator[httpx.Client]:
        """A sample platform, until the block ends."""
        child = ChildProcess(
            f"platform in {name}",
            [*RUN[name], str(self.port)],
            environment=environment(
                redis_url=self.valkey.url, source_token=TOKEN, callback_secret=SECRET
            )
            | {"PLATFORM_DATABASE": str(self.folder / "platform.db")}
            | more,
            log_path=self.folder / f"{name}.log",
        )
        with child, httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30) as client:
            child.wait_for(lambda: answers(client), timeout_seconds=30)
            yield client

    def api(self) -> httpx.Client:
        """The console's JSON API."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=f"{self.console}/api/v1", headers=headers, timeout=30)


def sql_redis(valkey: EmbeddedValkey) -> str:
    """The same server for the database source, where it meets nobody else's ids."""
    return valkey.url.removesuffix("/0") + "/1"


def answers(client: httpx.Client, path: str = "/posts/none") -> bool:
    try:
        return client.get(path).status_code in (200, 404)
    except httpx.TransportError:
        return False


def deadpan(settings: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "deadpan", *arguments],
        env=settings,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def drop_reader(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as owner:
        owner.execute("DROP ROLE deadpan_reader")


@contextmanager
def installed(folder: Path, valkey: EmbeddedValkey, postgres: Postgres) -> Iterator[Installation]:
    """One worker for an HTTP source, one for a database source, and a console, until the block
    ends. They load their models while the first tests begin.
    """
    port = free_port()
    platform_database = postgres.create_database()
    with psycopg.connect(platform_database, autocommit=True) as owner:
        script = (EXAMPLES / "database/platform.sql").read_text()
        owner.execute(script.replace("READER_PASSWORD", READER_PASSWORD).encode())
    reader = make_url(platform_database).set(username="deadpan_reader", password=READER_PASSWORD)
    common = {
        "redis_url": valkey.url,
        "database_url": f"sqlite:///{folder}/deadpan.db",
        "evidence_url": folder / "evidence",
        "allow_private_addresses": "127.0.0.0/8",
        "retry_base_seconds": 0.05,
        "log_format": "json",
    }
    http = environment(
        **common,
        source=f"http://127.0.0.1:{port}/posts?ids={{ids}}",
        source_token=TOKEN,
        callback_url=f"http://127.0.0.1:{port}/deadpan",
        callback_secret=SECRET,
        callback_retry_base_seconds=0.2,
    )
    sql = environment(
        **common | {"redis_url": sql_redis(valkey)},
        source="database",
        source_database_url=reader.render_as_string(hide_password=False),
        source_query="SELECT id, text, images, author, created_at FROM posts WHERE id IN :ids",
    )
    database = connect(str(common["database_url"]))
    console_port = free_port()
    with ExitStack() as stack:
        stack.callback(database.dispose)
        stack.callback(drop_reader, postgres)
        stack.callback(postgres.drop_database, platform_database)
        migrate(database)
        deadpan(http, "moderators", "add", "bot", "--role", "lead")
        scopes = ("verdicts:read", "flags:read", "flags:decide")
        named = [part for scope in scopes for part in ("--scope", scope)]
        made = deadpan(http, "moderators", "token", "bot", "--purpose", "test", *named, "--json")
        arguments = {
            "worker": (["worker", "--with-housekeeping", "--name", "http"], http),
            "sql worker": (["worker", "--name", "sql"], sql),
            "console": (["console", "--port", str(console_port)], http),
        }
        children = [
            stack.enter_context(
                ChildProcess(
                    name,
                    [sys.executable, "-m", "deadpan", *command],
                    environment=settings,
                    log_path=folder / f"{name}.log",
                )
            )
            for name, (command, settings) in arguments.items()
        ]
        console = f"http://127.0.0.1:{console_port}"
        with httpx.Client(base_url=console) as client:
            children[-1].wait_for(lambda: answers(client, "/healthz"), timeout_seconds=60)
        yield Installation(
            folder,
            valkey,
            port,
            database,
            console,
            json.loads(made)["token"],
            children,
            platform_database,
        )
