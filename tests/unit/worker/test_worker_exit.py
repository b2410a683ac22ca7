"""`deadpan worker` ends with the exit code that Celery would end with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from typer.testing import CliRunner

from deadpan.cli import app
from worker import app as celery_app
from worker import runtime
from worker.app import OrderlyEnd


@pytest.mark.parametrize(("celerys", "ours"), [(None, 0), (0, 0), (1, 1)])
def test_an_error_that_ends_celery_is_no_orderly_end(
    monkeypatch: pytest.MonkeyPatch, celerys: int | None, ours: int
) -> None:
    asked = []
    ending = SimpleNamespace(ask=lambda: asked.append("end"))
    monkeypatch.setattr(runtime, "_current", SimpleNamespace(ending=ending))
    monkeypatch.setattr(OrderlyEnd, "exit_code", 0)

    def ends(arguments: list[str]) -> None:
        OrderlyEnd.close(cast(OrderlyEnd, None), SimpleNamespace(exitcode=celerys))

    monkeypatch.setattr(celery_app, "worker_main", ends)
    assert CliRunner().invoke(app, ["worker"]).exit_code == ours
    assert asked == ["end"]
