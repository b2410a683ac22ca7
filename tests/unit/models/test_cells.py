"""Cells of a picture: equal parts of it, whatever grid of regions an encoder gives."""

from __future__ import annotations

import numpy as np
import pytest

from models.engines.base import CELLS, cell_weights


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 14])
def test_the_mean_of_all_cells_is_the_mean_of_all_regions(side: int) -> None:
    regions = np.random.default_rng(side).normal(size=(side * side, 5))
    weights = cell_weights(side * side)
    assert weights is not None
    assert weights.shape == (CELLS * CELLS, side * side)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose((weights @ regions).mean(axis=0), regions.mean(axis=0), atol=1e-6)


def test_a_region_counts_to_the_cells_that_it_lies_in() -> None:
    weights = cell_weights(49)
    assert weights is not None
    # the middle of seven rows and columns lies in the four cells around the middle, a quarter each
    middle = weights[:, 24].reshape(CELLS, CELLS)
    assert set(zip(*middle.nonzero(), strict=True)) == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert np.ptp(middle[1:3, 1:3]) == 0
    # and the first in the first only
    assert weights[:, 0].nonzero()[0].tolist() == [0]


def test_regions_that_are_no_square_make_no_cells() -> None:
    assert cell_weights(50) is None
