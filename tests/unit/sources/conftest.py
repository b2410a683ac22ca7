"""Servers on loopback, and limits that allow them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sources.http import HttpSource
from sources.pictures.allowed import ImageLimits
from sources.pictures.download import ImageDownloader
from tests.unit.sources.source_answers import Open
from tests.unit.sources.source_server import LOOPBACK, Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


@pytest.fixture
def other_server() -> Iterator[Server]:
    with serving() as started:
        yield started


@pytest.fixture
def limits() -> ImageLimits:
    """Loopback allowed, so that images can come from the test's own servers."""
    return ImageLimits(allowed_networks=LOOPBACK, timeout_seconds=5.0)


@pytest.fixture
def downloader(limits: ImageLimits) -> Iterator[ImageDownloader]:
    made = ImageDownloader(limits, threads=4)
    yield made
    made.close()


@pytest.fixture
def many(server: Server, limits: ImageLimits) -> Iterator[Open]:
    """Opens sources with `{ids}` on the server, and closes them."""
    opened: list[HttpSource] = []

    def open_many(template: str = "/posts?ids={ids}", **arguments: object) -> HttpSource:
        given: dict[str, object] = {"limits": limits, "timeout_seconds": 5.0, **arguments}
        opened.append(HttpSource(server.url + template, **given))  # type: ignore[arg-type]
        return opened[-1]

    yield open_many
    for source in opened:
        source.close()


@pytest.fixture
def single(many: Open) -> Open:
    """Opens sources with `{id}`."""

    def open_single(**arguments: object) -> HttpSource:
        return many("/posts/{id}", **arguments)

    return open_single
