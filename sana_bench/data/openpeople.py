"""OpenPeople as training and reference data: photographs and sheet cells as single captioned images, split by person.

OpenPeople 0.1.2 (MIT) has ten synthetic people with six pictures each: four photographs and two sheets of framed cells.
Nobody in it exists. Labels in its metadata are what was asked of the image model, not what it drew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sana_bench.errors import DataError
from sana_bench.images import write_png
from sana_bench.split import HELD_OUT_PEOPLE
from sana_bench.store import write_bytes

EMOTIONS = ("neutral", "happy", "sad", "angry", "surprised", "disgusted", "scared", "confused",
            "smug", "flirty", "thoughtful", "pensive", "exhausted", "shocked", "playful", "determined")
"""Cells of `emotions_sheet`, row by row, as printed under them."""

SIDES = ("front", "side", "back", "side")
"""Cells of `character_sheet` from left to right; the upper row shows heads, the lower one bodies.

The sheets print "left" and "right" under the second and fourth, but what they show faces either way (P001 the same way twice)."""

FULL_BODIES = ("studio_posture", "amateur_posture", "body")
"""Kinds of pictures that show whole people."""

SHEET_GRIDS = {"emotions_sheet": (4, 4), "character_sheet": (2, 4)}

HAIR = {
    "P001": "short curly black hair",
    "P002": "short tightly curled dark hair",
    "P003": "medium-length wavy dark brown hair",
    "P004": "curly black hair tied up",
    "P005": "slicked-back dark hair and a full dark beard",
    "P006": "sleek black hair slicked back",
    "P007": "thick curly dark hair",
    "P008": "long straight light brown hair",
    "P009": "long wavy black hair with a center parting",
    "P010": "sleek glossy black hair in a bun",
}
"""The metadata's description of the hair, cut to one phrase; where it names no colour or length, what the portrait shows."""

PEOPLE = {"training": tuple(name for name in HAIR if name not in HELD_OUT_PEOPLE), "reference": HELD_OUT_PEOPLE}
"""Ids of the people of each side of the split."""

CASUAL = {
    "P001": (("denim jacket over a grey t-shirt", "living room"), ("denim jacket, white t-shirt and light trousers", "park")),
    "P002": (("denim jacket over a grey hoodie", "living room"), ("white t-shirt and white shorts", "park")),
    "P003": (("denim jacket over a dark green t-shirt", "living room"), ("white t-shirt and beige shorts", "park")),
    "P004": (("grey hoodie", "park"), ("grey t-shirt and dark blue jeans", "park")),
    "P005": (("grey hoodie", "park"), ("grey t-shirt and dark blue jeans", "garden")),
    "P006": (("grey t-shirt", "park"), ("grey t-shirt and blue jeans", "garden")),
    "P007": (("denim jacket over a black t-shirt", "cafe"), ("dark grey t-shirt and blue jeans", "park")),
    "P008": (("dark blue t-shirt", "living room"), ("grey t-shirt and dark blue jeans", "park")),
    "P009": (("grey t-shirt", "living room"), ("white t-shirt and denim shorts", "garden")),
    "P010": (("denim jacket over a grey t-shirt", "park"), ("dark blue t-shirt and blue jeans", "park")),
}
"""Clothes and setting of the casual photographs (selfie, full body), as we see them: the metadata only says "casual"."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image of one person with the parts of its caption."""

    person: str
    kind: str
    """studio_portrait | studio_posture | amateur_selfie | amateur_posture | emotion | head | body"""
    image: Image.Image
    framing: str
    details: tuple[str, ...]
    """Clothes, expression, side and setting, in the order in which a caption names them."""
    fit: str
    """How it becomes a square: `crop` around `focus_y`, or `pad` by continuing the background."""
    focus_y: float = 0.5


def subject_of(metadata: dict) -> str:
    """`a woman aged 35 to 45 with short curly black hair`."""
    details = metadata["character_details"]
    demographics = details["demographics"]
    noun = {"female": "woman", "male": "man"}[demographics["sex"]]
    return f"a {noun} aged {demographics['age_range'].replace('-', ' to ')} with {HAIR[metadata['person_id']]}"


def caption_of(picture: Picture, subject: str) -> str:
    return ", ".join((f"{picture.framing} of {subject}", *picture.details))


def find_people(root: Path) -> list[Path]:
    """Folders of the people below `root` (the unpacked package), sorted by id."""
    people = sorted(path.parent for path in root.glob("**/curated/P*/metadata.json"))
    if not people:
        raise DataError(f"no person folder (curated/P*/metadata.json) under {root}; run `sana-bench assets pull`")
    return people


def cut_sheet(sheet: Image.Image, grid: tuple[int, int], name: str) -> list[Image.Image]:
    """Cut a sheet at its white frames, row by row.

    Sheets differ by up to 90 px in where the frames stand, so these are found: a frame is a line of near-white pixels
    across most of the sheet. A margin of 8 px keeps the frame out of the cell.
    """
    white = np.asarray(sheet.convert("L")) > 235
    rows, columns = grid
    edges_x, edges_y = _lines(white.mean(axis=0), 2 * columns), _lines(white.mean(axis=1), 2 * rows)
    if edges_x is None or edges_y is None:
        raise DataError(f"{name}: the {rows} x {columns} frames of the sheet were not found")
    boxes = [(edges_x[2 * column][1] + 8, edges_y[2 * row][1] + 8, edges_x[2 * column + 1][0] - 8, edges_y[2 * row + 1][0] - 8)
             for row in range(rows) for column in range(columns)]
    return [sheet.crop(box) for box in boxes]


def _lines(profile_N: np.ndarray, expected: int) -> list[tuple[int, int]] | None:
    """First and last index of each of the `expected` runs of high values, at the highest threshold that gives so many."""
    for threshold in np.arange(0.9, 0.3, -0.02):
        indices = np.flatnonzero(profile_N > threshold)
        runs = np.split(indices, np.flatnonzero(np.diff(indices) > 3) + 1) if indices.size else []
        if len(runs) == expected:
            return [(int(run[0]), int(run[-1])) for run in runs]
    return None


def pictures_of(person: Path) -> list[Picture]:
    """The 28 pictures of one person: four photographs, 16 expressions, four heads and four bodies."""
    name, assets = person.name, person / "assets"

    def photograph(kind: str, **fields: object) -> Picture:
        return Picture(person=name, kind=kind, image=_open(assets / f"{kind}.jpg"), **fields)  # type: ignore[arg-type]

    (selfie_clothes, selfie_place), (posture_clothes, posture_place) = CASUAL[name]
    grey = "plain grey background"
    pictures = [
        photograph("studio_portrait", framing="studio portrait", fit="crop",
                   details=("plain white shirt", "neutral expression", grey)),
        photograph("studio_posture", framing="full-body studio photo", fit="pad",
                   details=("white t-shirt and shorts", "standing straight", "hands loose on the sides", grey)),
        photograph("amateur_selfie", framing="casual selfie", fit="crop", focus_y=0.38,
                   details=(selfie_clothes, selfie_place)),
        photograph("amateur_posture", framing="casual full-body photo", fit="pad",
                   details=(posture_clothes, posture_place)),
    ]
    for emotion, cell in zip(EMOTIONS, _cells(assets, "emotions_sheet"), strict=True):
        pictures.append(Picture(person=name, kind="emotion", image=cell, framing="studio headshot", fit="crop",
                                details=("plain white shirt", f"{emotion} expression", grey)))
    cells = _cells(assets, "character_sheet")
    for side, cell in zip(SIDES, cells[:4], strict=True):
        pictures.append(Picture(person=name, kind="head", image=cell, framing="studio headshot", fit="crop",
                                details=("plain white shirt", f"{side} view", grey)))
    for side, cell in zip(SIDES, cells[4:], strict=True):
        pictures.append(Picture(person=name, kind="body", image=cell, framing="full-body studio photo", fit="pad",
                                details=("white t-shirt and shorts", f"{side} view", grey)))
    return pictures


def write_imagefolder(root: Path, folder: Path, people: str) -> int:
    """Write the pictures of the `training` or `reference` people as a Hugging Face imagefolder; return how many.

    `folder/metadata.jsonl` has one line an image: `file_name` and `text` as `datasets` reads them, and our columns
    `person`, `kind`, `fit` and `focus_y`. PNG, so that no second compression is added.
    """
    lines = []
    for person in find_people(root):
        if person.name not in PEOPLE[people]:
            continue
        subject = subject_of(json.loads((person / "metadata.json").read_text()))
        for index, picture in enumerate(pictures_of(person)):
            file_name = f"{picture.person}_{index:02}_{picture.kind}.png"
            write_png(folder / file_name, np.asarray(picture.image))
            lines.append(json.dumps({"file_name": file_name, "text": caption_of(picture, subject), "person": picture.person,
                                     "kind": picture.kind, "fit": picture.fit, "focus_y": picture.focus_y}))
    write_bytes(folder / "metadata.jsonl", ("\n".join(lines) + "\n").encode())
    return len(lines)


def _open(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


def _cells(assets: Path, kind: str) -> list[Image.Image]:
    return cut_sheet(_open(assets / f"{kind}.jpg"), SHEET_GRIDS[kind], f"{assets.parent.name}/{kind}")
