"""The full 1.6B architecture at 2048x2048 through a LoRA step and a sample, in 24 GB of memory and without a GPU. Minutes: run it with `pytest -m slow -s`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from diffusers import SanaTransformer2DModel

from sana_bench.config import load_config
from sana_bench.errors import StoreError
from sana_bench.images import read_image
from sana_bench.store import Store
from tests.micro import run, write_photographs
from tests.random_base import TRANSFORMER_PARAMETERS, build_random_base

MEMORY_BYTES = 24e9
SUITE = """
name = "one_prompt"
version = 1
description = "One sample."
source = "sana-bench"
license = "CC0-1.0"
[[prompt]]
id = "portrait"
text = "studio portrait of a person, plain grey background"
"""


def recipe_of(folder: Path, base: Path) -> Path:
    """The shipped recipe with this base, one image, one step and one prompt."""
    (folder / "suite.toml").write_text(SUITE)
    recipe = folder / "full_size.toml"
    shipped = load_config("sana_1600m_2k_lora")
    write_photographs(folder / "training", 1)
    recipe.write_text(f"""
name = "full_size"
[model]
base = "{base}"
transformer_dtype = "{shipped.model.transformer_dtype}"
vae_dtype = "{shipped.model.vae_dtype}"
[data]
training = "{folder / 'training'}"
[train]
trainer = "lora"
resolution = 2048
rank = {shipped.train.rank}
lora_alpha = {shipped.train.lora_alpha}
max_train_steps = 1
mixed_precision = "bf16"
gradient_checkpointing = true
[generate]
num_inference_steps = 1
guidance_scale = {shipped.generate.guidance_scale}
vae_tile_size = {shipped.generate.vae_tile_size}
vae_tile_stride = {shipped.generate.vae_tile_stride}
[score]
suite = "{folder / 'suite.toml'}"
[run]
device = "cpu"
store = "{folder / 'store'}"
""")
    return recipe


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_a_lora_step_and_a_sample_at_2k_fit_into_24_gb(tmp_path):
    base = build_random_base(tmp_path / "base")
    empty = SanaTransformer2DModel.load_config(base, subfolder="transformer")
    assert (empty["sample_size"], empty["interpolation_scale"]) == (64, 1.0)
    recipe = recipe_of(tmp_path, base)
    documents = {}
    for stage in ("train", "generate"):
        done = run(stage, "--config", recipe, "--json")
        assert done.returncode == 0, done.stderr
        documents[stage] = json.loads(done.stdout)
        cost = documents[stage]["cost"]
        print(f"{stage}: {cost['seconds']:.0f} s, {cost['peak_memory_bytes'] / 1e9:.1f} GB")
        assert cost["peak_memory_bytes"] < MEMORY_BYTES
    (loss,) = documents["train"]["summary"]["losses"]
    assert 0 < loss < 100 and documents["train"]["summary"]["trainable_parameters"] == 8_601_600  # rank 16 on 120 layers of 2240 channels
    (sample,) = documents["generate"]["samples"]
    image = Store(tmp_path / "store").folder("samples", documents["generate"]["digest"]) / sample["file_name"]
    assert read_image(image, StoreError).shape == (2048, 2048, 3)
    assert TRANSFORMER_PARAMETERS == sum(parameter.numel() for parameter in _shapes(empty))


def _shapes(config: dict) -> list:
    import torch

    with torch.device("meta"):
        return list(SanaTransformer2DModel.from_config(config).parameters())
