"""Fuzzes one target: `python -m tests.fuzz.run TARGET --seconds 60`. Needs `atheris` (Linux).

New inputs that reach new code are written to a folder that is not kept; what fails is written to
`corpus/TARGET/` as `found-…`, where the tests try it from then on.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=[
        *(
            "models.posts.containers",
            "models.posts.normal_form.edits",
            "models.posts.images",
            "models.posts.normal_form.letters",
            "models.posts.normal_form.markup",
            "models.posts.normal_form.normalise",
        ),
        *(
            "models.posts.normal_form.names_and_links",
            "models.posts.text",
            "sources",
            "storage.base.text",
        ),
        *("PIL", "requests", "urllib3", "idna", "email"),
    ],
    enable_loader_override=False,
):
    from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    """Fuzz until the time is over, or something fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="how long")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers; 0 takes any")
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    kept = CORPUS / wanted.target
    with tempfile.TemporaryDirectory(prefix="deadpan-fuzz-") as new:
        options = [
            f"-max_total_time={wanted.seconds}",
            f"-seed={wanted.seed}",
            "-timeout=20",  # seconds for one input
            "-rss_limit_mb=2048",
            "-max_len=20000",
            "-print_final_stats=1",
            f"-artifact_prefix={kept}/found-",
            new,
            str(kept),
        ]
        atheris.Setup([sys.argv[0], *options], TARGETS[wanted.target])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
