"""A limit a second, by a clock of the test."""

from __future__ import annotations

import pytest

from deadpan.core.errors import ConfigurationError
from tasks.intake.rate import Rate, rate_of


def test_a_rate_is_read_in_seconds_minutes_and_hours() -> None:
    assert rate_of("200/s") == 200
    assert rate_of("1.5/s") == 1.5
    assert rate_of("6,000/min") == 100
    assert rate_of("7200/h") == 2


@pytest.mark.parametrize("wrong", ["200", "fast", "0/s", "-1/s", "200/d", "/s", "1e3/s", ""])
def test_what_is_no_rate_is_named(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{wrong}'.*200/s"):
        rate_of(wrong)


def test_no_more_than_the_rate_goes_and_a_pause_is_not_made_up_for() -> None:
    now = [100.0]
    rate = Rate(10.0, clock=lambda: now[0])
    assert rate.wait_seconds() == 0
    rate.went(5)
    assert rate.wait_seconds() == pytest.approx(0.5)
    now[0] += 0.2
    assert rate.wait_seconds() == pytest.approx(0.3)
    now[0] += 3600
    assert rate.wait_seconds() == 0
    rate.went(20)
    assert rate.wait_seconds() == pytest.approx(2.0), "an hour of rest gives no burst"


def test_without_a_rate_nothing_waits() -> None:
    rate = Rate(None)
    rate.went(10**9)
    assert rate.wait_seconds() == 0
