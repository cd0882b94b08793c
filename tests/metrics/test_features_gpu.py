"""Features from an accelerator, in batches, beside those that one image at a time has on the processor."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from sana_bench.extract import FeatureStore, Item
from sana_bench.features import EXTRACTORS, pooled_features
from sana_bench.store import Store
from tests.photographs import photograph

pytestmark = [pytest.mark.gpu, pytest.mark.weights]
PLACES = [("P001", "studio_portrait"), ("P001", "studio_posture"), ("P002", "studio_portrait"), ("P002", "amateur_selfie"), ("P003", "studio_portrait")]


def test_features_of_a_batch_on_cuda_are_those_of_the_processor(tmp_path) -> None:
    items = [Item(f"{person} {kind}", "a man waves", partial(_pixels, person, kind)) for person, kind in PLACES]
    found = {}
    for device, batch_size in (("cpu", 1), ("cuda", 4)):
        with FeatureStore(Store(tmp_path / device), pooled_features(), device, 2, batch_size) as features:
            found[device] = features.features_of(items, "look")
    for name in pooled_features():
        array = EXTRACTORS.get(name).pooled
        ours, theirs = (np.concatenate([np.atleast_2d(each[name][array]) for each in found[device]]) for device in ("cuda", "cpu"))
        assert np.abs(ours - theirs).max() <= 1e-3 * np.abs(theirs).max(), name


def _pixels(person: str, kind: str) -> np.ndarray:
    return np.asarray(photograph(person, kind).resize((512, 512)))
