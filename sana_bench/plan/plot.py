"""The picture of a plan: memory of every phase by part, beside what the card has."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.console import printable
from sana_bench.plan.cards import GIB
from sana_bench.power_plot import check_ending
from sana_bench.store import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sana_bench.plan.plan import Plan

MARGIN = "CUDA and margin (assumed)"
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000", "#999999")
"""Told apart without seeing red or green (M. Okabe, K. Ito); grey is the margin's."""


def draw_plan(plan: Plan, path: Path) -> None:
    """Write the picture as SVG or PNG, by the file's ending; the same plan makes the same bytes.

    Raises:
        ReportError: another ending.
        StoreError: the file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    check_ending(path)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "plan", "text.parse_math": False, "font.size": 9}):
        figure = Figure(figsize=(9, 1.6 + 0.5 * len(plan.phases)), layout="constrained", facecolor="white")
        _draw(figure.subplots(), plan)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=144, metadata={"Date" if path.suffix.lower() == ".svg" else "Software": None})
    write_bytes(path, buffer.getvalue())


def _draw(panel: Axes, plan: Plan) -> None:
    phases, before = [printable(phase.name) for phase in plan.phases], [0.0] * len(plan.phases)
    rows = [{**phase.parts, MARGIN: plan.card.margin(phase.peak)} for phase in plan.phases]
    parts = [part for part in dict.fromkeys(part for row in rows for part in row) if part != MARGIN]
    for part, colour in [*zip(parts, COLOURS, strict=False), (MARGIN, COLOURS[-1])]:
        sizes = [row.get(part, 0) / GIB for row in rows]
        panel.barh(phases, sizes, left=before, color=colour, label=part, height=0.7)
        before = [start + size for start, size in zip(before, sizes, strict=True)]
    panel.axvline(plan.card.memory / GIB, color="0.25", linestyle="--", label=printable(f"{plan.card.name}: {plan.card.memory / GIB:.2f} GiB"))
    panel.invert_yaxis()
    panel.set(xlabel="GiB on one device", title=textwrap.fill(printable(plan.base), 100), xlim=(0, None))
    panel.grid(axis="x", alpha=0.2)
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4, fontsize=8, frameon=False)
