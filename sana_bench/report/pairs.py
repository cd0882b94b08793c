"""Pairs as the report shows them: the same prompt and noise, drawn by baseline and candidate, with scores and pictures."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from sana_bench.errors import ReportError
from sana_bench.images import read_image
from sana_bench.prompts import PromptSuite
from sana_bench.records import MetricResult, RegressionReport, WorstSample
from sana_bench.report.overlays import Overlay, draw_overlay
from sana_bench.results import ResultBundle

MAX_WORST_PAIRS = 12
MAX_THUMB_PAIRS = 200
MAX_WORST_BYTES = 12_000_000
"""Large pictures of the worst pairs, before base64; with the thumbs a report stays under 25 MB."""
WORST_PX, THUMB_PX, ALONE_PX = 1024, 320, 640
"""Long sides; without a baseline there are no worst pairs, and single pictures are larger."""
WEBP_QUALITY = 80


@dataclass(frozen=True)
class Shot:
    """One side of a pair."""

    side: str
    """`baseline` | `candidate`"""
    image: str
    """data: URI, or empty where the record holds no picture."""
    num_bytes: int
    width: int
    height: int
    overlay: Overlay | None


@dataclass(frozen=True)
class PairScore:
    """One sample metric on one pair."""

    metric: str
    baseline: float | None
    candidate: float | None
    difference: float | None
    """Candidate minus baseline."""
    harm: float | None
    """Loss in units of the budget, negative for a gain; None where a side is missing or the budget is zero."""
    reason: str
    """Why a side has no value."""


@dataclass(frozen=True)
class Pair:
    sample_id: str
    prompt_id: str
    text: str
    """Prompt; empty where the result folder has no suite.json."""
    tags: tuple[str, ...]
    seed: int
    scores: tuple[PairScore, ...]

    @property
    def worst_harm(self) -> float:
        return max((score.harm for score in self.scores if score.harm is not None), default=0.0)


@dataclass(frozen=True)
class WorstPair:
    """A pair of the report's list of worst samples, with what it lost."""

    pair: Pair
    shots: tuple[Shot, ...]
    losses: tuple[WorstSample, ...]


@dataclass(frozen=True)
class Album:
    """Both sides' pictures and keypoints."""

    sides: tuple[tuple[str, Path, dict], ...]
    """(side, result folder, keypoints by sample id)"""

    def shots(self, sample_id: str, side_px: int) -> tuple[Shot, ...]:
        """Baseline first."""
        return tuple(_shot(side, folder, keypoints.get(sample_id), sample_id, side_px)
                     for side, folder, keypoints in self.sides)


def open_album(candidate: ResultBundle, baseline: ResultBundle | None) -> Album:
    sides = [("baseline", baseline.folder)] if baseline else []
    return Album(tuple((side, folder, _keypoints(folder)) for side, folder in [*sides, ("candidate", candidate.folder)]))


def _keypoints(folder: Path) -> dict:
    path = folder / "keypoints.json"
    return json.loads(path.read_bytes()) if path.exists() else {}


def _shot(side: str, folder: Path, keypoints: dict | None, sample_id: str, side_px: int) -> Shot:
    overlay = draw_overlay(keypoints) if keypoints else None
    path = folder / "views" / f"{sample_id}.webp"
    if not path.exists():
        return Shot(side, "", 0, side_px, side_px, overlay)
    picture = Image.fromarray(read_image(path, ReportError))
    if max(picture.size) <= side_px:
        data = path.read_bytes()
    else:
        picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=WEBP_QUALITY)
        data = buffer.getvalue()
    return Shot(side, "data:image/webp;base64," + base64.b64encode(data).decode(), len(data), *picture.size, overlay)


def make_pairs(report: RegressionReport, candidate: ResultBundle, baseline: ResultBundle | None,
               suite: PromptSuite | None) -> list[Pair]:
    """Every sample of the candidate, with the baseline's scores of the same sample."""
    ours, theirs = _scores(candidate), _scores(baseline)
    budgets = {verdict.metric: verdict.budget for verdict in report.verdicts}
    metrics = [result for result in candidate.result.results if result.kind == "sample"]
    prompts = {prompt.id: prompt for prompt in suite.prompt} if suite else {}
    pairs = []
    for sample in candidate.result.samples:
        prompt = prompts.get(sample.prompt_id)
        scores = tuple(_pair_score(result, budgets.get(result.metric, result.budget),
                                   ours.get((sample.sample_id, result.metric)),
                                   theirs.get((sample.sample_id, result.metric))) for result in metrics)
        pairs.append(Pair(sample.sample_id, sample.prompt_id, prompt.text if prompt else "", prompt.tags if prompt else (),
                          sample.seed, scores))
    return pairs


def _scores(bundle: ResultBundle | None) -> dict[tuple[str, str], tuple[float | None, str]]:
    return {(score.sample_id, score.metric): (score.value, score.reason) for score in bundle.scores} if bundle else {}


def _pair_score(result: MetricResult, budget: float, ours: tuple[float | None, str] | None,
                theirs: tuple[float | None, str] | None) -> PairScore:
    (after, why_after), (before, why_before) = ours or (None, ""), theirs or (None, "")
    reasons = [f"{side}: {why}" for side, why in (("baseline", why_before), ("candidate", why_after)) if why]
    if before is None or after is None:
        return PairScore(result.metric, before, after, None, None, "; ".join(reasons))
    difference = after - before
    loss = -difference if result.higher_is_better else difference
    return PairScore(result.metric, before, after, difference, loss / budget if budget > 0 else None, "")


def worst_pairs(report: RegressionReport, pairs: Sequence[Pair], album: Album) -> list[WorstPair]:
    """The first pairs of the report's own list, each once, until the number or the bytes allowed are used up."""
    by_id = {pair.sample_id: pair for pair in pairs}
    losses: dict[str, list[WorstSample]] = {}
    for worst in report.worst_samples:
        if worst.sample_id in by_id:
            losses.setdefault(worst.sample_id, []).append(worst)
    chosen = [(by_id[name], lost) for name, lost in list(losses.items())[:MAX_WORST_PAIRS]]
    return [WorstPair(pair, shots, tuple(lost)) for pair, lost, shots in _within_bytes(chosen, album)]


def _within_bytes(chosen: list[tuple[Pair, list[WorstSample]]],
                  album: Album) -> Iterator[tuple[Pair, list[WorstSample], tuple[Shot, ...]]]:
    spent = 0
    for pair, lost in chosen:
        shots = album.shots(pair.sample_id, WORST_PX)
        spent += sum(shot.num_bytes for shot in shots)
        if spent > MAX_WORST_BYTES:
            return
        yield pair, lost, shots
