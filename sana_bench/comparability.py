"""Why two results, or one metric of them, cannot be compared, and what to do about it. No verdict is made here; see compare.py."""

from __future__ import annotations

from sana_bench.errors import BaselineError
from sana_bench.metrics import METRICS
from sana_bench.records import BenchmarkResult, MetricResult
from sana_bench.remedies import held_against_remedy, measured_remedy, noise_seed, sampling_remedy, suite_remedy

HOW_MEASURED = ("version", "kind", "unit", "higher_is_better", "extractor", "extractor_digest")
"""Fields of a MetricResult that must be equal on both sides."""
REFERENCE_DIGEST, BASE_DIGEST = "reference data", "compared base"
"""Keys of a result's provenance digests."""


def check_suite(suite_digest: str, baseline: BenchmarkResult, name: str, setting: str = "score.suite") -> None:
    """Raises BaselineError where the baseline drew another suite: a run that is about to draw hours of images for nothing is told before.

    Args:
        setting: that which names the suite.
    """
    if suite_digest != baseline.suite_digest:
        raise BaselineError(
            f'baseline "{name}" is of another suite: {baseline.suite} version {baseline.suite_version} '
            f"({baseline.suite_digest}), while this run's has the digest {suite_digest}. What to do: {suite_remedy(baseline, setting)}, or name another "
            f"baseline (--set compare.baseline=...)")


def suite_obstacle(before: BenchmarkResult, after: BenchmarkResult, setting: str = "score.suite") -> str:
    """Why no metric can be compared, or nothing: images of other prompts are no pairs."""
    if before.suite_digest == after.suite_digest:
        return ""
    old, new = (f"{side.suite} version {side.suite_version} ({side.suite_digest})" for side in (before, after))
    return f"the suite was {old} in the baseline and is {new} now: {suite_remedy(before, setting)}"


def sampling_obstacle(before: BenchmarkResult, after: BenchmarkResult) -> str:
    """Why no metric can be compared, or nothing: images drawn in another way, or from other noise, are no pairs."""
    moved = {key: (before.sampling.get(key, "not recorded"), after.sampling.get(key, "not recorded"))
             for key in sorted(before.sampling.keys() | after.sampling.keys())}
    moved = {key: sides for key, sides in moved.items() if sides[0] != sides[1]}
    if moved:
        what = "; ".join(f"{key} was {_show(old)} in the baseline and is {_show(new)} now" for key, (old, new) in moved.items())
        return f"sampling setting {what}: {sampling_remedy(moved, before)}"
    old, new = noise_seed(before), noise_seed(after)
    remedy = sampling_remedy(("seed",) if old != new else (), before)
    if old != new and not (before.samples and after.samples):  # a past state of a baseline, of which no sample is kept
        return f"generate.seed was {old} in the baseline and is {new} now: {remedy}"
    seeds = {sample.sample_id: sample.seed for sample in before.samples}
    for sample in after.samples:
        if seeds.get(sample.sample_id, sample.seed) != sample.seed:
            return (f"sample {sample.sample_id} was drawn from seed {seeds[sample.sample_id]} in the baseline and from "
                    f"{sample.seed} now: {remedy}")
    return ""


def metric_obstacle(before: MetricResult, after: MetricResult, baseline: BenchmarkResult,
                    candidate: BenchmarkResult) -> str:
    """Why this metric cannot be compared, or nothing."""
    for field in HOW_MEASURED:
        old, new = getattr(before, field), getattr(after, field)
        if old != new:
            return (f"{field.replace('_', ' ')} was {_show(old)} in the baseline and is {_show(new)} now: "
                    f"{measured_remedy(baseline, candidate)}")
    entry = METRICS.get(after.metric) if after.metric in METRICS else None
    if after.kind == "set" and (entry is None or entry.version != after.version):
        own, remedy = ((f"has version {entry.version}", "score both sides again with it") if entry else
                       ("does not have this metric", "install the package that has it"))
        return f"both sides hold version {after.version}, but this sana-bench {own} and cannot evaluate their statistics: {remedy}"
    for key, needed, what, settings in ((REFERENCE_DIGEST, entry and entry.needs_reference, "real images", ("data", ("reference",))),
                                        (BASE_DIGEST, entry and entry.needs_base, "base model's images", ("model", ("base", "revision")))):
        old, new = (result.provenance.digests.get(key) for result in (baseline, candidate))
        if needed and old != new:
            return (f"the {what} that it compares with were {_show(old)} in the baseline and are {_show(new)} now: "
                    f"{held_against_remedy(baseline, *settings)}")
    return ""


def scored_nowhere(before: MetricResult | None, after: MetricResult | None) -> bool:
    """Whether both sides were measured on the metric and neither has a value: nothing was lost."""
    return before is not None and after is not None and before.value is None and after.value is None


def below_judging(before: MetricResult | None, after: MetricResult | None) -> bool:
    """Whether the metric may decide nothing, a lost value included: a failed self-test, or too few images on both sides."""
    known = after or before
    if known is not None and known.not_judged:
        return True
    return before is not None and after is not None and max(before.num_scored, after.num_scored) < after.fewest_images


def why_missing(before: MetricResult | None, after: MetricResult | None) -> str:
    """Why the metric has no value on one side, or on neither; nothing where both have one."""
    if scored_nowhere(before, after):
        return f"neither side has a value on it (candidate: {_why_unscored(after)})"
    for side, result in (("baseline", before), ("candidate", after)):
        if result is None:
            return f"the {side} was not measured on it"
        if result.value is None:
            return f"the {side} has no value on it ({_why_unscored(result)})"
    return ""


def _why_unscored(result: MetricResult) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in sorted(result.unscored_reasons.items())) or "too few samples"


def _show(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
