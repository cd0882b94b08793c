"""Why two results, or one metric of them, cannot be compared. No verdict is made here; see compare.py."""

from __future__ import annotations

from sana_bench.errors import BaselineError
from sana_bench.metrics import METRICS
from sana_bench.records import BenchmarkResult, MetricResult

HOW_MEASURED = ("version", "kind", "unit", "higher_is_better", "extractor", "extractor_digest")
"""Fields of a MetricResult that must be equal on both sides."""
REFERENCE_DIGEST, BASE_DIGEST = "reference data", "compared base"
"""Keys of a result's provenance digests."""


def check_suite(suite_digest: str, baseline: BenchmarkResult, name: str, setting: str = "score.suite") -> None:
    """Raises BaselineError where the baseline drew another suite: a mistake of the caller, not a verdict.

    Args:
        setting: that which names the suite.
    """
    if suite_digest != baseline.suite_digest:
        raise BaselineError(
            f'baseline "{name}" is of another suite: {baseline.suite} version {baseline.suite_version} '
            f"({baseline.suite_digest}), while this run's has the digest {suite_digest}. Draw that suite (--set {setting}=...), name another baseline "
            f"(--set compare.baseline=...), or accept this result as a new one")


def sampling_obstacle(before: BenchmarkResult, after: BenchmarkResult) -> str:
    """Why no metric can be compared, or nothing: images drawn in another way, or from other noise, are no pairs."""
    for key in sorted(before.sampling.keys() | after.sampling.keys()):
        old, new = before.sampling.get(key, "not recorded"), after.sampling.get(key, "not recorded")
        if old != new:
            return f"sampling setting {key} was {_show(old)} in the baseline and is {_show(new)} now"
    seeds = {sample.sample_id: sample.seed for sample in before.samples}
    for sample in after.samples:
        if seeds.get(sample.sample_id, sample.seed) != sample.seed:
            return (f"sample {sample.sample_id} was drawn from seed {seeds[sample.sample_id]} in the baseline and from "
                    f"{sample.seed} now")
    return ""


def metric_obstacle(before: MetricResult, after: MetricResult, baseline: BenchmarkResult,
                    candidate: BenchmarkResult) -> str:
    """Why this metric cannot be compared, or nothing."""
    for field in HOW_MEASURED:
        old, new = getattr(before, field), getattr(after, field)
        if old != new:
            return f"{field.replace('_', ' ')} was {_show(old)} in the baseline and is {_show(new)} now"
    entry = METRICS.get(after.metric) if after.metric in METRICS else None
    if after.kind == "set" and (entry is None or entry.version != after.version):
        own = f"has version {entry.version}" if entry else "does not have this metric"
        return f"both sides hold version {after.version}, but this sana-bench {own} and cannot evaluate their statistics"
    for key, needed, what in ((REFERENCE_DIGEST, entry and entry.needs_reference, "real images"),
                              (BASE_DIGEST, entry and entry.needs_base, "base model's images")):
        old, new = (result.provenance.digests.get(key) for result in (baseline, candidate))
        if needed and old != new:
            return f"the {what} that it compares with were {_show(old)} in the baseline and are {_show(new)} now"
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
