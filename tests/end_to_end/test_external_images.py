"""Two folders of images, made by whatever model, are scored and compared from the command line; the spoiled one is red."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_bench.cli import main
from tests.photographs import people, photograph

PROMPTS = 8


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Portraits of eight people; beside them the same pictures with a grey board before the face."""
    root = tmp_path_factory.mktemp("images")
    made = {name: root / name for name in ("whole", "spoiled")}
    for folder in made.values():
        folder.mkdir()
    for number, person in enumerate(people()[:PROMPTS]):
        image = photograph(person.name, "studio_portrait", 384)
        image.save(made["whole"] / f"portrait-{number}.png")
        pixels = np.array(image)
        pixels[40:300, 60:330] = 128
        Image.fromarray(pixels).save(made["spoiled"] / f"portrait-{number}.jpg", quality=95)
    header = 'name = "portraits"\nversion = 1\ndescription = "d"\nsource = "s"\nlicense = "CC0-1.0"\n'
    (root / "portraits.toml").write_text(header + "".join(
        f'[[prompt]]\nid = "portrait-{number}"\ntext = "a portrait, number {number}"\n' for number in range(PROMPTS)))
    return {**made, "suite": root / "portraits.toml"}


def score(folders: dict[str, Path], store: Path, images: str, *more: str) -> int:
    return main(["score", "--images", str(folders[images]), "--suite", str(folders["suite"]), "--json", "--set", 'score.metrics=["face_rate"]',
                 "--set", f"run.store={store}", "--set", f"run.reports={store / 'reports'}", *more])


@pytest.mark.weights
def test_the_spoiled_folder_is_red_and_the_whole_one_green(folders: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert score(folders, tmp_path, "whole", "--against", str(folders["spoiled"])) == 0
    better = json.loads(capfd.readouterr().out)
    assert score(folders, tmp_path, "spoiled", "--against", str(folders["whole"])) == 1
    worse = json.loads(capfd.readouterr().out)
    for document, outcome in ((better, "improved"), (worse, "regressed")):
        run = next((tmp_path / "reports").glob(f"*{Path(document['run_dir']).name.rpartition('-')[2]}"))
        report = json.loads((run / "regression.json").read_text())
        assert report["verdicts"][0]["outcome"] == outcome and report["verdicts"][0]["num_pairs"] == PROMPTS
        assert (run / "report.html").stat().st_size > 100_000, "with its pictures"


@pytest.mark.weights
def test_one_folder_is_scored_alone(folders: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert score(folders, tmp_path, "whole") == 0
    document = json.loads(capfd.readouterr().out)
    assert document["results"][0]["value"] == 1 and len(document["samples"]) == PROMPTS


@pytest.mark.weights
def test_the_other_folder_stands_for_the_base_models_own_images(folders: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    drift = ("--set", 'score.metrics=["drift_efficientnet_lite0"]')
    assert score(folders, tmp_path, "spoiled", "--against", str(folders["whole"]), *drift) == 1
    (verdict,) = json.loads(capfd.readouterr().out)["verdicts"]
    assert verdict["baseline"] == 0 and verdict["outcome"] == "regressed" and verdict["difference"] > 0.1
    assert score(folders, tmp_path, "whole", "--against", str(folders["whole"]), *drift) == 0
    (verdict,) = json.loads(capfd.readouterr().out)["verdicts"]
    assert (verdict["outcome"], verdict["difference"]) == ("unchanged", 0)
    assert score(folders, tmp_path, "whole", *drift) == 2
    assert "--against" in capfd.readouterr().err


def test_options_that_belong_together(folders: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--against", str(folders["whole"])]) == 2
    assert "--images" in capfd.readouterr().err
    assert main(["score", "--images", str(folders["whole"])]) == 2
    assert "--suite" in capfd.readouterr().err
