"""What Insight says for figures that are known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from console.web.sentences import keeping_up, model_right, people_well, share_words
from storage.reports.answers import Answers, Right
from storage.reports.drift import Drift
from storage.reports.forecast import Outlook, Step
from storage.reports.insight import Load
from storage.reports.promises import Forecast
from storage.reports.statistics import Share

NOW = datetime(2026, 5, 4, 18, 20, tzinfo=UTC)
NOBODY = Answers(Share.of(0, 9), Right("", {}), [], [], [], [])


def _outlook(low: float, high: float, empty_at: datetime | None = None) -> Outlook:
    last = Step(NOW + timedelta(days=1), (low + high) / 2, low, high)
    return Outlook(4, 0, [last], empty_at)


def _late(flags: int) -> list[Forecast]:
    return [Forecast("negative", 42, flags, 0, 0, 24.0, 0, 0)]


def test_whether_you_keep_up_is_what_every_past_week_would_lead_to() -> None:
    oldest = NOW - timedelta(hours=3)
    growing = keeping_up(42, oldest, _late(2), _outlook(43, 60), NOW)
    assert str(growing) == (
        "You are falling behind. 42 flags wait, the oldest for 3.0 h; 2 are overdue. If the next "
        "day is like the same hours of the last 4 weeks, 52 (43 to 60) wait at 18:20 UTC tomorrow."
    )
    assert keeping_up(42, oldest, [], _outlook(40, 60), NOW).short == "What waits stays about the same."  # noqa: E501 # fmt: skip
    assert keeping_up(42, oldest, [], _outlook(3, 20), NOW).short == "You are keeping up."
    assert keeping_up(42, oldest, _late(1), _outlook(3, 20), NOW).short == "You are catching up."
    empty = keeping_up(42, oldest, [], _outlook(0, 50, NOW.replace(hour=21, minute=0)), NOW)
    assert empty.short == "You are keeping up."
    assert empty.rest.endswith("nothing waits at 21:00 UTC.")
    unknown = keeping_up(1, oldest, [], None, NOW)
    assert unknown.short == "1 flag waits, the oldest for 3.0 h."


def test_a_shift_is_named_and_what_is_unknown_is_said() -> None:
    moved = Drift("negative", [], 0.5, 0.3, 0.001)
    assert model_right(NOBODY, [moved]).rest == (
        "Something shifted: this week the mean score for negative went from 30.0% to 50.0%."
    )
    assert "Nothing shifted" in model_right(NOBODY, [Drift("negative", [], 0.5, 0.3, 0.02)]).rest
    assert "unknown" in model_right(NOBODY, []).rest
    known = Answers(Share.of(9, 9), Right("", {"sarcasm": Share.of(8, 9)}), [], [], [], [])
    assert model_right(known, []).short == "When asked, people said it was right: sarcasm 89% (56–98)."  # noqa: E501 # fmt: skip
    assert share_words(Share.of(0, 0)) == "–"


def test_what_is_said_of_people_is_said_to_them_as_you() -> None:
    loads = [Load("ann", 10, 0, 0, 5.0, 2, 1, 7, 4)]
    assert str(people_well(loads, lead=False)) == (
        "You made 10 decisions, 5.0 an hour at work. In the hardest hour you decided 4 negative "
        "posts. 1 decision took less than a second."
    )
    assert people_well(loads, lead=True).short.startswith("1 person made 10 decisions")
    assert people_well([], lead=False).short == "You decided nothing in this time."
