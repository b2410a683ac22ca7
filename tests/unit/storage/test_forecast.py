"""What waits in the next day, against days that were made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from storage.reports.forecast import AHEAD, Hours, outlook

NOW = datetime(2026, 5, 4, 18, tzinfo=UTC)
HOUR = int(NOW.timestamp()) // 3600
LONG_AGO = NOW - timedelta(days=60)


def every_week(opened: Mapping[int, int], decided: Mapping[int, int]) -> Hours:
    """The same day in each of the last four weeks, by hours after now."""
    weeks = [168 * back for back in range(1, 5)]
    return Hours(
        {HOUR + hour - week: n for week in weeks for hour, n in opened.items()},
        {HOUR + hour - week: n for week in weeks for hour, n in decided.items()},
        LONG_AGO,
    )


def test_the_next_day_goes_like_the_same_hours_of_past_weeks() -> None:
    counted = every_week({0: 5, 10: 7}, {1: 12, 2: 3, 20: 2})
    found = outlook(counted, waiting=10, now=NOW)
    assert found is not None
    assert (found.weeks, found.days, len(found.steps)) == (4, 0, AHEAD)
    waiting = [step.expected for step in found.steps]
    assert waiting[:3] == [15, 3, 0], "not less than nothing"
    assert waiting[10:12] == [7, 7]
    assert waiting[-1] == 5
    assert all(step.low == step.expected == step.high for step in found.steps)
    assert found.steps[0].at == NOW + timedelta(hours=1)
    assert found.empty_at == NOW + timedelta(hours=3)


def test_weeks_that_differ_say_how_far_it_may_be_off() -> None:
    decided = {HOUR + 3 - 168 * back: number for back, number in enumerate((2, 4, 6, 8), 1)}
    found = outlook(Hours({}, decided, LONG_AGO), waiting=10, now=NOW)
    assert found is not None
    assert (found.last.low, found.last.expected, found.last.high) == (2, 5, 8)
    assert found.empty_at is None


def test_of_the_hour_that_runs_only_the_rest_is_to_come() -> None:
    counted = every_week({0: 8}, {})
    found = outlook(counted, waiting=0, now=NOW + timedelta(minutes=45))
    assert found is not None
    assert found.steps[0].expected == 2
    assert found.steps[0].at == NOW + timedelta(hours=1)


def test_before_a_week_has_passed_days_are_taken_and_before_a_day_nothing_is_known() -> None:
    decided = {HOUR + 5 - 24 * back: back for back in range(1, 7)}
    begun = Hours({}, decided, NOW - timedelta(days=3, hours=1))
    found = outlook(begun, waiting=10, now=NOW)
    assert found is not None
    assert (found.weeks, found.days) == (0, 3)
    assert (found.last.low, found.last.expected, found.last.high) == (7, 8, 9)
    for first in (None, NOW - timedelta(hours=20)):
        assert outlook(Hours({}, {}, first), waiting=10, now=NOW) is None
    eight = outlook(Hours({}, {}, NOW - timedelta(days=8)), waiting=10, now=NOW)
    assert eight is not None
    assert (eight.weeks, eight.days) == (1, 0)


def test_hours_are_days_too() -> None:
    noon = datetime(2026, 5, 4, 12, tzinfo=UTC)
    hour = int(noon.timestamp()) // 3600
    counted = Hours({hour: 2, hour + 11: 3, hour + 12: 4}, {hour - 13: 1}, LONG_AGO)
    days = counted.days(until=noon, number=3)
    assert [(day.day.day, day.opened, day.decided) for day in days] == [
        (2, 0, 0),
        (3, 0, 1),
        (4, 5, 0),
    ]
