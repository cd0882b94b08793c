"""report.md: the verdict and the table, for the summary of a CI step. Text from records is escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sana_bench.console import JOINERS, printable
from sana_bench.records import Verdict, WorstSample
from sana_bench.report.guard import Guard
from sana_bench.report.page import Page
from sana_bench.report.people import CompositionTable, GroupTable
from sana_bench.report.tags import TagCell, TagTable
from sana_bench.report.training import TrainingSeeds
from sana_bench.report.verdicts import Row
from sana_bench.report.wording import NOTHING, OUTCOMES, interval, number, percent, signed

MAX_LISTED = 12
_SPECIAL = re.compile(r"([\\`*{}\[\]#!|~$^]|(?<![^\W_])_|_(?![^\W_])|:(?=\S))")
"""What GitHub reads as markup within a line: an underscore only at the edge of a word, a colon only in links and emoji."""


def escape_markdown(text: str) -> str:
    """Text that GitHub's Markdown shows as it is: no table cell, code, link, tag, mention, line of its own or turned direction
    of reading comes of it."""
    text = printable(" ".join(text.split()), keep=JOINERS).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _SPECIAL.sub(r"\\\1", text)
    # A zero-width space breaks @mentions and addresses, which no backslash does; www. would be linked without any scheme.
    return re.sub(r"(?i)(www)\.", r"\1\\.", text.replace("@", "@\u200b"))


def render_markdown(page: Page) -> str:
    """Headline, gates, metric tables, worst pairs, perceived groups and tags."""
    report, text = page.report, escape_markdown
    lines = [f"## {page.words.symbol} {text(report.headline)}", "",
             f"**{page.words.label}** · {text(page.result.name)} · "
             f"suite {text(page.result.suite)} {page.result.suite_version} · {len(page.result.samples)} images · "
             + (f"baseline {text(report.baseline_name)}" if page.compared else "no baseline, so a gate fails"), "",
             *([f"> {text(page.training.note)}", ""] if page.training else []),
             *gate_table(report.gates, report.confidence), *metric_table(page.rows, report.confidence)]
    lines += _guard(page.guard, report.confidence)
    lines += _by_seed(page.training)
    lines += worst_table(report.worst_samples, {pair.prompt_id: pair.text for pair in page.pairs})
    lines += _people(page)
    lines += _tags(page.tags, page.result.suite)
    lines += _tags(page.guard.tags, page.guard.suite) if page.guard else []
    lines += ["Pictures, keypoints and provenance are in report.html beside this file.", ""]
    return "\n".join(lines)


def gate_table(gates: Sequence[Verdict], confidence: float) -> list[str]:
    """One line a gate, its outcome as it was judged; nothing without gates."""
    if not gates:
        return []
    return ["### Gates", "", f"| gate | passed | outcome | baseline | candidate | difference | {percent(confidence)} interval | demanded | why |",
            "|---|---|---|---:|---:|---:|---:|---|---|", *map(_gate_line, gates), ""]


def _gate_line(gate: Verdict) -> str:
    words = OUTCOMES[gate.outcome]
    return (f"| {escape_markdown(gate.gate or gate.metric)} | {'✓ yes' if gate.passed else '✗ **no**'} | {words.symbol} {words.label} | "
            f"{number(gate.baseline)} | {number(gate.candidate)} | {signed(gate.difference)} | {interval(gate.ci_low, gate.ci_high)} | "
            f"{escape_markdown(_demanded(gate))} | {escape_markdown(gate.reason)} |")


def _demanded(gate: Verdict) -> str:
    limits = [f"{name} {number(value)}" for name, value in (("at least", gate.floor), ("at most", gate.ceiling)) if value is not None]
    if gate.difference is not None or not limits:
        limits.append(f"at most {number(gate.budget)} {'below' if gate.higher_is_better else 'above'} the baseline")
    return f"{', '.join(limits)} ({gate.unit})" if gate.unit else ", ".join(limits)


def worst_table(worst: Sequence[WorstSample], prompts: Mapping[str, str]) -> list[str]:
    """One line a pair, up to twelve, with its prompt's text by prompt id; nothing where nothing was lost."""
    if not worst:
        return []
    text = escape_markdown
    return ["### Worst pairs", "", "| pair | prompt | lost most on | baseline | candidate | budgets lost |", "|---|---|---|---:|---:|---:|",
            *(f"| {text(each.sample_id)} | {text(prompts.get(each.prompt_id, '')) or NOTHING} | {text(each.metric)} | "
              f"{number(each.baseline)} | {number(each.candidate)} | {number(each.harm)} |" for each in worst[:MAX_LISTED]), ""]


def metric_table(rows: Sequence[Row], confidence: float) -> list[str]:
    """One line a verdict."""
    return [f"| metric | baseline | candidate | difference | {percent(confidence)} interval | budget | outcome | why |",
            "|---|---:|---:|---:|---:|---:|---|---|", *(_line(row) for row in rows), ""]


def _guard(guard: Guard | None, confidence: float) -> list[str]:
    """The metric table of the guard suite; nothing where there is none."""
    return [f"### Guard: {escape_markdown(guard.suite)}", "", *metric_table(guard.rows, confidence)] if guard else []


def _by_seed(training: TrainingSeeds | None) -> list[str]:
    """Values of every fine-tune; nothing where there is one."""
    if not training or not training.rows:
        return []
    seeds = training.seeds
    return ["### By training seed", "", f"| metric | {' | '.join(f'seed {seed}' for seed in seeds)} | mean | SD between seeds | in budgets |",
            f"|---|{'---:|' * (len(seeds) + 3)}",
            *(f"| {escape_markdown(row.metric)} | {' | '.join(map(number, (*row.values, row.mean, row.spread, row.in_budgets)))} |"
              for row in training.rows), "", training.hint, ""]


def _tags(table: TagTable | None, suite: str) -> list[str]:
    """Nothing for a result without tags."""
    if table is None:
        return []
    return [f"### By tag: {escape_markdown(suite)}", "", f"| tag | prompts | {' | '.join(map(escape_markdown, table.metrics))} |",
            f"|---|---:|{'---:|' * len(table.metrics)}",
            *(f"| {escape_markdown(row.tag)} | {row.num_prompts} | {' | '.join(map(_tag_cell, row.cells))} |" for row in table.rows), "",
            ("Differences where they could be compared, else the candidate's means" if table.compared else "Means of the candidate")
            + ", with intervals over prompts. Exploratory: no verdict rests on a tag unless a gate asks for it, and of many cells some look changed by chance."
            + (" ✱ beyond chance after so many looks (false discovery rate 5 %)." if table.compared else "") + (" † too few prompts for a verdict." if table.has_few else ""), ""]


def _tag_cell(cell: TagCell | None) -> str:
    return f"{cell.value}{'' if cell.enough else ' †'}{' ✱' if cell.changed else ''} ({cell.interval})" if cell else NOTHING


def _line(row: Row) -> str:
    verdict = row.verdict
    unit = f" {escape_markdown(verdict.unit)}" if verdict.unit else ""
    why = "; ".join(filter(None, [verdict.reason, row.result.note if row.result else ""]))
    return (f"| {escape_markdown(verdict.metric)} {'↑' if verdict.higher_is_better else '↓'} | {number(verdict.baseline)} | "
            f"{number(verdict.candidate)} | {signed(verdict.difference)} | {interval(verdict.ci_low, verdict.ci_high)} | "
            f"{number(verdict.budget)}{unit} | {row.words.symbol} {row.words.label} | {escape_markdown(why)} |")


def _people(page: Page) -> list[str]:
    """Perceived shares and group means of the candidate; nothing for a result without them."""
    lines = []
    if page.compositions:
        lines += ["### Perceived presentation", "", "| attribute | shares in open prompts | undetermined |", "|---|---|---:|",
                  *(_composition_line(table) for table in page.compositions), ""]
    if page.groups:
        lines += ["| metric | attribute | mean by perceived group | worst gap |", "|---|---|---|---:|",
                  *(_group_line(table) for table in page.groups), ""]
    return lines


def _composition_line(table: CompositionTable) -> str:
    shares = ", ".join(f"{escape_markdown(row.name)} {percent(row.share)}" for row in table.rows)
    return f"| {escape_markdown(table.name)} | {shares} | {percent(table.undetermined)} |"


def _group_line(table: GroupTable) -> str:
    means = ", ".join(f"{escape_markdown(group.group.replace('_', ' '))} {number(group.value) if group.enough else 'too few'}"
                      for group in table.groups)
    return f"| {escape_markdown(table.metric)} | {escape_markdown(table.attribute)} | {means} | {number(table.gap)} |"
