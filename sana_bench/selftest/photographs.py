"""The real photographs that metrics are tested on, and what a prompt would have had to expect of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from sana_bench.assets import asset_path
from sana_bench.data.manifest import load_manifest, picture_enlargement, picture_view
from sana_bench.data.openpeople import FULL_BODIES
from sana_bench.extract import FeatureStore, Item
from sana_bench.features import Features
from sana_bench.metrics import ScoredSample
from sana_bench.prompts import Asked, Expects, Prompt
from sana_bench.selftest.agreement import requested_of_people
from sana_bench.store import Store, digest_of

SIDE_PX = 2048
PART_EXTRACTOR = {"hand": "hands", "face": "faces", "body": "pose"}
EMOTIONS_TAKEN = 4
"""Expressions a person; the others differ little."""


@dataclass(frozen=True)
class Photograph:
    """One photograph of one synthetic person, at the size of a sample."""

    id: str
    person: str
    kind: str
    item: Item
    """How the extractors get it."""
    asked: Asked = Asked()
    """Whom the image model was asked for."""
    enlarged: float = 1.0
    """By which factor, to SIDE_PX."""


@dataclass(frozen=True)
class Shown:
    """A photograph and what the extractors found on it."""

    photograph: Photograph
    sample: ScoredSample


def photographs_of(source: Literal["openpeople:training", "openpeople:reference"], store: Store,
                   emotions: int | None = EMOTIONS_TAKEN) -> list[Photograph]:
    """Four photographs, some or all (None) expressions and the sheets' views of heads and bodies, a person."""
    manifest, taken, found = load_manifest(source, store), {}, []
    requested = requested_of_people(asset_path("openpeople"))
    for row in manifest.rows:
        taken[row.person, row.kind] = taken.get((row.person, row.kind), 0) + 1
        if row.kind == "emotion" and emotions is not None and taken[row.person, row.kind] > emotions:
            continue
        item = Item(digest_of([manifest.digest, row.file_name, SIDE_PX]), row.text, partial(picture_view, manifest, row, (SIDE_PX, SIDE_PX)))
        found.append(Photograph(row.file_name.partition(".")[0].lower(), row.person, row.kind, item, Asked(**requested[row.person]),
                                picture_enlargement(manifest, row, (SIDE_PX, SIDE_PX))))
    return found


def look_at(photographs: Sequence[Photograph], extractors: Sequence[str], store: Store, device: str, description: str) -> list[Shown]:
    """Features of whole photographs. What is found on one is what its prompt is taken to expect."""
    with FeatureStore(store, extractors, device) as features:
        found = features.features_of([photograph.item for photograph in photographs], description)
    return [Shown(photograph, sample_of(photograph, each))
            for photograph, each in zip(photographs, found, strict=True)]


def expected_of(photograph: Photograph, features: Mapping[str, Features]) -> Expects:
    faces, hands, poses = (len(features[name]["keypoints"]) for name in ("faces", "hands", "pose"))
    return Expects(faces=faces, hands=hands, full_body=photograph.kind in FULL_BODIES and poses > 0)


def sample_of(photograph: Photograph, features: Mapping[str, Features]) -> ScoredSample:
    """A photograph as a metric sees a generated image."""
    prompt = Prompt(id=photograph.id, text=photograph.item.prompt, asked=photograph.asked, expects=expected_of(photograph, features))
    return ScoredSample(sample_id=photograph.id, prompt=prompt, features=features)


def points_of(shown: Shown, part: str) -> list[np.ndarray]:
    """(N, 2) points of every hand, face or body of a photograph, in pixels; one empty set for the picture as a whole."""
    if part == "picture":
        return [np.empty((0, 2))]
    return [points[:, :2] for points in shown.sample.features[PART_EXTRACTOR[part]]["keypoints"]]
