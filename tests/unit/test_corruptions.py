"""Every corruption: nothing at dose 0, more with more dose, the same for the same seed, and only where the part is."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.corruptions import CORRUPTIONS, corrupt
from sana_bench.corruptions.pictures import balance, expose
from sana_bench.split import LEARNED_KINDS

SIDE = 320


def hand() -> np.ndarray:
    """(21, 2): a spread right hand seen from its back, fingers up."""
    knuckles = [(-40, -10), (-28, -62), (-8, -68), (12, -64), (30, -54)]
    points = [(0.0, 0.0)]
    for index, (x, y) in enumerate(knuckles):
        direction = np.array([(index - 2) * 0.28 - (0.5 if index == 0 else 0), -1.0])
        points += [(x, y) + direction * step for step in ((0, 14, 28, 40) if index == 0 else (0, 24, 42, 56))]
    return np.array([(float(x), float(y)) for x, y in points]) + (160, 220)


def face() -> np.ndarray:
    """(478, 2): points all over an ellipse, with the corners of the features where they belong."""
    draw = np.random.default_rng(0)
    angle, radius = draw.uniform(0, 2 * np.pi, 478), np.sqrt(draw.uniform(0, 1, 478))
    points = np.stack([60 * radius * np.cos(angle), 80 * radius * np.sin(angle)], axis=1)
    known = {10: (0, -80), 152: (0, 80), 234: (-60, 0), 454: (60, 0), 33: (-38, -20), 133: (-16, -20), 159: (-27, -26), 145: (-27, -14),
             263: (38, -20), 362: (16, -20), 386: (27, -26), 374: (27, -14), 61: (-22, 42), 291: (22, 42), 0: (0, 36), 17: (0, 50),
             129: (-12, 18), 358: (12, 18), 168: (0, -18), 2: (0, 22), 1: (0, 14)}
    for index, place in known.items():
        points[index] = place
    return points + 160


def body() -> np.ndarray:
    """(33, 2): somebody who stands, arms a little away from the trunk."""
    points = np.tile([0.0, -95.0], (33, 1))
    known = {11: (22, -70), 13: (34, -38), 15: (40, -8), 17: (42, 2), 19: (40, 4), 23: (14, 0), 25: (15, 50), 27: (15, 100)}
    for index, (x, y) in known.items():
        points[index], points[index + 1] = (x, y), (-x, y)
    for left, right in ((17, 18), (19, 20)):
        points[right] = points[left] * (-1, 1)
    return points + (160, 170)


POINTS = {"hand": hand, "face": face, "body": body, "picture": lambda: np.empty((0, 2))}


def picture() -> np.ndarray:
    """(SIDE, SIDE, 3) uint8: patches of many sizes and colours, so that any shift shows."""
    import cv2

    draw = np.random.default_rng(1)
    layers = [cv2.resize(draw.integers(0, 255, (side, side, 3)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
              for side in (8, 24, 80)]
    return np.clip(np.mean(layers, axis=0), 0, 255).astype(np.uint8)


@pytest.fixture(params=CORRUPTIONS.names())
def corruption(request: pytest.FixtureRequest):
    return CORRUPTIONS.get(request.param)


def damage(corruption, dose: float, points: np.ndarray | None = None, seed: int = 5) -> np.ndarray:
    return corrupt(corruption.name, picture(), POINTS[corruption.part]() if points is None else points, dose, (seed,))


def test_no_dose_is_no_damage(corruption) -> None:
    assert np.array_equal(damage(corruption, 0), picture())


def test_a_seed_decides_the_damage(corruption) -> None:
    first, second = damage(corruption, corruption.doses[-1]), damage(corruption, corruption.doses[-1])
    assert np.array_equal(first, second) and first.dtype == np.uint8 and first.shape == (SIDE, SIDE, 3)


def test_more_dose_is_more_damage(corruption) -> None:
    assert list(corruption.doses) == sorted(set(corruption.doses)) and len(corruption.doses) >= 4
    changed = [np.mean([np.abs(damage(corruption, dose, seed=seed).astype(float) - picture()).mean() for seed in range(4)])
               for dose in corruption.doses]
    assert changed[0] > 0 and all(later > 0.9 * earlier for earlier, later in zip(changed[:-1], changed[1:], strict=True))
    assert changed[-1] > 1.2 * changed[0]


def test_the_picture_given_stays_as_it_is_and_the_rest_of_it_too(corruption) -> None:
    given, points = picture(), POINTS[corruption.part]()
    result = corrupt(corruption.name, given, points, corruption.doses[-1], (5,))
    assert np.array_equal(given, picture())
    if corruption.part != "picture":
        low, high = points.min(axis=0), points.max(axis=0)
        reach = (1.71 if corruption.name.endswith("_beside") else 0.51) * (high - low).max()
        outside = np.ones((SIDE, SIDE), bool)
        outside[int(max(low[1] - reach, 0)):int(high[1] + reach) + 2, int(max(low[0] - reach, 0)):int(high[0] + reach) + 2] = False
        assert np.array_equal(result[outside], given[outside])


def test_a_part_that_the_frame_cuts_off_is_damaged_as_far_as_it_is_there(corruption) -> None:
    if corruption.part == "picture":
        pytest.skip("has no points")
    for shift in ((-150, 0), (0, 150), (140, -140)):
        assert damage(corruption, corruption.doses[-1], POINTS[corruption.part]() + shift).shape == (SIDE, SIDE, 3)
    beyond = damage(corruption, corruption.doses[-1], POINTS[corruption.part]() + 2000)
    assert np.array_equal(beyond, picture())


@pytest.mark.parametrize("part", ["hand", "face"])
def test_damage_beside_leaves_the_part_whole(part: str) -> None:
    import cv2

    points = POINTS[part]()
    inside = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(points.astype(np.float32)).astype(np.int32), 1)
    changed = [np.abs(corrupt(f"{part}_beside", picture(), points, 4, (seed,)).astype(int) - picture()).max(axis=-1) > 2 for seed in range(6)]
    assert not any(each[inside > 0].any() for each in changed)
    assert sum(each.sum() > 500 for each in changed) >= 4  # the others' damage lies beyond the frame


def test_every_corruption_says_what_it_is(corruption) -> None:
    assert corruption.name.startswith(f"{corruption.part}_") and corruption.unit and corruption.explanation.endswith(".")


def test_every_part_keeps_kinds_that_nothing_learns_from() -> None:
    names = set(CORRUPTIONS.names())
    assert LEARNED_KINDS < names
    assert {name.partition("_")[0] for name in names - LEARNED_KINDS} == {"hand", "face", "body", "picture"}


def test_exposure_is_in_linear_light_and_comes_back() -> None:
    grey = np.full((4, 4, 3), 188, np.uint8)  # half of full light
    assert np.abs(expose(grey, 1).astype(int) - 255).max() <= 1
    assert np.abs(expose(expose(grey, -1), 1).astype(int) - 188).max() <= 1


def test_white_balance_keeps_its_neutral_and_warms_below_it() -> None:
    grey = np.full((2, 2, 3), 128, np.uint8)
    assert np.array_equal(balance(grey, 6500), grey)
    warm, cold = balance(grey, 6000)[0, 0].astype(int), balance(grey, 7000)[0, 0].astype(int)
    assert warm[0] > 128 > warm[2] and cold[0] < 128 < cold[2]
