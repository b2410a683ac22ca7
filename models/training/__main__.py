"""`python -m models.training`: a recipe on several GPUs or machines, by `accelerate launch -m`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deadpan.core.errors import DeadpanError
from models.training.recipe import load_recipe
from models.training.run import train


def main() -> int:
    """Train as `deadpan train --recipe` does, and return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.training", description=__doc__)
    parser.add_argument("--recipe", default="mini", help="name of a recipe, or a TOML file")
    parser.add_argument("--data", type=Path, required=True, help="folder of the recipe's files")
    parser.add_argument("--output", type=Path, default=Path("checkpoint"))
    parser.add_argument("--cache", type=Path, default=Path(".deadpan/training"))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    given = parser.parse_args()
    try:
        result = train(
            load_recipe(given.recipe, given.data),
            given.output,
            cache_dir=given.cache,
            device=given.device,
            report=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except DeadpanError as error:
        print(error, file=sys.stderr)
        return 1
    print(result.version)
    return 0


if __name__ == "__main__":
    sys.exit(main())
