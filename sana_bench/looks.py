"""A sequential run: after how many prompts it looks at the verdict, how strict each look is, and when nothing is left to decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from sana_bench.config import CompareSection, RunConfig
from sana_bench.guard import Part
from sana_bench.records import Look, MetricResult, RegressionReport, Verdict
from sana_bench.results import ResultBundle
from sana_bench.sequential import look_confidences
from sana_bench.significance import NUM_DRAWS, fewest_prompts

OPEN = ("inconclusive", "missing")
"""Outcomes that more images may change: too few to tell, or none yet with a value."""


def planned_looks(config: RunConfig, parts: Sequence[Part]) -> list[list[Part]]:
    """The parts of the run as each look sees them; the last look sees them whole.

    A look that could find nothing is not taken and spends nothing: one with fewer prompts than its level needs, or stricter than the
    permutation tests can tell.
    """
    ends = zip(*(_block_ends(config, len(part.suite.prompt)) for part in parts), strict=True)
    rows = list({row[0]: row for row in ends}.values())  # of a small suite several blocks may end at the same prompt
    while len(rows) > 1 and not _can_decide(look_confidences([row[0] / rows[-1][0] for row in rows], config.compare.confidence)[0], rows[0][0]):
        rows = rows[1:]
    return [[replace(part, num_prompts=number) for part, number in zip(parts, row, strict=True)] for row in rows[:-1]] + [list(parts)]


def look_of(looks: Sequence[Sequence[Part]], number: int, config: RunConfig) -> Look | None:
    """The record of a planned look, counted from 1; None where it is the only one."""
    if len(looks) == 1:
        return None
    seen = tuple(_num_prompts(parts[0]) for parts in looks)
    drawn, whole = (sum(map(_num_prompts, parts)) * config.generate.num_images_per_prompt for parts in (looks[number - 1], looks[-1]))
    return at_confidence(Look(number=number, num_prompts=seen, num_images=drawn, num_suite_images=whole, confidence=0, reason=""), config)


def at_confidence(look: Look, config: RunConfig) -> Look:
    """The same look at what `config` asks for."""
    confidence = look_confidences([number / look.num_prompts[-1] for number in look.num_prompts], config.compare.confidence)[look.number - 1]
    what, (seen, whole) = "gate" if config.gate else "metric", (look.num_prompts[look.number - 1], look.num_prompts[-1])
    reason = (f"Stopped after {seen} of {whole} prompts, at look {look.number} of {len(look.num_prompts)}: every {what} is decided; "
              f"{1 - look.num_images / look.num_suite_images:.0%} of the images saved." if seen < whole else
              f"All {whole} prompts were drawn: not every {what} was decided at the {look.number - 1} look(s) before.")
    return look.model_copy(update={"confidence": confidence, "reason": reason})


def settings_at(settings: CompareSection, look: Look | None) -> CompareSection:
    """How a verdict is reached at a look; None is the only look."""
    return settings.model_copy(update={"confidence": look.confidence}) if look else settings


def everything_decided(report: RegressionReport, candidate: ResultBundle, baseline: ResultBundle) -> bool:
    """Whether no more images could change the outcome of a gate, or, where there is none, of a metric that may be judged."""
    return not any(_may_change(verdict, candidate, baseline) for verdict in report.deciding)


def _may_change(verdict: Verdict, candidate: ResultBundle, baseline: ResultBundle) -> bool:
    if verdict.outcome not in OPEN:
        return False
    after, before = (_result(side, verdict) for side in (candidate, baseline))
    if after is None or after.not_judged:
        return False
    if verdict.floor is not None or verdict.ceiling is not None:
        return True
    return before is not None and before.value is not None and before.num_scored >= after.fewest_images  # no more pairs than that


def _result(side: ResultBundle, verdict: Verdict) -> MetricResult | None:
    return next((each for bundle in (side, side.guard) if bundle and bundle.result.suite == verdict.suite
                 for each in bundle.result.results if each.metric == verdict.metric), None)


def _num_prompts(part: Part) -> int:
    return part.num_prompts or len(part.suite.prompt)


def _block_ends(config: RunConfig, num_prompts: int) -> list[int]:
    """Prompts drawn at each look: equal blocks that end where a batch does, so that no image is drawn before it is looked at."""
    images, batch, looks = config.generate.num_images_per_prompt, config.generate.batch_size, config.compare.num_looks
    step = batch // math.gcd(batch, images)
    return [min(num_prompts, math.ceil(math.ceil(num_prompts * look / looks) / step) * step) for look in range(1, looks + 1)]


def _can_decide(confidence: float, num_prompts: int) -> bool:
    return (1 - confidence) * (1 + NUM_DRAWS) >= 1 and num_prompts >= fewest_prompts(confidence)
