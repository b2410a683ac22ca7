"""Redis that is there and refuses: full, a replica, too many clients, a slow and broken network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import Engine

from tasks.intake.intake import Intake
from tests.crash.test_redis_away import Probe
from tests.harness import outcomes, wait_until, worker
from tests.platform import Platform
from tests.proxy import Proxy
from worker.local.embedded import EmbeddedValkey

pytestmark = pytest.mark.long


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey of the test's own, to be configured."""
    with EmbeddedValkey(tmp_path / "valkey") as server:
        yield server


def test_a_worker_lives_through_all_that_redis_may_refuse_and_says_what_it_is(
    tmp_path: Path, settings: dict[str, Any], sqlite: Engine, valkey: EmbeddedValkey
) -> None:
    probe, intake = Probe(), Intake.at(valkey.url)
    admin = intake.client
    posts = {f"{kind}-{n}": {"text": f"post {n}"} for n in range(50) for kind in "abcd"}
    with Platform(posts) as platform, Proxy(valkey.port) as proxy:
        settings |= {"source": platform.source, "lease_seconds": 3}
        settings["redis_url"] = f"redis://127.0.0.1:{proxy.port}/0"
        child = worker(tmp_path, metrics_port=probe.port, **settings)

        def judged(kind: str) -> bool:
            ids = [i for i in posts if i.startswith(kind)]
            told = intake.status()
            return len(outcomes(sqlite, ids)) == 50 and not told["chunks"]

        def unready(*words: str) -> bool:
            return any(word in (probe.why_not() or "") for word in words)

        def push(kind: str) -> None:
            intake.enqueue([i for i in posts if i.startswith(kind)])

        with child:
            wait_until(probe.ready, "readiness", child)

            # Full: nothing can be pushed, and what waits is judged all the same.
            admin.set("ballast", "x" * 2**20)
            with admin.pipeline(transaction=True) as at_once:
                at_once.rpush("deadpan:posts", *(i for i in posts if i.startswith("a")))
                at_once.config_set("maxmemory", 2**20)
                at_once.execute()
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                admin.rpush("deadpan:posts", "refused")
            wait_until(lambda: unready("maxmemory"), "unreadiness", child)
            wait_until(lambda: judged("a"), "outcomes with a full Redis", child)
            admin.config_set("maxmemory", 0)
            wait_until(probe.ready, "readiness after memory", child)

            # A replica after a failover: it answers and takes no writes.
            admin.replicaof("127.0.0.1", "1")
            wait_until(lambda: unready("replica", "READONLY"), "unreadiness", child)
            admin.replicaof("NO", "ONE")
            push("b")
            wait_until(probe.ready, "readiness after the failover", child)
            wait_until(lambda: judged("b"), "outcomes after the failover", child)

            # Too many clients: others have all the connections.
            with ExitStack() as others:
                admin.config_set("maxclients", 20)
                proxy.cut()
                while True:
                    other = redis.Redis(port=valkey.port, single_connection_client=False)
                    others.callback(other.close)
                    try:
                        other.ping()
                    except redis.exceptions.ConnectionError:
                        if unready("max number of clients"):
                            break
                push("c")
            admin.config_set("maxclients", 1000)
            wait_until(probe.ready, "readiness after the crowd", child)
            wait_until(lambda: judged("c"), "outcomes after the crowd", child)

            # A network that is slow, in small pieces, and breaks now and then.
            proxy.delay_seconds, proxy.piece = 0.02, 256
            push("d")
            for _ in range(3):
                asked = platform.asked.total()
                wait_until(
                    lambda asked=asked: platform.asked.total() > asked or judged("d"),  # type: ignore[misc]
                    "work on a slow network",
                    child,
                )
                proxy.cut()
            wait_until(lambda: judged("d"), "outcomes on a slow network", child)
            proxy.delay_seconds = 0.0
            wait_until(probe.ready, "readiness on a good network", child)
    intake.close()
