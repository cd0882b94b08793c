"""What is seen in each image: one decode, all extractors, and of their features the few numbers that an audit keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from sana_bench.assets import pull_missing
from sana_bench.audit.folder import Entry
from sana_bench.audit.variety import RESPECTS, mean_luminance
from sana_bench.data.views import enlargement
from sana_bench.errors import DataError, SanaBenchError
from sana_bench.evidence.plausibility import Calibration, load_calibration, parts_of
from sana_bench.extract import FeatureStore, Item, in_order
from sana_bench.features import EXTRACTORS, Features
from sana_bench.features.attributes import biggest_face
from sana_bench.features.proportions import face_points, face_yaw
from sana_bench.file_hashes import sha256_cached
from sana_bench.images import image_size, read_image
from sana_bench.metrics import Unscored
from sana_bench.metrics.perceived import ATTRIBUTES, perceived_class
from sana_bench.progress import progress
from sana_bench.store import Store

EXTRACTED = ("texture", "perceptual_hash", "light", "pose", "hand_evidence", "face_evidence", *(each.extractor for each in ATTRIBUTES.values()))
PARTS = ("face", "hand")
ViewSize = Callable[[tuple[int, int]], tuple[int, int]]
"""(width, height) of an image -> (width, height) of a view of it."""
MAX_SIDE = 12_000
"""Pixels. Detectors look at squares, and the square around a long strip of few pixels would take all memory."""


@dataclass(frozen=True)
class Seen:
    """What detectors and filters see in one image that can be read."""

    sharpness: float
    blockiness: float
    luminance: float
    bits_4: np.ndarray
    plausibility: dict[str, tuple[float, ...]]
    """By part, in the order of the extractor."""
    face_px: float | None
    """Height of the largest face."""
    yaw: float | None
    classes: dict[str, str | None]
    """By name in RESPECTS."""
    perceived: dict[str, str | Unscored]
    """By attribute. Counted over the folder and written of no single image."""


@dataclass(frozen=True)
class Look:
    """One file: what its head says, and what is seen in it."""

    entry: Entry
    content: str
    """SHA-256 of the file; empty where it cannot be read at all."""
    size: tuple[int, int] | None
    enlargement: float | None
    problem: str = ""
    """Why it cannot be used; empty where it can."""
    seen: Seen | None = None
    features: Mapping[str, Features] = field(default_factory=dict, repr=False)
    """Read from the store when they are asked for."""


def look_at(entries: Sequence[Entry], view_size: ViewSize, store: Store, device: str, num_workers: int) -> list[Look]:
    """Look at every image, once for all files of the same content. What was seen before is read from the store.

    Args:
        view_size: of the view that training makes of an image.
    """
    pull_missing([name for each in in_order(EXTRACTED) for name in EXTRACTORS.get(each).assets])
    heads = _heads(entries, view_size)
    items = {head.content: Item(head.content, "", partial(read_image, head.entry.path, DataError)) for head in heads if head.content}
    refused: dict[str, SanaBenchError] = {}
    with FeatureStore(store, EXTRACTED, device, num_workers) as features:
        found = dict(zip(items, features.features_of(list(items.values()), "look at images", lambda item, error: refused.update({item.identity: error})),
                         strict=True))
    calibrations = {part: load_calibration(part) for part in PARTS}
    looks = []
    with progress("weigh what was seen", len(heads)) as tracker:
        for head in heads:
            looks.append(_look(head, found.get(head.content, {}), refused.get(head.content), calibrations))
            tracker.advance()
    return looks


def _heads(entries: Sequence[Entry], view_size: ViewSize) -> list[Look]:
    """Contents and sizes, without decoding."""
    heads = []
    with progress("read files", len(entries)) as tracker:
        for entry in entries:
            heads.append(_head(entry, view_size))
            tracker.advance()
    return heads


def _head(entry: Entry, view_size: ViewSize) -> Look:
    if entry.path.exists() and not entry.path.is_file():  # a pipe would be waited for
        return Look(entry, "", None, None, "is no regular file")
    try:
        content = sha256_cached(entry.path)
        size = image_size(entry.path, DataError)
    except OSError as error:
        return Look(entry, "", None, None, f"cannot be opened: {error.strerror}")
    except DataError as error:
        return Look(entry, "", None, None, _about_file(error, entry.path))
    enlarged = enlargement(size, *view_size(size), fit=entry.row.fit)
    if max(size) > MAX_SIDE:
        return Look(entry, "", size, enlarged, f"has {size[0]}x{size[1]} pixels; sides of at most {MAX_SIDE:,} are read")
    return Look(entry, content, size, enlarged)


def _about_file(error: SanaBenchError, path: Path) -> str:
    """The message without the folder, which the report names once."""
    return str(error).removeprefix(f"{path} ").replace(str(path), path.name)


def _look(head: Look, features: Mapping[str, Features], error: SanaBenchError | None, calibrations: Mapping[str, Calibration]) -> Look:
    if not features:
        return Look(head.entry, head.content, head.size, head.enlargement, _about_file(error, head.entry.path) if error else head.problem)
    return Look(head.entry, head.content, head.size, head.enlargement, seen=see(features, head.size, calibrations), features=features)


def see(features: Mapping[str, Features], size: tuple[int, int], calibrations: Mapping[str, Calibration]) -> Seen:
    """What an audit keeps of the features of one image of that size (width, height)."""
    faces, largest = features["faces"]["keypoints"], None
    if len(faces):
        largest = biggest_face(faces)
    return Seen(
        sharpness=float(features["texture"]["sharpness"][0]), blockiness=float(features["texture"]["blockiness"][0]),
        luminance=mean_luminance(features), bits_4=features["perceptual_hash"]["bits"],
        plausibility={part: tuple(calibrations[part].plausibility(parts_of(
            part, calibrations[part].shape, features[f"{part}s"], features[f"{part}_evidence"])).tolist()) for part in PARTS},
        face_px=None if largest is None else float(np.ptp(faces[largest][:, 1])),
        yaw=None if largest is None else float(face_yaw(face_points(features["faces"]))[largest]),
        classes={name: respect.classify(features, size) for name, respect in RESPECTS.items()},
        perceived={attribute: perceived_class(attribute, features) for attribute in ATTRIBUTES})
