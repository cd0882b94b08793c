"""Result bundles made of given numbers, for the tests of results, comparison and baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from sana_bench.errors import InsufficientSamplesError
from sana_bench.images import small_webp
from sana_bench.metrics import METRICS, MetricEntry, register_metric
from sana_bench.metrics.feature_distance import joined
from sana_bench.records import BenchmarkResult, MetricResult, Provenance, Sample, Score, StageCost
from sana_bench.results import GUARD_FOLDER, SEEDS_FOLDER, ResultBundle, SetStatistics, write_bundle
from sana_bench.store import digest_of, write_bytes

SET_METRIC = "spread_of_tests"


@contextmanager
def set_metric_registered() -> Iterator[MetricEntry]:
    """A registered set metric, version 1, higher is better: the variance of the chosen values; needs 4 of them."""
    METRICS.names()
    try:
        @register_metric(SET_METRIC, version=1, kind="set", extractor="hands", higher_is_better=True, unit="", budget=0.1)
        class Spread:
            """Variance of the values."""

            @staticmethod
            def evaluate(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
                if len(indices) < 4:
                    raise InsufficientSamplesError(f"needs 4 samples, not {len(indices)}")
                return float(statistics["values"][indices].var())

            @staticmethod
            def join(baseline: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
                return joined(baseline, candidate, ("values",))

        yield METRICS.get(SET_METRIC)
    finally:
        del METRICS._entries[SET_METRIC]


def metric_result(metric: str, kind: str, values: Sequence[float | None], **changes) -> MetricResult:
    scored = [value for value in values if value is not None]
    value = None if not scored else float(np.mean(scored) if kind == "sample" else np.var(scored))
    return MetricResult(**{
        "metric": metric, "version": 1, "value": value, "ci_low": value, "ci_high": value, "num_scored": len(scored),
        "num_unscored": len(values) - len(scored), "unscored_reasons": {"no hand found": len(values) - len(scored)},
        "unit": "share", "higher_is_better": True, "budget": 0.1, "extractor": "hands", "extractor_digest": "e1",
        "kind": kind, "explanation": "What it measures.", **changes})


def make_bundle(scores: Mapping[str, Sequence[float | None]], *, folder: Path = Path("nowhere"), images: int = 1,
                sets: Mapping[str, Sequence[float | None]] | None = None, changes: Mapping[str, dict] | None = None,
                order: Sequence[int] | None = None, digest: str = "d1", reference: str = "r1", seed: int = 100,
                **fields) -> ResultBundle:
    """A bundle whose samples `p00_0`, `p00_1`, `p01_0`, ... have the given values, in that order.

    Args:
        scores: values by sample metric; None is unscored.
        images: samples a prompt.
        sets: values that a set metric is made of.
        changes: fields of a metric's MetricResult.
        order: the order of samples and scores in the records.
        fields: of the BenchmarkResult.
    """
    sets, changes = sets or {}, changes or {}
    num = len(next(iter({**scores, **sets}.values()), ()))
    order = range(num) if order is None else order
    ids = [f"p{index // images:02d}_{index % images}" for index in range(num)]
    samples = tuple(Sample(sample_id=ids[at], prompt_id=ids[at][:3], sample_index=at % images, seed=seed + at, width=2048,
                           height=2048, file_name=f"{ids[at]}.png", pixels_sha256=digest_of([values[at] for values in [*scores.values(), *sets.values()]]))
                    for at in order)
    rows = tuple(Score(sample_id=ids[at], metric=name, value=values[at],
                       reason="" if values[at] is not None else "no hand found")
                 for name, values in scores.items() for at in order)
    used = {name: [at for at in order if values[at] is not None] for name, values in sets.items()}
    statistics = {name: SetStatistics(tuple(ids[at] for at in used[name]),
                                      {"values": np.array([values[at] for at in used[name]], dtype=float)})
                  for name, values in sets.items()}
    results = [metric_result(name, kind, values, **changes.get(name, {}))
               for kind, group in (("sample", scores), ("set", sets)) for name, values in group.items()]
    provenance = Provenance(created="2026-11-24T06:00:00Z", sana_bench="0.1.0", commit="", dirty=False, python="3.11",
                            platform="Linux", device="cpu", packages={}, digests={"reference data": reference})
    result = BenchmarkResult(**{
        "digest": digest, "name": "tiny", "config": {}, "suite": "humans_test", "suite_version": 1, "suite_digest": "s1",
        "sampling": {"guidance_scale": 4.5, "device": "cpu"}, "samples": samples, "results": tuple(results),
        "provenance": provenance, "stages": {"score": StageCost(seconds=1.0, peak_memory_bytes=1)}, **fields})
    return ResultBundle(folder, result, rows, statistics)


def write_result_folder(bundle: ResultBundle, folder: Path, view_px: int = 8) -> Path:
    """A whole result folder, with keypoints and views: noise of that side in pixels, another for every sample and digest."""
    for sample in bundle.result.samples:
        pixels = np.random.default_rng(list(f"{sample.sample_id} {bundle.result.digest}".encode())).integers(0, 256, (view_px, view_px, 3), np.uint8)
        write_bytes(folder / "views" / f"{sample.sample_id}.webp", small_webp(Image.fromarray(pixels), view_px, quality=85))
    write_bytes(folder / "keypoints.json", b"{}")
    if bundle.guard:
        write_result_folder(bundle.guard, folder / GUARD_FOLDER, view_px)
    for replicate in bundle.replicates:
        write_result_folder(replicate, folder / SEEDS_FOLDER / str(replicate.training_seed), view_px)
    write_bundle(folder, bundle.result, bundle.scores, bundle.statistics)
    return folder


def make_replicates(bundles: Sequence[ResultBundle], guards: Sequence[ResultBundle] = ()) -> ResultBundle:
    """The first bundle with the others as fine-tunes from the training seeds 1, 2 and so on.

    Args:
        guards: their guard suites, in the same order.
    """
    def with_seed(bundle: ResultBundle, seed: int) -> ResultBundle:
        return replace(bundle, result=bundle.result.model_copy(update={"config": {"train": {"seed": seed}}, "digest": f"{bundle.result.digest} {seed}"}))

    whole = [with_seed(replace(bundle, guard=guards[seed] if guards else None), seed) for seed, bundle in enumerate(bundles)]
    return replace(whole[0], replicates=tuple(whole[1:]))
