"""Loss weights by latent cell: closed forms of covered shares, and invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_bench.data.weight_map import region_weights
from sana_bench.train_config import RegionsSection

SETTINGS = RegionsSection(face_weight=3.0, hand_weight=5.0)


def test_a_view_without_regions_weighs_one_everywhere():
    weights = region_weights([], 96, 64, SETTINGS)
    assert weights.dtype == np.float32 and weights.shape == (2, 3)
    np.testing.assert_array_equal(weights, 1)


def test_whole_cells_get_the_weight_and_their_neighbours_none():
    """Cells 1 and 2 across in row 1 of a view of 4 x 3."""
    weights = region_weights([("face", (32, 32, 96, 64))], 128, 96, SETTINGS)
    np.testing.assert_array_equal(weights, [[1, 1, 1, 1], [1, 3, 3, 1], [1, 1, 1, 1]])


def test_a_cell_gets_by_the_share_that_is_covered():
    """Half of cell 0 and a quarter of cell 1 across, all of it down: 1 + 4 / 2 and 1 + 4 / 4; half down as well halves what is above 1."""
    np.testing.assert_array_equal(region_weights([("hand", (16, 0, 40, 32))], 64, 32, SETTINGS), [[3, 2]])
    np.testing.assert_array_equal(region_weights([("hand", (16, 16, 40, 32))], 64, 32, SETTINGS), [[2, 1.5]])


def test_boxes_over_the_border_count_as_far_as_they_are_in_the_view():
    np.testing.assert_array_equal(region_weights([("face", (-100, -100, 16, 900))], 64, 64, SETTINGS), [[2, 1], [2, 1]])
    np.testing.assert_array_equal(region_weights([("face", (70, 0, 90, 64)), ("hand", (0, -40, 64, -10))], 64, 64, SETTINGS), 1)


def test_where_regions_overlap_the_larger_weight_counts():
    hand_on_face = [("face", (0, 0, 64, 32)), ("hand", (32, 0, 64, 32))]
    np.testing.assert_array_equal(region_weights(hand_on_face, 96, 32, SETTINGS), [[3, 5, 1]])
    np.testing.assert_array_equal(region_weights(hand_on_face[::-1], 96, 32, SETTINGS), [[3, 5, 1]])
    quarter_of_a_hand = [("face", (0, 0, 32, 32)), ("hand", (0, 0, 8, 32))]
    np.testing.assert_array_equal(region_weights(quarter_of_a_hand, 32, 32, SETTINGS), [[3]])


def test_a_weight_of_one_is_off():
    weights = region_weights([("face", (0, 0, 64, 64)), ("hand", (0, 0, 32, 64))], 64, 64, RegionsSection(hand_weight=2.0))
    np.testing.assert_array_equal(weights, [[2, 1], [2, 1]])


@given(*[st.floats(-100, 400) for _ in range(4)])
def test_what_is_above_one_adds_up_to_the_covered_area(x1, x2, y1, y2):
    """In cells, times the weight above 1, of one box anywhere in a view of 256 x 192; the mirrored box has the mirrored map."""
    left, right, top, bottom = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    weights = region_weights([("hand", (left, top, right, bottom))], 256, 192, SETTINGS)
    area = np.ptp(np.clip([left, right], 0, 256)) * np.ptp(np.clip([top, bottom], 0, 192))
    assert float((weights - 1).sum()) == pytest.approx(4 * area / 32**2, abs=1e-3)
    mirrored = region_weights([("hand", (256 - right, top, 256 - left, bottom))], 256, 192, SETTINGS)
    np.testing.assert_allclose(mirrored, weights[:, ::-1], atol=1e-5)
