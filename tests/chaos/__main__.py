"""`make chaos`: the long run, with a report below .chaos/; `--short` is the one of the tests."""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from tests.chaos.plan import LONG, SHORT
from tests.chaos.report import markdown, write
from tests.chaos.run import run, to_terminal
from worker.local.processes import Interrupts


def main() -> int:
    """Exit code 1 when a promise did not hold."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a minute instead of a quarter hour")
    parser.add_argument("--seed", type=int, help="another schedule")
    parser.add_argument("--posts", type=int, help="another number of posts")
    parser.add_argument("--folder", type=Path, default=Path(".chaos"))
    given = parser.parse_args()
    plan = SHORT if given.short else LONG
    plan = replace(
        plan,
        seed=plan.seed if given.seed is None else given.seed,
        posts=given.posts or plan.posts,
    )
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    with Interrupts():
        result = run(plan, given.folder.resolve(), to_terminal)
    page = write(result, given.folder)
    sys.stdout.write(f"\n{markdown(result)}\nwritten to {page}\n")
    return int(any(result.problems.values()))


if __name__ == "__main__":
    sys.exit(main())
