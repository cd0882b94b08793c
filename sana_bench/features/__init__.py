"""Extractors: what is read off an image once and used by many metrics. One file an extractor; adding a file adds one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    """One decoded image and its prompt. Everything an extractor needs is derived from it, so that it is decoded once.

    What several extractors look at is made once: `image`, and `resized` by size. One thread works on a view at a time.
    """

    pixels_HW3: np.ndarray
    """uint8, RGB."""
    prompt: str
    _resized: dict[int, Image.Image] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def image(self) -> Image.Image:
        return Image.fromarray(self.pixels_HW3)

    def resized(self, side: int) -> Image.Image:
        """The whole image at side x side by PIL's antialiased bicubic filter on uint8."""
        if side not in self._resized:
            self._resized[side] = self.image.resize((side, side), Image.Resampling.BICUBIC)
        return self._resized[side]


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
    rows: str = ""
    """What each row of `pooled` is of ("patch", "hand"), where an image has several or none; empty where the image as a whole has one."""
    native: bool = False
    """Whether `pooled` is of pixels at their native scale, so that of an enlarged image it tells how the image was enlarged."""
    text: str = ""
    """The array of the prompt in the same space as `pooled`, (D,); empty where it reads no texts."""
    made_with: tuple[str, ...] = ()
    """What else decides its features: a model's name, a prefix of the prompt, the version of a package that has the network."""
    large_files: Callable[[], tuple[Path, ...]] | None = None
    """Finds the files of weights that are neither an asset nor ours: the user's own, or of a hub, fetched where they are absent."""
    make: Callable[[str], Extractor]
    """device -> extractor."""

    def digest(self) -> str:
        """Changes with its version, its assets, its own weights, and everything it needs."""
        from sana_bench.assets import asset_digest
        from sana_bench.file_hashes import sha256_cached
        from sana_bench.store import sha256_file

        more = [*self.made_with, *map(sha256_cached, self.large_files() if self.large_files else ())]
        return digest_of([self.name, self.version, [asset_digest(name) for name in self.assets],
                          [sha256_file(path) for path in self.local_weights],
                          [EXTRACTORS.get(name).digest() for name in self.needs], *([more] if more else [])])

    @property
    def always_here(self) -> bool:
        """Whether its weights come with sana-bench and its assets, so that its metrics have a shipped self-test."""
        from sana_bench.assets import is_optional

        return self.large_files is None and not any(map(is_optional, self.assets)) and all(EXTRACTORS.get(name).always_here for name in self.needs)


EXTRACTORS: Registry[ExtractorEntry] = Registry("extractor", "sana_bench.features")


def register_extractor(name: str, *, version: int, needs: tuple[str, ...] = (), assets: tuple[str, ...] = (),
                       local_weights: tuple[Path, ...] = (), kept: bool = True, pooled: str = "", rows: str = "", native: bool = False,
                       text: str = "", made_with: tuple[str, ...] = ()) -> Callable[[type], type]:
    """Class decorator: the class is called with the device and is then an Extractor."""
    return EXTRACTORS.decorator(name, lambda cls: ExtractorEntry(
        name=name, version=version, needs=needs, assets=assets, local_weights=local_weights, kept=kept,
        pooled=pooled, rows=rows, native=native, text=text, made_with=made_with, make=cls))


def pooled_features() -> list[str]:
    """Extractors that are always here and that distances between sets are made on."""
    return [name for name in EXTRACTORS.names() if EXTRACTORS.get(name).pooled and EXTRACTORS.get(name).always_here]
