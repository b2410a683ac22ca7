"""What is wrong with a data set, as whoever reads it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deadpan.core.errors import DataError
from models.data.posts_file import read_posts


def problems(path: Path, **options: Any) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        read_posts(path, **options)
    return caught.value.problems
