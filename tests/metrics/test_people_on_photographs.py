"""Plausibility of hands, faces and bodies on real photographs: whole above damaged, and a defined answer for every odd image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sana_bench.corruptions import CORRUPTIONS, corrupt
from sana_bench.extract import in_order
from sana_bench.features import EXTRACTORS, Extractor, View
from sana_bench.features.evidence import LOST
from sana_bench.features.faces import MAX_FACES
from sana_bench.metrics import METRICS, MetricContext, ScoredSample, Unscored
from sana_bench.metrics.perceived import perceived_class
from sana_bench.prompts import Expects, Prompt, Target
from sana_bench.split import HELD_OUT_PEOPLE
from tests.photographs import SIDE, Known, people, photograph, read

pytestmark = pytest.mark.weights

NAMES = in_order(["hand_evidence", "face_evidence", "attributes", "skin_tone"])
JUDGED = ("hand_rate", "hand_plausibility", "face_rate", "face_plausibility", "body_rate", "body_plausibility")
EXPECTS = Expects(faces=1, hands=2, full_body=True)

@pytest.fixture(scope="module")
def extractors() -> Iterator[dict[str, Extractor]]:
    opened = {name: EXTRACTORS.get(name).make("cpu") for name in NAMES}
    yield opened
    for extractor in opened.values():
        extractor.close()


@pytest.fixture(scope="module")
def metrics() -> dict:
    return {name: METRICS.get(name).make(MetricContext(reference=[], target=Target())) for name in JUDGED}


def scores(metrics: Mapping, known: Known, expects: Expects = EXPECTS) -> dict[str, float | Unscored]:
    sample = ScoredSample(sample_id="a_0", prompt=Prompt(id="a", text="a person", expects=expects), features=known)
    return {name: metric.score(sample) for name, metric in metrics.items()}


@pytest.fixture(scope="module")
def whole(extractors: Mapping[str, Extractor]) -> dict[str, tuple[np.ndarray, Known]]:
    """Full bodies of the people that nothing has learned from."""
    pictures = {person: np.asarray(photograph(person, "studio_posture")) for person in HELD_OUT_PEOPLE}
    return {person: (pixels, read(extractors, pixels)) for person, pixels in pictures.items()}


def test_people_who_are_whole_are_found_and_plausible(metrics: Mapping, whole: Mapping) -> None:
    values = [scores(metrics, known) for _, known in whole.values()]
    assert all(each[name] == 1 for each in values for name in ("hand_rate", "face_rate", "body_rate"))
    for name, least in (("hand_plausibility", 0.6), ("face_plausibility", 0.6), ("body_plausibility", 0.2)):
        assert np.mean([each[name] for each in values]) > least, name


@pytest.mark.parametrize(("kind", "metric", "blind"), [
    ("hand_fused_fingers", "hand_plausibility", "hand_rate"), ("hand_added_finger", "hand_plausibility", "hand_rate"),
    ("face_misplaced_feature", "face_plausibility", "face_rate"), ("face_doubled_feature", "face_plausibility", "face_rate"),
    ("body_short_legs", "body_plausibility", "body_rate")])
def test_damage_that_detection_does_not_see_lowers_plausibility(extractors: Mapping[str, Extractor], metrics: Mapping, whole: Mapping,
                                                               kind: str, metric: str, blind: str) -> None:
    damage = CORRUPTIONS.get(kind)
    name = {"hand": "hands", "face": "faces", "body": "pose"}[damage.part]
    before, after = [], []
    for person, (pixels, known) in whole.items():
        for number, points in enumerate(known[name]["keypoints"]):
            pixels = corrupt(kind, pixels, points[:, :2], damage.doses[-1], (int(person[1:]), number))
        before.append(scores(metrics, known))
        after.append(scores(metrics, read(extractors, pixels)))
    assert np.mean([each[metric] for each in after]) < np.mean([each[metric] for each in before]) - 0.2
    assert np.mean([each[blind] for each in after]) > 0.6  # the detector goes on finding most of them


def test_damage_is_seen_where_it_is(extractors: Mapping[str, Extractor], whole: Mapping) -> None:
    """The map of a face with a doubled eye is brighter on what changed than elsewhere."""
    from sana_bench.features.upright_view import MAP, cut_view

    ratios = []
    for person, (pixels, known) in whole.items():
        damaged = corrupt("face_doubled_feature", pixels, known["faces"]["keypoints"][0], 1.0, (int(person[1:]),))
        seen = read(extractors, damaged)["face_evidence"]
        changed = (np.abs(damaged.astype(int) - pixels).max(axis=-1, keepdims=True) > 12).repeat(3, axis=-1)
        there = cut_view(changed.astype(np.uint8) * 255, seen["view_matrix"][0].astype(np.float64))[..., 0]
        there = there.reshape(MAP, SIDE_OF_CELL, MAP, SIDE_OF_CELL).mean(axis=(1, 3)) > 64
        ratios.append(seen["damage_map"][0][there].mean() / seen["damage_map"][0][~there].mean())
    assert np.mean(ratios) > 1.5


SIDE_OF_CELL = 8


def test_evidence_does_not_depend_on_what_was_looked_at_before(extractors: Mapping[str, Extractor], whole: Mapping) -> None:
    pixels, known = whole[HELD_OUT_PEOPLE[0]]
    again = read(extractors, pixels)
    for name in ("hand_evidence", "face_evidence"):
        for key, array in known[name].items():
            np.testing.assert_array_equal(array, again[name][key], err_msg=f"{name}.{key}")


def test_one_hand_is_judged_alike_alone_and_beside_another(extractors: Mapping[str, Extractor], whole: Mapping) -> None:
    pixels, known = whole[HELD_OUT_PEOPLE[0]]
    alone = extractors["hand_evidence"].extract(View(pixels, ""), {"hands": {name: array[:1] for name, array in known["hands"].items()}})
    assert alone["damage_logit"][0] == known["hand_evidence"]["damage_logit"][0]
    assert alone["instability"][0] == pytest.approx(known["hand_evidence"]["instability"][0], abs=0.02)


def cartoon() -> np.ndarray:
    """A drawn smiling face with dots for eyes, a circle for a body and mittens."""
    image = Image.new("RGB", (SIDE, SIDE), (250, 240, 220))
    draw = ImageDraw.Draw(image)
    draw.ellipse((700, 300, 1350, 1000), fill=(255, 220, 120), outline="black", width=12)
    for x in (860, 1130):
        draw.ellipse((x, 560, x + 60, 640), fill="black")
    draw.arc((850, 600, 1200, 880), 20, 160, fill="black", width=14)
    draw.ellipse((600, 1000, 1450, 1900), fill=(90, 140, 230), outline="black", width=12)
    for x in (450, 1380):
        draw.ellipse((x, 1200, x + 220, 1420), fill=(255, 220, 120), outline="black", width=12)
    return np.asarray(image)


def crowd() -> np.ndarray:
    """Twenty portraits, five by four."""
    names = [folder.name for folder in people()]
    tiles = [photograph(names[index % 10], "studio_portrait" if index < 10 else "amateur_selfie", 400) for index in range(20)]
    return np.concatenate([np.concatenate(tiles[row * 5:row * 5 + 5], axis=1) for row in range(4)], axis=0)


def check_defined(values: Mapping[str, float | Unscored]) -> None:
    for name, value in values.items():
        assert isinstance(value, Unscored) and value.reason or 0 <= value <= 1, name


@pytest.mark.parametrize("pixels", [np.zeros((SIDE, SIDE, 3), np.uint8), np.full((64, 64, 3), 128, np.uint8)], ids=["black", "64 px grey"])
def test_nobody_where_somebody_was_expected_scores_zero(extractors: Mapping[str, Extractor], metrics: Mapping, pixels: np.ndarray) -> None:
    known = read(extractors, pixels)
    assert scores(metrics, known) == dict.fromkeys(JUDGED, 0)
    assert known["hand_evidence"]["damage_map"].shape == (0, 28, 28) and known["face_evidence"]["view_matrix"].shape == (0, 2, 3)
    assert isinstance(perceived_class("gender", known), Unscored) and isinstance(perceived_class("skin_tone", known), Unscored)


def test_nobody_where_nobody_was_expected_has_a_reason(extractors: Mapping[str, Extractor], metrics: Mapping) -> None:
    values = scores(metrics, read(extractors, np.zeros((512, 512, 3), np.uint8)), Expects(faces=0, hands=0))
    assert values == {name: Unscored(f"no {'full body' if name.startswith('body') else name.partition('_')[0]} expected") for name in JUDGED}


def test_a_portrait_without_hands_scores_its_face_alone(extractors: Mapping[str, Extractor], metrics: Mapping) -> None:
    values = scores(metrics, read(extractors, photograph("P002", "studio_portrait")), Expects(faces=1))
    assert values["face_rate"] == 1 and values["face_plausibility"] > 0.3
    assert isinstance(values["hand_plausibility"], Unscored) and isinstance(values["body_plausibility"], Unscored)


def test_a_photograph_of_64_px_has_a_defined_answer(extractors: Mapping[str, Extractor], metrics: Mapping) -> None:
    check_defined(scores(metrics, read(extractors, photograph("P002", "studio_portrait", 64))))


def test_a_cropped_hand_has_a_defined_answer(extractors: Mapping[str, Extractor], metrics: Mapping, whole: Mapping) -> None:
    """The image ends in the middle of one hand: it is found and judged, or counts as missing."""
    pixels, known = whole[HELD_OUT_PEOPLE[0]]
    middle = int(known["hands"]["keypoints"][0, :, 0].mean())
    values = scores(metrics, read(extractors, np.ascontiguousarray(pixels[:, middle:])))
    check_defined(values)
    assert values["hand_plausibility"] < scores(metrics, known)["hand_plausibility"]


def test_a_cartoon_is_no_plausible_person(extractors: Mapping[str, Extractor], metrics: Mapping) -> None:
    values = scores(metrics, read(extractors, cartoon()))
    check_defined(values)
    assert max(values[name] for name in ("hand_plausibility", "face_plausibility", "body_plausibility")) < 0.5


def test_twenty_people_are_counted_and_each_is_judged(extractors: Mapping[str, Extractor], metrics: Mapping) -> None:
    known = read(extractors, crowd())
    found = len(known["faces"]["keypoints"])
    assert 18 <= found <= MAX_FACES and len(known["face_evidence"]["damage_logit"]) == len(known["attributes"]["age"]) == found
    assert (known["face_evidence"]["instability"] <= LOST).all()
    values = scores(metrics, known, Expects(faces=20))
    assert values["face_rate"] == found / 20 and 0 < values["face_plausibility"] <= found / 20
