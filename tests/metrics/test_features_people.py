"""The people extractors on photographs: what they must find, where, and that they find it again.

The photographs are OpenPeople's at 2048 x 2048: a head fills a third of a portrait's width and a thirteenth of a posture's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from PIL import Image

from sana_bench.features import EXTRACTORS, Extractor, View
from sana_bench.features.hands import Hand, merge_hands
from sana_bench.features.mediapipe_task import Window, body_width, quiet_native_stderr
from tests.photographs import SIDE, Known, people, photograph, read

pytestmark = pytest.mark.weights

NAMES = ("pose", "hands", "faces", "attributes", "skin_tone")
LEFT_WRIST, RIGHT_WRIST = 15, 16
LEFT_EYE_CORNER, RIGHT_EYE_CORNER, CHIN, NOSE_TIP = 263, 33, 152, 1

def shifted(image: Image.Image, x: int, y: int) -> Image.Image:
    """The image moved right and down over a canvas that continues its edges."""
    pixels = np.asarray(image)
    return Image.fromarray(np.pad(pixels, ((y, 0), (x, 0), (0, 0)), mode="edge")[:SIDE, :SIDE])


@pytest.fixture(scope="module")
def extractors() -> Iterator[dict[str, Extractor]]:
    opened = {name: EXTRACTORS.get(name).make("cpu") for name in NAMES}
    yield opened
    for extractor in opened.values():
        extractor.close()


@pytest.fixture(scope="module")
def postures(extractors: Mapping[str, Extractor]) -> dict[str, Known]:
    return {folder.name: read(extractors, photograph(folder.name, "studio_posture")) for folder in people()}


@pytest.fixture(scope="module")
def portraits(extractors: Mapping[str, Extractor]) -> dict[str, Known]:
    return {folder.name: read(extractors, photograph(folder.name, "studio_portrait")) for folder in people()}


def test_a_full_body_has_a_pose_two_hands_and_a_face(postures: dict[str, Known]) -> None:
    for person, known in postures.items():
        found = [len(known[name]["keypoints"]) for name in ("pose", "hands", "faces")]
        assert found == [1, 2, 1], person


@pytest.mark.parametrize("width", [494, 481, 1023])
def test_a_pose_is_found_in_an_image_of_any_width(extractors: Mapping[str, Extractor], width: int) -> None:
    """Widths whose silhouettes MediaPipe pads; the same picture with that edge of black already there says the same."""
    small = np.asarray(photograph(people()[0].name, "studio_posture").resize((width, width)))
    edge = -width % 4
    known = [read({"pose": extractors["pose"]}, pixels) for pixels in (small, np.pad(small, ((0, edge), (0, edge), (0, 0))))]
    assert len(known[0]["pose"]["keypoints"]) == 1
    assert all(np.array_equal(known[0]["pose"][name], known[1]["pose"][name]) for name in ("keypoints", "unexplained"))


def test_a_full_body_has_its_parts_where_they_belong(postures: dict[str, Known]) -> None:
    """Two models agree: hands start at the pose's wrists on the person's own side, the face is around the pose's nose."""
    for known in postures.values():
        pose, hands, face = known["pose"]["keypoints"][0], known["hands"], known["faces"]["keypoints"][0]
        assert sorted(hands["side"]) == [0, 1]
        for points, side in zip(hands["keypoints"], hands["side"], strict=True):
            wrist = pose[RIGHT_WRIST if side else LEFT_WRIST, :2]
            assert np.linalg.norm(points[0] - wrist) < 0.15 * body_width(pose)
        assert np.linalg.norm(face[NOSE_TIP] - pose[0, :2]) < 0.1 * body_width(pose)
        assert face[LEFT_EYE_CORNER, 0] > face[RIGHT_EYE_CORNER, 0] and face[CHIN, 1] > face[NOSE_TIP, 1]


def test_a_portrait_has_one_face_and_no_hand(portraits: dict[str, Known]) -> None:
    for known in portraits.values():
        assert [len(known[name]["keypoints"]) for name in ("pose", "hands", "faces")] == [1, 0, 1]
        face = known["faces"]
        assert face["keypoints"].min() > 0 and face["keypoints"].max() < SIDE
        assert 0 <= face["blendshapes"].min() and face["blendshapes"].max() <= 1
        # The nose stands out towards the camera by some tenths of the face's width.
        width = np.ptp(face["keypoints"][0, :, 0])
        assert 0.1 * width < face["depth"][0].max() - face["depth"][0, NOSE_TIP] < 1.5 * width


def test_presentation_and_age_are_those_asked_for(portraits: dict[str, Known], postures: dict[str, Known]) -> None:
    """Sex as in the metadata for all ten people, at both sizes of face; ages within 20 years of the middle of the range."""
    for folder in people():
        asked = json.loads((folder / "metadata.json").read_text())["character_details"]["demographics"]
        age = np.mean([int(bound) for bound in asked["age_range"].split("-")])
        for known in (portraits[folder.name], postures[folder.name]):
            feminine = known["attributes"]["feminine"]
            assert feminine.shape == (1,) and (feminine[0] > 0.5) == (asked["sex"] == "female"), folder.name
        assert abs(portraits[folder.name]["attributes"]["age"][0] - age) <= 20, folder.name


def test_skin_tone_orders_a_light_and_a_dark_person(portraits: dict[str, Known], postures: dict[str, Known]) -> None:
    """P003 is the lightest and P007 the darkest to our eyes under the same studio light; both sizes of face agree."""
    assert portraits["P003"]["skin_tone"]["monk"] < portraits["P007"]["skin_tone"]["monk"]
    for known in (portraits, postures):
        angles = {person: features["skin_tone"]["ita"][0] for person, features in known.items()}
        assert angles["P003"] == max(angles.values()) and angles["P007"] == min(angles.values())
        assert angles["P003"] > angles["P007"] + 15
    for person, known in portraits.items():
        np.testing.assert_allclose(known["skin_tone"]["lab"], postures[person]["skin_tone"]["lab"], atol=5, err_msg=person)


def test_points_move_with_the_image(extractors: Mapping[str, Extractor], postures: dict[str, Known]) -> None:
    """Tolerances in pixels: a pose is read from 256 pixels for a whole body, a hand or face from as many for itself."""
    moved = read(extractors, shifted(photograph("P001", "studio_posture"), 96, 64))
    for name, tolerance in (("pose", 10), ("hands", 3), ("faces", 1)):
        before, after = (known[name]["keypoints"][..., :2] for known in (postures["P001"], moved))
        assert after.shape == before.shape
        assert np.abs(after - before - (96, 64)).mean() < tolerance, name


def test_an_image_that_is_not_square(extractors: Mapping[str, Extractor], postures: dict[str, Known]) -> None:
    """The middle 1100 of 2048 columns: everything is found 474 pixels further left."""
    known = read(extractors, photograph("P001", "studio_posture").crop((474, 0, 1574, SIDE)))
    for name, tolerance in (("pose", 10), ("hands", 3), ("faces", 1)):
        before, after = (features[name]["keypoints"][..., :2] for features in (postures["P001"], known))
        assert after.shape == before.shape
        assert np.abs(after - before + (474, 0)).mean() < tolerance, name


def test_small_hands_are_found_around_the_wrists(extractors: Mapping[str, Extractor]) -> None:
    """At a third of its size the figure's hands are 6 pixels to the palm detector: only the wrists' windows show them."""
    small = Image.new("RGB", (SIDE, SIDE), (128, 128, 128))
    small.paste(photograph("P001", "studio_posture").resize((700, 700), Image.Resampling.LANCZOS), (600, 1100))
    known = read(extractors, small)
    no_pose = {"pose": {"keypoints": np.zeros((0, 33, 3), np.float32)}}
    alone = extractors["hands"].extract(View(np.asarray(small), ""), no_pose)
    assert len(alone["score"]) < len(known["hands"]["score"]) == 2
    assert len(known["faces"]["keypoints"]) == 1


def test_hands_away_from_all_wrists_are_found_on_the_whole_image(extractors: Mapping[str, Extractor], postures: dict[str, Known]) -> None:
    """Where the pose is wrong about its arms: wrists that it says to be in a corner show nothing there."""
    x, y = postures["P001"]["hands"]["keypoints"][0].mean(axis=0)
    view = View(np.asarray(photograph("P001", "studio_posture").crop((int(x) - 250, int(y) - 250, int(x) + 250, int(y) + 250))), "")
    alone = extractors["hands"].extract(view, {"pose": {"keypoints": np.zeros((0, 33, 3), np.float32)}})
    astray = np.zeros((1, 33, 3), np.float32)
    astray[0, 11:25, :2] = np.linspace(20, 90, 14)[:, None]
    astray[..., 2] = 0.99
    found = extractors["hands"].extract(view, {"pose": {"keypoints": astray}})
    assert len(alone["score"]) >= 1
    np.testing.assert_array_equal(found["keypoints"], alone["keypoints"])


def test_noise_has_no_face_and_no_hand(extractors: Mapping[str, Extractor]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    known = read(extractors, Image.fromarray(noise))
    shapes = {f"{name}.{key}": array.shape for name in NAMES[1:] for key, array in known[name].items()}
    assert shapes == {
        "hands.keypoints": (0, 21, 2), "hands.score": (0,), "hands.side": (0,),
        "faces.keypoints": (0, 478, 2), "faces.depth": (0, 478), "faces.blendshapes": (0, 52),
        "attributes.feminine": (0,), "attributes.age": (0,),
        "skin_tone.lab": (0, 3), "skin_tone.monk": (0,), "skin_tone.ita": (0,), "skin_tone.hue": (0,), "skin_tone.num_pixels": (0,)}


def test_a_face_that_the_classifier_does_not_see_is_nan(extractors: Mapping[str, Extractor]) -> None:
    blank = View(np.full((512, 512, 3), 128, np.uint8), "")
    somewhere = np.random.default_rng(2).uniform(200, 300, (1, 478, 2))
    attributes = extractors["attributes"].extract(blank, {"faces": {"keypoints": somewhere}})
    assert np.isnan(attributes["feminine"]).tolist() == np.isnan(attributes["age"]).tolist() == [True]


def test_the_same_image_gives_the_same_features_after_another(
        extractors: Mapping[str, Extractor], postures: dict[str, Known]) -> None:
    read(extractors, photograph("P005", "amateur_selfie"))
    again = read(extractors, photograph("P001", "studio_posture"))
    for name in NAMES:
        for key, array in postures["P001"][name].items():
            assert array.dtype == again[name][key].dtype
            np.testing.assert_array_equal(array, again[name][key], err_msg=f"{name}.{key}")


def test_types_are_the_promised_ones(postures: dict[str, Known]) -> None:
    types = {f"{name}.{key}": str(array.dtype) for name in NAMES for key, array in postures["P001"][name].items()}
    others = {"hands.side": "int8", "skin_tone.monk": "int8", "skin_tone.num_pixels": "int32"}
    assert types == dict.fromkeys(types, "float32") | others
    assert postures["P001"]["pose"]["keypoints"].shape == (1, 33, 3)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """MediaPipe's libraries write notes to the standard error stream that users read."""
    made = {name: EXTRACTORS.get(name).make("cpu") for name in ("pose", "hands", "faces")}
    read(made, photograph("P008", "studio_posture").resize((1024, 1024)))
    for extractor in made.values():
        extractor.close()
    assert capfd.readouterr() == ("", "")


def test_standard_error_comes_back_after_an_exception(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), quiet_native_stderr():
        os.write(2, b"noise")
        raise RuntimeError
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_a_window_over_the_edge_is_black_there_and_keeps_its_place() -> None:
    pixels = np.random.default_rng(3).integers(1, 256, (60, 100, 3), dtype=np.uint8)
    window = Window.around(np.array([95.0, 5.0]), 10)
    square = window.cut(pixels)
    assert (window, square.shape) == (Window(85, -5, 20), (20, 20, 3))
    np.testing.assert_array_equal(square[5:, :15], pixels[:15, 85:])
    assert not square[:5].any() and not square[:, 15:].any()
    assert not Window(200, 0, 8).cut(pixels).any()


class Point:
    def __init__(self, x: float, y: float, z: float):
        self.x, self.y, self.z = x, y, z


def test_landmarks_become_pixels_of_the_image() -> None:
    points = Window(85, -5, 20).to_image([Point(0, 0, 0), Point(0.5, 1, -0.25)])
    np.testing.assert_allclose(points, [[85, -5, 0], [95, 15, -5]])


def hand_at(x: float, y: float, noise: float = 0) -> Hand:
    """A flat hand: wrist, then five straight fingers; its palm is 50 pixels long."""
    fingers = [(x + 20 * (finger - 2), y - 50 - 15 * joint) for finger in range(5) for joint in range(4)]
    points = np.array([(x, y), *fingers]) + np.random.default_rng(4).normal(0, noise, (21, 2))
    return Hand(points.astype(np.float32), 0.9, 0)


def test_one_hand_from_two_windows_is_one_and_neighbours_are_two() -> None:
    first = hand_at(100, 300)
    assert merge_hands([first], [hand_at(100, 300, noise=5)]) == [first]
    assert len(merge_hands([first], [hand_at(150, 300)])) == 2
    assert len(merge_hands([], [first, hand_at(102, 300)])) == 2
    assert merge_hands([], []) == []
