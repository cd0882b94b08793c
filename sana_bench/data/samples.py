"""What training draws from: pictures, each a whole image of a source or a zoomed crop of one, without pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

RegionKind = Literal["face", "hand"]
Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels, right and bottom outside."""


class Region(BaseModel):
    """A face or a hand in an image."""

    model_config = ConfigDict(frozen=True)

    kind: RegionKind
    box: Box
    """In pixels of the whole image; it may reach over its border."""


class People(BaseModel):
    """What detectors see in one training image. Boxes and perceived groups alone; nothing that could tell one person from another."""

    model_config = ConfigDict(frozen=True)

    regions: tuple[Region, ...] = ()
    groups: dict[str, str] = {}
    """Perceived class by attribute ("gender", "age", "skin_tone"); an attribute is absent where it is undetermined."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture that may be trained on."""

    source: str
    """The source it is of, as the recipe names it."""
    path: Path
    content: str
    """SHA-256 of the file."""
    name: str
    """Names it in its source: the file's name, and `#hand0` or `#face1` behind it for a zoomed crop."""
    text: str
    """Its caption."""
    size: tuple[int, int]
    """Width and height of the image in pixels, of the crop where it is one."""
    crop: Box | None = None
    """The part of the file that it is; None for all of it."""
    fit: Literal["crop", "pad"] = "crop"
    focus_y: float = 0.5
    """How it becomes a view of another shape (data/views.py)."""
    people: People = People()
    """In pixels of the whole image, also for a crop."""


@dataclass(frozen=True)
class Draw:
    """One sample of one training step: which picture, in which of its views, at which size."""

    picture: int
    """Index in the list of pictures."""
    view: int
    """0 is the untouched one."""
    width: int
    height: int
