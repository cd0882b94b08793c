"""preview.html: one file, under the same rules as report.html."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sana_bench.config import RunConfig
from sana_bench.data.augment import Augmentation
from sana_bench.preview.tiles import StagePreview, Tile
from sana_bench.records import ShareOfSamples
from sana_bench.report.html import TEMPLATES, render_document
from sana_bench.report.wording import one_line, percent

OWN = Path(__file__).parent / "templates"


def render_preview(config: RunConfig, stages: Sequence[StagePreview], shares: Sequence[ShareOfSamples]) -> str:
    """The whole page as one document without any outside reference and without a script."""
    return render_document("preview.html.j2", (OWN, TEMPLATES), ("report.css", "preview.css"), config=config, stages=stages, shares=shares,
                           facts_of=facts_of, one_line=one_line)


def facts_of(tile: Tile) -> list[str]:
    """What was done to the picture on its way into the view."""
    facts = [f"view {tile.draw.view}: {augmentation_words(tile.augmentation)}"]
    if tile.crop:
        left, top, right, bottom = tile.crop
        facts.append(f"zoomed crop of {right - left:.0f}×{bottom - top:.0f} px at {left:.0f}, {top:.0f}")
    facts.append(size_words(tile.enlargement))
    return facts


def size_words(enlargement: float) -> str:
    if enlargement > 1.05:
        return f"enlarged {enlargement:.2g} times"
    return "as large as in the file" if enlargement > 0.95 else f"reduced to {percent(round(enlargement, 2))} of its sides"


def augmentation_words(augmentation: Augmentation) -> str:
    words = ["mirrored"] if augmentation.flip else []
    if augmentation.angle:
        words.append(f"turned {abs(augmentation.angle):.1f}° {'counter-clockwise' if augmentation.angle > 0 else 'clockwise'}")
    if augmentation.kept < 1:
        words.append(f"{percent(round(augmentation.kept, 2))} of each side kept")
    words += [f"{name} × {factor:.2f}" for name, factor in (("brightness", augmentation.brightness), ("contrast", augmentation.contrast)) if factor != 1]
    return ", ".join(words) or "untouched"
