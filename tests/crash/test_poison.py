"""A post that ends the process that decodes it: found by halving, and its neighbours judged."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine

from storage.base.database import transaction
from storage.judging import queries
from tasks.intake.intake import Intake
from tests.harness import environment, outcomes, wait_until
from tests.platform import Platform
from worker.local.processes import ChildProcess

MAX_ATTEMPTS = 3


def picture(*, poison: bool) -> bytes:
    buffer = io.BytesIO()
    # Known by its size: decoders are given no metadata.
    Image.new("RGB", (66 if poison else 64, 64), "navy").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.long
def test_a_post_that_crashes_its_decoder_ends_as_a_dead_letter_and_its_neighbours_are_judged(
    tmp_path: Path,
    settings: dict[str, Any],
    sqlite: Engine,
    intake: Intake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A decoder with a hole: a real SIGSEGV, in the thread that decodes.
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "sitecustomize.py").write_text(
        "import os, signal\n"
        "from PIL.JpegImagePlugin import JpegImageFile\n"
        "start = JpegImageFile.__init__\n"
        "def opened(self, fp=None, filename=None):\n"
        "    start(self, fp, filename)\n"
        "    if self.size == (66, 64):\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "JpegImageFile.__init__ = opened\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "plugin"))
    posts = {f"p{n}": {"text": f"post {n}", "images": ["fine.jpg"]} for n in range(4)}
    posts["p2"]["images"] = ["poison.jpg"]
    images = {"fine.jpg": picture(poison=False), "poison.jpg": picture(poison=True)}
    with Platform(posts, images) as platform:
        child = ChildProcess(
            "worker",
            [sys.executable, "-m", "celery", "-A", "worker", "worker"],
            environment=environment(
                **{
                    **settings,
                    "source": platform.source,
                    "allow_private_addresses": "127.0.0.0/8",
                    "lease_seconds": 1,
                    "chunk_size": 4,
                    "max_attempts": MAX_ATTEMPTS,
                }
            ),
            log_path=tmp_path / "worker.log",
            restart=True,
        )
        intake.enqueue(posts)
        with child:
            wait_until(
                lambda: len(outcomes(sqlite, posts)) == 4 and not intake.status()["chunks"],
                "four outcomes",
                child,
            )
            # Lost twice with four posts, once with two, once beside others, once as a suspect.
            assert 3 <= child.restarts <= 6
    told = outcomes(sqlite, posts)
    assert told == {"p0": "judged", "p1": "judged", "p2": "dead_letter", "p3": "judged"}
    with transaction(sqlite, read_only=True) as connection:
        (letter,) = queries.dead_letters(connection, limit=10)
    assert (letter.stage, letter.attempts) == ("worker", MAX_ATTEMPTS)
    assert intake.client.hgetall("deadpan:chunk-losses") == {}
