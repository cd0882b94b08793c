"""Results per tag: whose images they are of, and the same statistics as everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.config import CompareSection
from sana_bench.prompts import Prompt, PromptSuite
from sana_bench.statistics import mean_interval
from sana_bench.tags import tag_differences, tag_scores, tags_of
from tests.bundles import make_bundle

SETTINGS = CompareSection(num_resamples=200)
VALUES = [0.1 * index for index in range(16)]
TAGS = {f"p{index:02d}": (("even",) if index % 2 == 0 else ()) + ("all",) for index in range(8)} | {"p07": ("all", "one")}
BUNDLE = make_bundle({"hand_rate": [None, *VALUES[1:]], "face_rate": VALUES}, images=2)


@pytest.fixture
def scores():
    return {(each.tag, each.metric): each for each in tag_scores(TAGS, BUNDLE.result.samples, BUNDLE.scores, SETTINGS)}


def test_tags_are_those_of_the_suite():
    suite = PromptSuite(name="s", version=1, description="", source="", license="", prompt=(
        Prompt(id="a", text="x", tags=("face", "hands")), Prompt(id="b", text="x")))
    assert tags_of(suite) == {"a": ("face", "hands")}


def test_a_tag_has_the_mean_and_interval_of_its_own_images(scores):
    assert set(scores) == {(tag, metric) for tag in ("all", "even", "one") for metric in ("hand_rate", "face_rate")}
    even = [index for index in range(16) if index // 2 % 2 == 0]
    found = mean_interval(np.array(VALUES)[even], [f"p{index // 2:02d}" for index in even], num_resamples=200)
    row = scores["even", "face_rate"]
    assert (row.value, row.low, row.high) == pytest.approx(tuple(found))
    assert (row.num_images, row.num_prompts, row.enough) == (8, 4, False)
    assert (scores["all", "face_rate"].num_images, scores["all", "face_rate"].num_prompts, scores["all", "face_rate"].enough) == (16, 8, True)


def test_unscored_images_are_left_out_and_one_prompt_has_no_interval(scores):
    assert (scores["even", "hand_rate"].num_images, scores["even", "hand_rate"].num_prompts) == (7, 4)
    assert scores["one", "face_rate"].value == pytest.approx(1.45) and scores["one", "face_rate"].low is None


def test_a_metric_without_any_value_has_no_tags():
    bundle = make_bundle({"hand_rate": [None] * 4})
    assert tag_scores({"p00": ("all",)}, bundle.result.samples, bundle.scores, SETTINGS) == ()


def test_differences_are_of_the_pairs_with_the_tag():
    prompts = [f"p{index:02d}" for index in range(8)]
    rows = tag_differences("humans", "hand_rate", prompts, np.array([-1.0, 1.0] * 4), TAGS, SETTINGS)
    assert [(row.tag, row.difference, row.num_pairs, row.enough) for row in rows] == [
        ("all", 0.0, 8, True), ("even", -1.0, 4, False), ("one", 1.0, 1, False)]
    assert (rows[1].low, rows[1].high) == (-1.0, -1.0) and rows[2].low is None
