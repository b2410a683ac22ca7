"""What tests of HTTP sources share: a platform's answers, and what came of a post."""

from __future__ import annotations

from collections.abc import Callable

from sources.http import HttpSource
from sources.post import FetchedPost, FetchFailure, FetchResult, Post
from tests.unit.sources.source_server import Handler, asked_ids, post

Open = Callable[..., HttpSource]


def answering(status: int = 200, body: bytes = b"", **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(status, body, **headers)


def platform(handler: Handler) -> None:
    """Has every post that is asked for."""
    handler.json({"posts": [post(each) for each in asked_ids(handler)]})


def fetched(result: FetchResult) -> Post:
    assert isinstance(result, FetchedPost), result
    return result.post


def failure(result: FetchResult) -> FetchFailure:
    assert isinstance(result, FetchFailure), result
    return result
