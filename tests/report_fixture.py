"""A result folder of candidate and baseline with a verdict, made of records alone, for the tests of the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from sana_bench.prompts import Prompt, PromptSuite, Target
from sana_bench.records import (BenchmarkResult, Checkpoint, Composition, GroupScore, Measure, MetricResult, PromptComposition,
                                Provenance, RegressionReport, Sample, Score, StageCost, TagDifference, TagScore, TrainingSummary, Verdict,
                                WorstSample)
from sana_bench.results import GUARD_FOLDER, SetStatistics, write_bundle
from sana_bench.store import write_record

HOSTILE = """<script>alert("x")</script><img src=x onerror=alert(1)> '"--> | `code` [a](http://evil.invalid) @me 手 ![](x)"""

# metric, kind, unit, higher is better, budget, baseline, difference, half width of the interval, outcome
METRICS = (
    ("hand_shape_deviation", "sample", "times the median real hand", False, 0.15, 1.21, 0.61, 0.34, "regressed"),
    ("hand_rate", "sample", "share", True, 0.05, 0.81, -0.06, 0.11, "inconclusive"),
    ("face_rate", "sample", "share", True, 0.02, 0.96, 0.0, 0.01, "unchanged"),
    ("clip_score_tiny_clip", "sample", "points of 100", True, 2.0, 24.6, 5.1, 1.9, "improved"),
    ("fd_efficientnet_lite0", "set", "", False, 10.0, 212.0, -24.0, 11.0, "improved"),
    ("gender_diversity", "set", "share", True, 0.1, 0.83, -0.04, 0.09, "unchanged"),
    ("skin_tone_diversity", "set", "share", True, 0.1, 0.72, None, None, "not_comparable"),
)
PROVENANCE = Provenance(
    created="2026-11-24T06:00:00Z", sana_bench="0.1.0", commit="0123456789abcdef", dirty=True, python="3.11.2",
    platform="Linux", device="cpu", packages={"torch": "2.14.1"}, digests={"base": "aa11", "suite": "bb22"})

COMPOSITIONS = (
    Composition(attribute="gender", classes=("feminine", "masculine"), counts=(12, 4), num_undetermined=4,
                undetermined_reasons={"no face found": 3, "undetermined presentation": 1}, num_not_asked=4, shares=(0.75, 0.25),
                corrected_shares=(0.818, 0.182), target=(0.5, 0.5),
                measures={"entropy": Measure(value=0.594, low=0.41, high=0.77), "hill_1": Measure(value=1.75, low=None, high=None),
                          "kl_to_target": Measure(value=0.117, low=-0.05, high=0.29)},
                prompts=(PromptComposition(prompt_id="p0", counts=(2, 0), num_undetermined=0, entropy=0.0),)),
    Composition(attribute="skin_tone", classes=("light", "medium", "dark"), counts=(0, 0, 0), num_undetermined=0,
                undetermined_reasons={}, num_not_asked=24, shares=None, corrected_shares=None, target=None, measures={}, prompts=()),
)
GROUPS = tuple(
    GroupScore(attribute="gender", group=group, metric="hand_rate", value=value, low=low, high=high, num_images=images,
               num_prompts=images, enough=value is not None)
    for group, value, low, high, images in (("feminine", 0.9, 0.8, 0.97, 12), ("masculine", 0.65, 0.4, 0.8, 7))) + tuple(
    GroupScore(attribute="skin_tone", group=group, metric="hand_rate", value=value, low=value, high=value, num_images=images,
               num_prompts=images, enough=value is not None)
    for group, value, images in (("light", 0.7, 16), ("dark", None, 3)))

TAGS = tuple(TagScore(tag=tag, metric=metric, value=0.7, low=0.6, high=0.8, num_images=number, num_prompts=number, enough=number >= 6)
             for tag, number in (("face", 12), ("hands", 3)) for metric in ("hand_rate", "face_rate"))
TAG_DIFFERENCES = tuple(TagDifference(suite="humans_test", tag=tag, metric="hand_rate", difference=difference, low=difference - 0.02, high=difference + 0.03,
                                      num_pairs=number, num_prompts=number, enough=number >= 6)
                        for tag, difference, number in (("face", -0.07, 12), ("hands", 0.01, 3)))
"""A loss of more than hand_rate's budget of 0.05 on one tag, and too few prompts with the other."""

Painter = Callable[[int, str], tuple[Image.Image, dict]]
"""(index of the pair, side) -> picture and its keypoints"""


def make_suite(num_prompts: int, text: Callable[[int], str] = lambda index: f"person {index}",
               tag: str = "hands") -> PromptSuite:
    prompts = tuple(Prompt(id=f"p{index}", text=text(index), tags=("face", tag) if index % 2 else ("face",))
                    for index in range(num_prompts))
    return PromptSuite(name="humans_test", version=1, description="test", source="test", license="CC0-1.0",
                       prompt=prompts, target=Target(gender={"feminine": 0.5, "masculine": 0.5},
                                                     skin_tone={"light": .34, "medium": .33, "dark": .33}))


def paint(index: int, side: str) -> tuple[Image.Image, dict]:
    """A flat picture with a pose, two hands and a face in it."""
    image = Image.new("RGB", (512, 512), (40 + 10 * index % 200, 90, 160 if side == "baseline" else 60))
    rng = np.random.default_rng(index)
    pose = np.c_[rng.uniform(0, 2048, (33, 2)), np.ones(33)]
    return image, {"width": 2048, "height": 2048, "poses": [pose.tolist()], "hands": rng.uniform(0, 2048, (2, 21, 2)).tolist(),
                   "faces": rng.uniform(0, 2048, (1, 478, 2)).tolist(),
                   "parts": {"hand": [{"hand_plausibility": 0.9, "damage": -1.5}, {"hand_plausibility": 0.2, "damage": 2}], "face": [{"face_plausibility": 0.7}]}}


def make_run(root: Path, suite: PromptSuite, *, baseline: bool = True, painter: Painter = paint,
             people: bool = True, guard: bool = False) -> tuple[RegressionReport, Path, Path | None]:
    """(report, candidate folder, baseline folder or None)"""
    samples = tuple(Sample(sample_id=f"{prompt.id}_0", prompt_id=prompt.id, sample_index=0, seed=1000 + index, width=2048,
                           height=2048, file_name=f"{prompt.id}_0.png", pixels_sha256="0" * 64)
                    for index, prompt in enumerate(suite.prompt))
    for side in ("baseline", "candidate") if baseline else ("candidate",):
        _write_side(root / side, side, suite, samples, painter, people)
        if guard:  # the same sample ids as in the suite: they must not be taken for each other
            _write_side(root / side / GUARD_FOLDER, side, suite.model_copy(update={"name": "guard_test"}), samples, painter, people=False)
    report = RegressionReport(
        outcome="regressed", headline="Regressed: of 7 metrics, 1 got worse (hand_shape_deviation), 2 got better, 4 did not."
        if baseline else 'No baseline "tiny" was accepted yet, so nothing was compared.',
        verdicts=tuple(_verdict(*row, compared=baseline, suite=name) for name in ("humans_test", *(("guard_test",) if guard else ())) for row in METRICS),
        worst_samples=_worst(samples) if baseline else (), guard_worst_samples=_worst(samples)[:2] if guard and baseline else (),
        tags=TAG_DIFFERENCES if baseline else (),
        baseline_name="tiny", baseline_digest="bbbb" if baseline else "", candidate_digest="cccc",
        baseline_provenance=PROVENANCE if baseline else None, candidate_provenance=PROVENANCE, confidence=0.95,
        num_resamples=2000, seed=0)
    return report, root / "candidate", root / "baseline" if baseline else None


def value_of(metric: str, index: int, side: str) -> float | None:
    """Score of one image; the first pair lost most, and every fifth has no hand."""
    if metric.startswith("hand") and index % 5 == 4:
        return None
    base = next(row[5] for row in METRICS if row[0] == metric)
    difference = next(row[6] for row in METRICS if row[0] == metric)
    return base + (difference * 3 / (1 + index) if side == "candidate" else 0.0)


def _write_side(folder: Path, side: str, suite: PromptSuite, samples: tuple[Sample, ...], painter: Painter, people: bool) -> None:
    (folder / "views").mkdir(parents=True)
    keypoints = {}
    for index, sample in enumerate(samples):
        image, keypoints[sample.sample_id] = painter(index, side)
        image.save(folder / "views" / f"{sample.sample_id}.webp", quality=85)
    (folder / "keypoints.json").write_text(json.dumps(keypoints))
    write_record(folder / "suite.json", suite)
    losses = tuple(float(1 + np.exp(-step / 80) + 0.2 * np.sin(step * 7.3)) for step in range(300))
    cost = StageCost(seconds=41.5, peak_memory_bytes=2 << 30)
    write_record(folder / "checkpoint.json", Checkpoint(
        digest="cccc", base="tiny-sana", base_digest="aa11", trainer="lora", kind="adapter", cost=cost,
        summary=TrainingSummary(
            steps=300, losses=losses, num_images=90, data_digest="dd", trainable_parameters=1000)))
    scores = []
    for metric, kind, *_ in METRICS:
        for index, sample in enumerate(samples):
            value = value_of(metric, index, side) if kind == "sample" else None
            reason = "" if value is not None else "counted in the set" if kind == "set" else "no hand found"
            scores.append(Score(sample_id=sample.sample_id, metric=metric, value=value, reason=reason))
    ids, places = tuple(sample.sample_id for sample in samples), np.arange(len(samples))
    targets = {"gender_diversity": [0.5, 0.5], "skin_tone_diversity": [0.34, 0.33, 0.33], "fd_efficientnet_lite0": []}
    labels = places % (2 if side == "baseline" else 3) % 2
    statistics = {metric: SetStatistics(ids, {"labels": labels, "target": np.array(target)})
                  for metric, target in targets.items()}
    result = BenchmarkResult(
        digest=side, name="tiny", config={"name": "tiny", "train": {"max_train_steps": 300, "target_modules": ["to_q"]}},
        suite=suite.name, suite_version=1, suite_digest=suite.digest, sampling={"guidance_scale": 4.5}, samples=samples,
        results=tuple(_result(side, len(samples), *row) for row in METRICS), provenance=PROVENANCE,
        compositions=COMPOSITIONS if people else (), groups=GROUPS if people else (),
        prompt_tags={prompt.id: prompt.tags for prompt in suite.prompt}, tags=TAGS,
        stages={"train": cost, "generate": cost, "score": cost})
    write_bundle(folder, result, tuple(scores), statistics)


def _result(side, num, metric, kind, unit, higher, budget, value, difference, half, outcome) -> MetricResult:
    value = value + (difference or 0 if side == "candidate" else 0)
    lacking = sum(value_of(metric, index, side) is None for index in range(num)) if kind == "sample" else 0
    reasons = {"no hand found": lacking} if lacking else {}
    if "diversity" in metric:
        reasons = {"undetermined presentation": 2, "no face found": 1, "prompt states the attribute": 3}
    return MetricResult(
        metric=metric, version=1, value=value, ci_low=value * 0.9, ci_high=value * 1.1,
        num_scored=num - sum(reasons.values()), num_unscored=sum(reasons.values()),
        unscored_reasons=reasons, unit=unit, higher_is_better=higher, budget=budget,
        extractor="hands", extractor_digest="ee55", kind=kind, explanation=f"What {metric} says about the picture.")


def _verdict(metric, kind, unit, higher, budget, value, difference, half, outcome, *, compared: bool, suite: str) -> Verdict:
    if not compared:
        difference = half = None
        outcome = "missing"
    after = value + (difference or 0)
    return Verdict(
        metric=metric, suite=suite, outcome=outcome, baseline=value if compared else None, candidate=after,
        difference=difference, ci_low=None if half is None else difference - half,
        ci_high=None if half is None else difference + half, budget=budget, num_pairs=24 if compared else 0,
        smallest_detectable_effect=None if half is None else 1.4 * half,
        num_prompts_needed=96 if outcome == "inconclusive" else None, unit=unit, higher_is_better=higher,
        reason={"regressed": "worse by more than the budget, and the interval lies beyond zero",
                "inconclusive": "the interval is wider than the budget; about 96 prompts would settle it",
                "not_comparable": "the extractor of the baseline is another one"}.get(
                    outcome, f"{outcome}: see the interval"))


def _worst(samples: tuple[Sample, ...]) -> tuple[WorstSample, ...]:
    rows = []
    for index, sample in enumerate(samples):
        before, after = (value_of("hand_shape_deviation", index, side) for side in ("baseline", "candidate"))
        if before is not None:
            rows.append(WorstSample(sample_id=sample.sample_id, prompt_id=sample.prompt_id, metric="hand_shape_deviation",
                                    baseline=before, candidate=after, difference=after - before,
                                    harm=(after - before) / 0.15))
    return tuple(rows[:12])  # as many as `compare` lists
