"""`make compose-test`: the whole docker-compose.yml, three workers, 500 posts, two kills.

Ends with 0 when every post has its outcome, and with 0 and the word "skipped" where there is no
engine to run it on; with 1 when something was not found.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from tests.compose.stack import IMAGE, ROOT, NoEngine, NotFound, Stack

POSTS = 500
WORKERS = 3
LIMIT_SECONDS = 30 * 60
REPORT = ROOT / ".compose-test" / "report.json"


def main() -> int:
    """Run the trial, and say what became of it."""
    report: dict[str, Any] = {"posts": POSTS, "workers": WORKERS}
    try:
        with Stack(POSTS, time.monotonic() + LIMIT_SECONDS) as stack:
            trial(stack, report)
    except NoEngine as why:
        say(f"skipped: {why}")
        return 0
    except NotFound as what:
        say(f"failed: {what}")
        return 1
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    say(json.dumps(report, indent=2))
    say(f"passed: {POSTS} posts, {POSTS} outcomes")
    return 0


def trial(stack: Stack, report: dict[str, Any]) -> None:
    """Bring everything up, push, kill, and count."""
    began = time.monotonic()
    stack.compose("build", "migrate")
    report["build_seconds"] = round(time.monotonic() - began)
    report["image_megabytes"] = megabytes(stack)

    began = time.monotonic()
    stack.compose("up", "--detach", "--no-build", "--scale", f"worker={WORKERS}")
    for service in ("worker", "housekeeping", "console", "platform"):
        wanted = WORKERS if service == "worker" else 1
        stack.wait_healthy(service, wanted, 600)
    report["up_seconds"] = round(time.monotonic() - began)
    say(f"up: {WORKERS} workers are ready")
    check_containers(stack)

    ids = stack.inside("platform", "python", "/opt/platform.py", "ids")
    began = time.monotonic()
    stack.inside("platform", "deadpan", "enqueue", "-", given=ids)
    report["killed"] = [kill_worker(stack), kill_redis(stack)]

    stack.wait(f"{POSTS} outcomes", lambda: outcomes(stack) >= POSTS, 300)
    report["seconds"] = round(time.monotonic() - began, 1)
    report |= check_outcomes(stack, set(ids.split()))
    report |= check_console(stack)
    stop_in_order(stack)


def megabytes(stack: Stack) -> int:
    return round(int(stack.docker("image", "inspect", IMAGE, "--format", "{{.Size}}")) / 1e6)


def judged(stack: Stack) -> int:
    return int(stack.rows("select count(*) from verdicts")[0])


def outcomes(stack: Stack) -> int:
    ids = [f"select post_id from {t}" for t in ("verdicts", "dead_letters", "gone_posts")]
    return int(stack.rows(f"select count(*) from ({' union '.join(ids)}) as posts")[0])


def check_containers(stack: Stack) -> None:
    """No root, nothing to build with, no port but on loopback."""
    expect("user", stack.inside("worker", "id", "-u").strip(), "10001")
    tools = "for tool in gcc cc make ld; do command -v $tool; done; python -m pip --version; true"
    expect("build tools", stack.inside("worker", "sh", "-c", tools).strip(), "")
    for service in ("redis", "postgres", "worker", "housekeeping", "console"):
        ports = stack.inspect(stack.containers(service)[0])["NetworkSettings"]["Ports"] or {}
        addresses = {binding["HostIp"] for bound in ports.values() for binding in bound or []}
        expect(f"addresses of {service}", addresses - {"127.0.0.1"}, set())


def kill_worker(stack: Stack) -> dict[str, Any]:
    """SIGKILL for all of one container; the engine does not start it again after that."""
    stack.wait("a fifth is judged", lambda: judged(stack) >= POSTS // 5, 120)
    victim = stack.containers("worker")[0]
    stack.docker("kill", victim)
    after = judged(stack)
    say(f"killed a worker when {after} posts were judged")
    if after >= POSTS:
        raise NotFound("a worker was killed too late: nothing was left to judge")
    return {"what": "worker", "judged": after}


def kill_redis(stack: Stack) -> dict[str, Any]:
    """SIGKILL for the server inside its container; `restart` has to bring it back."""
    stack.wait("half is judged", lambda: judged(stack) >= POSTS // 2, 120)
    redis = stack.containers("redis")[0]
    # Its number is that of the only child of the container's init.
    stack.docker("exec", redis, "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)", check=False)
    after = judged(stack)
    say(f"killed Redis when {after} posts were judged")
    if after >= POSTS:
        raise NotFound("Redis was killed too late: nothing was left to judge")
    stack.wait_healthy("redis", 1, 60)
    expect("restarts of Redis", stack.inspect(redis)["RestartCount"], 1)
    return {"what": "redis", "judged": after}


def check_outcomes(stack: Stack, pushed: set[str]) -> dict[str, Any]:
    """One verdict for each post, nothing left anywhere, and the platform told of each once."""
    verdicts = stack.rows("select post_id from verdicts")
    expect("verdicts", sorted(verdicts), sorted(pushed))
    expect("dead letters", stack.rows("select post_id from dead_letters"), [])
    expect("gone posts", stack.rows("select post_id from gone_posts"), [])

    def waiting() -> Any:
        told = json.loads(stack.inside("console", "deadpan", "status", "--json"))
        return [*told["intake"].values(), told["chunks"], told["retries"]]

    stack.wait("nothing waits in Redis", lambda: not any(waiting()), 60)
    address = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/callbacks').read().decode())"

    def callbacks() -> Any:
        return json.loads(stack.inside("platform", "python", "-c", address))

    stack.wait("a callback for each post", lambda: len(callbacks()["posts"]) >= POSTS, 120)
    told = callbacks()
    expect("callbacks", told["posts"], sorted(pushed))
    expect("callbacks with a wrong signature", told["refused"], 0)
    flags = int(stack.rows("select count(*) from flags")[0])
    return {
        "verdicts": len(verdicts),
        "flags": flags,
        "callbacks": len(told["posts"]),
        "callback_tries": told["tries"],
    }


def check_console(stack: Stack) -> dict[str, Any]:
    """It is ready, and says something to a person who is not signed in."""
    base = f"http://127.0.0.1:{stack.console_port}"
    with urllib.request.urlopen(f"{base}/readyz", timeout=30) as answer:
        ready = answer.status
    try:
        with urllib.request.urlopen(f"{base}/", timeout=30) as answer:
            page = answer.status
    except urllib.error.HTTPError as error:
        page = error.code
    if page >= 500:
        raise NotFound(f"the console answers / with {page}")
    return {"console": {"/readyz": ready, "/": page}}


def stop_in_order(stack: Stack) -> None:
    """Workers end by themselves within their grace, and say so by 0."""
    alive = [c for c in stack.containers("worker") if stack.inspect(c)["State"]["Running"]]
    expect("workers that are left", len(alive), WORKERS - 1)
    stack.compose("stop", "worker", quiet=True)
    codes = [stack.inspect(container)["State"]["ExitCode"] for container in alive]
    expect("exit codes of stopped workers", codes, [0] * len(alive))


def expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise NotFound(f"{what}: found {str(found)[:500]}, not {str(expected)[:500]}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
