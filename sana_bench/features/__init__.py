"""Extractors: what is read off an image once and used by many metrics. One file an extractor; adding a file adds one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from sana_bench.registry import Registry
from sana_bench.store import digest_of

Features = Mapping[str, np.ndarray]
"""What one extractor read off one image: named arrays, which the store keeps as safetensors unless its extractor says no."""


@dataclass(frozen=True)
class View:
    """One decoded image and its prompt. Everything an extractor needs is derived from it, so that it is decoded once."""

    pixels_HW3: np.ndarray
    """uint8, RGB."""
    prompt: str

    @cached_property
    def image(self) -> Image.Image:
        return Image.fromarray(self.pixels_HW3)


class Extractor(Protocol):
    """Reads features off images. Heavy imports and weights are loaded in `__init__`, never at import of the module."""

    def extract(self, view: View, known: Mapping[str, Features]) -> Features:
        """Features of one image; `known` has those of the extractors in `needs`."""

    def close(self) -> None:
        """Free native resources."""


@dataclass(frozen=True, kw_only=True)
class ExtractorEntry:
    """A registered extractor."""

    name: str
    version: int
    """Goes up when its numbers move."""
    needs: tuple[str, ...]
    """Extractors whose features it reads."""
    assets: tuple[str, ...]
    """Assets (names in assets.py) that it loads."""
    local_weights: tuple[Path, ...]
    """Weight files of our own that it loads."""
    kept: bool
    """Whether the store keeps its features. Those that could tell one person from another live in memory only."""
    pooled: str
    """The array that distances between sets are made of, (D,) or (R, D) with a row each of what `rows` says; empty where there is none."""
    rows: str
    """What each row of `pooled` is of ("patch", "hand"), where an image has several or none; empty where the image as a whole has one."""
    native: bool
    """Whether `pooled` is of pixels at their native scale, so that of an enlarged image it tells how the image was enlarged."""
    make: Callable[[str], Extractor]
    """device -> extractor."""

    def digest(self) -> str:
        """Changes with its version, its assets, its own weights, and everything it needs."""
        from sana_bench.assets import asset_digest
        from sana_bench.store import sha256_file

        return digest_of([self.name, self.version, [asset_digest(name) for name in self.assets],
                          [sha256_file(path) for path in self.local_weights],
                          [EXTRACTORS.get(name).digest() for name in self.needs]])


EXTRACTORS: Registry[ExtractorEntry] = Registry("extractor", "sana_bench.features")


def register_extractor(name: str, *, version: int, needs: tuple[str, ...] = (), assets: tuple[str, ...] = (),
                       local_weights: tuple[Path, ...] = (), kept: bool = True, pooled: str = "", rows: str = "",
                       native: bool = False) -> Callable[[type], type]:
    """Class decorator: the class is called with the device and is then an Extractor."""
    return EXTRACTORS.decorator(name, lambda cls: ExtractorEntry(
        name=name, version=version, needs=needs, assets=assets, local_weights=local_weights, kept=kept,
        pooled=pooled, rows=rows, native=native, make=cls))


def image_features() -> list[str]:
    """Extractors that sum up an image as a whole, on each of which every distance between sets is a metric."""
    return [name for name in pooled_features() if not EXTRACTORS.get(name).rows]


def pooled_features() -> list[str]:
    """These, and those that give an image several rows or none: parts of it, on which the distances that take rows are metrics too."""
    return [name for name in EXTRACTORS.names() if EXTRACTORS.get(name).pooled]
