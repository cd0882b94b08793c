"""What exposure and white balance do to a tone: on drawn skin, where it can be worked out, and on photographs."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sana_bench.assets import asset_path
from sana_bench.corruptions.pictures import expose
from sana_bench.data.openpeople import find_people
from sana_bench.data.views import fit_view
from sana_bench.errors import InsufficientSamplesError
from sana_bench.features import EXTRACTORS, View
from sana_bench.features.skin_tone import MONK_HEX, SKIN_POLYGONS, hue, ita, monk_lab, rgb_to_lab
from sana_bench.selftest.skin_tone_shift import CHANGES, skin_tone_shift

SIDE = 200


def drawn(monk: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture of one Monk colour and a face mesh whose skin polygons are three circles in it."""
    points = np.full((478, 2), 100.0)
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    for polygon, middle in zip(SKIN_POLYGONS, ((100, 50), (60, 140), (140, 140)), strict=True):
        points[list(polygon)] = 30 * np.stack([np.cos(angles), np.sin(angles)], axis=1) + middle
    return np.full((SIDE, SIDE, 3), list(bytes.fromhex(MONK_HEX[monk - 1])), np.uint8), points.astype(np.float32)


def test_shift_of_flat_skin_is_that_of_its_colour() -> None:
    """Half a stop less light on one colour: its own Lab before and after."""
    found = skin_tone_shift([drawn(6)])
    before = monk_lab()[5]
    after = rgb_to_lab(expose(drawn(6)[0][:1, :1], -0.5)[0])[0]
    change = found["changes"]["-0.5 stop"]
    assert found["num_faces"] == 1 and list(found["changes"]) == list(CHANGES)
    assert change["lab"] == pytest.approx(np.linalg.norm(after - before))
    assert change["ita"] == pytest.approx(ita(after) - ita(before)) and change["ita"] < 0
    assert change["hue"] == pytest.approx(hue(after) - hue(before))
    nearest = 1 + np.linalg.norm(monk_lab() - after, axis=1).argmin()
    assert change["monk_changed"] == float(nearest != 6)


def test_more_light_and_colder_light_are_lighter_by_ita() -> None:
    """ITA = atan((L* - 50) / b*): light raises L*, a colder lamp lowers b*."""
    changes = skin_tone_shift([drawn(6)])["changes"]
    assert changes["+0.5 stop"]["ita"] > 0 > changes["-0.5 stop"]["ita"]
    assert changes["+500 K"]["ita"] > 0 > changes["-500 K"]["ita"]


def test_shares_are_of_faces_determined_on_both_sides() -> None:
    """With half a stop less light tone 3 (L* 93 to 81) is nearest to tone 4, and tone 4 (88 to 77) to tone 5, of another band."""
    change = skin_tone_shift([drawn(3), drawn(4)])["changes"]["-0.5 stop"]
    assert (change["monk_changed"], change["band_changed"], change["undetermined"]) == (1.0, 0.5, 0.0)
    lost = skin_tone_shift([(np.full((SIDE, SIDE, 3), (30, 60, 220), np.uint8), drawn(1)[1])])["changes"]["+500 K"]
    assert lost["monk_changed"] is lost["band_changed"] is lost["undetermined"] is None, "blue was no tone before"


def test_a_face_that_a_change_burns_out_becomes_undetermined() -> None:
    """Half a stop more clips the lightest tone everywhere, and no pixel is left."""
    found = skin_tone_shift([drawn(1), drawn(6)])
    assert found["num_faces"] == 2 and found["changes"]["+0.5 stop"]["undetermined"] == 0.5
    alone = skin_tone_shift([drawn(1)])["changes"]["+0.5 stop"]
    assert (alone["undetermined"], alone["lab"], alone["ita"], alone["monk_changed"]) == (1.0, None, None, None)


def test_no_skin_at_all_is_refused() -> None:
    with pytest.raises(InsufficientSamplesError, match="1 face"):
        skin_tone_shift([(np.full((SIDE, SIDE, 3), 255, np.uint8), drawn(1)[1])])


@pytest.mark.weights
def test_photographs_move_by_what_was_measured_on_all_of_them() -> None:
    """Medians over 180 photographs: 10.0 and 8.4 for half a stop, 2.9 and 3.4 for 500 K."""
    folders, faces = find_people(asset_path("openpeople"))[:3], []
    extractors = {name: EXTRACTORS.get(name).make("cpu") for name in ("pose", "faces")}
    for folder in folders:
        view, known = View(np.asarray(fit_view(Image.open(folder / "assets/studio_portrait.jpg").convert("RGB"), 1024, 1024)), ""), {}
        for name, extractor in extractors.items():
            known[name] = extractor.extract(view, known)
        faces.append((view.pixels_HW3, known["faces"]["keypoints"][0]))
    for extractor in extractors.values():
        extractor.close()
    found = skin_tone_shift(faces)
    changes = found["changes"]
    assert found["num_faces"] == 3
    assert 7 < changes["+0.5 stop"]["lab"] < 11 and 8 < changes["-0.5 stop"]["lab"] < 12
    assert 2 < changes["+500 K"]["lab"] < 4.5 and 2 < changes["-500 K"]["lab"] < 4.5
    assert changes["-0.5 stop"]["ita"] < -5 < 0 < changes["-500 K"]["hue"]
