"""Pretrained models as files of the same format with other numbers in them, so that no test needs a network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sana_bench.assets.pins import ASSETS
from sana_bench.assets.sources import LocalFolder
from sana_bench.store import sha256_file

SIDE, WIDTH, CONTEXT = 32, 64, 77
CONFIG = {"embed_dim": 32, "vision_cfg": {"image_size": SIDE, "layers": 2, "width": WIDTH, "head_width": 32, "patch_size": 8},
          "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}}

def put_asset(name: str, file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the asset of that name is this file, in a cache of its own."""
    monkeypatch.setenv("SANA_BENCH_CACHE", str(cache))
    monkeypatch.setitem(ASSETS, name, replace(ASSETS[name], source=LocalFolder(folder=file.parent), members={file.name: sha256_file(file)}))


def small_model(seed: int):
    import torch
    from open_clip.model import CLIP

    torch.manual_seed(seed)
    model = CLIP(**CONFIG).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    torch.nn.init.constant_(model.logit_scale, np.log(90))
    return model


def save_model(folder: Path, seed: int = 0) -> Path:
    """A folder as open_clip's `local-dir:` reads it."""
    from safetensors.torch import save_file

    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    save_file(small_model(seed).state_dict(), folder / "open_clip_model.safetensors")
    return folder
