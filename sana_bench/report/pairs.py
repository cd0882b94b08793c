"""Pairs as the report shows them: the same prompt and noise, drawn by baseline and candidate, with scores and pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from PIL import Image
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from sana_bench.errors import ReportError
from sana_bench.images import image_size, read_image, small_webp
from sana_bench.prompts import PromptSuite
from sana_bench.records import MetricResult, RegressionReport, Verdict, WorstSample
from sana_bench.report.overlays import Overlay, draw_overlay
from sana_bench.results import KEYPOINTS_FILE, ResultBundle, loss_in_budgets

MAX_THUMB_PAIRS = 200
MAX_WORST_BYTES, MAX_SMALL_WORST_BYTES = 12_000_000, 1_000_000
"""Large pictures of the worst pairs, and smaller ones of the guard suite's, before base64; with the thumbs a report stays under 25 MB."""
WORST_PX, THUMB_PX, ALONE_PX = 1024, 320, 640
"""Long sides; without a baseline there are no worst pairs, and single pictures are larger."""
WEBP_QUALITY = 80


Point = Annotated[list[float], Field(min_length=2, max_length=3)]


class Keypoints(BaseModel):
    """One entry of keypoints.json: points in pixels of an image of that size."""

    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    poses: list[Annotated[list[Point], Field(min_length=33, max_length=33)]]
    hands: list[Annotated[list[Point], Field(min_length=21, max_length=21)]]
    faces: list[Annotated[list[Point], Field(min_length=478, max_length=478)]]
    parts: dict[Literal["hand", "face", "body"], list[dict[str, float]]] = {}
    """Of every hand, face and pose, its plausibility and what that is made of; the first value is shown beside it."""


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
    """As `results.loss_in_budgets`; None where a side is missing or the metric could not be compared."""
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


@dataclass(frozen=True)
class WorstPair:
    """A pair of the report's list of worst samples, with what it lost."""

    pair: Pair
    shots: tuple[Shot, ...]
    loss: WorstSample


@dataclass(frozen=True)
class Album:
    """Both sides' pictures and keypoints."""

    sides: tuple[tuple[str, Path, dict], ...]
    """(side, result folder, keypoints by sample id)"""

    def shots(self, sample_id: str, side_px: int) -> tuple[Shot, ...]:
        """Baseline first. All at the size of the smallest view, since a baseline keeps thumbnails: no side may look sharper than the other by that."""
        views = [_view(folder, sample_id) for _, folder, _ in self.sides]
        side_px = min([side_px, *(max(image_size(view, ReportError)) for view in views if view.exists())])
        return tuple(_shot(side, folder, keypoints.get(sample_id), sample_id, side_px)
                     for side, folder, keypoints in self.sides)

    def plausibility_of_found(self, side: str, part: str) -> list[float]:
        """Of every hand, face or body that was found on that side's images."""
        return [found[f"{part}_plausibility"] for name, _, keypoints in self.sides if name == side
                for image in keypoints.values() for found in image["parts"].get(part, ())]


def open_album(candidate: ResultBundle, baseline: ResultBundle | None) -> Album:
    sides = [("baseline", baseline.folder)] if baseline else []
    return Album(tuple((side, folder, _keypoints(folder)) for side, folder in [*sides, ("candidate", candidate.folder)]))


def _keypoints(folder: Path) -> dict:
    path = folder / KEYPOINTS_FILE
    if not path.exists():
        return {}
    try:
        return {name: each.model_dump() for name, each in TypeAdapter(dict[str, Keypoints]).validate_json(path.read_bytes()).items()}
    except ValidationError as error:
        raise ReportError(f"{path} is damaged ({error.errors()[0]['msg']}). Score again, or delete it to show no keypoints") from error


def _view(folder: Path, sample_id: str) -> Path:
    return folder / "views" / f"{sample_id}.webp"


def _shot(side: str, folder: Path, keypoints: dict | None, sample_id: str, side_px: int) -> Shot:
    overlay = draw_overlay(keypoints) if keypoints else None
    path = _view(folder, sample_id)
    if not path.exists():
        return Shot(side, "", 0, side_px, side_px, overlay)
    picture = Image.fromarray(read_image(path, ReportError))
    data = small_webp(picture, side_px, WEBP_QUALITY) if max(picture.size) > side_px else path.read_bytes()
    width, height = Image.open(io.BytesIO(data)).size
    return Shot(side, "data:image/webp;base64," + base64.b64encode(data).decode(), len(data), width, height, overlay)


def make_pairs(report: RegressionReport, candidate: ResultBundle, baseline: ResultBundle | None,
               suite: PromptSuite | None) -> list[Pair]:
    """Every sample of the candidate, with the baseline's scores of the same sample."""
    ours, theirs = _scores(candidate), _scores(baseline)
    compared = {verdict.metric: verdict for verdict in report.verdicts
                if verdict.suite == candidate.result.suite and verdict.difference is not None}
    metrics = [result for result in candidate.result.results if result.kind == "sample"]
    prompts = {prompt.id: prompt for prompt in suite.prompt} if suite else {}
    pairs = []
    for sample in candidate.result.samples:
        prompt = prompts.get(sample.prompt_id)
        scores = tuple(_pair_score(result, compared.get(result.metric),
                                   ours.get((sample.sample_id, result.metric)),
                                   theirs.get((sample.sample_id, result.metric))) for result in metrics)
        pairs.append(Pair(sample.sample_id, sample.prompt_id, prompt.text if prompt else "", prompt.tags if prompt else (),
                          sample.seed, scores))
    return pairs


def _scores(bundle: ResultBundle | None) -> dict[tuple[str, str], tuple[float | None, str]]:
    return {(score.sample_id, score.metric): (score.value, score.reason) for score in bundle.scores} if bundle else {}


def _pair_score(result: MetricResult, verdict: Verdict | None, ours: tuple[float | None, str] | None,
                theirs: tuple[float | None, str] | None) -> PairScore:
    """Without a verdict on the difference, both values stand alone: what `compare` would not compare is not compared here."""
    (after, why_after), (before, why_before) = ours or (None, ""), theirs or (None, "")
    reasons = [f"{side}: {why}" for side, why in (("baseline", why_before), ("candidate", why_after)) if why]
    if before is None or after is None or verdict is None:
        return PairScore(result.metric, before, after, None, None, "; ".join(reasons))
    harm = loss_in_budgets(result, after - before, verdict.budget)
    return PairScore(result.metric, before, after, after - before, harm, "; ".join(reasons))


def worst_pairs(losses: Sequence[WorstSample], pairs: Sequence[Pair], album: Album, *, small: bool = False) -> list[WorstPair]:
    """One of the report's own lists, until the bytes allowed are used up."""
    by_id, chosen, spent = {pair.sample_id: pair for pair in pairs}, [], 0
    side_px, most_bytes = (THUMB_PX, MAX_SMALL_WORST_BYTES) if small else (WORST_PX, MAX_WORST_BYTES)
    for loss in losses:
        shots = album.shots(loss.sample_id, side_px)
        spent += sum(shot.num_bytes for shot in shots)
        if spent > most_bytes:
            break
        chosen.append(WorstPair(by_id[loss.sample_id], shots, loss))
    return chosen
