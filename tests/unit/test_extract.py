"""Features: each image is decoded once, each feature made once, and what exists is never made again."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from sana_bench.errors import StoreError
from sana_bench.extract import FeatureStore, Item, in_groups, in_order
from sana_bench.workers import ahead
from sana_bench.features import EXTRACTORS, View, register_extractor
from sana_bench.features.network import Network, run_rows
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
    with FeatureStore(Store(tmp_path), ["test_double"], "cpu", num_workers=1) as features:
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


def test_nothing_is_kept_or_read_where_nothing_is_to_be_kept(calls, tmp_path):
    with FeatureStore(Store(tmp_path), ["test_double"], "cpu", keep=False) as features:
        first = features.features_of([item(3, [])], "look")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with FeatureStore(Store(tmp_path), ["test_double"], "cpu") as features:
        kept = features.features_of([item(3, [])], "look")
    calls.clear()
    with FeatureStore(Store(tmp_path), ["test_double"], "cpu", keep=False) as features:
        again = features.features_of([item(3, [])], "look")
    assert calls.count("double 3") == 1
    assert [float(each[0]["test_double"]["value"][0]) for each in (first, kept, again)] == [6.0] * 3


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


@pytest.fixture
def counting():
    """A plain extractor, one for each thread, and a network, one for all, that notes how many images it was given at once."""
    seen: dict[str, list] = {"plain": [], "batches": [], "threads": []}

    @register_extractor("test_plain", version=1)
    class Plain:
        def __init__(self, device):
            seen["plain"].append(self)
            self.busy = threading.Lock()

        def extract(self, view, known):
            assert self.busy.acquire(blocking=False), "two threads use one extractor"
            try:
                return {"mean": np.array([view.pixels_HW3.mean()], np.float32)}
            finally:
                self.busy.release()

        def close(self):
            seen["plain"].remove(self)

    @register_extractor("test_network", version=1, needs=("test_plain",))
    class Sum(Network):
        def __init__(self, device):
            pass

        def prepare(self, view, known):
            return np.array([[view.pixels_HW3.sum(), known["test_plain"]["mean"][0]]], np.float32)

        def forward(self, inputs):
            seen["batches"].append(len(inputs))
            seen["threads"].append(threading.current_thread().name)
            return [{"row": rows[0]} for rows in inputs]

    yield seen
    for name in ("test_plain", "test_network"):
        del EXTRACTORS._entries[name]


def values(found) -> list[list[float]]:
    return [[*each["test_plain"]["mean"].tolist(), *each["test_network"]["row"].tolist()] for each in found]


@pytest.mark.parametrize(("num_workers", "batch_size"), [(1, 1), (3, 1), (1, 4), (3, 4), (2, 100)])
def test_neither_workers_nor_batches_move_a_number_or_the_order(counting, tmp_path, num_workers, batch_size):
    with FeatureStore(Store(tmp_path), ["test_network"], "cpu", num_workers, batch_size) as features:
        found = features.features_of([item(value, []) for value in range(11)], "look")
        assert len(counting["plain"]) <= num_workers
    assert values(found) == [[value, 48.0 * value, value] for value in range(11)]
    assert counting["plain"] == []  # closed
    assert sum(counting["batches"]) == 11 and max(counting["batches"]) == min(batch_size, 11)
    on_caller = {threading.current_thread().name} == set(counting["threads"])
    assert on_caller is (batch_size > 1)


def test_a_network_that_others_wait_for_runs_at_once(counting, tmp_path):
    @register_extractor("test_of_network", version=1, needs=("test_network",))
    class OfNetwork:
        def __init__(self, device):
            pass

        def extract(self, view, known):
            return {"twice": known["test_network"]["row"] * 2}

        def close(self):
            pass

    try:
        with FeatureStore(Store(tmp_path), ["test_of_network"], "cpu", 2, 4) as features:
            found = features.features_of([item(value, []) for value in range(5)], "look")
    finally:
        del EXTRACTORS._entries["test_of_network"]
    assert [each["test_of_network"]["twice"].tolist() for each in found] == [[96.0 * value, 2 * value] for value in range(5)]


def test_an_image_that_cannot_be_read_is_an_error_and_what_was_made_stays(counting, tmp_path):
    def broken() -> np.ndarray:
        raise StoreError("this image is damaged")

    items = [item(1, []), item(2, []), Item("broken", "", broken), *(item(value, []) for value in range(3, 40))]
    with pytest.raises(StoreError, match="damaged"), FeatureStore(Store(tmp_path), ["test_network"], "cpu", 2, 1) as features:
        features.features_of(items, "look")
    decoded: list[int] = []
    with FeatureStore(Store(tmp_path), ["test_network"], "cpu", 1, 1) as features:
        features.features_of([item(value, decoded) for value in range(1, 40)], "look")
    assert 1 not in decoded and 2 not in decoded and 39 in decoded  # those after it were not begun


@pytest.mark.parametrize("batch_size", [1, 3])
def test_images_that_cannot_be_read_are_told_of_and_passed_over_where_asked(counting, tmp_path, batch_size):
    def broken() -> np.ndarray:
        raise StoreError("this image is damaged")

    told: dict[str, str] = {}
    items = [Item("broken", "", broken), item(1, []), Item("also broken", "", broken), item(2, [])]
    with FeatureStore(Store(tmp_path), ["test_network"], "cpu", 2, batch_size) as features:
        found = features.features_of(items, "look", lambda each, error: told.update({each.identity: str(error)}))
    assert told == dict.fromkeys(("broken", "also broken"), "this image is damaged")
    assert values([found[1], found[3]]) == [[1, 48, 1], [2, 96, 2]]
    assert [len(each) for each in found] == [0, 2, 0, 2] and "test_plain" not in found[0]


def test_no_more_are_begun_than_may_be():
    from concurrent.futures import ThreadPoolExecutor

    begun: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        results = ahead(pool, lambda value: begun.append(value) or value, range(100), 5)
        assert next(results) == 0 and max(begun) <= 4
        assert list(results) == list(range(1, 100))


@pytest.mark.parametrize(("number", "sizes"), [(0, []), (4, [4]), (9, [4, 4, 1])])
def test_groups_hold_everything_in_order(number, sizes):
    groups = list(in_groups(range(number), 4))
    assert [len(group) for group in groups] == sizes and [each for group in groups for each in group] == list(range(number))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 32])
def test_rows_of_many_images_come_back_to_their_image_and_neighbours_move_them_by_a_rounding_at_most(batch_size):
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(6, 64), torch.nn.GELU(), torch.nn.Linear(64, 3))
    inputs = [np.random.default_rng(index).normal(size=(rows, 6)).astype(np.float32) for index, rows in enumerate((3, 0, 1, 4))]
    found = run_rows(network, inputs, "cpu", batch_size)
    assert [each.shape for each in found] == [(3, 3), (0, 3), (1, 3), (4, 3)]
    alone = [run_rows(network, [rows], "cpu", batch_size)[0] for rows in inputs]
    for each, other in zip(found, alone, strict=True):
        assert len(each) == 0 or np.abs(each - other).max() <= (0 if batch_size == 1 else 1e-6)


def test_without_rows_there_are_none():
    assert run_rows(lambda rows: rows, [], "cpu", 4) == []
    assert [each.shape for each in run_rows(lambda rows: rows, [np.zeros((0, 5), np.float32)] * 2, "cpu", 4)] == [(0, 0), (0, 0)]


def test_a_view_is_resized_once_a_size():
    view = View(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8), "")
    assert view.resized(16) is view.resized(16) and view.resized(8).size == (8, 8)
    assert np.array_equal(np.asarray(view.resized(16)), np.asarray(view.image.resize((16, 16), 3)))
