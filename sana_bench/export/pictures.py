"""Pairs of a run for its model card: those that lost most, and those in the middle, so that a card does not show its best side."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from sana_bench.errors import ReportError
from sana_bench.images import read_image
from sana_bench.prompts import PromptSuite
from sana_bench.records import RegressionReport
from sana_bench.report.pairs import Pair, make_pairs
from sana_bench.results import BASELINE_FOLDER, load_bundle
from sana_bench.store import read_record

SIDE_PX, GAP_PX, QUALITY = 512, 8, 85


@dataclass(frozen=True)
class CardPicture:
    """Baseline and candidate of one prompt and noise, side by side."""

    file_name: str
    """Relative to the card."""
    content: bytes
    """WebP."""
    kind: str
    """`lost most` | `median`"""
    prompt: str
    loss: float
    """Mean over the metrics, in budgets; negative for a gain."""


def card_pictures(run_dir: Path, report: RegressionReport, number: int) -> list[CardPicture]:
    """`number` of the pairs that lost most and as many of the median ones, by the mean loss in budgets over the metrics of single images.

    Raises:
        ReportError: the run was compared with nothing, or a picture is missing.
        StoreError: a record is missing or damaged.
    """
    if not number:
        return []
    if not (run_dir / BASELINE_FOLDER).is_dir():
        raise ReportError(f"{run_dir} was compared with no baseline, so there are no pairs to show. Leave out --pictures")
    candidate, baseline = load_bundle(run_dir), load_bundle(run_dir / BASELINE_FOLDER)
    suite = read_record(run_dir / "suite.json", PromptSuite) if (run_dir / "suite.json").exists() else None
    pairs = [(loss, pair) for pair in make_pairs(report, candidate, baseline, suite) if (loss := _loss(pair)) is not None]
    pairs.sort(key=lambda each: (-each[0], each[1].sample_id))
    start = max(number, (len(pairs) - number) // 2)
    chosen = [("lost most", each) for each in pairs[:number]] + [("median", each) for each in pairs[start:start + number]]
    return [CardPicture(f"images/{pair.sample_id}.webp", _side_by_side(run_dir, pair.sample_id), kind, pair.text, loss) for kind, (loss, pair) in chosen]


def _loss(pair: Pair) -> float | None:
    harms = [score.harm for score in pair.scores if score.harm is not None]
    return fmean(harms) if harms else None


def _side_by_side(run_dir: Path, sample_id: str) -> bytes:
    """Baseline on the left."""
    from PIL import Image

    sides = []
    for folder in (run_dir / BASELINE_FOLDER, run_dir):
        picture = Image.fromarray(read_image(folder / "views" / f"{sample_id}.webp", ReportError))
        picture.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
        sides.append(picture)
    both = Image.new("RGB", (sum(side.width for side in sides) + GAP_PX, max(side.height for side in sides)), "white")
    both.paste(sides[0], (0, 0))
    both.paste(sides[1], (sides[0].width + GAP_PX, 0))
    buffer = io.BytesIO()
    both.save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()
