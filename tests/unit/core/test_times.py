"""Times in all the forms that platforms write."""

from __future__ import annotations

import datetime as dates
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deadpan.core.times import read_time

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECONDS = 1767268800


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01T12:00:00Z",
        "2026-01-01t12:00:00z",
        "2026-01-01T12:00:00",
        "2026-01-01T12:00Z",
        "2026-01-01 12:00:00",
        "2026-01-01  12:00:00",
        "2026-01-01T13:00:00+01:00",
        "2026-01-01 17:30:00+05:30",
        "2026-01-01T04:00:00-0800",
        "20260101T120000Z",
        "20260101120000",
        20260101120000,
        "2026-01-01 12:00:00+00",  # PostgreSQL
        "2026-01-01 12:00:00 UTC",  # Ruby, ClickHouse
        "2026-01-01 13:00:00 +0100",  # Ruby, PHP
        "2026-01-01 12:00:00 +0000 UTC",  # Go
        "2026-01-01 12:00:00 +0000 UTC m=+0.000012345",
        "2026-01-01T13:00:00+01:00[Europe/Berlin]",  # Java
        "2026/01/01 12:00:00",
        "Thu, 01 Jan 2026 12:00:00 GMT",
        "Thu, 1 Jan 2026 13:00:00 +0100 (CET)",
        "1 Jan 2026 12:00 +0000",
        "Thursday, 01-Jan-26 12:00:00 GMT",
        "Thu Jan 01 12:00:00 +0000 2026",  # Twitter
        "Thu Jan  1 12:00:00 2026",  # asctime
        "Thu Jan  1 12:00:00 UTC 2026",  # date
        "Thu Jan 01 2026 13:00:00 GMT+0100 (Central European Standard Time)",  # JavaScript
        "January 1, 2026 12:00:00",
        "/Date(1767268800000)/",  # .NET
        "/Date(1767268800000+0100)/",
        SECONDS,
        float(SECONDS),
        Decimal(SECONDS),
        str(SECONDS),
        f" {SECONDS}.0 ",
        SECONDS * 1000,
        str(SECONDS * 1000),
        SECONDS * 1000.0,
        SECONDS * 10**6,
        SECONDS * 10**9,
        {"$date": "2026-01-01T12:00:00Z"},
        {"$date": {"$numberLong": str(SECONDS * 1000)}},
        {"seconds": SECONDS, "nanoseconds": 0},
        {"_seconds": str(SECONDS), "_nanoseconds": 0},
        datetime(2026, 1, 1, 12),  # noqa: DTZ001 - as drivers give them
        datetime(2026, 1, 1, 13, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_the_same_moment_is_read_in_every_form(value: object) -> None:
    assert read_time(value) == NOON
    assert read_time(value).utcoffset() == timedelta(0)  # type: ignore[union-attr]


def test_fractions_of_one_to_nine_digits_are_read() -> None:
    for digits in range(1, 10):
        fraction = "123456789"[:digits]
        whole = NOON.replace(microsecond=int(fraction[:6].ljust(6, "0")))
        for form in ("2026-01-01T12:00:00.{}Z", "2026-01-01 12:00:00,{}+00"):
            assert read_time(form.format(fraction)) == whole
    assert read_time("1355517523.000005") == datetime(2012, 12, 14, 20, 38, 43, 5, tzinfo=UTC)


def test_a_day_is_its_beginning_and_a_leap_second_its_last() -> None:
    for value in ("2026-01-01", "20260101", dates.date(2026, 1, 1)):
        assert read_time(value) == datetime(2026, 1, 1, tzinfo=UTC)
    assert read_time("2016-12-31T23:59:60Z") == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        *("", "yesterday", "now", "infinity", "0000-00-00 00:00:00", "2026", "2026-13-01", "12:00"),
        *("01/02/2026 12:00", "2026-01-01T12:00:00+25:00", "2026-01-01T12:00:61Z", "1" * 50),
        *("Thu, 01 Jan 2026 12:00:00 CST", "0001-01-01T00:00:00+14:00", "x" * 1_000_000),
        *(None, True, False, 0, 5, 2026, -SECONDS, 10**30, float("nan"), float("inf"), b"2026"),
        *([], {}, {"seconds": {}}, {"$date": {"$date": None}}, {"a": 1}, Decimal("nan")),
    ],
)
def test_what_is_no_time_or_could_be_several_is_none(value: object) -> None:
    assert read_time(value) is None


MOMENTS = st.datetimes(
    datetime(1980, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    datetime(2099, 1, 1),  # noqa: DTZ001 - as above
    timezones=st.builds(lambda m: timezone(timedelta(minutes=m)), st.integers(-840, 840)),
)


@given(MOMENTS)
def test_every_moment_comes_back_from_the_forms_that_write_it(moment: datetime) -> None:
    assert read_time(moment.isoformat()) == moment
    assert read_time(str(moment)) == moment
    whole = moment.replace(microsecond=0)
    assert read_time(format_datetime(whole)) == whole
    assert read_time(whole.strftime("%a %b %d %H:%M:%S %z %Y")) == whole
    assert read_time(int(whole.timestamp())) == whole
    assert read_time(int(whole.timestamp()) * 1000) == whole


@given(st.one_of(st.text(), st.integers(), st.floats(), st.dictionaries(st.text(), st.integers())))
def test_nothing_breaks_the_reader_of_times(value: object) -> None:
    found = read_time(value)
    assert found is None or found.utcoffset() == timedelta(0)
