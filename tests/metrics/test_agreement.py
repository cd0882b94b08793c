"""Agreement of perceived with requested classes: by hand, on the metadata of OpenPeople, and what is shipped."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from sana_bench.assets import asset_path
from sana_bench.data.openpeople import find_people
from sana_bench.data.views import fit_view
from sana_bench.features import EXTRACTORS, View
from sana_bench.metrics.perceived import ATTRIBUTES
from sana_bench.selftest.agreement import AGREEMENT, agreement, requested_classes, requested_of_people
from sana_bench.selftest.results import shipped_fact

SQUARE = np.tile(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32), (120, 1))[None, :478] * 100


def reading(feminine: float, age: float, monk: int) -> dict:
    return {"faces": {"keypoints": SQUARE}, "skin_tone": {"monk": np.array([monk], np.int8)},
            "attributes": {"feminine": np.array([feminine], np.float32), "age": np.array([age], np.float32)}}


def asked(gender: str, age: str, skin_tone: str) -> dict:
    return {"gender": gender, "age": age, "skin_tone": skin_tone}


def test_tables_by_hand() -> None:
    woman, man = asked("feminine", "under_30", "light"), asked("masculine", "over_50", "dark")
    tables = agreement([(woman, reading(0.9, 25, 2)), (woman, reading(0.1, 35, 6)), (woman, reading(0.5, 25, 0)),
                        (man, reading(0.1, 60, 9))])
    assert tables["gender"] == {"labels": ["feminine", "masculine"], "confusion": [[1, 1], [0, 1]], "undetermined": 0.25,
                                "agreement": round(2 / 3, 4)}
    assert tables["age"]["confusion"] == [[2, 1, 0], [0, 0, 0], [0, 0, 1]] and tables["age"]["undetermined"] == 0
    assert tables["skin_tone"]["confusion"] == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert json.loads(json.dumps(tables)) == tables


def test_nothing_to_agree_on_has_no_share() -> None:
    assert agreement([])["gender"] == {"labels": ["feminine", "masculine"], "confusion": [[0, 0], [0, 0]], "undetermined": None,
                                       "agreement": None}
    nobody = {**reading(0.9, 25, 2), "faces": {"keypoints": SQUARE[:0]}}
    table = agreement([(asked("feminine", "under_30", "light"), nobody)])["gender"]
    assert (table["undetermined"], table["agreement"]) == (1.0, None)


@pytest.mark.parametrize(("sex", "age_range", "tone", "classes"), [
    ("female", "18-25", "Fitzpatrick I", asked("feminine", "under_30", "light")),
    ("male", "25-35", "Fitzpatrick IV", asked("masculine", "30_to_50", "medium")),  # the midpoint, 30, is of the middle band
    ("male", "55-65", "Fitzpatrick V", asked("masculine", "over_50", "dark"))])
def test_requested_classes(sex: str, age_range: str, tone: str, classes: dict) -> None:
    demographics = {"sex": sex, "age_range": age_range, "skin_tone": tone}
    assert requested_classes({"character_details": {"demographics": demographics}}) == classes


@pytest.mark.weights
def test_every_person_has_a_request() -> None:
    requested = requested_of_people(asset_path("openpeople"))
    assert sorted(requested) == [f"P{number:03d}" for number in range(1, 11)]
    assert requested["P005"] == asked("masculine", "over_50", "medium")


@pytest.mark.weights
def test_portraits_are_read_as_they_were_asked_for() -> None:
    folders = [folder for folder in find_people(asset_path("openpeople")) if folder.name in ("P001", "P007")]
    requested, pictures = requested_of_people(asset_path("openpeople")), []
    names = ("pose", "faces", "attributes", "skin_tone")
    extractors = {name: EXTRACTORS.get(name).make("cpu") for name in names}
    for folder in folders:
        view, known = View(np.asarray(fit_view(Image.open(folder / "assets/studio_portrait.jpg").convert("RGB"), 1024, 1024)), ""), {}
        for name, extractor in extractors.items():
            known[name] = extractor.extract(view, known)
        pictures.append((requested[folder.name], known))
    for extractor in extractors.values():
        extractor.close()
    assert agreement(pictures)["gender"]["confusion"] == [[1, 0], [0, 1]]


def test_shipped_tables_are_of_all_180_pictures() -> None:
    shipped = shipped_fact(AGREEMENT)
    assert list(shipped) == list(ATTRIBUTES)
    for attribute, table in shipped.items():
        confusion = np.array(table["confusion"])
        assert table["labels"] == list(ATTRIBUTES[attribute].classes)
        assert confusion.sum() / (1 - table["undetermined"]) == pytest.approx(180, abs=0.1)
        assert table["agreement"] == pytest.approx(np.trace(confusion) / confusion.sum(), abs=1e-4)
