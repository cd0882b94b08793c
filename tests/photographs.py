"""OpenPeople's photographs as samples, and what a chain of extractors reads off them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from sana_bench.assets import asset_path
from sana_bench.data.openpeople import find_people
from sana_bench.data.views import fit_view
from sana_bench.features import Extractor, Features, View

SIDE = 2048

Known = Mapping[str, Features]


def people() -> list[Path]:
    return find_people(asset_path("openpeople"))


def photograph(person: str, kind: str, side: int = SIDE) -> Image.Image:
    folder = next(folder for folder in people() if folder.name == person)
    fit = "pad" if kind.endswith("posture") else "crop"
    return fit_view(Image.open(folder / "assets" / f"{kind}.jpg").convert("RGB"), side, side, fit=fit)


def read(extractors: Mapping[str, Extractor], image: Image.Image | np.ndarray) -> Known:
    """Features by extractor; the extractors stand in an order in which each has what it needs."""
    view, known = View(np.asarray(image), ""), {}
    for name, extractor in extractors.items():
        known[name] = extractor.extract(view, known)
    return known
