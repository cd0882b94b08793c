"""A verdict in plain text, for a terminal and for JUnit. Text from records is made of printable characters only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sana_bench.console import Table, plain_table, printable
from sana_bench.records import RegressionReport, Verdict, WorstSample
from sana_bench.report.wording import OUTCOMES, interval, number, percent, probability, signed

MAX_WORST = 5


def one_line(text: str) -> str:
    """In which what steers a terminal, or turns the direction of reading, stands as an escape."""
    return printable(" ".join(text.split()))


def verdict_label(verdict: Verdict) -> str:
    """The gate's name, or what was judged, as `hand_rate[tiny_humans]`; without `::`, which parts the names of tests."""
    return one_line(verdict.gate or f"{verdict.metric}[{verdict.suite}]").replace("::", ":")


def slice_of(verdict: Verdict) -> str:
    """`tiny_humans, tag portrait`"""
    part = f"tag {verdict.tag}" if verdict.tag else verdict.group
    return one_line(", ".join(filter(None, [verdict.suite, part])))


def verdict_line(verdict: Verdict) -> str:
    """Outcome and reason in one line."""
    return f"{verdict_label(verdict)} {OUTCOMES[verdict.outcome].label}: {one_line(verdict.reason)}"


def verdict_text(verdict: Verdict, report: RegressionReport, page: Path | None) -> str:
    """The line, a table of what it rests on, and the pairs that lost most.

    Args:
        page: report.html, to look at those pairs; None where there is none.
    """
    facts = Table(("metric", f"{one_line(verdict.metric)} ({'higher' if verdict.higher_is_better else 'lower'} is better)"), _facts(verdict, report))
    parts = [verdict_line(verdict), plain_table(facts)]
    worst = worst_of(verdict, report)[:MAX_WORST]
    if worst:
        parts.append(f"lost most on it:\n{plain_table(_worst_table(worst))}")
    if page is not None:
        parts.append(f"report: {one_line(str(page))}")
    return "\n\n".join(parts)


def worst_of(verdict: Verdict, report: RegressionReport) -> tuple[WorstSample, ...]:
    """A gate knows its own pairs; of a metric that no gate asks about, those of the report that lost most on it."""
    same_suite = report.verdicts[:1] and report.verdicts[0].suite == verdict.suite
    return verdict.worst or tuple(each for each in (report.worst_samples if same_suite else report.guard_worst_samples) if each.metric == verdict.metric)


def _facts(verdict: Verdict, report: RegressionReport) -> list[tuple[str, str]]:
    unit = f" {one_line(verdict.unit)}" if verdict.unit else ""
    compared = [("difference", f"{signed(verdict.difference)}{unit}"), (f"{percent(report.confidence)} interval", interval(verdict.ci_low, verdict.ci_high)),
                ("budget", f"{number(verdict.budget)}{unit}"), ("pairs", f"{verdict.num_pairs} of {verdict.num_prompts} prompts"),
                ("training seeds", str(verdict.num_training_seeds))]
    rows = [("slice", slice_of(verdict)), ("baseline", number(verdict.baseline)), ("candidate", number(verdict.candidate)),
            *(compared if verdict.difference is not None else []), ("floor", _known(verdict.floor, number)), ("ceiling", _known(verdict.ceiling, number)),
            ("p-value", _known(verdict.p_value, lambda value: f"{probability(value)}, {verdict.test}")),
            ("p-value after Holm", _known(verdict.p_adjusted, probability)),
            ("smallest detectable effect", _known(verdict.smallest_detectable_effect, lambda value: f"{number(value)}{unit}, in 80 % of such runs")),
            ("prompts needed", _known(verdict.num_prompts_needed, lambda value: f"{value}, {max(value - verdict.num_prompts, 0)} more than now"))]
    return [(name, value) for name, value in rows if value]


def _known(value: float | None, show: Callable[[float], str]) -> str:
    return "" if value is None else show(value)


def _worst_table(worst: tuple[WorstSample, ...]) -> Table:
    return Table(("sample", "prompt", "baseline", "candidate", "difference", "budgets lost"),
                 [(one_line(each.sample_id), one_line(each.prompt_id), number(each.baseline), number(each.candidate), signed(each.difference),
                   number(each.harm)) for each in worst])
