"""score: SampleSet -> BenchmarkResult. One decode an image, all extractors, all metrics."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from sana_bench.assets import asset_digest, pull_missing
from sana_bench.base_images import BaseImages, base_features, needing_base
from sana_bench.cards import card_of
from sana_bench.config import RunConfig
from sana_bench.data.manifest import data_digest, load_manifest, picture_enlargement, picture_view
from sana_bench.demographics import compositions, demographics_digest, group_scores
from sana_bench.errors import ConfigError, InsufficientSamplesError
from sana_bench.extract import FeatureStore, Item, in_order
from sana_bench.features import EXTRACTORS, Features
from sana_bench.features.open_clip_models import declare
from sana_bench.images import read_unaltered, small_webp
from sana_bench.measure import measure
from sana_bench.metrics import METRICS, MetricContext, MetricEntry, SampleMetric, ScoredSample, SetMetric, Unscored, require_services, usual_metrics
from sana_bench.models import device_in_identity, resolve_device
from sana_bench.prompts import PromptSuite
from sana_bench.provenance import collect_provenance, package_versions
from sana_bench.records import BenchmarkResult, Checkpoint, MetricResult, Sample, SampleSet, Score, StageCost
from sana_bench.results import SetStatistics, write_bundle
from sana_bench.selftest.results import why_not_judged
from sana_bench.statistics import INTERVALS_VERSION, mean_interval, set_interval, share_bounds
from sana_bench.store import Store, digest_of, write_bytes, write_record
from sana_bench.tags import TAGS_VERSION, tag_scores, tags_of

KIND = "results"
VIEW_PX = 1024
DRAWN = {"poses": "pose", "hands": "hands", "faces": "faces"}
"""What the report draws, and the extractors of it, which always run."""


def chosen_metrics(config: RunConfig) -> list[MetricEntry]:
    """Raises ConfigError: an unknown name, or a metric that asks a service which is not set up."""
    declare(config.score.clip_model)
    entries = [METRICS.get(name) for name in dict.fromkeys([*(config.score.metrics or usual_metrics()), *config.score.extra_metrics])]
    require_services(entries)
    return entries


def fetch_weights(config: RunConfig) -> None:
    """Fetch what the chosen metrics compute with, so that what cannot be had stops a run before it draws images.

    Raises:
        AssetError: out of reach.
    """
    pull_missing(assets_of(config))
    for entry in chosen_metrics(config):
        entry.extractor_digest()  # finds weights that are no assets


def assets_of(config: RunConfig) -> list[str]:
    """What the chosen metrics load."""
    return [name for each in in_order(_extractors(chosen_metrics(config))) for name in EXTRACTORS.get(each).assets]


def result_digest(config: RunConfig, sample_set_digest: str, suite: PromptSuite, base: BaseImages | None) -> str:
    """Digest of everything that decides the scores."""
    entries = chosen_metrics(config)
    return digest_of([sample_set_digest, suite.digest, base.sample_set.digest if base else "",
                      [[entry.name, entry.version, entry.budget, entry.extractor_digest(), why_not_judged(entry)] for entry in entries],
                      [EXTRACTORS.get(name).digest() for name in in_order(DRAWN.values())], data_digest(config.data.reference),
                      demographics_digest(), TAGS_VERSION, INTERVALS_VERSION, config.compare.confidence, config.compare.num_resamples, config.compare.seed, package_versions(),
                      device_in_identity(config.run.device)])


def _extractors(entries: Sequence[MetricEntry]) -> set[str]:
    """What is read off generated images."""
    return {name for entry in entries for name in entry.extractors} | set(DRAWN.values())


def find_result(config: RunConfig, sample_set_digest: str, suite: PromptSuite, store: Store, base: BaseImages | None = None) -> Path | None:
    folder = store.folder(KIND, result_digest(config, sample_set_digest, suite, base))
    return folder if (folder / "result.json").exists() else None


def score(config: RunConfig, checkpoint: Checkpoint, sample_set: SampleSet, suite: PromptSuite, store: Store,
          base: BaseImages | None = None) -> Path:
    """Score all samples on all chosen metrics; return the result folder (see results.py), from the store if it is there.

    Args:
        base: the base model's own images, where a chosen metric needs them.

    Raises:
        ConfigError: a chosen metric needs the base model's own images, and there are none.
        SanaBenchError: an image or an asset is missing or damaged, or there is too little reference data.
    """
    needing = [entry.name for entry in needing_base(chosen_metrics(config))]
    if needing and base is None:
        raise ConfigError(f"{', '.join(needing)}: made of the base model's own images of the same prompts, and there are none of these images. "
                          f"Give them with --against FOLDER, or leave it out of score.metrics")
    found = find_result(config, sample_set.digest, suite, store, base)
    if found:
        return found
    fetch_weights(config)
    digest = result_digest(config, sample_set.digest, suite, base)
    with store.locked(KIND, digest):
        return (find_result(config, sample_set.digest, suite, store, base)
                or _score(config, checkpoint, sample_set, suite, store, base, digest))


def _score(config: RunConfig, checkpoint: Checkpoint, sample_set: SampleSet, suite: PromptSuite, store: Store,
           base: BaseImages | None, digest: str) -> Path:
    folder, entries = store.folder(KIND, digest), chosen_metrics(config)
    with measure() as meter:
        samples, context = _look(config, sample_set, suite, store, entries, folder, base)
        scores, statistics, results, parts = [], {}, [], {}
        for entry in entries:
            metric = entry.make(context)
            rows, held, result = evaluate_metric(entry, metric, samples, config)
            parts.update(_parts(entry, metric, samples))
            scores += rows
            results.append(result)
            if held is not None:
                statistics[entry.name] = held
        parts_of_set = {"compositions": compositions(samples, suite.target, config.compare),
                        "groups": group_scores(samples, scores, config.compare),
                        "tags": tag_scores(tags_of(suite), sample_set.samples, scores, config.compare), "prompt_tags": tags_of(suite)}
        cost = meter.cost()
    points = {sample.sample_id: _keypoints(size, sample, parts) for size, sample in zip(sample_set.samples, samples, strict=True)}
    write_bytes(folder / "keypoints.json", json.dumps(points, separators=(",", ":")).encode())
    write_bytes(folder / "cards.json", json.dumps([card_of(entry).model_dump(mode="json") for entry in entries]).encode())
    write_record(folder / "suite.json", suite)
    write_record(folder / "checkpoint.json", checkpoint)
    stages = {"train": checkpoint.cost, "generate": sample_set.cost, **({"generate base": base.sample_set.cost} if base else {}), "score": cost}
    result = _benchmark_result(config, digest, sample_set, checkpoint, suite, base, results, stages, parts_of_set)
    write_bundle(folder, result, tuple(scores), statistics)
    return folder


def evaluate_metric(entry: MetricEntry, metric: SampleMetric | SetMetric, samples: Sequence[ScoredSample],
                    config: RunConfig) -> tuple[list[Score], SetStatistics | None, MetricResult]:
    """One metric on all samples: a Score an image (set metrics: value None), what a set metric keeps, and the result."""
    settings = config.compare
    if entry.kind == "sample":
        values = {sample.sample_id: metric.score(sample) for sample in samples}
        held = None
    else:
        values = {sample.sample_id: metric.usable(sample) for sample in samples}
    unscored = {name: value for name, value in values.items() if isinstance(value, Unscored)}
    usable = [sample for sample in samples if sample.sample_id not in unscored]
    prompts = [sample.prompt.id for sample in usable]
    if entry.kind == "sample":
        numbers = np.array([values[sample.sample_id] for sample in usable], dtype=float)
        value, low, high = mean_interval(numbers, prompts, confidence=settings.confidence,
                                         num_resamples=settings.num_resamples, seed=settings.seed, bounds=share_bounds(numbers)) if usable else (None,) * 3
    else:
        held, value, low, high = _set_value(entry, metric, usable, prompts, settings.confidence)
    flags = {sample.sample_id: flag for sample in usable if (flag := metric.flag(sample))} if hasattr(metric, "flag") else {}
    rows = [_score_row(entry, sample.sample_id, values[sample.sample_id], flags.get(sample.sample_id, "")) for sample in samples]
    return rows, held, MetricResult(
        metric=entry.name, version=entry.version, value=value, ci_low=low, ci_high=high, num_scored=len(usable),
        num_unscored=len(unscored), unscored_reasons=dict(Counter(value.reason for value in unscored.values())), unit=entry.unit,
        higher_is_better=entry.higher_is_better, budget=entry.budget, note=_note(metric, usable, flags) if value is not None else "", extractor=", ".join(entry.extractors),
        extractor_digest=entry.extractor_digest(), fewest_images=entry.fewest_images, not_judged=why_not_judged(entry), kind=entry.kind,
        explanation=entry.explanation, beside=metric.beside(samples) if hasattr(metric, "beside") else {})


def _note(metric: SampleMetric | SetMetric, usable: Sequence[ScoredSample], flags: Mapping[str, str]) -> str:
    """How many images have which flag, and what the metric has to say of itself."""
    counted = [f"{count} × {flag}" for flag, count in Counter(flags.values()).items()]
    return "; ".join(filter(None, [*counted, metric.note(usable) if usable and hasattr(metric, "note") else ""]))


def _score_row(entry: MetricEntry, sample_id: str, value: float | Unscored | None, flag: str) -> Score:
    if isinstance(value, Unscored):
        return Score(sample_id=sample_id, metric=entry.name, value=None, reason=value.reason)
    return Score(sample_id=sample_id, metric=entry.name, value=value, reason=flag if value is not None else "counted in the set")


def _set_value(entry: MetricEntry, metric, usable: Sequence[ScoredSample], prompts: Sequence[str], confidence: float):
    """(statistics, value, low, high) of a set metric; all None where there are too few samples."""
    if not usable:
        return None, None, None, None
    try:
        held = SetStatistics(tuple(sample.sample_id for sample in usable), metric.statistics(usable))
        return held, *set_interval(lambda indices: metric.evaluate(held.arrays, indices), prompts, confidence=confidence)
    except InsufficientSamplesError:
        return None, None, None, None


def _look(config: RunConfig, sample_set: SampleSet, suite: PromptSuite, store: Store, entries: Sequence[MetricEntry],
          folder: Path, base: BaseImages | None) -> tuple[list[ScoredSample], MetricContext]:
    """Features of all samples, of the reference and of the base's own images; writes small views for the report."""
    device, images = resolve_device(config.run.device), store.folder("samples", sample_set.images_digest)
    views = [folder / "views" / f"{sample.sample_id}.webp" for sample in sample_set.samples]
    items = [Item(sample.pixels_sha256, suite.by_id(sample.prompt_id).text,
                  partial(_read_and_show, images / sample.file_name, sample.pixels_sha256, view))
             for sample, view in zip(sample_set.samples, views, strict=True)]
    with FeatureStore(store, _extractors(entries), device, config.run.num_workers) as features:
        found = features.features_of(items, f"score images of {suite.name}")
    for item, view in zip(items, views, strict=True):
        if not view.exists():  # its features were in the store, so nothing has decoded it yet
            item.load()
    samples = [ScoredSample(sample_id=sample.sample_id, prompt=suite.by_id(sample.prompt_id), features=each)
               for sample, each in zip(sample_set.samples, found, strict=True)]
    reference, people, enlarged = _reference_features(config, entries, store, device)
    return samples, MetricContext(reference=reference, reference_people=people, reference_enlarged=enlarged, target=suite.target, store=store,
                                  base=base_features(base, entries, suite, store, device, config.run.num_workers) if base else {})


def _reference_features(config: RunConfig, entries: Sequence[MetricEntry], store: Store,
                        device: str) -> tuple[list[Mapping[str, Features]], list[str], list[float]]:
    """Features of every reference image, who it shows ("" where that is not recorded), and by which factor it was enlarged."""
    wanted = {entry.extractor for entry in entries if entry.needs_reference}
    if not wanted:
        return [], [], []
    manifest = load_manifest(config.data.reference, store)
    size = (config.generate.width, config.generate.height)
    items = [Item(digest_of([manifest.digest, row.file_name, size]), row.text, partial(picture_view, manifest, row, size))
             for row in manifest.rows]
    with FeatureStore(store, wanted, device, config.run.num_workers) as features:
        found = features.features_of(items, "look at reference people")
    return found, [row.person for row in manifest.rows], [picture_enlargement(manifest, row, size) for row in manifest.rows]


def _read_and_show(path: Path, sha256: str, view: Path) -> np.ndarray:
    """Decode an image once: its checked pixels for the extractors, and a small WebP for people, from which nothing is scored."""
    from PIL import Image

    pixels = read_unaltered(path, sha256)
    write_bytes(view, small_webp(Image.fromarray(pixels), VIEW_PX, quality=85))
    return pixels


def _parts(entry: MetricEntry, metric: SampleMetric | SetMetric, samples: Sequence[ScoredSample]) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Of a metric with a value a hand, face or body: these values and what they are made of, by part and sample."""
    if not hasattr(metric, "score_parts"):
        return {}
    return {metric.part: {sample.sample_id: [
        {entry.name: round(value, 3), **{name: round(each, 3) for name, each in made_of.items() if np.isfinite(each)}}
        for value, made_of in zip(metric.score_parts(sample).tolist(), metric.explain_parts(sample), strict=True)] for sample in samples}}


def _keypoints(size: Sample, sample: ScoredSample, parts: Mapping[str, Mapping[str, list]]) -> dict:
    """What the report draws over one image."""
    points = {name: sample.features[extractor]["keypoints"].round(1).tolist() for name, extractor in DRAWN.items()}
    return {"width": size.width, "height": size.height, **points,
            "parts": {part: by_sample[sample.sample_id] for part, by_sample in parts.items()}}


def _benchmark_result(config: RunConfig, digest: str, sample_set: SampleSet, checkpoint: Checkpoint, suite: PromptSuite, base: BaseImages | None,
                      results: list[MetricResult], stages: dict[str, StageCost], parts_of_set: dict) -> BenchmarkResult:
    names = in_order(_extractors(chosen_metrics(config)))
    digests = {"base": checkpoint.base_digest, "checkpoint": checkpoint.digest, "weights": checkpoint.weights_sha256,
               "training data": checkpoint.summary.data_digest if checkpoint.summary else "", "suite": suite.digest,
               "reference data": data_digest(config.data.reference), "samples": sample_set.digest,
               **({"compared base": base.checkpoint.base_digest, "samples of compared base": base.sample_set.digest} if base else {}),
               **{f"extractor {name}": EXTRACTORS.get(name).digest() for name in names},
               **{f"asset {name}": asset_digest(name) for each in names for name in EXTRACTORS.get(each).assets},
               **{f"service of {entry.name}": entry.service.identity() for entry in chosen_metrics(config) if entry.service is not None}}
    return BenchmarkResult(
        digest=digest, name=config.name, config=config.model_dump(mode="json"), suite=suite.name, suite_version=suite.version,
        suite_digest=suite.digest, sampling=sample_set.sampling, samples=sample_set.samples, results=tuple(results),
        num_prompts_left=len(suite.prompt) - len({sample.prompt_id for sample in sample_set.samples}) if sample_set.part_of else 0,
        provenance=collect_provenance(resolve_device(config.run.device), digests), stages=stages, **parts_of_set)
