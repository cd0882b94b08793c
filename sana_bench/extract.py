"""Features of images in one pass: one decode an image for all extractors, worker threads, batches where an accelerator runs the networks.

What was made is kept in the store and never made again. Features of an extractor that is registered with `kept=False` are never on
disk: they are made again whenever they are asked for.

The workers are threads, since decoding, resizing and every model let go of the interpreter while they compute, and extractors that other
packages registered are there. Networks are in memory once; detectors, which serve one thread at a time, once a worker (about 400 MiB).
Memory does not grow with the number of images.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sana_bench.features import EXTRACTORS, Extractor, Features, View
from sana_bench.features.network import Network
from sana_bench.errors import SanaBenchError, StoreError
from sana_bench.progress import Progress, progress
from sana_bench.provenance import package_versions
from sana_bench.store import Store, digest_of, write_bytes
from sana_bench.workers import ahead, num_processors

KIND = "features"
IMAGES_ON_ACCELERATOR = 32
"""Images whose inputs are gathered before the networks run; on a processor each worker runs them at once."""
MOST_WORKERS = 8
"""Unless a run asks for more: each has detectors of its own."""
FILES_IN_MEMORY, LARGE_FILE = 4096, 2**16
"""Files of features that are remembered after they were read, and the bytes from which on one is read again instead."""

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One image to look at."""

    identity: str
    """Digest of its pixels; features are kept under it."""
    prompt: str
    load: Callable[[], np.ndarray]
    """Decodes it to (H, W, 3) uint8; called only if some feature is missing, on a worker thread."""


@dataclass(frozen=True)
class Look:
    """One image on its way: what is known of it, and what the networks that run later take of it."""

    item: Item
    known: dict[str, Features] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)


Refused = Callable[[Item, SanaBenchError], None]
"""Told, on a worker thread, of an image that cannot be loaded."""


class FoundFeatures(Mapping[str, Features]):
    """Features of one image by extractor. Those that are kept are read when they are asked for."""

    def __init__(self, names: Sequence[str], path_of: Callable[[str], Path], unkept: Mapping[str, Features]):
        self._names, self._path_of, self._unkept = names, path_of, unkept

    def __getitem__(self, name: str) -> Features:
        if name not in self._names:
            raise KeyError(name)
        return self._unkept[name] if name in self._unkept else _load(self._path_of(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


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
    """Features by item and extractor. Extractors are loaded when the first image needs them; close it after use.

    Args:
        num_workers: threads; 0 is as many as there are processors.
        batch_size: images whose networks run together; 1 runs each on its worker, 0 decides by the device.
        keep: whether features are read from the store and kept there, of the extractors that allow it.
    """

    def __init__(self, store: Store, extractors: Iterable[str], device: str, num_workers: int = 0, batch_size: int = 0, keep: bool = True):
        self.names = in_order(extractors)
        self._kept = {name for name in self.names if keep and EXTRACTORS.get(name).kept}
        self._store, self._device, self._stack = store, device, ExitStack()
        made_with = [device.partition(":")[0], package_versions()]  # kernels and resizing filters differ
        self._digests = {name: digest_of([EXTRACTORS.get(name).digest(), made_with]) for name in self.names}
        self._num_workers = num_workers or min(num_processors(), MOST_WORKERS)
        self._batch_size = batch_size or (1 if device == "cpu" else IMAGES_ON_ACCELERATOR)
        self._loading, self._of_all, self._of_thread = threading.Lock(), dict[str, Extractor](), threading.local()
        # Threads are started as work comes, and stay for the next call: each has extractors of its own.
        self._pool = ThreadPoolExecutor(self._num_workers, "look")

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(cancel_futures=True)  # extractors that are at work are closed only when they are done
        self._stack.close()

    def features_of(self, items: Sequence[Item], description: str, refused: Refused | None = None) -> list[Mapping[str, Features]]:
        """Features of every item by every extractor; what the store has is read, the rest is made, and kept where it may be.

        An image that cannot be loaded raises its error, or where `refused` is given is told to it and has no features.
        """
        without: set[int] = set()
        fresh = [index for index, item in enumerate(items) if self._missing(item)]
        unkept: dict[int, Mapping[str, Features]] = {}
        if fresh:
            with progress(description, len(items), len(items) - len(fresh)) as tracker:
                for index, look in zip(fresh, self.looks([items[index] for index in fresh], tracker, refused), strict=True):
                    unkept[index] = self._unkept(look)
                    if not look.known:
                        without.add(index)
        return [FoundFeatures(() if index in without else self.names, partial(self._path, item), unkept.get(index, {}))
                for index, item in enumerate(items)]

    def looks(self, items: Sequence[Item], tracker: Progress, refused: Refused | None = None) -> Iterator[Look]:
        """Finished looks, in the order of the items, few of which are in memory at once; one that was refused knows nothing."""
        later = self._run_later()
        begun = ahead(self._pool, lambda item: self._begin(item, later, refused), items, 2 * self._num_workers + self._batch_size)
        for looks in in_groups(begun, self._batch_size):
            for name in later:
                asked = [look for look in looks if name in look.inputs]
                for look, found in zip(asked, self._network(name).forward([look.inputs[name] for look in asked]), strict=True):
                    self._keep(look, name, found)
            for look in looks:
                tracker.advance()
                yield look

    def _run_later(self) -> list[str]:
        """Networks that run for a batch of images, on the calling thread: those that no other extractor waits for."""
        if self._batch_size == 1:
            return []
        needed = {need for name in self.names for need in EXTRACTORS.get(name).needs}
        return [name for name in self.names if name not in needed and makes_network(EXTRACTORS.get(name).make)]

    def _begin(self, item: Item, later: Sequence[str], refused: Refused | None) -> Look:
        """Decode an image and do all that need not wait for others."""
        look = Look(item)
        try:
            view = View(item.load(), item.prompt)
        except SanaBenchError as error:
            if refused is None:
                raise
            refused(item, error)
            return look
        for name in self.names:
            if self._stored(item, name):
                look.known[name] = _load(self._path(item, name))
            elif name in later:
                look.inputs[name] = self._network(name).prepare(view, look.known)
            else:
                self._keep(look, name, self._extractor(name).extract(view, look.known))
        return look

    def _keep(self, look: Look, name: str, found: Features) -> None:
        from safetensors.numpy import save

        look.known[name] = found
        if name in self._kept:
            write_bytes(self._path(look.item, name), save({key: np.ascontiguousarray(value) for key, value in found.items()}))

    def _path(self, item: Item, name: str) -> Path:
        key = digest_of([item.identity, item.prompt, self._digests[name]])
        return self._store.folder(KIND, key[:2]) / f"{key}.safetensors"

    def _missing(self, item: Item) -> bool:
        return not all(self._stored(item, name) for name in self.names)

    def _stored(self, item: Item, name: str) -> bool:
        return name in self._kept and self._path(item, name).exists()

    def _unkept(self, look: Look) -> Mapping[str, Features]:
        return {name: found for name, found in look.known.items() if name not in self._kept}

    def _network(self, name: str) -> Network:
        extractor = self._extractor(name)
        assert isinstance(extractor, Network)
        return extractor

    def _extractor(self, name: str) -> Extractor:
        """The one of this thread; a network is one for all threads."""
        own = self._of_thread.__dict__
        if name not in own and name not in self._of_all:
            with self._loading:  # one at a time: loading touches what is the whole process's, such as its standard error
                if name not in self._of_all:
                    made = EXTRACTORS.get(name).make(self._device)
                    self._stack.callback(made.close)
                    (self._of_all if isinstance(made, Network) else own)[name] = made
        return own.get(name) or self._of_all[name]


def in_groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last may be shorter."""
    group: list[T] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def makes_network(make: Callable) -> bool:
    """Whether an extractor is a network, from its class or from a partial call of it."""
    made = make.func if isinstance(make, partial) else make
    return isinstance(made, type) and issubclass(made, Network)


def _load(path: Path) -> Features:
    return _read(path) if path.stat().st_size >= LARGE_FILE else _remembered(path)


@lru_cache(FILES_IN_MEMORY)
def _remembered(path: Path) -> Features:
    return _read(path)


def _read(path: Path) -> Features:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise StoreError(f"{path} is damaged ({error}). Delete it to have it made again") from error
