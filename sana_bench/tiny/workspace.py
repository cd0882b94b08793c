"""The folders and data that the stages of a build share."""

from __future__ import annotations

from pathlib import Path

from sana_bench.data.manifest import Manifest, load_manifest
from sana_bench.errors import ConfigError
from sana_bench.shipped import PACKAGE
from sana_bench.store import Store

SHIPPED_WEIGHTS = PACKAGE / "tiny" / "weights"


def needed(path: Path, stage: str) -> Path:
    """What another stage makes.

    Raises:
        ConfigError: that stage has not been run.
    """
    if not path.exists():
        raise ConfigError(f"{path} is not there yet; run the stage {stage} first")
    return path


class Workspace:
    """Where a build keeps its state (`work`), what it makes (`out`), and what it learns from.

    `store` holds pictures, latents and the card's samples; `tiny_sana`, `tokenizer_folder` and `clip` are the results.
    """

    def __init__(self, work_folder: Path, out_folder: Path):
        self.work, self.out = work_folder, out_folder
        self.store = Store(work_folder / "store")
        self.tiny_sana, self.tokenizer_folder, self.clip = out_folder / "tiny-sana", out_folder / "tokenizer", out_folder / "clip"

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
