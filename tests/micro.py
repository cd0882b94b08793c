"""A micro Sana from the real classes (random weights, 64 px), and a small data set and recipe to run it through all stages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

from sana_bench.assets import asset_path
from sana_bench.data.openpeople import find_people, pictures_of
from sana_bench.shipped import PACKAGE

SIDE_PX = 64

RECIPE = """
name = "micro"
[model]
base = "{base}"
[data]
training = "{training}"
reference = "{reference}"
[train]
rank = 2
lora_alpha = 4
learning_rate = 1e-2
max_train_steps = {steps}
train_batch_size = 2
checkpointing_steps = 1
resolution = 64
[generate]
height = 64
width = 64
num_inference_steps = 2
guidance_scale = 2.0
max_sequence_length = 16
complex_human_instruction = false
num_images_per_prompt = 1
batch_size = 2
[score]
suite = "{suite}"
metrics = ["kid_efficientnet_lite0", "clip_score_tiny_clip", "face_rate"]
[run]
device = "cpu"
store = "{folder}/store"
reports = "{folder}/reports"
baselines = "{folder}/baselines"
"""

SUITE = """
name = "micro_suite"
version = {version}
description = "As many prompts as a verdict needs."
source = "sana-bench"
license = "CC0-1.0"
[[prompt]]
id = "portrait"
text = "studio portrait of a person, plain grey background"
[[prompt]]
id = "body"
text = "full-body studio photo of a woman, standing straight"
expects = {{ faces = 1, hands = 2, full_body = true }}
[[prompt]]
id = "selfie"
text = "casual selfie of a man, park"
[[prompt]]
id = "headshot"
text = "studio headshot of a woman, happy expression"
[[prompt]]
id = "body-man"
text = "full-body studio photo of a man, white t-shirt and shorts"
[[prompt]]
id = "script"
text = "a person with a sign that says <script>alert('x')</script>"
"""


def build_base(folder: Path, heads: int = 2) -> Path:
    """Write a micro Sana in diffusers layout; `heads` changes its width, which makes it another base."""
    import torch
    from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel
    from transformers import AutoTokenizer, Gemma2Config, Gemma2Model

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(PACKAGE / "tiny" / "weights" / "tokenizer")
    vae = AutoencoderDC(
        latent_channels=4, attention_head_dim=4, encoder_block_types=("ResBlock",) * 6, decoder_block_types=("ResBlock",) * 6,
        encoder_block_out_channels=(8,) * 6, decoder_block_out_channels=(8,) * 6, encoder_layers_per_block=(0, 1, 1, 1, 1, 1),
        decoder_layers_per_block=(0, 1, 1, 1, 1, 1), encoder_qkv_multiscales=((),) * 6, decoder_qkv_multiscales=((),) * 6,
        upsample_block_type="interpolate", downsample_block_type="pixel_unshuffle", scaling_factor=1.0)
    transformer = SanaTransformer2DModel(
        in_channels=4, out_channels=4, num_layers=1, num_attention_heads=heads, attention_head_dim=8, sample_size=2, patch_size=1,
        num_cross_attention_heads=heads, cross_attention_head_dim=8, cross_attention_dim=8 * heads, caption_channels=16)
    text_encoder = Gemma2Model(Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, max_position_embeddings=64, sliding_window=32))
    scheduler = DPMSolverMultistepScheduler(flow_shift=3.0, use_flow_sigmas=True, prediction_type="flow_prediction")
    SanaPipeline(tokenizer=tokenizer, text_encoder=text_encoder, vae=vae, transformer=transformer,
                 scheduler=scheduler).save_pretrained(folder)
    return folder


def write_photographs(folder: Path, number: int) -> Path:
    """A user's own imagefolder: small real photographs with captions, one of them hostile."""
    folder.mkdir(parents=True)
    lines = []
    for index, picture in enumerate(pictures_of(find_people(asset_path("openpeople"))[0])[:number]):
        picture.image.resize((128, 160), Image.Resampling.LANCZOS).save(folder / f"{index}.png")
        lines.append(json.dumps({"file_name": f"{index}.png", "text": f"{picture.framing} of a woman <b>bold</b>"}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def write_run(folder: Path, *, base: Path, training: Path, reference: Path, steps: int = 3, suite_version: int = 1) -> Path:
    """Write recipe and suite of a micro run into `folder`; return the recipe's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "suite.toml").write_text(SUITE.format(version=suite_version))
    recipe = folder / "micro.toml"
    recipe.write_text(RECIPE.format(base=base, training=training, reference=reference, steps=steps, folder=folder,
                                    suite=folder / "suite.toml"))
    return recipe


def command(*arguments: str) -> subprocess.Popen:
    """Start `sana-bench ...` in a process of its own."""
    environment = {**os.environ, "SANA_BENCH_OFFLINE": "1"}
    return subprocess.Popen([sys.executable, "-m", "sana_bench", *map(str, arguments)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=environment)


def run(*arguments: str) -> subprocess.CompletedProcess:
    """Run `sana-bench ...` to its end."""
    process = command(*arguments)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def kill_when(process: subprocess.Popen, condition) -> None:
    """SIGKILL a process as soon as `condition()` holds; fails if it ends before that."""
    while not condition():
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"it ended before the condition held: {process.stderr.read()}")
    process.kill()
    process.communicate()
