"""Variables that begin with DEADPAN_ and are no setting."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deadpan.core.variables import complaints, unknown_variables
from tests.harness import environment


def test_a_misspelt_variable_is_found_with_what_was_meant() -> None:
    given = {
        "DEADPAN_CHUNKSIZE": "3",
        "DEADPAN_CHUNK_SIZE": "3",
        "DEADPAN_REDIS": "x",
        "DEADPAN_METRIC_PORT": "9000",
        "DEADPAN_COLOUR_OF_THE_SKY": "blue",
        "PATH": "",
    }
    assert unknown_variables(given) == {
        "DEADPAN_CHUNKSIZE": "DEADPAN_CHUNK_SIZE",
        "DEADPAN_COLOUR_OF_THE_SKY": "",
        "DEADPAN_METRIC_PORT": "DEADPAN_METRICS_PORT",
        "DEADPAN_REDIS": "DEADPAN_REDIS_URL",
    }
    said = "\n".join(complaints(given))
    assert "DEADPAN_CHUNKSIZE is not a setting of Deadpan and has no effect; did you mean" in said


def test_what_kubernetes_sets_beside_a_service_is_not_taken_for_a_misspelling() -> None:
    assert not unknown_variables(
        {
            "DEADPAN_CONSOLE_SERVICE_HOST": "10.0.0.1",
            "DEADPAN_CONSOLE_SERVICE_PORT": "8000",
            "DEADPAN_CONSOLE_SERVICE_PORT_HTTP": "8000",
            "DEADPAN_CONSOLE_PORT": "tcp://10.0.0.1:8000",
            "DEADPAN_CONSOLE_PORT_8000_TCP": "tcp://10.0.0.1:8000",
            "DEADPAN_CONSOLE_PORT_8000_TCP_ADDR": "10.0.0.1",
        }
    )


@pytest.mark.parametrize(
    ("command", "style"),
    [
        (["-m", "deadpan", "settings", "--json"], "people"),
        (["-m", "deadpan", "worker"], "machines"),
        (["-m", "deadpan", "console", "--port", "0"], "machines"),
        (["-m", "deadpan", "housekeeping"], "machines"),
        (["-m", "deadpan", "autoscale"], "machines"),
        (["-m", "celery", "-A", "worker", "worker"], "machines"),
    ],
)
def test_every_process_says_a_misspelt_variable_once(
    command: list[str], style: str, tmp_path: Path
) -> None:
    # A policy that is not there ends those that serve, after they said it.
    done = subprocess.run(
        [sys.executable, *command],
        env=environment(chunksize=3, policy=tmp_path / "none.toml", database_url="mysql://h/x"),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=200,
    )
    lines = [line for line in done.stderr.splitlines() if "DEADPAN_CHUNKSIZE" in line]
    assert len(lines) == 1, done.stderr
    if style == "people":
        assert lines[0].startswith("warning: DEADPAN_CHUNKSIZE is not a setting")
        assert json.loads(done.stdout)
    else:
        assert json.loads(lines[0])["level"] == "warning"
