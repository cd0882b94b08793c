"""Faces: what the shape does not depend on, profiles kept out, and that damage of every kind is seen and grows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sana_bench.errors import InsufficientSamplesError
from sana_bench.features.proportions import DISTANCES, face_ratios, face_yaw
from sana_bench.metrics import MetricContext, ScoredSample, Unscored
from sana_bench.metrics.faces import FaceRate, FaceShapeDeviation
from sana_bench.prompts import Expects, Prompt, Target
from sana_bench.shape import FARTHEST

# Medians over photographs of faces looking at the camera: x, y, depth in hundredths of the width between the cheeks.
POINTS = {0: (0, 21, -11), 1: (0, 7, -25), 2: (0, 11, -12), 10: (0, -62, -12), 33: (-33, -24, 5), 61: (-20, 26, 5),
          105: (-32, -40, -7), 129: (-15, 4, -4), 133: (-13, -22, 1), 152: (0, 60, 10), 159: (-24, -27, -1),
          168: (0, -25, -12), 172: (-40, 34, 37), 234: (-50, -12, 46), 263: (33, -24, 5), 291: (20, 26, 5),
          334: (32, -40, -7), 358: (15, 4, -4), 362: (13, -22, 1), 386: (24, -27, -1), 397: (40, 34, 37), 454: (50, -12, 46)}


def faces_of(num_faces: int, seed: int, spread: float = 2.0) -> np.ndarray:
    """(F, 478, 3) faces that differ from the usual one by `spread` hundredths of the cheek width."""
    rng = np.random.default_rng(seed)
    faces = np.zeros((num_faces, 478, 3))
    for index, xyz in POINTS.items():
        faces[:, index] = np.array(xyz) + spread * rng.normal(size=(num_faces, 3)) * (1, 1, 0.5)
    return faces * 4 + (900, 600, 0)


def turned(faces: np.ndarray, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    y, p, r = np.radians([yaw, pitch, roll])
    around_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    around_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    around_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return faces @ (around_z @ around_x @ around_y).T


def features_of(faces: np.ndarray, feminine: float = 0.9) -> dict[str, dict[str, np.ndarray]]:
    return {"faces": {"keypoints": faces[..., :2].astype(np.float32), "depth": faces[..., 2].astype(np.float32)},
            "attributes": {"feminine": np.full(len(faces), feminine, np.float32)}}


def sample_of(faces: np.ndarray, expected: int = 1) -> ScoredSample:
    prompt = Prompt(id="a", text="a man", expects=Expects(faces=expected))
    return ScoredSample(sample_id="a_0", prompt=prompt, features=features_of(faces))


def fitted(faces: np.ndarray) -> FaceShapeDeviation:
    reference = [features_of(face[None]) for face in faces] + [features_of(np.empty((0, 478, 3)))]
    return FaceShapeDeviation(MetricContext(reference=reference, target=Target()))


@pytest.fixture(scope="module")
def deviation() -> FaceShapeDeviation:
    return fitted(faces_of(80, 0))


def mean_deviation(metric: FaceShapeDeviation, faces: np.ndarray) -> float:
    return float(np.mean([metric.score(sample_of(face[None])) for face in faces]))


def test_every_point_used_is_in_the_template() -> None:
    """Otherwise the other tests would move points that nothing looks at."""
    assert set(DISTANCES.ravel()) == set(POINTS)


def test_unchanged_by_moving_scaling_and_turning_any_way() -> None:
    faces = faces_of(5, 1)
    for changed in (faces + 40, faces * 0.2, turned(faces, yaw=25), turned(faces, pitch=-20), turned(faces, roll=120)):
        assert face_ratios(changed) == pytest.approx(face_ratios(faces), abs=1e-9)


@pytest.mark.parametrize("yaw", [-60, -20, 0, 20, 60])
def test_yaw_is_the_turn_of_the_head(yaw: float) -> None:
    assert face_yaw(turned(faces_of(1, 2, spread=0), yaw=yaw, roll=15))[0] == pytest.approx(yaw, abs=0.5)


def test_real_faces_have_about_one(deviation: FaceShapeDeviation) -> None:
    assert mean_deviation(deviation, faces_of(300, 3)) == pytest.approx(1, abs=0.12)


def moved(points: list[int], xyz: tuple[float, float, float]) -> Callable[[np.ndarray, float], np.ndarray]:
    def damage(faces: np.ndarray, share: float) -> np.ndarray:
        changed = faces.copy()
        changed[:, points] += share * 400 * np.array(xyz)
        return changed
    return damage


def half_stretched(faces: np.ndarray, share: float) -> np.ndarray:
    offset = faces[..., 0] - 900
    changed = faces.copy()
    changed[..., 0] += np.where(offset > 0, share * 5 * offset, 0)
    return changed


def jittered(faces: np.ndarray, share: float) -> np.ndarray:
    return faces + share * 400 * np.random.default_rng(4).normal(size=faces.shape) * (1, 1, 0)


@pytest.mark.parametrize("damage", [moved([33, 133, 159], (0, 1, 0)), moved([61, 291, 0], (1, 0, 0)),
                                    moved([1, 2, 129, 358], (1, 0, 0)), moved([152, 172, 397], (0, 1.5, 0)),
                                    half_stretched, jittered],
                         ids=["eye dropped", "mouth aside", "nose aside", "jaw long", "half stretched", "jitter"])
def test_grows_with_damage(deviation: FaceShapeDeviation, damage: Callable[[np.ndarray, float], np.ndarray]) -> None:
    """Up to 12 % of the width between the cheeks."""
    faces = faces_of(60, 5)
    values = [mean_deviation(deviation, damage(faces, share)) for share in (0, 0.06, 0.12)]
    assert values == sorted(values)
    assert values[-1] > 1.3 * values[0]


def test_profiles_in_the_reference_change_nothing() -> None:
    """Scrambled points of faces turned away must not widen what passes for a face."""
    profiles = turned(faces_of(40, 6, spread=15), yaw=70)
    assert (np.abs(face_yaw(profiles)) > 30).all()
    faces, new = faces_of(40, 7), faces_of(20, 8)
    alone, mixed = fitted(faces), fitted(np.concatenate([faces, profiles]))
    assert [mixed.score(sample_of(face[None])) for face in new] == [alone.score(sample_of(face[None])) for face in new]


def test_reasons_for_no_value(deviation: FaceShapeDeviation) -> None:
    away = turned(faces_of(1, 9), yaw=50)
    assert deviation.score(sample_of(away)) == Unscored("face turned away by more than 30 degrees")
    front = faces_of(1, 10)
    assert deviation.score(sample_of(front, expected=0)) == Unscored("no face expected")
    assert deviation.score(sample_of(np.concatenate([front, away]), expected=2)) == deviation.score(sample_of(front))


def test_losing_a_face_never_lowers_it(deviation: FaceShapeDeviation) -> None:
    whole = faces_of(1, 10)
    for spread in (2.0, 15.0, 200.0):
        both = np.concatenate([whole, faces_of(1, 11, spread=spread)])
        assert (np.abs(face_yaw(both)) <= 30).sum() == 1 or deviation.score(sample_of(both, 2)) <= deviation.score(sample_of(whole, 2))
    assert deviation.score(sample_of(whole[:0])) == FARTHEST


def test_neither_presentation_is_the_measure_of_the_other() -> None:
    """Ninety faces of one presentation and ten of another, half as wide again: each is about as far from the reference as the other."""
    wide = np.array([1.5, 1, 1])
    narrow_faces, wide_faces = faces_of(90, 20), (faces_of(10, 21) - (900, 600, 0)) * wide + (900, 600, 0)
    reference = [features_of(face[None], 0.9) for face in narrow_faces] + [features_of(face[None], 0.1) for face in wide_faces]
    alike = [features_of(face[None], 0.9) for face in np.concatenate([narrow_faces, wide_faces])]
    balanced, unbalanced = (FaceShapeDeviation(MetricContext(reference=each, target=Target())) for each in (reference, alike))
    new_narrow, new_wide = faces_of(60, 22), (faces_of(60, 23) - (900, 600, 0)) * wide + (900, 600, 0)
    ratios = [mean_deviation(metric, new_wide) / mean_deviation(metric, new_narrow) for metric in (balanced, unbalanced)]
    assert ratios[0] == pytest.approx(1, abs=0.2) and ratios[1] > ratios[0] + 0.2


def test_too_few_reference_faces_are_refused() -> None:
    with pytest.raises(InsufficientSamplesError, match="19 face.*camera.*at least 20"):
        fitted(np.concatenate([faces_of(19, 11), turned(faces_of(10, 12), yaw=60)]))


@pytest.mark.parametrize(("found", "expected", "value"), [
    (0, 1, 0), (1, 1, 1), (2, 1, 0.5), (1, 2, 0.5), (2, 2, 1), (3, 2, 2 / 3)])
def test_rate_punishes_missing_and_extra_faces(found: int, expected: int, value: float) -> None:
    metric = FaceRate(MetricContext(reference=[], target=Target()))
    assert metric.score(sample_of(faces_of(found, 13), expected)) == value


def test_rate_where_no_face_is_expected_has_a_reason() -> None:
    metric = FaceRate(MetricContext(reference=[], target=Target()))
    assert metric.score(sample_of(faces_of(1, 14), expected=0)) == Unscored("no face expected")
