"""Geometry of the audit's charts; the template draws it as SVG."""

from __future__ import annotations

from dataclasses import dataclass

from sana_bench.audit.record import Histogram, Variety
from sana_bench.report.wording import number

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 460, 190, 8, 22, 152


@dataclass(frozen=True)
class Column:
    """One bin of a histogram."""

    x: float
    y: float
    width: float
    height: float
    bad: bool
    """All of it lies on the bad side of the limit."""
    words: str


@dataclass(frozen=True)
class Line:
    """One class of a variety."""

    name: str
    length: float
    """In [0, 1]: share of the images that say something of it."""
    words: str


def columns(histogram: Histogram) -> list[Column]:
    """Bins without images are left out."""
    most, step, made = max(histogram.counts), (WIDTH - 2 * LEFT) / len(histogram.counts), []
    for index, count in enumerate(histogram.counts):
        low, high = histogram.edges[index], histogram.edges[index + 1]
        if count:
            height = (BOTTOM - TOP) * count / most
            words = f"{number(low)} to {number(high)} {histogram.unit}: {count} image(s)"
            made.append(Column(round(LEFT + step * index + 0.5, 1), round(BOTTOM - height, 1), round(step - 1, 1), round(height, 1),
                               _bad(histogram, low, high), words))
    return made


def _bad(histogram: Histogram, low: float, high: float) -> bool:
    if histogram.limit is None:
        return False
    return high <= histogram.limit if histogram.worse == "below" else low >= histogram.limit


def limit_x(histogram: Histogram) -> float | None:
    """Where the limit stands; None where it is out of the picture."""
    low, high = histogram.edges[0], histogram.edges[-1]
    if histogram.limit is None or not low <= histogram.limit <= high:
        return None
    return round(LEFT + (WIDTH - 2 * LEFT) * (histogram.limit - low) / (high - low), 1)


def lines(variety: Variety) -> list[Line]:
    total = sum(variety.counts)
    return [Line(name, count / total if total else 0.0, f"{name}: {count} of {total}") for name, count in zip(variety.classes, variety.counts, strict=True)]
