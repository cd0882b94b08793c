"""The headline of a comparison: its verdicts in one sentence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sana_bench.records import Verdict

MAX_NAMED = 4


def headline(verdicts: Sequence[Verdict], *, suite: str, failed: bool, compared: bool, baseline_name: str, obstacle: str) -> str:
    """The report in one sentence.

    Args:
        suite: whose verdicts need not say so.
        compared: whether there is a baseline.
        obstacle: why nothing at all can be compared with it; empty where something can.
    """
    gated = any(verdict.gate for verdict in verdicts)  # of which some need no baseline
    if not compared and not gated:
        return (f'No baseline "{baseline_name}" was accepted yet, so nothing was compared; if this result is good, make it '
                f'the baseline with: sana-bench accept <run folder> --reason "..."')
    if not gated and (obstacle or not verdicts):
        obstacle = obstacle or "neither side was measured on any metric"
        return f'Nothing can be compared with baseline "{baseline_name}": {obstacle}.'
    what = "gates" if all(verdict.gate for verdict in verdicts) else "gates and metrics" if gated else "metrics"
    groups = defaultdict(list)
    for verdict in verdicts:
        groups[verdict.outcome].append(verdict)
    start = "Regressed" if failed else "Passed"
    if "inconclusive" in groups and start == "Passed":
        start = "Passed, but not everything could be told"
    phrases = {"regressed": "got worse", "missing": "lack a value on one side", "not_comparable": "cannot be compared",
               "improved": "got better", "inconclusive": "cannot be told yet", "unchanged": "did not change"}
    parts = [f"{len(groups[outcome])} {phrase}{_named(groups[outcome], suite)}"
             for outcome, phrase in phrases.items() if outcome in groups]
    return f"{start}: of {len(verdicts)} {what}, {', '.join(parts)}."


def _named(verdicts: list[Verdict], suite: str) -> str:
    """` (hand_rate -0.21, drift_clip_tiny of general_guard +0.3)`; nothing for unchanged ones."""
    if verdicts[0].outcome == "unchanged":
        return ""
    changed = verdicts[0].outcome in ("regressed", "improved")
    names = [(each.gate or each.metric) + ("" if each.suite == suite else f" of {each.suite}")
             + (f" {each.difference:+.3g}" if changed and each.difference is not None else "") for each in verdicts]
    text = ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")
    needed = [each.num_prompts_needed for each in verdicts if each.num_prompts_needed]
    return f" ({text}; about {max(needed)} prompts would tell)" if needed else f" ({text})"
