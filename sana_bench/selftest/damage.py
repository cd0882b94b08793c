"""Damaged and harmless copies of photographs, as images for the extractors."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from sana_bench.corruptions import CORRUPTIONS, Corruption, corrupt
from sana_bench.corruptions.pictures import expose
from sana_bench.data.openpeople import FULL_BODIES
from sana_bench.extract import Item
from sana_bench.selftest.photographs import Photograph, Shown, points_of
from sana_bench.split import LEARNED_KINDS
from sana_bench.store import digest_of

DAMAGE_VERSION = 2
"""Goes up when copies change; their features are made anew."""
MOST_PHOTOGRAPHS = 12
SEED = 11


@dataclass(frozen=True)
class Copy:
    """One altered copy of a photograph."""

    shown: Shown
    damage: str
    """Name of a corruption, or of a harmless change."""
    level: int
    """0 harmless, else 1 for the corruption's first dose and so on."""
    item: Item


def shrunk(pixels_HW3: np.ndarray) -> np.ndarray:
    import cv2

    height, width = pixels_HW3.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 3, 0.95)
    return cv2.warpAffine(pixels_HW3, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def mirrored(pixels_HW3: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels_HW3[:, ::-1])


def saved_again(pixels_HW3: np.ndarray) -> np.ndarray:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels_HW3).save(buffer, "JPEG", quality=92)
    return np.asarray(Image.open(buffer).convert("RGB"))


HARMLESS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "turned and resized": shrunk, "mirrored": mirrored, "saved as JPEG": saved_again, "a third of a stop brighter": partial(expose, stops=0.33)}
"""Copies that a metric must not mind: with the photographs themselves they are what damage has to be told from."""


def kinds_to_test() -> list[Corruption]:
    """Every registered kind that nothing has learned from."""
    return [CORRUPTIONS.get(name) for name in CORRUPTIONS.names() if name not in LEARNED_KINDS]


def photographs_for(part: str, shown: Sequence[Shown]) -> list[Shown]:
    """Up to MOST_PHOTOGRAPHS that show the part, of all people alike: for faces, every second one of a small face in a full body."""
    fitting = [each for each in shown if points_of(each, part) and (part != "body" or each.photograph.kind in FULL_BODIES)]
    if part == "face":
        small = [each for each in fitting if each.photograph.kind in FULL_BODIES]
        large = [each for each in fitting if each.photograph.kind not in FULL_BODIES and each.photograph.kind != "head"]
        return [*_evenly(small, MOST_PHOTOGRAPHS // 2), *_evenly(large, MOST_PHOTOGRAPHS)]
    return _evenly(fitting, MOST_PHOTOGRAPHS)


def _evenly(shown: Sequence[Shown], number: int) -> list[Shown]:
    """As many of every person as of every other, as far as there are so many; those with most of a photograph's detail first."""
    order = ("studio_posture", "amateur_posture", "studio_portrait", "amateur_selfie", "emotion", "body", "head")
    people: dict[str, list[Shown]] = {}
    for each in sorted(shown, key=lambda each: order.index(each.photograph.kind)):
        people.setdefault(each.photograph.person, []).append(each)
    turns = [each for place in range(number) for name in sorted(people) for each in people[name][place:place + 1]]
    return turns[:number]


def harmless_copies(shown: Sequence[Shown]) -> Iterator[Copy]:
    for each in shown:
        for name, change in HARMLESS.items():
            yield _copy(each, name, 0, 0, lambda each=each, change=change: change(_pixels(each.photograph)))


def damaged_copies(kind: Corruption, shown: Sequence[Shown]) -> Iterator[Copy]:
    """Every dose, done to every hand, face or body of each photograph."""
    for each in shown:
        for level, dose in enumerate(kind.doses, start=1):
            yield _copy(each, kind.name, level, dose, partial(damaged, each, kind, level, dose))


def damaged(shown: Shown, kind: Corruption, level: int, dose: float) -> np.ndarray:
    pixels = _pixels(shown.photograph)
    for number, points_N2 in enumerate(points_of(shown, kind.part)):
        pixels = corrupt(kind.name, pixels, points_N2, dose, (SEED, int(shown.photograph.item.identity, 16), level, number))
    return pixels


@lru_cache(maxsize=1)
def _pixels(photograph: Photograph) -> np.ndarray:
    """Copies of one photograph follow each other, and decoding it takes longer than damaging it. Nobody may write into it."""
    pixels = photograph.item.load()
    pixels.setflags(write=False)
    return pixels


def _copy(shown: Shown, damage: str, level: int, dose: float, load: Callable[[], np.ndarray]) -> Copy:
    item = shown.photograph.item
    return Copy(shown, damage, level, Item(digest_of([item.identity, damage, level, dose, DAMAGE_VERSION, SEED]), item.prompt, load))
