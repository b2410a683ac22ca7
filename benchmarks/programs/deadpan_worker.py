"""`deadpan worker` with a clock at its stages.

    python -m benchmarks.programs.deadpan_worker STAGES.jsonl

Only the split of CPU time comes from here; posts per second are measured with the worker as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.stages import TARGETS, StageClock


def main() -> None:
    """Run the worker until it is told to stop."""
    import worker.runtime  # noqa: F401 - what binds the targets by name must be there to be patched

    clock = StageClock()
    clock.install()
    if clock.missing:
        print(f"no such stage to clock: {clock.missing} of {TARGETS}", flush=True)
    clock.write(Path(sys.argv[1]))
    sys.argv = ["deadpan", "worker"]
    from deadpan.cli import main as deadpan

    deadpan()


if __name__ == "__main__":
    main()
