"""Pictures of a recipe: what is asked of them and not in them is told before anything is encoded."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from sana_bench.config import load_config
from sana_bench.data.pictures import training_pictures
from sana_bench.errors import DataError
from sana_bench.store import Store
from tests.micro import write_run


@pytest.fixture
def walls(tmp_path: Path) -> Path:
    """Two images of nobody, with captions as NVlabs' train.py reads them."""
    folder = tmp_path / "walls"
    folder.mkdir()
    for name, color in (("red", (180, 40, 40)), ("blue", (40, 40, 180))):
        Image.new("RGB", (128, 128), color).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"a {name} wall")
    return folder


@pytest.mark.parametrize("kind", ["face", "hand"])
def test_a_weight_on_what_no_image_shows_is_refused(kind: str, walls: Path, micro, tmp_path):
    """The loss would be that of no weight at all."""
    config = load_config(str(write_run(tmp_path, **{**micro, "training": walls})), (f"train.regions.{kind}_weight=3",))
    with pytest.raises(DataError, match=f"{kind}_weight is 3 and would do nothing: no {kind} was found in the 2 training images"):
        training_pictures(config, Store(tmp_path / "store"))


def test_a_weight_on_what_some_image_shows_is_taken(micro, tmp_path):
    config = load_config(str(write_run(tmp_path, **micro)), ("train.regions.face_weight=3",))
    kinds = {region.kind for picture in training_pictures(config, Store(tmp_path / "store")) for region in picture.people.regions}
    assert "face" in kinds
