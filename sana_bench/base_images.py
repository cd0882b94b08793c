"""The base model's own images of a suite, drawn from the same noise: what metrics with `needs_base` hold the variant's images against.

They are a sample set like any other, of the trainer `none`: drawn once a base, suite and sampling settings, and used by every fine-tune.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sana_bench.config import RunConfig
from sana_bench.extract import FeatureStore, Item
from sana_bench.features import Features
from sana_bench.images import read_unaltered
from sana_bench.metrics import MetricEntry
from sana_bench.prompts import PromptSuite
from sana_bench.records import Checkpoint, SampleSet
from sana_bench.store import Store


@dataclass(frozen=True)
class BaseImages:
    """The untouched base, and what it drew."""

    checkpoint: Checkpoint
    sample_set: SampleSet


def as_base(config: RunConfig) -> RunConfig:
    """The same settings for the base model itself."""
    return config.model_copy(update={"train": config.train.model_copy(update={"trainer": "none", "num_seeds": 1})})


def needing_base(entries: Sequence[MetricEntry]) -> list[MetricEntry]:
    return [entry for entry in entries if entry.needs_base]


def base_features(base: BaseImages, entries: Sequence[MetricEntry], suite: PromptSuite, store: Store,
                  device: str, num_workers: int) -> dict[str, Mapping[str, Features]]:
    """Features of the base's images by sample id and extractor: all that the metrics that need them read off the variant's images.

    Raises:
        StoreError: an image is missing or was altered.
    """
    images, samples = store.folder("samples", base.sample_set.images_digest), base.sample_set.samples
    items = [Item(sample.pixels_sha256, suite.by_id(sample.prompt_id).text, partial(read_unaltered, images / sample.file_name, sample.pixels_sha256))
             for sample in samples]
    with FeatureStore(store, {name for entry in needing_base(entries) for name in entry.extractors}, device, num_workers) as features:
        found = features.features_of(items, "look at the base model's images")
    return {sample.sample_id: each for sample, each in zip(samples, found, strict=True)}
