"""`deadpan enqueue` with many ids: memory, interruptions, standard input, mistakes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deadpan.cli import app
from deadpan.core.errors import ConfigurationError, QueueUnavailable
from tasks.intake.intake import Intake
from tests.harness import environment
from worker.local.embedded import EmbeddedValkey, free_port


def _peak_mib(file: Path, redis_url: str) -> float:
    """Most memory that `deadpan enqueue --file` had, in MiB."""
    program = (
        "import resource, sys\n"
        "from deadpan.cli import app\n"
        "app(['enqueue', '--file', sys.argv[1], '--max-waiting', '0', '--json'],"
        " standalone_mode=False)\n"
        "sys.stderr.write(f'peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)],
        capture_output=True,
        text=True,
        env=environment(redis_url=redis_url),
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    peak = int(done.stderr.rpartition("peak ")[2])
    return peak / (1024 if sys.platform == "linux" else 1024 * 1024)


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, valkey_server: EmbeddedValkey, intake: Intake
) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    few.write_text("1\n")
    many.write_text("".join(f"{n:>020}\n" for n in range(300_000)))
    growth = _peak_mib(many, valkey_server.url) - _peak_mib(few, valkey_server.url)
    assert intake.client.llen("deadpan:posts") == 300_001
    # Holding the ids alone would take 15 MiB.
    assert growth < 6


def enqueue(*arguments: str, **settings: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "deadpan", "enqueue", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**settings),
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_interrupts_it_is_told_how_to_go_on(
    tmp_path: Path, valkey_server: EmbeddedValkey, intake: Intake, number: signal.Signals
) -> None:
    path = tmp_path / "some ids"
    path.write_text("".join(f"{n}\n" for n in range(3000)))
    options = ["--file", str(path), "--priority", "low", "--restart"]
    first = enqueue(*options, "--rate", "200/s", redis_url=valkey_server.url)
    while not intake.client.llen("deadpan:posts:low"):
        assert first.poll() is None
    first.send_signal(number)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 1
    assert "interrupted after" in said
    assert f"run it again:  deadpan enqueue --file '{path}' --priority low --rate 200/s\n" in said
    second = enqueue("--file", str(path), "--priority", "low", redis_url=valkey_server.url)
    told, said = second.communicate(timeout=60)
    assert second.returncode == 0, said
    assert "by earlier runs" in told
    pushed = intake.client.lrange("deadpan:posts:low", 0, -1)
    assert pushed == [b"%d" % n for n in range(3000)]


def test_standard_input_goes_on_under_a_name(valkey_server: EmbeddedValkey, intake: Intake) -> None:
    ids = "".join(f"{n}\n" for n in range(1000))
    slow = enqueue("-", "--name", "all", "--rate", "200/s", redis_url=valkey_server.url)
    assert slow.stdin
    slow.stdin.write(ids)
    slow.stdin.flush()
    while not intake.client.llen("deadpan:posts"):
        assert slow.poll() is None
    slow.kill()
    slow.communicate()
    again = enqueue("-", "--name", "all", redis_url=valkey_server.url)
    _, said = again.communicate(ids, timeout=60)
    assert again.returncode == 0, said
    assert [r.decode() for r in intake.client.lrange("deadpan:posts", 0, -1)] == ids.split()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["1", "--rate", "5/s"], "--rate, --name and --restart only work"),
        (["--file", "/dev/null", "--query", "SELECT 1"], "; only one"),
        (["--query", "SELECT 1"], "DEADPAN_SOURCE_DATABASE_URL"),
        (["--file", "/dev/null", "--database", "sqlite://"], "--database only works with --query"),
        (["--query", "SELECT 1", "--database", "nonsense"], "--database is not a usable"),
        (["--file", "/", "--priority", "low"], "/ cannot be read"),
        (["--file", "/dev/null", "--rate", "quick"], "'quick'"),
    ],
)
def test_a_mistake_is_named(
    valkey_server: EmbeddedValkey,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.setenv("DEADPAN_REDIS_URL", valkey_server.url)
    with pytest.raises(ConfigurationError, match=words):
        app(["enqueue", *arguments], standalone_mode=False)


def test_redis_that_is_not_there_at_the_start_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ids"
    path.write_text("1\n")
    monkeypatch.setenv("DEADPAN_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(QueueUnavailable, match="DEADPAN_REDIS_URL"):
        app(["enqueue", "--file", str(path)], standalone_mode=False)
