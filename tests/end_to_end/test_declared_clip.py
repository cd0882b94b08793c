"""A CLIP of one's own, declared in the recipe: two folders are scored and compared with it, and a later process knows it from the run folder alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.micro import run, write_photographs
from tests.pretrained import save_model

METRICS = ["clip_score_mine", "clip_s_mine", "kid_clip_mine", "fd_clip_mine", "vendi_clip_mine"]
NUM_PROMPTS = 10


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with a model, and two folders of images with captions of which one is longer than the model reads."""
    root = tmp_path_factory.mktemp("declared")
    save_model(root / "clip")
    write_photographs(root / "reference", 8)
    for seed, name in enumerate(("mine", "theirs")):
        (root / name).mkdir()
        lines = []
        for number in range(NUM_PROMPTS):
            pixels = np.random.default_rng([seed, number]).integers(0, 256, (64, 64, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
            lines.append(json.dumps({"file_name": f"{number}.png", "text": "a man and a red car " * (40 if number == 1 else 1) + str(number)}))
        (root / name / "metadata.jsonl").write_text("\n".join(lines))
    (root / "recipe.toml").write_text(f'''
[data]
reference = "{root}/reference"
[generate]
height = 64
width = 64
[score]
metrics = {json.dumps(METRICS[:1])}
extra_metrics = {json.dumps(METRICS[1:])}
[[score.clip_model]]
name = "mine"
model = "local-dir:{root}/clip"
[compare]
baseline = "base"
[run]
store = "{root}/store"
reports = "{root}/reports"
baselines = "{root}/baselines"
''')
    return root


@pytest.mark.weights
def test_it_is_scored_flagged_compared_and_known_again(root: Path) -> None:
    alone = run("score", "--images", root / "mine", "--config", root / "recipe.toml")
    assert alone.returncode == 0, alone.stderr
    assert "clip_score_mine: 1 × prompt longer than the model reads, cut" in alone.stdout
    compared = run("score", "--images", root / "mine", "--against", root / "theirs", "--config", root / "recipe.toml", "--json")
    assert compared.returncode == 0, compared.stderr
    document = json.loads(compared.stdout)
    assert [each["metric"] for each in document["verdicts"]] == METRICS
    for each in document["verdicts"]:
        assert each["outcome"] == "inconclusive" and f"run sana-bench selftest {each['metric']}" in each["reason"]
        assert None not in (each["baseline"], each["candidate"], each["difference"])
    accepted = run("accept", document["run_dir"], "--as", "base", "--reason", "a test")
    assert accepted.returncode == 0, accepted.stderr
    again = run("compare", document["run_dir"], "--json")
    assert again.returncode == 0, again.stderr
    verdicts = json.loads(again.stdout)["verdicts"]
    assert [(each["metric"], each["difference"]) for each in verdicts] == [(name, 0) for name in METRICS], "a run differs from itself by nothing"
