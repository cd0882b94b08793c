"""The small-sample floor: near the truth on known distributions, falling with the number of images, said where the value is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sana_bench.config import load_config
from sana_bench.metrics import METRICS
from sana_bench.metrics.frechet_distance import frechet_distance
from sana_bench.metrics.frechet_floor import FEWEST_REAL, small_sample_floor
from sana_bench.score import evaluate_metric
from tests.contract.test_metrics import CONTEXT, samples_of

SPREAD = np.sqrt(1 / np.arange(1, 513))


def drawn(number: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(number, len(SPREAD))) * SPREAD


@pytest.mark.parametrize(("num_images", "num_real"), [(16, 60), (60, 60), (200, 60), (100, 200), (500, 200)])
def test_it_is_what_equal_distributions_read(num_images: int, num_real: int) -> None:
    truth = np.mean([frechet_distance(drawn(num_images, 2 * seed), drawn(num_real, 2 * seed + 1)) for seed in range(4)])
    assert small_sample_floor(drawn(num_real, 99), num_images) == pytest.approx(truth, rel=0.15)


def test_it_falls_with_the_number_of_images_and_grows_with_the_spread() -> None:
    real = drawn(64, 0)
    floors = [small_sample_floor(real, number) for number in (16, 64, 256, 4096)]
    assert floors == sorted(floors, reverse=True) and floors[-1] > 0
    assert small_sample_floor(3 * real, 64) == pytest.approx(9 * floors[1], rel=1e-6)
    assert small_sample_floor(real[:FEWEST_REAL - 1], 64) is None and small_sample_floor(np.ones((40, 8)), 64) is None


@pytest.mark.parametrize("name", ["fid", "fd_dinov2", "fd_efficientnet_lite0"])
def test_it_stands_beside_every_frechet_distance(name: str) -> None:
    entry, samples = METRICS.get(name), samples_of(0)
    _, _, result = evaluate_metric(entry, entry.make(CONTEXT), samples, load_config("tiny"))
    floor = small_sample_floor(np.array([each[entry.extractor]["features"] for each in CONTEXT.reference], np.float64), len(samples))
    assert result.note == f"{len(samples)} images like the {len(CONTEXT.reference)} real ones would read about {floor:.3g}"
    assert result.fewest_images == (5000 if name == "fid" else 1000)
    few = entry.make(replace(CONTEXT, reference=CONTEXT.reference[:FEWEST_REAL - 1]))
    assert evaluate_metric(entry, few, samples, load_config("tiny"))[2].note == ""


def test_other_distances_have_nothing_to_say() -> None:
    entry = METRICS.get("kid_efficientnet_lite0")
    assert evaluate_metric(entry, entry.make(CONTEXT), samples_of(0), load_config("tiny"))[2].note == ""
