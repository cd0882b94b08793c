"""What came out of the study of training strategies (strategies.py) as a record, as Markdown and as a picture."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sana_bench.records import Provenance, Record, Verdict
from sana_bench.report.markdown import escape_markdown
from sana_bench.report.wording import NOTHING, OUTCOMES, interval, number, probability, signed
from sana_bench.store import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BASE = "base"
"""What the model without any fine-tune is called."""
TOLD = r" \*"
"""Behind a difference that chance does not explain."""
COLUMNS = 3
COLOURS = ("tab:blue", "tab:orange")


class ArmRecord(Record):
    """One arm, and what its fine-tunes cost."""

    name: str
    title: str
    changes: dict[str, Any]
    """Settings that differ from the reference arm's, by `section.key`."""
    trainable_parameters: int
    num_samples: int
    """Seen by each fine-tune."""
    train_seconds: tuple[float, ...]
    """Of each training seed, with what was encoded for it first, and whatever else the machine did; for a killed run those after it went on."""


class Comparison(Record):
    """One arm, all its seeds, against the reference arm or against the base."""

    arm: str
    against: str
    verdicts: tuple[Verdict, ...]
    """One for each thing that decides."""
    shown: tuple[Verdict, ...]
    """On every metric, over the whole suite; these decide nothing."""


class Study(Record):
    """All of it."""

    reference: str
    side: int
    steps: int
    num_seeds: int
    suite: str
    num_prompts: int
    confidence: float
    arms: tuple[ArmRecord, ...]
    """The reference first."""
    comparisons: tuple[Comparison, ...]
    provenance: Provenance

    def against(self, name: str) -> list[Comparison]:
        return [each for each in self.comparisons if each.against == name]


def write_study(study: Study, folder: Path) -> list[Path]:
    """`strategies.json`, `.md` and `.png`; their paths."""
    paths = [folder / f"strategies.{ending}" for ending in ("json", "md", "png")]
    for path, content in zip(paths, (study.model_dump_json(indent=1).encode(), render_markdown(study).encode(), draw_plot(study)), strict=True):
        write_bytes(path, content)
    return paths


def render_markdown(study: Study) -> str:
    """Arms, what came out against the reference arm and against the base, and every number."""
    lines = ["# Training strategies on tiny-sana", "",
             f"{len(study.arms)} arms, {study.num_seeds} training seeds each, {study.steps} steps at {study.side} px; {study.num_prompts} prompts of "
             f"{escape_markdown(study.suite)}, one image each. Every arm sees as many samples. Intervals hold prompts and training seeds.", "", *_arms(study)]
    for name, title in ((study.reference, f"Against the arm {study.reference}"), (BASE, "Against the base")):
        if study.against(name):
            comparisons = study.against(name)
            lines += [f"## {title}", "", *_outcomes(comparisons, study.confidence), *_sentences(comparisons), *_numbers(comparisons, study.confidence)]
    return "\n".join([*lines, *_chances(study), ""])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(header)} |", "|" + "---|" * len(header), *(f"| {' | '.join(row)} |" for row in rows), ""]


def _arms(study: Study) -> list[str]:
    rows = [(escape_markdown(arm.name), escape_markdown(arm.title), f"{arm.trainable_parameters:,}", str(arm.num_samples),
             number(statistics.median(arm.train_seconds))) for arm in study.arms]
    return _table(("arm", "what it does", "trainable parameters", "samples seen", "seconds of training, median"), rows)


def _outcomes(comparisons: Sequence[Comparison], confidence: float) -> list[str]:
    """Arms by what decides: the outcome's symbol and the difference; a star where chance does not explain it."""
    labels = [f"{verdict.gate} ({'higher' if verdict.higher_is_better else 'lower'} is better)" for verdict in comparisons[0].verdicts]
    rows = [(escape_markdown(each.arm), *(_cell(verdict, confidence) for verdict in each.verdicts)) for each in comparisons]
    legend = ", ".join(f"{OUTCOMES[name].symbol} {OUTCOMES[name].label}" for name in ("improved", "unchanged", "regressed", "inconclusive"))
    return [*_table(("arm", *map(escape_markdown, labels)), rows), f"{legend};{TOLD} beyond chance, after Holm, be it within the budget.", ""]


def _cell(verdict: Verdict, confidence: float) -> str:
    return f"{OUTCOMES[verdict.outcome].symbol} {signed(verdict.difference)}{TOLD if is_told(verdict, confidence) else ''}"


def is_told(verdict: Verdict, confidence: float) -> bool:
    """Whether chance does not explain the difference, however small it is."""
    return verdict.p_adjusted is not None and verdict.p_adjusted <= 1 - confidence


def _sentences(comparisons: Sequence[Comparison]) -> list[str]:
    """What came out, also where nothing did."""
    lines = []
    for each in comparisons:
        found = {outcome: [verdict.gate for verdict in each.verdicts if verdict.outcome == outcome] for outcome in OUTCOMES}
        parts = [f"{OUTCOMES[outcome].label}: {', '.join(map(escape_markdown, names))}" for outcome, names in found.items() if names]
        lines.append(f"- **{escape_markdown(each.arm)}** {'; '.join(parts)}.")
    return [*lines, ""]


def _numbers(comparisons: Sequence[Comparison], confidence: float) -> list[str]:
    header = ("arm", "what", "metric", comparisons[0].against, "arm's", f"difference, {confidence:.0%} interval", "p after Holm", "budget",
              "smallest change found in 80 % of runs", "outcome")
    rows = [(each.arm, verdict.gate, f"{verdict.metric}{f' of {verdict.tag}' if verdict.tag else ''}, {verdict.unit}".rstrip(", "), number(verdict.baseline),
             number(verdict.candidate), f"{signed(verdict.difference)} ({interval(verdict.ci_low, verdict.ci_high)})",
             NOTHING if verdict.p_adjusted is None else probability(verdict.p_adjusted), number(verdict.budget),
             number(verdict.smallest_detectable_effect), OUTCOMES[verdict.outcome].label) for each in comparisons for verdict in each.verdicts]
    return _table(header, [tuple(map(escape_markdown, row)) for row in rows])


def _chances(study: Study) -> list[str]:
    number_of = len(study.comparisons)
    return [f"Each of the {number_of} comparisons has its own {1 - study.confidence:.0%} chance of an alarm without any difference, either way: "
            f"{number_of * (1 - study.confidence):.1f} are to be expected at most. The seeds of two arms are taken for independent, though both draw the same "
            f"noise: that can only widen intervals."]


def draw_plot(study: Study) -> bytes:
    """PNG: a panel for each thing that decides, in its unit; every arm's difference to the reference arm and to the base, with its interval.

    A hollow point is not told from chance.
    """
    from matplotlib.figure import Figure

    names, labels = [arm.name for arm in study.arms], [verdict.gate for verdict in study.comparisons[0].verdicts]
    columns = min(COLUMNS, len(labels))
    rows = math.ceil(len(labels) / columns)
    figure = Figure(figsize=(5 * columns, (0.38 * len(names) + 1.4) * rows), layout="constrained")
    for at, label in enumerate(labels):
        _panel(figure.add_subplot(rows, columns, at + 1), label, names, study)
    handles, texts = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=len(texts), fontsize=8, title="filled: beyond chance, after Holm; grey: within the budget",
                  title_fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _panel(axes: Axes, label: str, names: Sequence[str], study: Study) -> None:
    shown = next(verdict for verdict in study.comparisons[0].verdicts if verdict.gate == label)
    axes.axvspan(-shown.budget, shown.budget, color="0.92", linewidth=0)
    axes.axvline(0, color="0.5", linewidth=0.8)
    for number_of, (against, colour) in enumerate(zip((study.reference, BASE), COLOURS, strict=True)):
        places, differences, low, high, filled = [], [], [], [], []
        for each in study.against(against):
            verdict = next(verdict for verdict in each.verdicts if verdict.gate == label)
            if verdict.difference is None:
                continue
            places.append(names.index(each.arm) + 0.18 * (2 * number_of - 1))
            differences.append(verdict.difference)
            low.append(math.nan if verdict.ci_low is None else verdict.ci_low)
            high.append(math.nan if verdict.ci_high is None else verdict.ci_high)
            filled.append(colour if is_told(verdict, study.confidence) else "white")
        axes.hlines(places, low, high, color=colour, linewidth=1.5)
        axes.scatter(differences, places, c=filled, edgecolors=colour, s=28, zorder=3, label=f"against {against}")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_title(f"{label}: {shown.metric}{f' ({shown.tag})' if shown.tag else ''}", fontsize=9, parse_math=False)
    axes.set_xlabel(f"difference, {shown.unit}; {'right' if shown.higher_is_better else 'left'} is better".replace(", ;", ";"), fontsize=8, parse_math=False)
    axes.tick_params(axis="x", labelsize=8)
