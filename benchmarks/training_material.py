"""What the benchmarks of training train on: a base, photographs with captions, and a recipe over both."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from sana_bench.config import RunConfig, load_config
from sana_bench.images import write_png
from sana_bench.shipped import PACKAGE, cache_folder
from sana_bench.store import write_bytes

RECIPES = {"micro": "tiny", "tiny-sana": "tiny", "sana_1600m_2k": "sana_1600m_2k_lora"}
"""The recipe of each model."""

FULL_SIZE = (2048, 2048)
WORDS = ("young", "old", "tall", "smiling", "standing", "seated", "running", "waving")


def write_material(folder: Path, model: str, photographs: str, num_images: int, device: str, overrides: tuple[str, ...]) -> None:
    """Write into `folder` what `recipe_of` reads.

    Args:
        model: `tiny-sana`; or with random weights `sana_1600m_2k`, the whole architecture, or `micro`, the least that is a Sana.
        photographs: `openpeople`, or `synthetic` where that package is not at hand.
        overrides: of the recipe, `section.key=value`.
    """
    images = folder / "images"
    settings = [f"data.training={images}", f"run.store={folder / 'store'}", f"run.device={device}"]
    if model in RANDOM:
        if not (folder / "base").exists():
            RANDOM[model](folder / "base", device)
        settings += [f"model.base={folder / 'base'}", "model.variant="]
    {"openpeople": write_openpeople, "synthetic": write_synthetic}[photographs](images, num_images)
    (folder / "recipe.json").write_text(json.dumps([RECIPES[model], *settings, *overrides]))


def recipe_of(folder: Path, *more: str) -> RunConfig:
    """The recipe in a folder, with more overrides."""
    name, *overrides = json.loads((folder / "recipe.json").read_text())
    return load_config(name, (*overrides, *more))


def write_openpeople(folder: Path, number: int) -> None:
    """An imagefolder of OpenPeople's photographs at 2048x2048. Beyond their number, they come mirrored and moved, so that no two files are alike."""
    from sana_bench.data.manifest import load_manifest, picture_view
    from sana_bench.store import Store

    manifest, lines = load_manifest("openpeople:training-photographs", Store(cache_folder() / "store")), []
    for first, row in enumerate(manifest.rows[:number]):
        view = picture_view(manifest, row, FULL_SIZE)
        for variant, index in enumerate(range(first, number, len(manifest.rows))):
            path = folder / f"{index:05}.jpg"
            if not path.exists():
                moved = np.roll(view[:, ::-1] if variant % 2 else view, 16 * variant, axis=1)
                write_bytes(path, _jpeg(moved))
            lines.append({"file_name": path.name, "text": row.text})
    _write_captions(folder, lines)


def _jpeg(pixels_HW3: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels_HW3).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_synthetic(folder: Path, number: int) -> None:
    """An imagefolder of soft colours under fine noise, of the size and about the bytes of photographs, each with a caption of its own."""
    lines, (width, height) = [], FULL_SIZE
    for index in range(number):
        generator = np.random.default_rng(index)
        soft = Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        grain = generator.integers(-4, 5, (height, width, 1), np.int16)
        write_png(folder / f"{index:05}.png", np.clip(np.asarray(soft, np.int16) + grain, 0, 255).astype(np.uint8))
        lines.append({"file_name": f"{index:05}.png", "text": f"photograph {index} of a {' '.join(generator.permutation(WORDS)[:4])} person"})
    _write_captions(folder, lines)


def _write_captions(folder: Path, lines: list[dict[str, str]]) -> None:
    (folder / "metadata.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def write_random_sana(folder: Path, device: str) -> None:
    """All parts of the 2K base of the recipe at their sizes: transformer and Gemma-2-2b in bfloat16, autoencoder in float32.

    Speed and memory do not depend on the weights. The tokenizer is tiny-sana's; texts are filled up to 300 tokens with either.
    """
    import torch

    from sana_bench.plan.architecture import read_architecture

    architecture = read_architecture(load_config(RECIPES["sana_1600m_2k"]).model)
    with torch.device(device):
        vae, text_encoder = architecture.build("vae", torch.float32), architecture.build("text_encoder", torch.bfloat16)
        with _bfloat16():
            transformer = architecture.build("transformer", torch.bfloat16)
    _save(folder, vae, transformer, text_encoder)


def write_micro(folder: Path, device: str) -> None:
    """The least that is a Sana and takes 2048 px: its steps cost next to nothing, so that what is measured are the images."""
    from diffusers import AutoencoderDC, SanaTransformer2DModel
    from transformers import Gemma2Config, Gemma2Model

    each = {"block_types": ("ResBlock",) * 6, "block_out_channels": (4,) * 6, "layers_per_block": (0, 1, 1, 1, 1, 1), "qkv_multiscales": ((),) * 6}
    vae = AutoencoderDC(latent_channels=4, attention_head_dim=4, upsample_block_type="interpolate", downsample_block_type="pixel_unshuffle",
                        **{f"{part}_{name}": value for part in ("encoder", "decoder") for name, value in each.items()})
    transformer = SanaTransformer2DModel(
        in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2, attention_head_dim=8, sample_size=64, interpolation_scale=1.0, patch_size=1,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=16)
    text_encoder = Gemma2Model(Gemma2Config(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=8))
    _save(folder, vae, transformer, text_encoder)


RANDOM = {"sana_1600m_2k": write_random_sana, "micro": write_micro}


def _save(folder: Path, vae, transformer, text_encoder) -> None:
    from diffusers import DPMSolverMultistepScheduler, SanaPipeline
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(PACKAGE / "tiny" / "weights" / "tokenizer")
    scheduler = DPMSolverMultistepScheduler(flow_shift=3.0, use_flow_sigmas=True, prediction_type="flow_prediction")
    SanaPipeline(tokenizer=tokenizer, text_encoder=text_encoder, vae=vae, transformer=transformer, scheduler=scheduler).save_pretrained(folder)


@contextmanager
def _bfloat16() -> Iterator[None]:
    """What is made here is bfloat16 from the start."""
    import torch

    torch.set_default_dtype(torch.bfloat16)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
