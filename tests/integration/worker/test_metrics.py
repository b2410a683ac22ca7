"""Every metric of the design's Faces, read from /metrics after work that the test knows."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as families
from sqlalchemy import Engine

from storage.judging.evidence import EvidenceStore
from tasks.intake.arrivals import publish_scaling
from tasks.intake.intake import Intake
from tasks.intake.keys import PRIORITIES
from tests.console_data import flag
from tests.console_server import serving
from tests.harness import environment, outcomes, wait_until, worker
from tests.platform import Platform
from worker.local.embedded import EmbeddedValkey, free_port
from worker.local.processes import ChildProcess

Samples = dict[str, float]


def samples(text: str) -> Samples:
    """Value by name and labels, as in `deadpan_posts_total{outcome="gone"}`."""
    found = {}
    for family in families(text):
        for sample in family.samples:
            labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def read(port: int) -> Samples:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return samples(answer.read().decode())
    except OSError:
        return {}


def answers(port: int, path: str) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False
    return True


def celery(what: str, redis_url: str) -> dict[str, object]:
    """The answers of `celery inspect`, by worker."""
    done = subprocess.run(
        [*[sys.executable, "-m", "celery", "-A", "worker", "inspect"], what, "--json"],
        capture_output=True,
        text=True,
        env=environment(redis_url=redis_url),
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


# One database is enough: what is counted does not depend on it.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@on_sqlite
@pytest.mark.long
def test_a_worker_counts_what_it_did_and_answers_celery_s_own_tools(
    tmp_path: Path, intake: Intake, valkey_server: EmbeddedValkey, database_url: str,
    database: Engine,
) -> None:  # fmt: skip
    port = free_port()
    with Platform({"a": {"text": "a fine day"}, "b": {"text": "the worst day"}}) as platform:
        child = worker(
            tmp_path,
            redis_url=valkey_server.url,
            database_url=database_url,
            source=platform.source,
            evidence_url=tmp_path / "evidence",
            allow_private_addresses="127.0.0.0/8",
            metrics_port=port,
            explain="off",
        )
        with child:
            wait_until(lambda: answers(port, "/healthz"), "health", child)
            wait_until(lambda: answers(port, "/readyz"), "readiness", child)
            assert read(port)["deadpan_worker_ready"] == 1
            (said,) = intake.status()["workers"]
            assert said["ready"] is True
            assert said["model"].startswith("mini-")
            ids = ["a", "b", "away", "x" * 300]
            intake.client.rpush("deadpan:posts", *ids)
            wait_until(lambda: len(outcomes(database, ["a", "b", "away"])) == 3, "outcomes", child)
            # A chunk is counted after it is committed, and gauges are read now and then.
            settled = {
                'deadpan_posts_total{outcome="judged"}': 2,
                'deadpan_posts_total{outcome="gone"}': 1,
                'deadpan_posts_total{outcome="dead_letter"}': 1,
                "deadpan_chunk_posts_sum": 4,
                "deadpan_post_seconds_count": 4,
                "deadpan_intake_oldest_age_seconds": 0,
                **{f'deadpan_intake_posts{{priority="{p}"}}': 0 for p in PRIORITIES},
            }
            wait_until(lambda: settled.items() <= read(port).items(), "the counts", child)
            told = read(port)
            chunks = told["deadpan_chunk_posts_count"]
            assert told["deadpan_post_seconds_sum"] > 0
            for stage in ("fetch", "prepare", "predict", "decide", "record"):
                assert 0 < told[f'deadpan_stage_seconds_count{{stage="{stage}"}}'] <= chunks
                assert told[f'deadpan_stage_seconds_sum{{stage="{stage}"}}'] > 0
            (info,) = [name for name in told if name.startswith("deadpan_model_info{")]
            assert 'version="mini-' in info
            assert re.search('engine="(torch|openvino)"', info)

            name = "worker@test"
            assert celery("ping", valkey_server.url) == {name: {"ok": "pong"}}
            wait_until(
                lambda: celery("active", valkey_server.url) == {name: []}, "the end of tasks", child
            )
            assert celery("registered", valkey_server.url) == {name: ["deadpan.moderate"]}
            stats = celery("stats", valkey_server.url)[name]
            assert stats["total"] == {"deadpan.moderate": chunks}  # type: ignore[index]
    assert child.exit_code == 0
    assert intake.status()["workers"] == [], "a worker that ends in order leaves the list"
    lines = [line for line in child.log_path.read_text().splitlines() if line[:1] == "{"]
    recorded = [each for each in map(json.loads, lines) if each["event"] == "chunk recorded"]
    assert recorded
    assert all(each["chunk"] for each in recorded)


@on_sqlite
def test_housekeeping_knows_how_old_posts_are_while_no_worker_runs(
    tmp_path: Path, intake: Intake, valkey_server: EmbeddedValkey, database_url: str,
    database: Engine,
) -> None:  # fmt: skip
    ports = [free_port(), free_port()]
    children = [
        ChildProcess(
            f"housekeeping {port}",
            [sys.executable, "-m", "deadpan", "housekeeping"],
            environment=environment(
                redis_url=valkey_server.url, database_url=database_url, metrics_port=port
            ),
            log_path=tmp_path / f"{port}.log",
        )
        for port in ports
    ]
    flag(database, "p1", queue="all")
    flag(database, "p2", queue="all")
    intake.enqueue(["1", "2", "3"], "low")
    with children[0], children[1]:
        for port in ports:
            settled = {
                'deadpan_intake_posts{priority="low"}': 3,
                'deadpan_flags_open{queue="all"}': 2,
                "deadpan_housekeeping_ready": 1,
                "deadpan_callbacks_pending": 0,
                "deadpan_callbacks_parked": 0,
                "deadpan_callbacks_oldest_age_seconds": 0,
            }
            wait_until(
                lambda port=port: read(port).get("deadpan_intake_oldest_age_seconds", 0) > 2,  # type: ignore[misc]
                "an age",
                *children,
            )
            wait_until(
                lambda port=port, settled=settled: settled.items() <= read(port).items(),  # type: ignore[misc]
                "the counts",
                *children,
            )
        wait_until(
            lambda: sum(read(port)["deadpan_housekeeping_leads"] for port in ports) == 1,
            "one that leads",
            *children,
        )
        times = [int(line.split()[0]) for line in intake.client.lrange("deadpan:arrivals", 0, -1)]
        apart = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert min(apart) >= 500, "two that sample note no more than one"


def test_the_console_tells_programs_with_a_token_how_many_workers_and_flags(
    tmp_path: Path, intake: Intake, database: Engine
) -> None:
    flag(database, "p1", queue="all")
    flag(database, "p2", queue="sarcasm")
    flag(database, "p3", queue="sarcasm")
    store = EvidenceStore(str(tmp_path / "evidence"))
    with serving(database, intake, store) as console:
        token = console.token("prometheus", "metrics:read", "scaling:read", role="viewer")
        with httpx.Client(base_url=console.url, headers=token, timeout=30) as program:
            told = samples(program.get("/metrics").text)
            assert told['deadpan_flags_open{queue="all"}'] == 1
            assert told['deadpan_flags_open{queue="sarcasm"}'] == 2
            assert told["process_resident_memory_bytes"] > 0
            nobody = program.get("/api/v1/scaling")
            assert nobody.status_code == 404
            assert "deadpan autoscale" in nobody.json()["detail"]
            publish_scaling(intake, {"desired": 3, "why": "for posts that come", "state": {}})
            answer = program.get("/api/v1/scaling").json()
            assert (answer["desired"], answer["why"]) == (3, "for posts that come")
            assert "state" not in answer, "what the autoscaler remembers is its own"
            # as if it had been said twenty seconds ago
            intake.client.pexpire("deadpan:scaling", 40_000)
            assert program.get("/api/v1/scaling").status_code == 404
        assert httpx.get(f"{console.url}/metrics").status_code == 401
        other = console.token("eve", "flags:read")
        assert httpx.get(f"{console.url}/metrics", headers=other).status_code == 403
        assert httpx.get(f"{console.url}/api/v1/scaling", headers=other).status_code == 403
