"""Servers on loopback, and limits that allow them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sources.download import ImageLimits
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
