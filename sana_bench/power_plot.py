"""The picture of a power plan: chance to find a loss against the number of prompts, a panel for each metric."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sana_bench.console import printable
from sana_bench.errors import ReportError
from sana_bench.power import Design, design, power_at
from sana_bench.power_plan import MetricPlan, PowerPlan
from sana_bench.sensitivity import MAX_PROMPTS
from sana_bench.store import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".svg", ".png")
IMAGES_PER_PROMPT = (1, 2, 4)
COLOURS = ("#0072b2", "#d55e00", "#009e73")
"""Blue, vermilion and green that are told apart without seeing red or green (M. Okabe, K. Ito)."""
NUM_POINTS = 160


def draw_power(plan: PowerPlan, path: Path) -> None:
    """Write the picture as SVG or PNG, by the file's ending; the same plan makes the same bytes.

    Raises:
        ReportError: another ending.
        StoreError: the file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    check_ending(path)
    columns = min(3, len(plan.metrics))
    rows = -(-len(plan.metrics) // columns)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "power", "text.parse_math": False, "font.size": 9}):
        figure = Figure(figsize=(5.6 * columns, 4.6 * rows), layout="constrained", facecolor="white")
        panels = figure.subplots(rows, columns, squeeze=False).flat
        for panel, metric in zip(panels, plan.metrics, strict=False):
            _draw_metric(panel, metric, plan)
        for panel in list(panels):
            panel.set_axis_off()
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks is drawn as boxes
            figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=144, metadata={"Date" if path.suffix.lower() == ".svg" else "Software": None})
    write_bytes(path, buffer.getvalue())


def check_ending(path: Path) -> None:
    """Raises ReportError."""
    if path.suffix.lower() not in FORMATS:
        raise ReportError(f'--plot takes a file that ends in {" or ".join(FORMATS)}, not "{path.name}"')


def _draw_metric(panel: Axes, metric: MetricPlan, plan: PowerPlan) -> None:
    pilot, fewest_images = metric.pilot, metric.rule.fewest_images
    numbers = IMAGES_PER_PROMPT if pilot.told_apart else (pilot.num_images_per_prompt,)
    needed = [design(metric.chance_to_find, pilot, number, plan.power, fewest_images) for number in numbers]
    prompts_X = _grid(needed, plan.num_prompts)

    def curve(num_images: int, variance: float | None = None) -> np.ndarray:
        return np.array([power_at(metric.chance_to_find, pilot, int(number), num_images, fewest_images, variance) for number in prompts_X])

    for colour, found in zip(COLOURS, needed, strict=False):
        number = found.num_images_per_prompt
        panel.plot(prompts_X, curve(number), color=colour, label=f"{number} image{'s' if number > 1 else ''} a prompt")
        if found.num_prompts is not None:
            panel.plot(found.num_prompts, plan.power, "o", color=colour)
            panel.annotate(str(found.num_prompts), (found.num_prompts, plan.power), (-4, 5), textcoords="offset points", ha="right", color=colour)
    low, high = (curve(numbers[0], variance) for variance in pilot.variance_limits(numbers[0]))
    panel.fill_between(prompts_X, low, high, color=COLOURS[0], alpha=0.12, linewidth=0,
                       label=f"95 % range of the pilot ({pilot.counting(pilot.num_prompts)} prompts), {numbers[0]} each")
    panel.axhline(plan.power, color="0.45", linestyle=":", label=f"wanted: {plan.power:.0%}")
    panel.axvline(plan.num_prompts, color="0.25", linestyle="--", label=printable(f"{plan.suite}: {plan.num_prompts} prompts"))
    panel.set_xscale("log")
    ticks = _ticks(prompts_X[0], prompts_X[-1])
    panel.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    panel.set_xticks([], minor=True)
    panel.set(title=printable(f"{metric.result.metric}: a loss of {metric.effect:.3g} {metric.result.unit}".rstrip()), xlabel="prompts drawn",
              ylabel="chance that the loss is found (share of runs)", xlim=(prompts_X[0], prompts_X[-1]), ylim=(0, 1.03))
    panel.grid(alpha=0.2)
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=8, frameon=False)


def _grid(needed: list[Design], num_prompts: int) -> np.ndarray:
    """(X,) whole numbers of prompts, evenly spaced by ratio, from few to somewhat beyond what is needed and what the suite has."""
    known = [each.num_prompts for each in needed if each.num_prompts is not None] or [4 * num_prompts]
    last = min(MAX_PROMPTS, 2 * max(*known, num_prompts))
    return np.unique(np.geomspace(4, max(last, 40), NUM_POINTS).round().astype(int))


def _ticks(first: int, last: int) -> list[int]:
    """1, 2 and 5 times powers of ten."""
    return [tick for power in range(6) for tick in (10**power, 2 * 10**power, 5 * 10**power) if first <= tick <= last]
