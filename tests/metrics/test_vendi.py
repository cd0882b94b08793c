"""Vendi score of faces: closed forms on features, direction on photographs, and that no file ever holds the features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_bench.assets import asset_path
from sana_bench.data.openpeople import find_people, pictures_of
from sana_bench.data.views import fit_view
from sana_bench.errors import InsufficientSamplesError
from sana_bench.extract import FeatureStore, Item
from sana_bench.features import View
from sana_bench.features.face_features import EYE_CORNERS, FaceFeatures, upright_crop
from sana_bench.metrics import MetricContext, ScoredSample, Unscored
from sana_bench.metrics.vendi import MIN_IMAGES, VendiFaces, face_kernel
from sana_bench.prompts import Attribute, Prompt, Target
from sana_bench.store import Store

METRIC = VendiFaces(MetricContext(reference=[], target=Target()))


def sample_of(features: np.ndarray, states: tuple[Attribute, ...] = ()) -> ScoredSample:
    """One image with the given features of its face, (F, D)."""
    return ScoredSample(sample_id="a_0", prompt=Prompt(id="a", text="a person", states=states),
                        features={"face_features": {"features": features}})


def score(features_nD: Sequence[np.ndarray]) -> float:
    return METRIC.evaluate(METRIC.statistics([sample_of(np.atleast_2d(each)) for each in features_nD]), np.arange(len(features_nD)))


def test_one_face_over_and_over_is_one() -> None:
    assert score([np.arange(1.0, 9)] * 8) == pytest.approx(1 / 8)
    assert score([np.arange(1.0, 9) * scale for scale in (1, 2, 3, 4)]) == pytest.approx(1 / 4), "length says nothing"


def test_faces_with_nothing_in_common_are_nearly_as_many_as_there_are() -> None:
    """Orthogonal features are sqrt 2 apart: similarity exp(-2 / (2 * 0.25)) = e^-4, and that is all they share."""
    kernel = face_kernel(np.eye(8))
    assert kernel[0, 1] == pytest.approx(np.exp(-4)) and kernel[0, 0] == 1
    assert score(np.eye(8)) == pytest.approx(1, abs=0.01)
    assert score(np.repeat(np.eye(4), 2, axis=0)) == pytest.approx(0.5, abs=0.01)


def test_order_says_nothing_and_more_likeness_is_less() -> None:
    features = np.abs(np.random.default_rng(0).normal(size=(12, 40)))
    statistics = METRIC.statistics([sample_of(each[None]) for each in features])
    order = np.random.default_rng(1).permutation(12)
    assert METRIC.evaluate(statistics, order) == pytest.approx(METRIC.evaluate(statistics, np.arange(12)))
    assert score(features) == pytest.approx(METRIC.evaluate(statistics, np.arange(12)))
    values = [score(features.mean(axis=0) + spread * (features - features.mean(axis=0))) for spread in (1, 0.5, 0.2, 0)]
    assert values == sorted(values, reverse=True) and len(set(values)) == 4


def test_which_images_count() -> None:
    face = np.ones((1, 4))
    assert METRIC.usable(sample_of(face)) is None and METRIC.usable(sample_of(face, ("skin_tone",))) is None
    for attribute in ("gender", "age"):
        assert METRIC.usable(sample_of(face, (attribute,))) == Unscored("prompt states the attribute")
    assert METRIC.usable(sample_of(face[:0])) == Unscored("no face found")
    statistics = METRIC.statistics([sample_of(face)] * MIN_IMAGES)
    with pytest.raises(InsufficientSamplesError, match="3 generated"):
        METRIC.evaluate(statistics, np.array([0, 1, 2, 2]))


def test_a_crop_is_turned_upright_and_keeps_its_scale() -> None:
    """A face drawn level and the same turned by 20 degrees give the same crop, but for resampling."""
    side = 400
    points = np.full((478, 2), 200.0)
    points[:4] = [(140, 120), (260, 120), (140, 280), (260, 280)]
    for (first, second), x in zip(EYE_CORNERS, (170, 230), strict=True):
        points[[first, second]] = (x - 10, 170), (x + 10, 170)
    rows, columns = np.mgrid[:side, :side]
    pixels = np.stack([rows * 255 // side, columns * 255 // side, np.full((side, side), 90)], axis=-1).astype(np.uint8)
    turned = np.asarray(Image.fromarray(pixels).rotate(-20, Image.Resampling.BICUBIC))
    angle = np.radians(20)
    spin = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    level, again = upright_crop(pixels, points), upright_crop(turned, (points - 200) @ spin + 200)
    centre, other = (crop[crop.shape[0] // 2, crop.shape[0] // 2].astype(int) for crop in (level, again))
    assert np.abs(centre - other).max() <= 2
    for crop in (level, again):  # brightness still runs straight down and straight across
        middle = crop[crop.shape[0] // 4:-crop.shape[0] // 4, crop.shape[0] // 4:-crop.shape[0] // 4].astype(int)
        assert np.ptp(middle[..., 0], axis=1).max() <= 3 and np.ptp(middle[..., 1], axis=0).max() <= 3


def cell_faces(person: Path) -> list[Image.Image]:
    return [fit_view(picture.image, 512, 512, fit=picture.fit, focus_y=picture.focus_y)
            for picture in pictures_of(person) if picture.kind == "emotion"]


@pytest.mark.weights
def test_ten_people_are_more_different_than_one_and_no_file_has_their_features(tmp_path: Path) -> None:
    """16 photographs on either side: one person with 16 expressions against the ten people, six of them twice."""
    folders = find_people(asset_path("openpeople"))
    one = cell_faces(folders[0])
    many = [cell_faces(folders[index % 10])[index] for index in range(16)]
    with FeatureStore(Store(tmp_path), ["face_features"], "cpu") as features:
        found = [features.features_of([Item(f"{side} {index}", "", lambda image=image: np.asarray(image))
                                       for index, image in enumerate(images)], "look") for side, images in (("one", one), ("many", many))]
    vectors = [[each["face_features"]["features"] for each in side] for side in found]
    assert all(each.shape == (1, 1280) and each.dtype == np.float32 for side in vectors for each in side)
    alone, together = (score([each[0] for each in side]) for side in vectors)
    assert alone < together - 0.05
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept, "points of faces are kept"
    beginnings = [each[0, :8].tobytes() for side in vectors for each in side]
    assert not any(beginning in path.read_bytes() for path in kept for beginning in beginnings)


@pytest.mark.weights
def test_an_image_without_a_face_has_none_to_describe() -> None:
    extractor = FaceFeatures("cpu")
    found = extractor.extract(View(np.zeros((64, 64, 3), np.uint8), ""), {"faces": {"keypoints": np.zeros((0, 478, 2), np.float32)}})
    extractor.close()
    assert found["features"].shape == (0, 1280) and found["features"].dtype == np.float32
