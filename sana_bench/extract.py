"""Features of images, made once an image and extractor, kept in the store, with one decode for all extractors.

Those of an extractor that is registered with `kept=False` are never on disk: they are made again whenever they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sana_bench.features import EXTRACTORS, Extractor, Features, View
from sana_bench.errors import StoreError
from sana_bench.progress import progress
from sana_bench.provenance import package_versions
from sana_bench.store import Store, digest_of, write_bytes

KIND = "features"


@dataclass(frozen=True)
class Item:
    """One image to look at."""

    identity: str
    """Digest of its pixels; features are kept under it."""
    prompt: str
    load: Callable[[], np.ndarray]
    """Decodes it to (H, W, 3) uint8; called only if some feature is missing."""


def in_order(names: Iterable[str]) -> list[str]:
    """The extractors and all that they need, each after what it needs."""
    ordered: list[str] = []

    def add(name: str) -> None:
        for needed in EXTRACTORS.get(name).needs:
            add(needed)
        if name not in ordered:
            ordered.append(name)

    for name in sorted(names):
        add(name)
    return ordered


class FeatureStore:
    """Features by item and extractor. Extractors are loaded when the first image needs them; close it after use."""

    def __init__(self, store: Store, extractors: Iterable[str], device: str):
        self.names = in_order(extractors)
        self._store, self._device, self._stack = store, device, ExitStack()
        made_with = [device.partition(":")[0], package_versions()]  # kernels and resizing filters differ
        self._digests = {name: digest_of([EXTRACTORS.get(name).digest(), made_with]) for name in self.names}
        self._loaded: dict[str, Extractor] = {}

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def features_of(self, items: list[Item], description: str) -> list[Mapping[str, Features]]:
        """Features of every item by every extractor; what the store has is read, the rest is made, and kept where it may be."""
        missing = sum(1 for item in items if self._missing(item))
        if not missing:
            return [self._read(item) for item in items]
        results = []
        with progress(description, len(items), len(items) - missing) as tracker:
            for item in items:
                fresh = bool(self._missing(item))
                results.append(self._read(item) if not fresh else self._extract(item))
                if fresh:
                    tracker.advance()
        return results

    def _path(self, item: Item, name: str) -> Path:
        key = digest_of([item.identity, item.prompt, self._digests[name]])
        return self._store.folder(KIND, key[:2]) / f"{key}.safetensors"

    def _missing(self, item: Item) -> list[str]:
        return [name for name in self.names if not self._stored(item, name)]

    def _stored(self, item: Item, name: str) -> bool:
        return EXTRACTORS.get(name).kept and self._path(item, name).exists()

    def _read(self, item: Item) -> Mapping[str, Features]:
        return {name: _load(self._path(item, name)) for name in self.names}

    def _extract(self, item: Item) -> Mapping[str, Features]:
        from safetensors.numpy import save

        view, known = View(item.load(), item.prompt), {}
        for name in self.names:
            path = self._path(item, name)
            if self._stored(item, name):
                known[name] = _load(path)
                continue
            known[name] = self._extractor(name).extract(view, known)
            if EXTRACTORS.get(name).kept:
                write_bytes(path, save({key: np.ascontiguousarray(value) for key, value in known[name].items()}))
        return known

    def _extractor(self, name: str) -> Extractor:
        if name not in self._loaded:
            self._loaded[name] = EXTRACTORS.get(name).make(self._device)
            self._stack.callback(self._loaded[name].close)
        return self._loaded[name]


def _load(path: Path) -> Features:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise StoreError(f"{path} is damaged ({error}). Delete it to have it made again") from error
