"""The preview of training: the samples that training takes, in its order, with the captions it drops and the weights it uses."""

from __future__ import annotations

import base64
import io
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sana_bench.cli import main
from sana_bench.config import load_config
from sana_bench.data.augment import Augmentation
from sana_bench.data.samples import Draw, People, Region
from sana_bench.data.training_set import training_set
from sana_bench.preview.html import augmentation_words, facts_of, render_preview, size_words
from sana_bench.preview.tiles import HEAT_OPACITY, make_tile, preview_stages
from sana_bench.store import Store
from sana_bench.train_config import RegionsSection
from tests.report_fixture import HOSTILE

STAGES = ("train.earlier_stage=[{resolution=128,max_train_steps=2,train_batch_size=3,gradient_accumulation_steps=2}]", "train.max_train_steps=2",
          "train.resolution=192", "train.augment.num_views=3", "train.augment.rotation=9", "train.caption_dropout=0.5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    lines = []
    for index, (size, text) in enumerate([((90, 150), f"\u202e{HOSTILE}\x1b[31m"), ((150, 90), " A Man Waving "), ((120, 120), "a woman"), ((60, 120), "")]):
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(folder / f"{index}<i>.png")
        lines.append(json.dumps({"file_name": f"{index}<i>.png", "text": text}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def prepared(folder, tmp_path, *overrides):
    config = load_config("tiny", (f"data.training={folder}", f"run.store={tmp_path / 'store'}", *overrides))
    return config, training_set(config, Store(config.run.store))


def picture_in(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_tiles_are_the_first_samples_of_each_stage_in_their_order(folder, tmp_path):
    config, images = prepared(folder, tmp_path, *STAGES)
    first, second = preview_stages(images, config, 8)
    assert [tile.step for tile in first.tiles] == [1, 1, 1, 1, 1, 1, 2, 2]  # two batches of three a step
    assert [tile.step for tile in second.tiles] == [1, 1, 2, 2]  # it has no more
    for stage, tiles in zip(images.stages, (first.tiles, second.tiles), strict=True):
        draws = [draw for number in range(len(stage.pictures_MG)) for draw in stage.batch(number)]
        assert [tile.draw for tile in tiles] == draws[:len(tiles)]
        assert [tile.name for tile in tiles] == [images.pictures[draw.picture].name for draw in draws[:len(tiles)]]
    assert (first.num_samples, first.num_pictures, first.samples_by_size()) == (12, 4, [((128, 128), 12)])
    assert {picture_in(tile.image).size for tile in first.tiles} == {(128, 128)}


def test_captions_that_are_crossed_out_are_those_that_training_drops(folder, tmp_path):
    """Against the reader of batches itself, on caches that only note what they are asked for."""
    import torch

    from sana_bench.training.batches import BatchReader

    config, images = prepared(folder, tmp_path, *STAGES, "train.train_batch_size=8", "train.max_train_steps=4")
    texts = []
    latents = SimpleNamespace(read=lambda draw: torch.zeros(1, 1, 1))
    embeddings = SimpleNamespace(read=lambda text: (texts.append(text) or torch.zeros(1, 1), torch.ones(1)))
    reader = BatchReader(images, latents, embeddings, config.train, 0)
    for number in range(4):
        reader.read(1, number)
    tiles = preview_stages(images, config, 32)[1].tiles
    assert [("" if tile.dropped else images.pictures[tile.draw.picture].text) for tile in tiles] == texts
    assert 5 < sum(tile.dropped for tile in tiles) < 27


def test_a_tile_tells_where_the_loss_counts_more(folder, tmp_path):
    """A face over the lower left quarter, with weight 3: a quarter of the latents has 3 / (3 + 3) of the loss."""
    config, images = prepared(folder, tmp_path)
    picture = replace(images.pictures[2], people=People(regions=(Region(kind="face", box=(0, 60, 60, 120)), Region(kind="hand", box=(90, 0, 120, 30))),
                                                               groups={"gender": "feminine"}))
    settings = config.train.model_copy(update={"regions": RegionsSection(face_weight=3)})
    tile = make_tile(picture, Draw(2, 0, 128, 128), settings, 1, False)
    assert "feminine" not in json.dumps(tile.document()) + " ".join(facts_of(tile))  # perceived groups are told in aggregate only
    assert tile.regions == (("face", (0, 64, 64, 128)), ("hand", (96, 0, 128, 32)))
    assert (tile.heat.largest, tile.heat.area, tile.heat.loss) == (3, 0.25, 0.5)
    cells = np.asarray(picture_in(tile.heat.image))[:, :, 3]
    assert cells.tolist() == [[0] * 4] * 2 + [[round(255 * HEAT_OPACITY)] * 2 + [0] * 2] * 2
    assert make_tile(picture, Draw(2, 0, 128, 128), config.train, 1, False).heat is None  # every place counts the same


def test_the_page_escapes_what_stands_in_captions_and_names(folder, tmp_path):
    config, images = prepared(folder, tmp_path, *STAGES)
    page = render_preview(config, preview_stages(images, config, 12), images.shares)
    assert "<script" not in page and "<img src=x" not in page and "<i>" not in page
    assert "0&lt;i&gt;.png" in page and "a man waving" in page and "(no caption)" in page
    assert "default-src &#39;none&#39;" in page and page.count("<article") == 12 + 4
    assert "\u202e" not in page and "\x1b" not in page and "\\u202e&lt;script" in page  # nothing turns the text around it, or steers a terminal
    assert "<del>" in page and "Stage 2 of 2, 192 px" in page and "<svg" not in page  # nobody was looked for


def test_words_for_what_was_done():
    assert augmentation_words(Augmentation()) == "untouched"
    assert augmentation_words(Augmentation(flip=True, angle=-3.21, kept=0.911, brightness=1.1)) == "mirrored, turned 3.2° clockwise, 91 % of each side kept, brightness × 1.10"
    assert [size_words(factor) for factor in (1.5, 1.0, 0.234)] == ["enlarged 1.5 times", "as large as in the file", "reduced to 23 % of its sides"]


def test_the_command_writes_the_page_and_answers_with_its_samples(folder, tmp_path, capfd):
    out = tmp_path / "preview.html"
    words = ["preview", "--set", f"data.training={folder}", "--set", f"run.store={tmp_path / 'store'}", *(word for stage in STAGES for word in ("--set", stage))]
    assert main([*words, "--num", "2", "--out", str(out), "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["written"] == str(out) and out.read_text().startswith("<!doctype html>")
    assert [(stage["resolution"], stage["num_samples"], len(stage["samples"])) for stage in answer["stages"]] == [(128, 12, 2), (192, 4, 2)]
    assert {"step", "view", "augmentation", "caption", "dropped", "regions", "weights"} <= set(answer["stages"][0]["samples"][0])


def test_a_recipe_is_previewed_without_the_weights_of_its_base(folder, tmp_path, capfd):
    """Which are ten gigabytes, and the hub cannot be asked here."""
    words = ["preview", "--config", "sana_1600m_2k_lora", "--set", f"data.training={folder}", "--set", f"run.store={tmp_path / 'store'}"]
    assert main([*words, "--set", "train.resolution=128", "--num", "1", "--out", str(tmp_path / "p.html"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["stages"][0]["sizes"] == [{"width": 128, "height": 128, "num_samples": 2000}]


def test_the_command_says_how_often_sources_are_seen(folder, tmp_path, capfd):
    """The page shows it, and so does the console, on which mixing is tried out."""
    shutil.copytree(folder, tmp_path / "more")
    (tmp_path / "more" / "3<i>.png").write_bytes((folder / "0<i>.png").read_bytes())
    words = ["preview", "--set", f"data.training={folder}", "--set", f"data.mix=[{{source='{tmp_path / 'more'}', share=0.25}}]", "--set", f"run.store={tmp_path / 'store'}"]
    assert main([*words, "--set", "train.resolution=128", "--num", "1", "--out", str(tmp_path / "p.html")]) == 0
    row = next(line for line in capfd.readouterr().out.splitlines() if line.startswith(f"source={tmp_path / 'more'}"))
    assert row.split()[1:] == ["50.0%", "25.0%"]


@pytest.mark.parametrize(("words", "part"), [(["--num", "0"], "--num takes a number of samples above 0"), (["--set", "train.trainer=none"], "sees none of these images"),
                                             (["--set", "train.trainer=ful"], 'Did you mean "full"')])
def test_what_cannot_be_previewed_is_one_error(words, part, tmp_path, capfd):
    assert main(["preview", "--out", str(tmp_path / "p.html"), *words]) == 2
    assert part in capfd.readouterr().err and not (tmp_path / "p.html").exists()
