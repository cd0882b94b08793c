"""Features: each image is decoded once, each feature made once, and what exists is never made again."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.extract import FeatureStore, Item, in_order
from sana_bench.features import EXTRACTORS, register_extractor
from sana_bench.store import Store


@pytest.fixture
def calls():
    """Two extractors, one of which needs the other; the list says what ran."""
    seen: list[str] = []

    @register_extractor("test_brightness", version=1)
    class Brightness:
        def __init__(self, device):
            seen.append("load brightness")

        def extract(self, view, known):
            seen.append(f"brightness {view.prompt}")
            return {"mean": np.array([view.pixels_HW3.mean()])}

        def close(self):
            seen.append("close brightness")

    @register_extractor("test_double", version=1, needs=("test_brightness",))
    class Double:
        def __init__(self, device):
            pass

        def extract(self, view, known):
            seen.append(f"double {view.prompt}")
            return {"value": known["test_brightness"]["mean"] * 2}

        def close(self):
            pass

    yield seen
    for name in ("test_brightness", "test_double"):
        del EXTRACTORS._entries[name]


def item(value: int, decoded: list[int]) -> Item:
    def load() -> np.ndarray:
        decoded.append(value)
        return np.full((4, 4, 3), value, np.uint8)

    return Item(identity=f"image {value}", prompt=str(value), load=load)


def test_what_is_needed_comes_first_and_once(calls):
    assert in_order(["test_double", "test_brightness"]) == ["test_brightness", "test_double"]


def test_one_decode_an_image_for_all_extractors(calls, tmp_path):
    decoded: list[int] = []
    with FeatureStore(Store(tmp_path), ["test_double"], "cpu") as features:
        found = features.features_of([item(3, decoded), item(5, decoded)], "look")
    assert decoded == [3, 5]
    assert [float(each["test_double"]["value"][0]) for each in found] == [6.0, 10.0]
    assert calls == ["load brightness", "brightness 3", "double 3", "brightness 5", "double 5", "close brightness"]


def test_what_exists_is_read_without_decoding_or_loading(calls, tmp_path):
    with FeatureStore(Store(tmp_path), ["test_double"], "cpu") as features:
        first = features.features_of([item(3, [])], "look")
    calls.clear()
    decoded: list[int] = []
    with FeatureStore(Store(tmp_path), ["test_double"], "cpu") as features:
        second = features.features_of([item(3, decoded)], "look")
    assert decoded == [] and calls == []
    assert float(first[0]["test_double"]["value"][0]) == float(second[0]["test_double"]["value"][0])


def test_only_the_missing_extractor_runs(calls, tmp_path):
    with FeatureStore(Store(tmp_path), ["test_brightness"], "cpu") as features:
        features.features_of([item(3, [])], "look")
    calls.clear()
    with FeatureStore(Store(tmp_path), ["test_double"], "cpu") as features:
        features.features_of([item(3, [])], "look")
    assert calls == ["double 3"]


def test_the_prompt_is_part_of_a_features_identity(calls, tmp_path):
    """A text feature of another prompt must not be taken for this one's."""
    with FeatureStore(Store(tmp_path), ["test_brightness"], "cpu") as features:
        features.features_of([item(3, [])], "look")
        calls.clear()
        other = Item(identity="image 3", prompt="other", load=lambda: np.zeros((4, 4, 3), np.uint8))
        features.features_of([other], "look")
    assert "brightness other" in calls


@pytest.fixture
def secret():
    """An extractor whose features must not be kept, and one that needs it; the list says what ran."""
    seen: list[str] = []

    @register_extractor("test_secret", version=1, kept=False)
    class Secret:
        def __init__(self, device):
            pass

        def extract(self, view, known):
            seen.append("secret")
            return {"value": np.full(7, 1234.5)}

        def close(self):
            pass

    @register_extractor("test_of_secret", version=1, needs=("test_secret",))
    class OfSecret(Secret):
        def extract(self, view, known):
            seen.append("of secret")
            return {"value": known["test_secret"]["value"][:1] * 0}

    yield seen
    for name in ("test_secret", "test_of_secret"):
        del EXTRACTORS._entries[name]


def test_features_that_are_not_to_be_kept_are_made_again_and_never_on_disk(secret, tmp_path):
    decoded: list[int] = []
    for _ in range(2):
        with FeatureStore(Store(tmp_path), ["test_of_secret"], "cpu") as features:
            found = features.features_of([item(3, decoded)], "look")[0]
        assert found["test_secret"]["value"].tolist() == [1234.5] * 7
    assert decoded == [3, 3] and secret == ["secret", "of secret", "secret"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 1  # what was made of it, which may be kept
    assert np.full(7, 1234.5).tobytes()[:8] not in files[0].read_bytes()
