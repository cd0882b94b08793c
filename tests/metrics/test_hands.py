"""Hands: what the shape does not depend on, and that damage of every kind is seen and grows."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.errors import InsufficientSamplesError
from sana_bench.features.proportions import bone_ratios
from sana_bench.metrics import MetricContext, ScoredSample, Unscored
from sana_bench.metrics.hands import HandRate, HandShapeDeviation
from sana_bench.prompts import Expects, Prompt, Target
from sana_bench.shape import FARTHEST

# Medians over 30 hands of photographs, in palms: knuckle to tip, thumb to little finger.
LENGTHS = np.array([[0.58, 0.51, 0.39], [0.77, 0.40, 0.28], [0.78, 0.41, 0.29], [0.68, 0.37, 0.27], [0.53, 0.31, 0.24]])
KNUCKLES = np.array([[-0.35, 0.35], [-0.3, 1.0], [0.0, 1.05], [0.25, 0.95], [0.45, 0.8]])
DIRECTIONS = np.radians([140, 100, 90, 82, 72])


def hand_of(rng: np.random.Generator, spread: float = 0.1) -> np.ndarray:
    """A right hand of (21, 2) pixels, turned and sized at random; its bones differ from the usual by `spread` (log)."""
    points = [np.zeros(2)]
    for knuckle, lengths, direction in zip(KNUCKLES, LENGTHS, DIRECTIONS, strict=True):
        steps = np.array([np.cos(direction), np.sin(direction)]) * (lengths * np.exp(spread * rng.normal(size=3)))[:, None]
        points += [knuckle, *(knuckle + np.cumsum(steps, axis=0))]
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.array(points) @ rotation.T * rng.uniform(40, 400) + rng.uniform(0, 2000, size=2)


def hands_of(num_hands: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([hand_of(rng) for _ in range(num_hands)])


def sample_of(hands: np.ndarray, expected: int = 2) -> ScoredSample:
    prompt = Prompt(id="a", text="a man waves", expects=Expects(hands=expected))
    keypoints = hands.astype(np.float32).reshape(-1, 21, 2)
    return ScoredSample(sample_id="a_0", prompt=prompt, features={"hands": {"keypoints": keypoints}})


@pytest.fixture(scope="module")
def deviation() -> HandShapeDeviation:
    """Fitted to 40 hands, as images with two, one and no hand."""
    groups = [*np.split(hands_of(40, 0), [2, 3, 5]), np.empty((0, 21, 2))]
    reference = [{"hands": {"keypoints": group.astype(np.float32)}} for group in groups]
    return HandShapeDeviation(MetricContext(reference=reference, target=Target()))


def median_deviation(metric: HandShapeDeviation, hands: np.ndarray) -> float:
    return float(np.median([metric.score(sample_of(hand[None], expected=1)) for hand in hands]))


def test_ratios_are_those_of_the_bones() -> None:
    """Without spread the lengths go in and come out up to the palm of this template."""
    ratios = bone_ratios(hand_of(np.random.default_rng(1), spread=0)[None])[0].reshape(5, 3)
    assert ratios - np.log(LENGTHS) == pytest.approx(np.full((5, 3), ratios[0, 0] - np.log(LENGTHS[0, 0])), abs=1e-9)


def test_a_bone_as_long_as_the_palm_has_0_and_one_of_half_a_palm_has_log_a_half() -> None:
    """All palm lines of a palm that is a point and a wrist 2 away: four of length 2, three of 0, root mean square 4 / sqrt(7)."""
    hand = np.zeros((21, 2))
    hand[0] = (0, -2)
    palm = 4 / np.sqrt(7)
    hand[6], hand[7], hand[8] = (0, palm), (0, 1.5 * palm), (0, 1.5 * palm + 0.01 * palm)  # bones of 1, 1/2 and 1/100 palms
    assert bone_ratios(hand[None])[0].reshape(5, 3)[1] == pytest.approx(np.log([1, 0.5, 0.15]))


def test_unchanged_by_moving_turning_scaling_and_mirroring() -> None:
    hands = hands_of(5, 2)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    for changed in (hands + 300, hands @ turn, hands * 0.1, hands * [-1, 1], hands * [1, -1] + 50):
        assert bone_ratios(changed) == pytest.approx(bone_ratios(hands), abs=1e-9)


def test_a_bone_pointing_at_the_camera_stays_finite() -> None:
    hands = hands_of(1, 3)
    hands[0, 8] = hands[0, 7]
    assert bone_ratios(hands)[0, 5] == pytest.approx(np.log(0.15))
    assert np.isfinite(bone_ratios(np.zeros((1, 21, 2)))).all()


def test_new_real_hands_have_about_one(deviation: HandShapeDeviation) -> None:
    assert median_deviation(deviation, hands_of(300, 4)) == pytest.approx(1, abs=0.2)


def test_grows_with_jitter(deviation: HandShapeDeviation) -> None:
    """Noise on every point, in shares of the size of the hand."""
    hands = hands_of(60, 5)
    size_N11 = np.ptp(hands, axis=1).max(1)[:, None, None]
    noise = np.random.default_rng(6).normal(size=hands.shape) * size_N11
    values = [median_deviation(deviation, hands + share * noise) for share in (0, 0.03, 0.06, 0.12)]
    assert values == sorted(values) and values[-1] > 2 * values[0]


@pytest.mark.parametrize("finger", range(5))
def test_grows_as_one_finger_is_stretched(deviation: HandShapeDeviation, finger: int) -> None:
    hands = hands_of(60, 7)
    knuckle, points = hands[:, [4 * finger + 1]], slice(4 * finger + 1, 4 * finger + 5)

    def stretched(factor: float) -> np.ndarray:
        changed = hands.copy()
        changed[:, points] = knuckle + factor * (hands[:, points] - knuckle)
        return changed

    for factors in ((1, 1.3, 1.7), (1, 0.7, 0.45)):
        values = [median_deviation(deviation, stretched(factor)) for factor in factors]
        assert values == sorted(values) and values[-1] > 1.3 * values[0]


def test_an_image_has_the_mean_of_its_best_expected_hands(deviation: HandShapeDeviation) -> None:
    hands = hands_of(3, 8)
    each = sorted(deviation.score(sample_of(hand[None], expected=1)) for hand in hands)
    assert deviation.score(sample_of(hands[:2])) == pytest.approx(np.mean([deviation.score(sample_of(hand[None], expected=1)) for hand in hands[:2]]))
    assert deviation.score(sample_of(hands)) == pytest.approx(np.mean(each[:2]))


def test_losing_a_hand_never_lowers_it(deviation: HandShapeDeviation) -> None:
    """A broken hand that is not found any more counts as the furthest that a found one can be."""
    whole, broken = hands_of(1, 8), hands_of(1, 9)
    for amount in (0.0, 0.3, 5.0):
        torn = broken + amount * np.random.default_rng(2).normal(size=broken.shape) * np.ptp(broken)
        assert deviation.score(sample_of(np.concatenate([whole, torn]))) <= deviation.score(sample_of(whole))
    assert deviation.score(sample_of(whole[:0])) == FARTHEST


def test_no_hand_expected_is_a_reason_not_a_value(deviation: HandShapeDeviation) -> None:
    assert deviation.score(sample_of(hands_of(1, 8), expected=0)) == Unscored("no hand expected")


def test_too_few_reference_hands_are_refused() -> None:
    reference = [{"hands": {"keypoints": hands_of(3, 9)}}, {"hands": {"keypoints": np.empty((0, 21, 2))}}]
    with pytest.raises(InsufficientSamplesError, match="3 hand.*at least 12"):
        HandShapeDeviation(MetricContext(reference=reference, target=Target()))


@pytest.mark.parametrize(("found", "expected", "value"), [(0, 1, 0), (1, 2, 0.5), (2, 2, 1), (3, 2, 1), (1, 4, 0.25)])
def test_rate_is_found_over_expected_up_to_one(found: int, expected: int, value: float) -> None:
    metric = HandRate(MetricContext(reference=[], target=Target()))
    assert metric.score(sample_of(hands_of(found, 10), expected)) == value


def test_rate_where_no_hands_are_expected_has_a_reason() -> None:
    metric = HandRate(MetricContext(reference=[], target=Target()))
    assert metric.score(sample_of(hands_of(2, 11), expected=0)) == Unscored("no hand expected")
