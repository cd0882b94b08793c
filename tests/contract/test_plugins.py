"""A metric and an extractor in another installed package are found by their entry points, and a broken one is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

EXTRACTOR = '''
import numpy as np

from sana_bench.features import register_extractor


@register_extractor("brightness", version=1)
class Brightness:
    """Mean of the pixels.

    Features:
        mean: (1,) float32 in [0, 255].
    """

    def __init__(self, device):
        pass

    def extract(self, view, known):
        return {"mean": np.array([view.pixels_HW3.mean()], np.float32)}

    def close(self):
        pass
'''
METRIC = '''
from sana_bench.metrics import register_metric


@register_metric("mean_brightness", version=1, kind="sample", extractor="brightness", higher_is_better=True, unit="grey levels", budget=5.0,
                 sees=("picture_darker",))
class MeanBrightness:
    """How bright images are.

    Formula: mean of all pixels and channels.
    Source: a toy.
    Limits: it sees nothing else.
    Use: for tests only.
    """

    def __init__(self, context):
        pass

    def score(self, sample):
        return float(sample.features["brightness"]["mean"][0])
'''


def install(folder: Path, metric: str = METRIC) -> None:
    """As pip would: modules, and a dist-info folder with entry points."""
    (folder / "toy_bench").mkdir(parents=True)
    (folder / "toy_bench/__init__.py").write_text("")
    (folder / "toy_bench/extractor.py").write_text(EXTRACTOR)
    (folder / "toy_bench/metric.py").write_text(metric)
    info = folder / "toy_bench-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-bench\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sana_bench.features]\nbrightness = toy_bench.extractor\n\n[sana_bench.metrics]\nmean_brightness = toy_bench.metric\n")


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)}
    return subprocess.run([sys.executable, "-m", "sana_bench", *arguments], env=environment, capture_output=True, text=True, timeout=300)


def test_a_metric_of_another_package_is_found_and_has_a_card(tmp_path: Path) -> None:
    install(tmp_path)
    done = call(tmp_path, "metrics", "show", "mean_brightness", "--json")
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)[0]
    assert (card["name"], card["extractors"], card["judges"]) == ("mean_brightness", ["brightness"], False)
    assert "run sana-bench selftest mean_brightness" in card["why_not"]


def test_what_ships_as_a_plug_in_is_found_by_its_entry_points_too() -> None:
    points = [point for group in ("sana_bench.metrics", "sana_bench.features") for point in entry_points(group=group)]
    own = {point.value for point in points if point.dist.name == "sana-bench"}
    assert own == {"sana_bench.judge.metrics", "sana_bench.judge.pictures"}, "an editable installation of before has other ones: install it again"


def test_without_the_package_there_is_no_such_metric(tmp_path: Path) -> None:
    done = call(tmp_path, "metrics", "show", "mean_brightness")
    assert done.returncode == 2 and "unknown metric" in done.stderr


def test_a_plug_in_that_does_not_load_is_named(tmp_path: Path) -> None:
    install(tmp_path, metric="import nothing_of_that_name\n")
    done = call(tmp_path, "metrics", "list")
    assert done.returncode == 2 and "toy-bench" in done.stderr and "nothing_of_that_name" in done.stderr
