"""Images made elsewhere: which prompt each belongs to, captions as a suite, and every mistake as one clear error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_bench.config import load_config
from sana_bench.errors import DataError, SanaBenchError
from sana_bench.external_images import caption_id, config_for, suite_of, take_in
from sana_bench.prompts import Prompt, PromptSuite, seed_of
from sana_bench.store import Store

SUITE = PromptSuite(name="mine", version=1, description="d", source="s", license="l", prompt=(
    Prompt(id="wave", text="a man waves"), Prompt(id="run_far", text="a woman runs")))


def put(folder: Path, *names: str, side: int = 24) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def metadata(folder: Path, *rows: dict) -> None:
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")


def ids(folder: Path, tmp_path: Path, suite: PromptSuite = SUITE) -> list[str]:
    return [sample.sample_id for sample in take_in(folder, suite, Store(tmp_path / "store"))[1].samples]


def test_images_belong_to_prompts_by_their_names(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", "wave.png", "run_far_000.jpg", "run_far_2.webp")
    (folder / "notes.txt").write_text("no image")
    assert ids(folder, tmp_path) == ["run_far_000", "run_far_002", "wave_000"]


def test_or_by_a_line_of_metadata(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", "1.png", "2.png", "3.png")
    metadata(folder, {"file_name": "1.png", "prompt_id": "wave"}, {"file_name": "2.png", "prompt_id": "wave"},
             {"file_name": "3.png", "prompt_id": "run_far", "sample_index": 7})
    assert ids(folder, tmp_path) == ["wave_000", "wave_001", "run_far_007"]


def test_samples_are_what_generated_ones_would_be(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    checkpoint, samples = take_in(put(tmp_path / "a", "wave_001.png"), SUITE, store)
    sample = samples.samples[0]
    assert (sample.seed, sample.width, sample.sample_index) == (seed_of(SUITE, "wave", 1), 24, 1)
    assert (store.folder("samples", samples.digest) / sample.file_name).exists() and samples.checkpoint_digest == checkpoint.digest
    assert take_in(tmp_path / "a", SUITE, store)[1] == samples, "taken in once"
    made = config_for(load_config("tiny", ("train.num_seeds=3",)), samples)
    assert made.generate.width == 24 and (made.train.trainer, made.train.num_seeds) == ("none", 1), "nothing is trained, so there are no fine-tunes to tell apart"


def test_captions_make_a_suite_and_the_same_captions_the_same_one(tmp_path: Path) -> None:
    one, other = put(tmp_path / "a", "1.png", "2.png", "3.png"), put(tmp_path / "b", "x.png", "y.png", "z.png")
    texts = ("A man waves", "A woman runs far", "A man waves")
    metadata(one, *({"file_name": f"{number}.png", "text": text} for number, text in enumerate(texts, start=1)))
    metadata(other, *({"file_name": f"{name}.png", "text": text} for name, text in zip("xyz", texts, strict=True)))
    suite = suite_of(one, "")
    assert [prompt.text for prompt in suite.prompt] == ["A man waves", "A woman runs far"] and suite == suite_of(other, "")
    assert ids(one, tmp_path, suite) == ids(other, tmp_path, suite)
    assert caption_id("A man waves").startswith("a-man-waves-") and caption_id("人") != caption_id("手")


@pytest.mark.parametrize(("prepare", "message"), [
    (lambda folder: None, "no folder"),
    (lambda folder: folder.mkdir(), "has no image"),
    (lambda folder: put(folder, "waver.png"), 'belongs to no prompt of suite "mine".*Did you mean "wave"'),
    (lambda folder: put(folder, "wave.png", "wave_000.png"), "two images for wave_000"),
    (lambda folder: (put(folder, "wave.png") / "wave.png").write_bytes(b"x"), "cannot be decoded"),
    (lambda folder: (put(folder, "wave.png") / "metadata.jsonl").write_text("{"), "is not JSON lines"),
    (lambda folder: (put(folder, "wave.png") / "metadata.jsonl").write_text('{"name": 1}'), "needs a file_name")])
def test_mistakes_are_one_clear_error(prepare, message: str, tmp_path: Path) -> None:
    prepare(tmp_path / "a")
    with pytest.raises(SanaBenchError, match=message):
        take_in(tmp_path / "a", SUITE, Store(tmp_path / "store"))


def test_without_a_suite_and_captions_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--suite"):
        suite_of(put(tmp_path / "a", "wave.png"), "")
