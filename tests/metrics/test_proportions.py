"""Proportions of faces and bodies: what they do not depend on, closed forms, and that they grow with what they measure."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.features.proportions import body_measures, face_asymmetry, gaze_mismatch, mouth_offset
from tests.contract.test_metrics import BODY
from tests.metrics.test_faces import faces_of, turned

LEFT_SIDE = [33, 133, 159, 105, 61, 172]


def with_irises(faces: np.ndarray, left: float = 0.0, right: float = 0.0) -> np.ndarray:
    """Irises in the middle of the eyes, moved along each eye by shares of its width."""
    result = faces.copy()
    for iris, (start, end), share in ((468, (33, 133), left), (473, (362, 263), right)):
        result[:, iris] = (faces[:, start] + faces[:, end]) / 2 + share * (faces[:, end] - faces[:, start])
    return result


def test_a_symmetric_face_has_no_asymmetry_and_a_lopsided_one_has() -> None:
    face = faces_of(1, 0, spread=0)
    assert face_asymmetry(face)[0] == pytest.approx(0, abs=1e-9)
    values = []
    for shift in (0.05, 0.1, 0.2):
        lopsided = face.copy()
        lopsided[:, LEFT_SIDE, 1] += shift * 400
        values.append(face_asymmetry(lopsided)[0])
    assert 0.01 < values[0] < values[1] < values[2]


def test_face_measures_do_not_depend_on_place_size_and_roll() -> None:
    faces = with_irises(faces_of(6, 1), 0.1, -0.05)
    for measure in (face_asymmetry, gaze_mismatch, mouth_offset):
        for changed in (faces + 50, faces * 0.3, turned(faces, roll=70)):
            assert measure(changed) == pytest.approx(measure(faces), abs=1e-6), measure.__name__


@pytest.mark.parametrize(("left", "right", "value"), [(0, 0, 0), (0.2, 0.2, 0), (0.2, -0.1, 0.3), (-0.1, 0.15, 0.25)])
def test_eyes_that_look_the_same_way_match(left: float, right: float, value: float) -> None:
    assert gaze_mismatch(with_irises(faces_of(1, 0, spread=0), left, right))[0] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.1, -0.25])
def test_a_mouth_beside_the_middle_line_is_off_by_its_share(shift: float) -> None:
    face = faces_of(1, 0, spread=0)
    face[:, [61, 291], 0] += shift * (face[0, 291, 0] - face[0, 61, 0])
    assert mouth_offset(face)[0] == pytest.approx(abs(shift), abs=1e-6)


def measured(poses_P33xyv: np.ndarray, unexplained: float = 0.0, uncovered: float = 0.0, hands_at: tuple[int, ...] = (15, 16)) -> np.ndarray:
    """(P, 25) measures of poses whose silhouettes are as given, with hands at these points of them."""
    pose = {"keypoints": poses_P33xyv, "unexplained": np.full(len(poses_P33xyv), unexplained), "uncovered": np.full(len(poses_P33xyv), uncovered)}
    return body_measures(pose, {"keypoints": np.repeat(poses_P33xyv[:, list(hands_at), None, :2], 21, axis=2)})


def test_body_measures_do_not_depend_on_place_and_size() -> None:
    body = BODY[None] + np.array([1000, 1000, 0])
    for changed in (body + np.array([300, -40, 0]), body * np.array([0.25, 0.25, 1])):
        assert measured(changed) == pytest.approx(measured(body), abs=1e-6)


def test_body_measures_are_lengths_over_the_trunk() -> None:
    """A thigh of 200 and a trunk of 280 pixels; a straight knee has cosine 1, a right angle 0."""
    body = BODY[None].copy()
    assert measured(body)[0, 6] == pytest.approx(np.log(200 / 280))
    assert measured(body)[0, 15:17] == pytest.approx([1, 1])
    body[0, 27, :2] = body[0, 25, :2] + (180, 0)
    assert measured(body)[0, 15] == pytest.approx(0, abs=1e-6)


def test_a_joint_that_is_not_seen_counts() -> None:
    hidden = BODY[None].copy()
    hidden[0, 15, 2] = 0.05
    assert measured(hidden)[0, 20] < measured(BODY[None])[0, 20] - 3


def test_a_silhouette_apart_from_its_skeleton_counts() -> None:
    """Each in its own column, on a logarithmic scale above the roughness of silhouettes."""
    difference = measured(BODY[None], unexplained=0.15, uncovered=0.05)[0] - measured(BODY[None])[0]
    assert difference[22:24] == pytest.approx([np.log(4), np.log(2)]) and not difference[:22].any()


def test_a_wrist_that_is_seen_and_has_no_hand_counts() -> None:
    """One hand for two wrists; none; and none where the wrist is not seen either."""
    hidden = BODY[None].copy()
    hidden[0, 16, 2] = 0.2
    assert [measured(BODY[None], hands_at=hands)[0, 24] for hands in ((15, 16), (15,), (25, 26), ())] == [0, 1, 1, 1]
    assert [measured(hidden, hands_at=hands)[0, 24] for hands in ((15,), (16,), ())] == [0, 1, 1]


def test_points_that_fall_together_give_finite_numbers() -> None:
    assert np.isfinite(measured(np.zeros((1, 33, 3)))).all()
    assert np.isfinite(np.stack([measure(np.zeros((1, 478, 3))) for measure in (face_asymmetry, gaze_mismatch, mouth_offset)])).all()
