"""Every dialect in which a platform says that it wants to be left alone for a while."""

from __future__ import annotations

import time

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from sources.net.pauses import Pause, pause_of


def answer(status: int, **headers: str) -> urllib3.HTTPResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return urllib3.HTTPResponse(status=status, headers=named)


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {}, None),
        (429, {"Retry_After": "7"}, 7.0),
        (429, {"Retry_After": "soon"}, None),
        (420, {}, None),
        (430, {}, None),
        (509, {}, None),
        (529, {"Retry_After": "2"}, 2.0),
        (503, {"Retry_After": "30"}, 30.0),
        (502, {"Retry_After": "30"}, 30.0),
        (403, {"Retry_After": "60"}, 60.0),
        (403, {"X_RateLimit_Remaining": "0"}, None),
        (403, {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "45"}, 45.0),
        (403, {"RateLimit_Remaining": "0", "RateLimit_Reset": "12"}, 12.0),
        (403, {"RateLimit": "limit=100, remaining=0, reset=50"}, 50.0),
        (403, {"RateLimit": '"default";r=0;t=30'}, 30.0),
        (429, {"RateLimit": '"default";r=0;t=30'}, 30.0),
        (429, {"X_RateLimit_Reset_After": "1.5"}, 1.5),
        (429, {"X_Rate_Limit_Reset": "99999"}, 3600.0),
        (429, {"Retry_After": "7", "X_RateLimit_Reset": "45"}, 7.0),
        (429, {"X_RateLimit_Reset": "-1"}, None),
        (429, {"X_RateLimit_Reset": "٣"}, None),
    ],
)
def test_an_answer_that_asks_for_a_pause(
    status: int, headers: dict[str, str], seconds: float | None
) -> None:
    assert pause_of(answer(status, **headers)) == Pause(seconds)


@pytest.mark.parametrize("unit", [1, 1000])
def test_a_reset_may_be_a_time_in_seconds_or_milliseconds(unit: int) -> None:
    at = str(int((time.time() + 100) * unit))
    pause = pause_of(answer(403, X_RateLimit_Remaining="0", X_RateLimit_Reset=at))
    assert pause is not None
    assert pause.seconds is not None
    assert 0 <= pause.seconds <= 100


def test_a_reset_that_is_past_is_a_pause_of_no_length() -> None:
    pause = pause_of(answer(429, X_RateLimit_Reset=str(int(time.time() - 100))))
    assert pause == Pause(0.0)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"Retry_After": "7"}),
        (200, {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "9"}),
        (400, {"Retry_After": "7"}),
        (401, {"Retry_After": "7"}),
        (404, {"Retry_After": "7"}),
        (422, {"X_RateLimit_Remaining": "0"}),
        (403, {}),
        (403, {"X_RateLimit_Remaining": "10", "X_RateLimit_Reset": "9"}),
        (403, {"RateLimit": '"default";r=50;t=30'}),
        (403, {"Retry_After": "soon"}),
        (408, {}),
        (500, {}),
        (500, {"X_RateLimit_Remaining": "0"}),
        (503, {}),
        (503, {"Retry_After": "soon"}),
    ],
)
def test_an_answer_that_asks_for_none(status: int, headers: dict[str, str]) -> None:
    assert pause_of(answer(status, **headers)) is None


@given(
    st.integers(200, 599),
    st.dictionaries(
        st.sampled_from(["Retry-After", "RateLimit", "X-RateLimit-Reset", "X-RateLimit-Remaining"]),
        st.text(st.characters(max_codepoint=255), max_size=30) | st.integers().map(str),
    ),
)
def test_whatever_a_stranger_writes_a_pause_is_at_most_an_hour(
    status: int, headers: dict[str, str]
) -> None:
    pause = pause_of(urllib3.HTTPResponse(status=status, headers=headers))
    assert pause is None or pause.seconds is None or 0 <= pause.seconds <= 3600
    assert status >= 400 or pause is None
    assert status != 429 or pause is not None
