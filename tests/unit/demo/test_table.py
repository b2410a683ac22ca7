"""The demo's table on terminals of any width."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from deadpan.demo.table import Row, _table

_REASON = {
    "rule": "sarcastic",
    "conditions": [{"score": "sarcasm", "value": 0.72, "comparison": ">=", "threshold": 0.7}],
}


def _verdict(offensive: float | None = None) -> Any:
    return SimpleNamespace(
        negative=0.43,
        neutral=0.2,
        positive=0.37,
        sarcasm=0.72,
        offensive=offensive,
        hateful=None,
        text_alone={"negative": 0.61, "neutral": 0.2, "positive": 0.19},
        image_alone={"negative": 0.1, "neutral": 0.2, "positive": 0.7},
        degraded=[],
        unread=[{"what": "text", "problem": "cut after 5 of 9 characters"}],
        language="tr",
        unlearnt=True,
    )


@pytest.mark.parametrize("width", [40, 60, 80, 100, 150])
def test_the_table_says_the_outcome_of_every_post_on_any_terminal(width: int) -> None:
    rows = [
        Row("1001", "a flooded kitchen", "judged", _verdict(), (_REASON,), ""),
        Row("1002", "", "judged", _verdict(), (), ""),
        Row("1999", "", "gone", None, (), ""),
    ]
    paper = io.StringIO()
    Console(width=width, file=paper).print(_table(rows, width))
    shown = paper.getvalue()
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    for words in ("1001", "1002", "1999", "sarcastic:", "gone"):
        assert words in shown
    assert shown.count("negative 0.43") == 2
    assert ("negative 0.61" in shown and "positive 0.70" in shown) == (width >= 80)


def test_a_score_of_words_has_a_column_where_a_verdict_has_it_and_there_is_room() -> None:
    asked = Row("1001", "", "judged", _verdict(offensive=0.83), (), "")
    unasked = Row("1002", "", "judged", _verdict(), (), "")
    paper = io.StringIO()
    for rows, width in (([asked, unasked], 150), ([unasked], 150), ([asked], 100)):
        Console(width=width, file=paper).print(_table(rows, width))
    shown = paper.getvalue()
    assert shown.count("offensive") == 1
    assert "0.83" in shown
    assert "hateful" not in shown
