"""Vendi score of images: copies are one image, orthogonal ones are all different, and the order is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.errors import InsufficientSamplesError
from sana_bench.metrics.vendi_images import VendiImages, cosine_similarity


def score(features: np.ndarray) -> float:
    return VendiImages.evaluate({"similarity": cosine_similarity(features)}, np.arange(len(features)))


def test_copies_are_one_image_and_orthogonal_ones_are_all_different() -> None:
    assert score(np.ones((6, 8))) == pytest.approx(1)
    assert score(np.eye(6, 8)) == pytest.approx(6)
    assert score(np.repeat(np.eye(3, 8), 4, axis=0)) == pytest.approx(3)


def test_lost_variety_lowers_it_step_by_step() -> None:
    features = np.random.default_rng(0).normal(size=(24, 32))
    values = [score(np.where(np.arange(24)[:, None] < number, features[:1], features)) for number in (1, 8, 16, 24)]
    assert values == sorted(values, reverse=True) and values[-1] == pytest.approx(1)


def test_few_images_are_refused_and_repeats_add_nothing() -> None:
    similarity = {"similarity": cosine_similarity(np.random.default_rng(1).normal(size=(8, 4)))}
    with pytest.raises(InsufficientSamplesError, match="3 generated"):
        VendiImages.evaluate(similarity, np.array([0, 1, 2, 2]))
    assert VendiImages.evaluate(similarity, np.array([0, 1, 2, 3, 3, 3])) == VendiImages.evaluate(similarity, np.arange(4))
