"""The folders, data and trainings that the stages of a build share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sana_bench.data.manifest import Manifest, load_manifest
from sana_bench.errors import ConfigError
from sana_bench.shipped import PACKAGE
from sana_bench.store import Store, write_bytes

SHIPPED_WEIGHTS = PACKAGE / "tiny" / "weights"
CURVE_POINTS = 100


def needed(path: Path, stage: str) -> Path:
    """What another stage makes.

    Raises:
        ConfigError: that stage has not been run.
    """
    if not path.exists():
        raise ConfigError(f"{path} is not there yet; run the stage {stage} first")
    return path


@dataclass(frozen=True, kw_only=True)
class Course:
    """What may differ from one training to the next: where it starts, how long it is, how fast."""

    refine: bool = False
    """Start from the finished weights instead of random ones: the trainings' own state need not be there any more."""
    steps: int | None = None
    learning_rate: float | None = None


class Workspace:
    """Where a build keeps its state (`work`), what it makes (`out`), and what it learns from.

    `store` holds pictures, latents and the card's samples; `tiny_sana`, `tokenizer_folder` and `clip` are the results.
    """

    def __init__(self, work_folder: Path, out_folder: Path, course: Course = Course()):
        self.work, self.out, self.course = work_folder, out_folder, course
        self.store = Store(work_folder / "store")
        self.tiny_sana, self.tokenizer_folder, self.clip = out_folder / "tiny-sana", out_folder / "tokenizer", out_folder / "clip"

    @property
    def vae(self) -> Path:
        """The folder of the trained autoencoder: of this build or, where finished weights are refined, theirs.

        Raises:
            ConfigError: it was not trained yet.
        """
        own = self.work / "vae"
        if self.course.refine and not own.exists():
            return needed(self.tiny_sana / "vae", "autoencoder")
        return needed(own, "autoencoder")

    def training(self) -> Manifest:
        return load_manifest("openpeople:training", self.store)

    def tokenizer(self):
        """The shared tokenizer.

        Raises:
            ConfigError: it was not trained yet.
        """
        from transformers import AutoTokenizer

        needed(self.tokenizer_folder / "tokenizer.json", "tokenizer")
        return AutoTokenizer.from_pretrained(self.tokenizer_folder)

    def record_run(self, stage: str, learning_rate: float, losses: list[float]) -> None:
        """Keep the curve of a finished training, behind those that it went on from."""
        earlier = self._shipped_runs(stage) if self.course.refine else []
        run = {"steps": len(losses), "learning_rate": learning_rate, "loss": thinned(losses)}
        write_bytes(self.work / f"{stage}_runs.json", json.dumps([*earlier, run]).encode())

    def runs(self, stage: str) -> list[dict]:
        """All trainings that the weights of `stage` went through: `steps`, `learning_rate`, `loss` (None: not kept), and by hand a `note`."""
        own = self.work / f"{stage}_runs.json"
        if self.course.refine and not own.exists():
            return self._shipped_runs(stage)
        return json.loads(needed(own, stage).read_text())

    def _shipped_runs(self, stage: str) -> list[dict]:
        return json.loads(needed(self.tiny_sana / "training.json", "assemble").read_text())[stage]


def thinned(losses: list[float]) -> list[float]:
    """Means over equal parts of a loss curve, at most CURVE_POINTS."""
    return [round(float(part.mean()), 4) for part in np.array_split(losses, min(CURVE_POINTS, len(losses)))]
