"""The images to look at as the page shows them: small, with a close-up of a hand or face in question, keypoints over it, and what it is a copy of."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sana_bench.audit.looks import Look
from sana_bench.audit.record import AuditReport, ImageFacts
from sana_bench.errors import DataError
from sana_bench.images import read_image, small_webp
from sana_bench.progress import progress
from sana_bench.report.overlays import Stroke, draw_overlay

MOST = 60
"""Images that the page shows; all stand in audit.json."""
WHOLE_PX, CLOSE_PX, QUALITY = 320, 320, 78
CLOSE_UP = 1.7
"""Side of a close-up in longer sides of its part."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Shot:
    """One picture."""

    title: str
    image: str
    """data: URI."""
    width: int
    height: int
    view_box: Box
    """left, top, width and height of what it shows, in pixels of the file."""
    strokes: tuple[Stroke, ...]


@dataclass(frozen=True)
class Exhibit:
    """One image with faults."""

    facts: ImageFacts
    shots: tuple[Shot, ...]
    """None where it cannot be read."""


def show(report: AuditReport, looks: Mapping[str, Look]) -> tuple[Exhibit, ...]:
    """The first MOST of the images to look at.

    Args:
        looks: by file name.
    """
    facts, chosen = {each.file_name: each for each in report.images}, report.look_at[:MOST]
    exhibits = []
    with progress("draw images to look at", len(chosen)) as tracker:
        for name in chosen:
            exhibits.append(Exhibit(facts[name], _shots(facts[name], looks)))
            tracker.advance()
    return tuple(exhibits)


def _shots(facts: ImageFacts, looks: Mapping[str, Look]) -> tuple[Shot, ...]:
    look = looks[facts.file_name]
    if look.seen is None:
        return ()
    picture, width, height = _decoded(look)
    strokes = _strokes(look, width, height) if any(fault.part is not None for fault in facts.faults) else ()
    shots = [_shot("whole", picture, (0, 0, width, height), strokes, WHOLE_PX)]
    for fault in facts.faults:
        if fault.part is not None:
            part = fault.kind.removeprefix("implausible_").removesuffix("s")
            shots.append(_shot(part, picture, _close_up(look.features[f"{part}s"]["keypoints"][fault.part]), strokes, CLOSE_PX))
        elif fault.kind == "near_duplicates":
            twin, *size = _decoded(looks[fault.other])
            shots.append(_shot(fault.other, twin, (0, 0, *size), (), WHOLE_PX))
    return tuple(shots)


def _decoded(look: Look) -> tuple[Image.Image, int, int]:
    picture = Image.fromarray(read_image(look.entry.path, DataError))
    return picture, *picture.size


def _strokes(look: Look, width: int, height: int) -> tuple[Stroke, ...]:
    points = {name: look.features[extractor]["keypoints"].round(1).tolist() for name, extractor in (("poses", "pose"), ("hands", "hands"), ("faces", "faces"))}
    return draw_overlay({"width": width, "height": height, **points}).strokes


def _close_up(keypoints_N2: np.ndarray) -> Box:
    """A square around a part; it may reach over the image's border, and is black there."""
    low, high = keypoints_N2.min(axis=0), keypoints_N2.max(axis=0)
    side = max(8, round(CLOSE_UP * float((high - low).max())))
    left, top = np.round((low + high - side) / 2).astype(int).tolist()
    return left, top, side, side


def _shot(title: str, picture: Image.Image, box: Box, strokes: tuple[Stroke, ...], side_px: int) -> Shot:
    left, top, width, height = box
    data = small_webp(picture.crop((left, top, left + width, top + height)), side_px, QUALITY)
    shown = Image.open(io.BytesIO(data)).size
    return Shot(title, "data:image/webp;base64," + base64.b64encode(data).decode(), *shown, box, strokes)
