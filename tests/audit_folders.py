"""Two folders of OpenPeople's photographs: one without a fault, and one with one planted fault a file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from sana_bench.corruptions import CORRUPTIONS, corrupt
from sana_bench.extract import in_order
from sana_bench.features import EXTRACTORS
from tests.photographs import photograph, read

SIDE, RESOLUTION = 768, 512
HOSTILE_NAME, HOSTILE_CAPTION = "<img src=x onerror=alert(1)>.png", "<script>alert('x')</script> a woman in a hoodie\u202e in a park"
LONG_CAPTION = "a woman " + "standing in the park and " * 80

FAULTS = {
    "fine.png": set(), "blurred.png": {"blurred"}, "compressed.jpg": {"compressed"}, "small.png": {"below_resolution"}, "copy.png": {"duplicates"},
    "near.jpg": {"near_duplicates"}, "unlisted.png": {"missing_captions"}, "empty.png": {"missing_captions"}, "long.png": {"long_captions"},
    "short.png": {"short_captions"}, "damaged.png": {"implausible_hands"}, "truncated.png": {"unreadable"}, "bomb.png": {"unreadable"},
    "text.jpg": {"unreadable"}, HOSTILE_NAME: set(),
}
"""What is planted in `faulty`, by file."""


def caption(index: int) -> str:
    return f"studio photo number {index} of a person, plain grey background"


def write_metadata(folder: Path, captions: dict[str, str], *more_lines: str) -> None:
    lines = [json.dumps({"file_name": name, "text": text}) for name, text in captions.items()]
    (folder / "metadata.jsonl").write_text("\n".join([*lines, *more_lines]))


def write_clean(folder: Path) -> Path:
    folder.mkdir()
    captions = {}
    for index, (person, kind) in enumerate((("P001", "studio_portrait"), ("P005", "studio_posture"), ("P003", "amateur_selfie"))):
        photograph(person, kind, SIDE).save(folder / f"{person}.png")
        captions[f"{person}.png"] = caption(index)
    write_metadata(folder, captions)
    return folder


def write_faulty(folder: Path) -> Path:
    folder.mkdir()
    fine = photograph("P001", "studio_portrait", SIDE)
    fine.save(folder / "fine.png")
    shutil.copy(folder / "fine.png", folder / "copy.png")
    fine.resize((640, 640), Image.Resampling.LANCZOS).save(folder / "near.jpg", quality=80)
    photograph("P003", "studio_portrait", SIDE).filter(ImageFilter.GaussianBlur(3)).save(folder / "blurred.png")
    photograph("P004", "studio_portrait", SIDE).save(folder / "compressed.jpg", quality=8)
    photograph("P007", "studio_portrait", 300).save(folder / "small.png")
    for name, person, kind in (("unlisted.png", "P008", "studio_posture"), ("empty.png", "P004", "amateur_selfie"), ("long.png", "P003", "amateur_selfie"),
                               ("short.png", "P006", "studio_portrait"), (HOSTILE_NAME, "P009", "amateur_selfie")):
        photograph(person, kind, SIDE).save(folder / name)
    damaged_hand().save(folder / "damaged.png", compress_level=1)
    (folder / "truncated.png").write_bytes((folder / "long.png").read_bytes()[:200_000])
    Image.new("1", (9000, 9000)).save(folder / "bomb.png")
    (folder / "text.jpg").write_text("no picture at all")
    captions = {name: caption(index) for index, name in enumerate(FAULTS) if name != "unlisted.png"}
    write_metadata(folder, {**captions, "empty.png": "  ", "long.png": LONG_CAPTION, "short.png": "a woman", HOSTILE_NAME: HOSTILE_CAPTION},
                   json.dumps({"file_name": "gone.png", "text": "a <b>man</b> who is not there"}), "{not json")
    return folder


def damaged_hand() -> Image.Image:
    """Somebody whom nothing has learned from, with a hand that was damaged in a way that nothing has learned from."""
    pixels, extractors = np.asarray(photograph("P002", "studio_posture")), {name: EXTRACTORS.get(name).make("cpu") for name in in_order(["hands"])}
    hand = read(extractors, pixels)["hands"]["keypoints"][0]
    for each in extractors.values():
        each.close()
    damage = CORRUPTIONS.get("hand_fused_fingers")
    return Image.fromarray(corrupt("hand_fused_fingers", pixels, hand, damage.doses[-1], (2, 0)))
