"""The command line as a user meets it: real processes, exit codes, no stack trace."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deadpan import cli
from deadpan.core.errors import QueueUnavailable
from storage.base.database import connect, transaction
from storage.flags import decisions
from storage.judging.outcomes import record
from storage.judging.values import NewDeadLetter
from storage.migrations.schema import migrate
from tasks.intake.intake import Intake
from tests.harness import deadpan, environment, wait_until
from worker.local import folders
from worker.local.embedded import EmbeddedValkey, free_port


@pytest.fixture
def database_at(tmp_path: Path) -> Iterator[str]:
    url = f"sqlite:///{tmp_path / 'deadpan.db'}"
    engine = connect(url)
    migrate(engine)
    yield url
    engine.dispose()


def told(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_enqueue_takes_ids_from_arguments_a_file_or_standard_input(
    tmp_path: Path, valkey_server: EmbeddedValkey, intake: Intake
) -> None:
    file = tmp_path / "ids"
    file.write_text("5\n6\r\n\n7")
    url = valkey_server.url
    assert told(deadpan("enqueue", "1", "2", "--json", redis_url=url))["pushed"] == 2
    assert told(deadpan("enqueue", "-", "--json", stdin=b"3\n4\n", redis_url=url))["pushed"] == 2
    arguments = ["enqueue", "--file", str(file), "--priority", "low", "--json"]
    done = told(deadpan(*arguments, redis_url=url))
    assert (done["pushed"], done["priority"], done["skipped"]["empty"]) == (3, "low", 1)
    assert intake.client.lrange("deadpan:posts", 0, -1) == [b"1", b"2", b"3", b"4"]
    assert intake.client.lrange("deadpan:posts:low", 0, -1) == [b"5", b"6", b"7"]


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["enqueue"], "give post ids", 2),
        (["enqueue", "1", "--priority", "urgent"], "'urgent'", 2),
        (["enqueue", "--file", "/nowhere"], "/nowhere", 2),
        (["enqueue", "a" * 257], "257 bytes", 2),
        (["enqueue", "1"], "DEADPAN_REDIS_URL", 1),
        (["status"], "DEADPAN_REDIS_URL", 1),
        (["nonsense"], "nonsense", 2),
        (["enqueue", "--nonsense"], "--nonsense", 2),
        (["classify"], "nothing to judge", 2),
        (["classify", "--image", "/nowhere.jpg"], "/nowhere.jpg", 2),
        (["classify", "--text", "x", "--model", "/nowhere"], "/nowhere", 1),
        (["evaluate", "/nowhere.jsonl"], "/nowhere.jsonl", 2),
        (["train"], "--data", 2),
        (["demo", "--posts", "/nowhere.jsonl"], "/nowhere.jsonl", 2),
        (["up"], "DEADPAN_SOURCE", 2),
        (["up"], "run `deadpan demo`: it brings its own posts", 2),
        (["demo", "--stay", "--json"], "--stay and --json", 2),
    ],
)
def test_a_users_mistake_is_named_with_its_value_and_an_exit_code(
    tmp_path: Path, arguments: list[str], words: str, code: int
) -> None:
    if arguments[0] in ("demo", "up"):
        arguments = [*arguments, "--folder", str(tmp_path / "folder")]
    done = deadpan(*arguments, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    assert words in done.stderr
    assert done.returncode == code


@pytest.mark.parametrize("command", ["demo", "up"])
def test_what_is_in_use_by_another_is_named_before_anything_starts(
    tmp_path: Path, command: str
) -> None:
    folder, posts = tmp_path / "folder", tmp_path / "posts.jsonl"
    posts.write_text('{"id": "1", "text": "what a day"}\n')
    settings = {"source": f"file:{posts}"} if command == "up" else {}
    more = ["--redis-port", str(free_port())] if command == "up" else ["--stay"]
    start = [command, "--folder", str(folder), *more]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = deadpan(*start, "--port", str(port), **settings)
    assert refused.returncode == 2
    said = f"cannot listen on 127.0.0.1:{port} (Address already in use); choose another --port"
    assert refused.stderr == f"error: {said}\n"
    assert not folder.exists()
    with folders.held(folder, command):
        (folder / "kept").touch()
        refused = deadpan(*start, "--port", str(free_port()), **settings)
        assert (folder / "kept").exists(), "the folder of one at work is not emptied"
    assert refused.returncode == 2
    assert f"--folder {folder} is in use by another deadpan" in refused.stderr


def test_a_demo_says_at_once_what_is_wrong_with_its_settings(tmp_path: Path) -> None:
    refused = deadpan("demo", "--folder", str(tmp_path / "demo"), model="/nowhere", policy="/nix")
    assert refused.returncode == 2
    assert "policy /nix cannot be read" in refused.stderr
    assert "model '/nowhere' is neither a preset (mini) nor a folder" in refused.stderr
    assert "before it was ready" not in refused.stderr


def test_a_ctrl_c_before_a_command_has_begun_shows_no_stack_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pressed() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", pressed)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130


def test_an_embedded_valkey_that_ended_is_not_called_out_of_reach(tmp_path: Path) -> None:
    def ask() -> None:
        with EmbeddedValkey(tmp_path / "valkey") as valkey:
            intake = Intake.at(valkey.url)
            os.kill(valkey.process.pid, signal.SIGKILL)
            wait_until(lambda: valkey.process.exit_code is not None, "its end")
            intake.status()

    with pytest.raises(QueueUnavailable, match=r"embedded Valkey ended; .*/valkey\.log says why"):
        ask()


def test_check_says_all_that_is_wrong_at_once(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[[rules]]\nname = "x"\n')
    done = deadpan(
        "check",
        "--json",
        redis_url=f"redis://127.0.0.1:{free_port()}/0",
        database_url=f"sqlite:///{tmp_path / 'empty.db'}",
        source="gopher://x",
        policy=policy,
        model=tmp_path / "no-model",
        chunksize=3,
    )
    assert done.returncode == 2
    shown = json.loads(done.stdout)
    for words in ("gopher", "'when' is missing", "no-model", "REDIS_URL", "db migrate"):
        assert any(words in problem for problem in shown["problems"]), words
    assert "DEADPAN_CHUNKSIZE" in shown["warnings"][0]


def test_check_finds_nothing_wrong_where_nothing_is(
    tmp_path: Path, valkey_server: EmbeddedValkey, database_at: str
) -> None:
    posts = tmp_path / "posts.jsonl"
    posts.write_text('{"id": "1", "text": "x"}\n')
    done = deadpan(
        "check",
        redis_url=valkey_server.url,
        database_url=database_at,
        source=f"file:{posts}",
        evidence_url=tmp_path / "evidence",
    )
    assert (done.returncode, done.stdout) == (0, "no problems found\n"), done.stderr


def test_status_tells_what_the_design_promises(
    valkey_server: EmbeddedValkey, intake: Intake, database_at: str
) -> None:
    intake.enqueue(["1", "2"], "high")
    intake.say("me", ready=True, model="mini-1")
    shown = told(deadpan("status", "--json", redis_url=valkey_server.url, database_url=database_at))
    assert shown["intake"] == {"high": 2, "normal": 0, "low": 0}
    assert shown["workers"] == [{"name": "me", "ready": True, "model": "mini-1"}]
    assert {
        "chunks", "retries", "oldest_age_seconds", "verdicts", "flags", "dead_letters", "callbacks",
        "backfills",
    } <= shown.keys()  # fmt: skip


def test_a_dead_letter_can_be_listed_and_replayed_once(
    valkey_server: EmbeddedValkey, intake: Intake, database_at: str
) -> None:
    engine = connect(database_at)
    with transaction(engine) as connection:
        letters = [
            NewDeadLetter("p1", "fetch", "the platform answered 500", 5),
            NewDeadLetter("x" * 300, "intake", "post id is 300 bytes long", 1),
        ]
        record(connection, verdicts=[], dead_letters=letters)
    engine.dispose()
    settings = {"redis_url": valkey_server.url, "database_url": database_at}
    rows = told(deadpan("dead-letters", "list", "--json", **settings))
    by_post = {row["post_id"]: row["id"] for row in rows}
    wrong = deadpan("dead-letters", "replay", str(by_post["x" * 300]), "99", **settings)
    assert wrong.returncode == 2
    assert "99 does not exist" in wrong.stderr
    assert "push the correct id" in wrong.stderr
    assert intake.client.llen("deadpan:posts") == 0
    again = told(deadpan("dead-letters", "replay", str(by_post["p1"]), "--json", **settings))
    assert again == {"replayed": ["p1"]}
    assert intake.client.lrange("deadpan:posts", 0, -1) == [b"p1"]
    twice = deadpan("dead-letters", "replay", str(by_post["p1"]), **settings)
    assert "was replayed at" in twice.stderr


def test_moderators_are_added_listed_and_kept_out(tmp_path: Path, database_at: str) -> None:
    where = {"database_url": database_at}
    added = told(deadpan("moderators", "add", "ada", "--role", "admin", "--json", **where))
    assert added["link"].startswith("http://127.0.0.1:8000/sign-in?token=")
    again = deadpan("moderators", "add", "ada", **where)
    assert (again.returncode, "'ada' is taken" in again.stderr) == (2, True)
    wrong = deadpan("moderators", "add", "Ada Lovelace", **where)
    assert (wrong.returncode, "'Ada Lovelace'" in wrong.stderr) == (2, True)
    assert "king" in deadpan("moderators", "role", "ada", "king", **where).stderr
    assert "last admin" in deadpan("moderators", "disable", "ada", **where).stderr
    told(deadpan("moderators", "add", "bob", "--json", **where))
    scopes = ["--scope", "flags:read", "--scope", "flags:decide"]
    made = told(
        deadpan("moderators", "token", "bob", "--purpose", "bot", *scopes, "--json", **where)
    )
    assert made["token"].startswith("deadpan_")
    assert deadpan("moderators", "disable", "bob", **where).returncode == 0
    assert (
        "there is no moderator 'eve'" in deadpan("moderators", "reset-link", "eve", **where).stderr
    )
    rows = told(deadpan("moderators", "list", "--json", **where))
    assert [(row["name"], row["role"], bool(row["disabled"])) for row in rows] == [
        ("ada", "admin", False),
        ("bob", "moderator", True),
    ]


def test_classify_judges_one_post_with_no_service(tmp_path: Path) -> None:
    shown = told(deadpan("classify", "--text", "what a lovely day", "--json"))
    assert sum(shown["sentiment"].values()) == pytest.approx(1, abs=1e-3)
    assert shown["label"] == max(shown["sentiment"], key=shown["sentiment"].get)
    assert shown["image_alone"] is None
    assert 0 <= shown["text_alone"]["sarcasm"] <= 1
    assert shown["model"].startswith("mini-")


def test_evaluate_measures_a_labelled_file(tmp_path: Path) -> None:
    posts = tmp_path / "posts.jsonl"
    lines = [
        {"id": "1", "text": "I love this", "sentiment": "positive"},
        {"id": "2", "text": "I hate this", "sentiment": "negative", "sarcastic": False},
        {"id": "3", "text": "it is a table", "sentiment": "neutral"},
    ]
    posts.write_text("\n".join(json.dumps(line) for line in lines))
    shown = told(deadpan("evaluate", str(posts), "--json"))
    fused = shown["sentiment"]["fused"]
    assert fused["n"] == 3
    assert fused["accuracy"]["low"] <= fused["accuracy"]["value"] <= fused["accuracy"]["high"]
    assert set(fused["per_class"]) == {"negative", "neutral", "positive"}
    assert shown["sentiment"]["image_alone"] is None


def test_the_demo_judges_its_posts_and_leaves_no_process_behind(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    shown = told(deadpan("demo", "--folder", str(folder), "--json"))
    assert shown["posts"] >= 40
    assert shown["judged"] + shown["gone"] + shown["dead_letters"] == shown["posts"]
    assert shown["gone"] >= 1
    assert shown["degraded"] >= 2
    assert shown["flags"] >= 1
    assert _processes_about(folder) == []


@pytest.mark.parametrize(
    "after_seconds",
    [
        1.1,
        *(pytest.param(each, marks=pytest.mark.long) for each in (0.0, 0.3, 0.8, 1.5, 1.9, 4.0)),
        7.0,
    ],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_at_any_moment_leaves_no_process_behind(
    tmp_path: Path, after_seconds: float, number: signal.Signals
) -> None:
    folder = tmp_path / "demo"
    child = _stay(folder)
    time.sleep(after_seconds)
    child.send_signal(number)
    time.sleep(0.05)
    if child.poll() is None:
        child.send_signal(number)  # an impatient person presses it twice
    child.wait(timeout=60)
    wait_until(lambda: _processes_about(folder) == [], "the end of its children")


@pytest.mark.long
def test_a_demo_that_was_started_to_ignore_ctrl_c_ignores_it_at_every_moment(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "demo"
    child = _stay(folder, "trap '' INT HUP; exec")
    try:
        log = folder / "worker.log"
        wait_until(lambda: child.poll() is not None or log.exists(), "a demo at work")
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGHUP)
        wait_until(lambda: child.poll() is not None or "model is warm" in log.read_text(), "more")
        assert child.poll() is None
    finally:
        child.send_signal(signal.SIGTERM)
        code = child.wait(timeout=60)
    assert code != -signal.SIGTERM, "it ended in order"
    wait_until(lambda: _processes_about(folder) == [], "the end of its children")


def _stay(folder: Path, before: str = "exec") -> subprocess.Popen[bytes]:
    """A demo that stays, as a shell starts it."""
    return subprocess.Popen(
        [
            *["/bin/sh", "-c", f'{before} "$@"', "sh"],
            *[sys.executable, "-m", "deadpan", "demo", "--stay", "--folder", str(folder)],
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )


@pytest.mark.long
def test_a_demo_on_a_terminal_stays_and_a_newcomer_decides_by_its_link(tmp_path: Path) -> None:
    folder, posts, policy = tmp_path / "demo", tmp_path / "posts.jsonl", tmp_path / "policy.toml"
    posts.write_text('{"id": "1", "text": "I hate this"}\n{"id": "2", "text": "what a day"}\n')
    policy.write_text(
        '[[rules]]\nname = "all"\nwhen = "sarcasm >= 0"\nqueue = "all"\npriority = 1\n'
    )
    terminal, far_end = pty.openpty()
    child = subprocess.Popen(
        [
            *[sys.executable, "-m", "deadpan", "demo", "--folder", str(folder)],
            *["--posts", str(posts)],
        ],
        stdin=subprocess.DEVNULL,
        stdout=far_end,
        stderr=subprocess.DEVNULL,
        env={**environment(policy=policy), "COLUMNS": "160"},
        start_new_session=True,
    )
    os.close(far_end)
    try:
        shown = ""
        while not (found := re.search(r"(http://127\.0\.0\.1:\d+)/sign-in\?token=(\S+)\s", shown)):
            shown += os.read(terminal, 65536).decode(errors="replace")
        assert "flagged because" not in shown, "it does not wait for the last post"
        while "Ctrl-C stops everything" not in shown:
            shown += os.read(terminal, 65536).decode(errors="replace")
        assert "flagged because" in shown
        assert shown.count(found[0].strip()) == 2, "once early, and once below the table"
        with httpx.Client(base_url=found[1], follow_redirects=True, timeout=30) as browser:
            door = browser.get("/sign-in", params={"token": found[2]}).text
            fields = dict(re.findall(r'name="(form|token)" value="([^"]+)"', door))
            queue = browser.post("/sign-in/link", data=fields).text
            flag_path = re.search(r'href="(/flags/\d+)"', queue)
            csrf = re.search(r'data-csrf="([0-9a-f]+)"', queue)
            assert flag_path, "the queue has no work in it"
            assert csrf
            said = {"csrf": csrf[1], "action": "approve"}
            assert browser.post(f"{flag_path[1]}/decide", data=said).status_code == 200
            assert browser.post("/sign-in/link", data=fields).status_code == 403, "used twice"
            browser.post("/sign-out", data={"csrf": csrf[1]})
        while not re.search(r"You signed out\..+token=(?!" + found[2] + ")", shown, re.DOTALL):
            shown += os.read(terminal, 65536).decode(errors="replace")
        assert child.poll() is None, "it stays until somebody ends it"
    finally:
        child.send_signal(signal.SIGINT)
        code = child.wait(timeout=60)
        os.close(terminal)
    assert code == 0
    engine = connect(f"sqlite:///{folder / 'deadpan.db'}")
    with transaction(engine, read_only=True) as connection:
        made = decisions.history(connection, limit=9)
    engine.dispose()
    assert [(each.moderator, each.action) for each in made] == [("admin", "approve")]
    wait_until(lambda: _processes_about(folder) == [], "the end of its children")


def _processes_about(folder: Path) -> list[list[str]]:
    found = []
    for process in psutil.process_iter(["cmdline", "environ", "pid"]):
        about = [*(process.info["cmdline"] or []), *(process.info["environ"] or {}).values()]
        if process.pid != os.getpid() and any(str(folder) in part for part in about):
            found.append(process.info["cmdline"])
    return found


@pytest.mark.long
def test_up_shows_a_newcomer_at_a_terminal_the_demo(tmp_path: Path) -> None:
    folder = tmp_path / "up"
    terminal, far_end = pty.openpty()
    child = subprocess.Popen(
        [
            *[sys.executable, "-m", "deadpan", "up", "--folder", str(folder)],
            *["--port", str(free_port())],
        ],
        stdout=far_end,
        stderr=far_end,
        env=environment(),
        start_new_session=True,
    )
    os.close(far_end)
    said = ""
    try:
        while "sample platform: " not in said:
            said += os.read(terminal, 65536).decode(errors="replace")
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(timeout=60)
        os.close(terminal)
    assert said.startswith("DEADPAN_SOURCE is not set: these are the demo's posts")
    wait_until(lambda: _processes_about(folder) == [], "the end of its children")


def test_up_runs_everything_on_one_machine_until_it_is_interrupted(tmp_path: Path) -> None:
    posts = tmp_path / "posts.jsonl"
    posts.write_text('{"id": "1", "text": "what a day"}\n')
    folder, port, redis_port = tmp_path / "up", free_port(), free_port()
    metrics = free_port()
    settings = environment(source=f"file:{posts}", metrics_port=metrics)
    child = subprocess.Popen(
        [
            *[sys.executable, "-m", "deadpan", "up", "--folder", str(folder)],
            *["--port", str(port), "--redis-port", str(redis_port)],
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=settings,
        start_new_session=True,
    )
    assert child.stdout
    with child, child.stdout:
        try:
            assert child.stdout.readline().startswith("ready.")
            link = child.stdout.readline().split()[-1]
            assert link.startswith(f"http://127.0.0.1:{port}/sign-in?token=")
            assert "its queue is empty: push ids as above" in child.stdout.readline()
            assert httpx.get(link).status_code == 200
            url = f"redis://127.0.0.1:{redis_port}/0"
            reached = {"redis_url": url, "database_url": f"sqlite:///{folder / 'deadpan.db'}"}
            told(deadpan("enqueue", "1", "--json", **reached))
            wait_until(
                lambda: told(deadpan("status", "--json", **reached))["verdicts"] == 1, "a verdict"
            )
            pages = [f"http://127.0.0.1:{at}/metrics" for at in (metrics, metrics + 1)]
            heard = "deadpan_workers_heard 1.0"
            wait_until(lambda: heard in httpx.get(pages[1]).text, "a worker that is heard")
            worker, housekeeping = (httpx.get(page).text for page in pages)
            assert "deadpan_worker_ready 1.0" in worker
            assert "deadpan_housekeeping" not in worker
            assert "deadpan_housekeeping_leads 1.0" in housekeeping
            assert "deadpan_worker_" not in housekeeping
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(timeout=60)
    wait_until(lambda: _processes_about(folder) == [], "the end of its children")
