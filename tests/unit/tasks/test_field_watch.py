"""A field that is read from no post is told of once, and counted."""

from __future__ import annotations

import pytest
import structlog
from prometheus_client import REGISTRY

from sources.post import Post
from tasks.watches.field_watch import FIRST_POSTS, FieldWatch


def counted(field: str, why: str) -> float:
    labels = {"field": field, "why": why}
    return REGISTRY.get_sample_value("deadpan_unread_fields_total", labels) or 0.0


def test_a_field_that_none_of_the_first_posts_has_is_told_of_once() -> None:
    watch, before = FieldWatch(), counted("images", "absent")
    with structlog.testing.capture_logs() as logs:
        for number in range(3 * FIRST_POSTS):
            absent = ("images", "author") if number != 50 else ("images",)
            watch.saw(Post(str(number), "x", absent=absent))
    assert [(line["field"], line["log_level"]) for line in logs] == [("images", "warning")]
    assert "deadpan check --post" in logs[0]["event"]
    assert counted("images", "absent") - before == 3 * FIRST_POSTS


def test_a_time_that_cannot_be_read_is_told_of_once_and_counted_each_time() -> None:
    watch, before = FieldWatch(), counted("created_at", "unreadable")
    with structlog.testing.capture_logs() as logs:
        for number in range(5):
            why = f"created_at is {number}, which is not a time"
            watch.saw(Post(str(number), "x", unreadable=(why,)))
    assert [(line["post_id"], line["why"]) for line in logs] == [
        ("0", "created_at is 0, which is not a time")
    ]
    assert counted("created_at", "unreadable") - before == 5


@pytest.mark.parametrize("absent", [(), ("author",)])
def test_what_some_posts_have_is_not_told_of(absent: tuple[str, ...]) -> None:
    watch = FieldWatch()
    with structlog.testing.capture_logs() as logs:
        watch.saw(Post("0", "x"))
        for number in range(1, 2 * FIRST_POSTS):
            watch.saw(Post(str(number), "x", absent=absent))
    assert logs == []
