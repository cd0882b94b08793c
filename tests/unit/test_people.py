"""Whom detectors see in training images: boxes where the points are, one record an image and nothing else, images of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_bench.data.people import EXTRACTORS_USED, LONGEST_SIDE, MARGIN, find_people, people_identity
from sana_bench.data.samples import People
from sana_bench.errors import DataError
from sana_bench.extract import in_order
from sana_bench.features import EXTRACTORS
from sana_bench.metrics import Unscored
from sana_bench.metrics.perceived import ATTRIBUTES, perceived_class
from sana_bench.store import Store, sha256_file
from tests.photographs import photograph, read

pytestmark = pytest.mark.weights

KINDS = {"posture": ("P001", "studio_posture"), "portrait": ("P003", "studio_portrait")}


def find(folder: Path, store: Store, names: list[str], contents: list[str]) -> list[People]:
    return find_people([folder / name for name in names], contents, store, "cpu", num_workers=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A full body, the same three times as large, and a portrait."""
    made = tmp_path_factory.mktemp("photographs")
    for name, kind in KINDS.items():
        photograph(*kind).save(made / f"{name}.png", compress_level=1)
    body = photograph(*KINDS["posture"])
    body.resize((3 * LONGEST_SIDE, 3 * LONGEST_SIDE), Image.Resampling.BICUBIC).save(made / "large.jpg", quality=97)
    return made


@pytest.fixture(scope="module")
def seen(folder: Path, tmp_path_factory) -> tuple[Store, dict[str, str], dict[str, People]]:
    """The store, SHA-256 and what was found, by file."""
    store, names = Store(tmp_path_factory.mktemp("store")), ["posture.png", "portrait.png", "large.jpg"]
    contents = {name: sha256_file(folder / name) for name in names}
    return store, contents, dict(zip(names, find(folder, store, names, list(contents.values())), strict=True))


def test_boxes_lie_around_the_points_that_scoring_finds(seen):
    """Of the same photographs, looked at by the extractors of scoring one after the other."""
    extractors = {name: EXTRACTORS.get(name).make("cpu") for name in in_order(EXTRACTORS_USED)}
    for name, kind in KINDS.items():
        known, people = read(extractors, photograph(*kind)), seen[2][f"{name}.png"]
        expected = [("face", points) for points in known["faces"]["keypoints"]] + [("hand", points) for points in known["hands"]["keypoints"]]
        assert [region.kind for region in people.regions] == [kind for kind, _ in expected]
        for region, (_, points_N2) in zip(people.regions, expected, strict=True):
            margin = MARGIN * np.ptp(points_N2, axis=0).max()
            np.testing.assert_allclose(region.box, [*(points_N2.min(axis=0) - margin), *(points_N2.max(axis=0) + margin)], atol=0.06)
        found = {attribute: perceived_class(attribute, known) for attribute in ATTRIBUTES}
        assert people.groups == {attribute: label for attribute, label in found.items() if not isinstance(label, Unscored)} != {}
    for extractor in extractors.values():
        extractor.close()


def test_a_body_has_a_face_above_two_hands_and_a_portrait_a_face(seen):
    body, portrait = seen[2]["posture.png"].regions, seen[2]["portrait.png"].regions
    assert [region.kind for region in body] == ["face", "hand", "hand"] and [region.kind for region in portrait] == ["face"]
    assert all(body[0].box[3] < hand.box[1] for hand in body[1:]) and body[1].box[2] < body[2].box[0]


def test_boxes_of_a_larger_image_are_in_its_own_pixels(seen):
    small, large = (seen[2][name] for name in ("posture.png", "large.jpg"))
    assert [region.kind for region in small.regions] == [region.kind for region in large.regions]
    assert small.groups["gender"] == large.groups["gender"]
    for before, after in zip(small.regions, large.regions, strict=True):
        np.testing.assert_allclose(np.array(after.box) / 3, before.box, atol=0.05 * (before.box[3] - before.box[1]))


def test_only_small_records_are_kept(seen):
    store = seen[0]
    files = [path for path in store.root.rglob("*") if path.is_file()]
    assert len(files) == 3 and all(path.suffix == ".json" and path.parent.parent == store.root / "people" for path in files)
    assert all(path.stat().st_size < 1500 for path in files)
    assert all(set(People.model_validate_json(path.read_bytes()).model_dump()) == {"regions", "groups"} for path in files)


def test_what_is_known_is_read_without_the_image_and_files_that_are_alike_are_one(seen, tmp_path):
    store, contents, people = seen
    again = find(tmp_path, store, ["gone.png", "copy.png", "gone too.png"], [contents[name] for name in ("portrait.png", "portrait.png", "posture.png")])
    assert again == [people["portrait.png"], people["portrait.png"], people["posture.png"]]


def test_a_damaged_image_is_named_and_those_before_it_are_kept(tmp_path):
    store = Store(tmp_path / "store")
    Image.new("RGB", (64, 48), "grey").save(tmp_path / "grey.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="bad.png cannot be decoded"):
        find(tmp_path, store, ["grey.png", "bad.png"], ["0", "1"])
    assert find(tmp_path, store, ["gone.png"], ["0"]) == [People()]


def test_identity_changes_with_an_extractor(monkeypatch):
    before = people_identity()
    monkeypatch.setitem(EXTRACTORS._entries, "hands", EXTRACTORS.get("hands").__class__(**{**vars(EXTRACTORS.get("hands")), "version": 99}))
    assert people_identity() != before
    monkeypatch.undo()
    assert people_identity() == before


def test_nothing_is_nothing(tmp_path):
    assert find_people([], [], Store(tmp_path), "cpu") == []
