"""The base model's own images as a paired reference: whose features a metric gets, and what they decide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sana_bench.base_images import BaseImages, as_base, base_features
from sana_bench.config import load_config
from sana_bench.errors import ConfigError, StoreError
from sana_bench.images import pixels_sha256, write_png
from sana_bench.metrics import METRICS
from sana_bench.prompts import Prompt, PromptSuite
from sana_bench.records import Checkpoint, Sample, SampleSet, StageCost
from sana_bench.score import result_digest, score
from sana_bench.store import Store

SUITE = PromptSuite(name="s", version=1, description="", source="", license="", prompt=(Prompt(id="lake", text="a lake"), Prompt(id="fern", text="a fern")))
COST = StageCost(seconds=0, peak_memory_bytes=0)
DRIFT = METRICS.get("drift_efficientnet_lite0")


def base_of(store: Store, digest: str) -> BaseImages:
    """Two images in the store."""
    samples = []
    for number, prompt in enumerate(SUITE.prompt):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        write_png(store.folder("samples", digest) / f"{prompt.id}_000.png", pixels)
        samples.append(Sample(sample_id=f"{prompt.id}_000", prompt_id=prompt.id, sample_index=0, seed=number, width=64, height=64,
                              file_name=f"{prompt.id}_000.png", pixels_sha256=pixels_sha256(pixels)))
    return BaseImages(Checkpoint(digest="c", base="b", base_digest="bb", trainer="none", kind="base", cost=COST),
                      SampleSet(digest=digest, checkpoint_digest="c", suite="s", suite_version=1, sampling={}, samples=tuple(samples), cost=COST))


def test_scores_of_another_base_have_another_digest(tmp_path: Path):
    config, store = load_config("tiny", ('score.metrics=["drift_efficientnet_lite0"]',)), Store(tmp_path)
    digests = [result_digest(config, "samples", SUITE, base) for base in (None, base_of(store, "one"), base_of(store, "two"), base_of(store, "one"))]
    assert len(set(digests)) == 3 and digests[1] == digests[3]


def test_the_settings_of_the_base_differ_in_the_trainer_alone():
    config = load_config("tiny")
    settings = as_base(config)
    assert settings.train.trainer == "none" != config.train.trainer
    assert settings.model_copy(update={"train": config.train}) == config


@pytest.mark.weights
def test_a_metric_gets_features_of_all_extractors_that_it_names(tmp_path: Path):
    store = Store(tmp_path)
    base = base_of(store, "one")
    found = base_features(base, [replace(DRIFT, also_reads=("texture",)), METRICS.get("face_rate")], SUITE, store, "cpu", 1)
    assert {name: set(features) for name, features in found.items()} == {
        f"{prompt.id}_000": {"efficientnet_lite0", "texture"} for prompt in SUITE.prompt}, "and none of a metric that needs no base"


@pytest.mark.weights
def test_an_altered_image_of_the_base_is_refused(tmp_path: Path):
    store = Store(tmp_path)
    base = base_of(store, "one")
    write_png(store.folder("samples", "one") / "fern_000.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(StoreError, match="altered"):
        base_features(base, [DRIFT], SUITE, store, "cpu", 1)


def test_without_the_base_such_a_metric_is_an_error_that_says_what_to_do(tmp_path: Path):
    config, store = load_config("tiny", ('score.metrics=["drift_efficientnet_lite0", "face_rate"]',)), Store(tmp_path)
    base = base_of(store, "one")
    with pytest.raises(ConfigError, match="^drift_efficientnet_lite0: .*--against"):
        score(config, base.checkpoint, base.sample_set, SUITE, store)
