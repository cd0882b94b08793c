"""tiny-sana's autoencoder: an AutoencoderDC f32c32 of 9.8 M parameters, trained on photographs of the training people."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from sana_bench.training.loop import LoopSettings, run_loop, step_generator
from sana_bench.training.trainee import Trainee

CONFIG = dict(
    in_channels=3, latent_channels=32, attention_head_dim=32,
    encoder_block_types=("ResBlock",) * 4 + ("EfficientViTBlock",) * 2,
    decoder_block_types=("ResBlock",) * 4 + ("EfficientViTBlock",) * 2,
    encoder_block_out_channels=(16, 32, 64, 128, 256, 256), decoder_block_out_channels=(16, 32, 64, 128, 256, 256),
    encoder_layers_per_block=(0, 1, 1, 1, 1, 1), decoder_layers_per_block=(0, 1, 1, 1, 1, 1),
    encoder_qkv_multiscales=((), (), (), (), (5,), (5,)), decoder_qkv_multiscales=((), (), (), (), (5,), (5,)),
    upsample_block_type="pixel_shuffle", downsample_block_type="pixel_unshuffle",
)
"""Powers of two, as the shortcuts' averaging needs; nothing at full resolution, so that a 2K decode takes seconds on a CPU."""

PYRAMID_PX = (288, 512, 1024, 2048)
CROP_PX = 256
BATCH_SIZE = 4
LEARNING_RATE = 1e-3
SEED = 0
SETTINGS = dict(warmup_steps=50, schedule="linear", checkpoint_every=100)

LOSS_WEIGHTS = dict(coarse=0.5, gradient=0.3, chroma=10.0)
"""Without a term of its own chroma comes last: grass stays brown and skin grey in patches long after eyes and hair are sharp.
It is squared, since an absolute error is content with the colour of most pixels, and few are green."""

IDENTITY = (CONFIG, PYRAMID_PX, CROP_PX, BATCH_SIZE, SEED, SETTINGS, LOSS_WEIGHTS)
"""All that decides the weights beside the data, the start, the number of steps and the learning rate."""


LARGEST_WEIGHT = 1024.0
"""Of the decoder's first layer, which takes in the latents' scale; the rest goes into the scaling factor. Half precision ends at 65,504."""


def build_autoencoder():
    from diffusers import AutoencoderDC

    torch.manual_seed(0)
    return AutoencoderDC(**CONFIG)


def build_pyramid(paths: list[Path]) -> list[list[np.ndarray]]:
    """Every image at every short side of PYRAMID_PX, as (H, W, 3) uint8. An image is never enlarged by more than 1.3."""
    levels: list[list[np.ndarray]] = [[] for _ in PYRAMID_PX]
    for path in paths:
        image = Image.open(path).convert("RGB")
        for level, short_px in zip(levels, PYRAMID_PX, strict=True):
            scale = short_px / min(image.size)
            if scale <= 1.3:
                level.append(np.asarray(image.resize([round(side * scale) for side in image.size], Image.Resampling.LANCZOS)))
    return levels


def draw_batch(levels: list[list[np.ndarray]], generator: torch.Generator) -> torch.Tensor:
    """(BATCH_SIZE, 3, CROP_PX, CROP_PX) float in [-1, 1]: levels evenly, images evenly within a level, flips at random."""
    def below(bound: int) -> int:
        return int(torch.randint(bound, (), generator=generator))

    crops = []
    for index in range(BATCH_SIZE):
        level = levels[index % len(levels)]
        image = level[below(len(level))]
        top, left = below(image.shape[0] - CROP_PX + 1), below(image.shape[1] - CROP_PX + 1)
        crop = image[top:top + CROP_PX, left:left + CROP_PX]
        crops.append(crop[:, ::-1] if below(2) else crop)
    pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float()
    return pixels / 127.5 - 1


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1; weighted, L1 of 4x averaged pixels, mean square of their chroma (what differs from their grey), and L1 of gradients."""
    difference = output - target
    coarse = F.avg_pool2d(difference, 4)
    terms = dict(coarse=coarse.abs().mean(), chroma=(coarse - coarse.mean(dim=1, keepdim=True)).square().mean(),
                 gradient=difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean())
    return difference.abs().mean() + sum(LOSS_WEIGHTS[name] * term for name, term in terms.items())


def train_autoencoder(model, paths: list[Path], folder: Path, *, total_steps: int, learning_rate: float, identity: str,
                      after_step: Callable[[int], None] = lambda step: None) -> list[float]:
    """Train `model` on the images at `paths`; return the losses. Resumes from `folder`."""
    model.train().to(memory_format=torch.channels_last)
    levels = build_pyramid(paths)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)

    def compute_loss(step: int, number: int) -> torch.Tensor:
        generator = step_generator(SEED, step)
        batch = draw_batch(levels, generator).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            output = model(batch).sample
        return reconstruction_loss(output.float(), batch)

    settings = LoopSettings(**SETTINGS, learning_rate=learning_rate, total_steps=total_steps, description="autoencoder")
    losses = run_loop(settings, Trainee(dict(model.named_parameters()), optimizer), compute_loss, folder, identity, after_step)
    model.eval()
    return losses


@torch.no_grad()
def normalise_latents(model, views: list[Image.Image]):
    """The same autoencoder whose latents, times its scaling factor, have unit deviation in every channel on `views`.

    Raw latents differ tenfold in deviation between channels, which a flow of few parameters pays for. The factors go into
    the last convolution of the encoder and the first of the decoder; the shortcuts around these two, where it still has them,
    are linear, so they are written into the middle taps of the kernels. Decoding what was encoded is unchanged.
    """
    from diffusers import AutoencoderDC

    latents = torch.cat([model.encode(to_tensor(view)).latent for view in views])
    deviation_C = latents.std(dim=(0, 2, 3))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    out, into = state["encoder.conv_out.weight"], state["decoder.conv_in.weight"]
    group, repeats = out.shape[1] // out.shape[0], into.shape[0] // into.shape[1]
    for channel in range(out.shape[0] if model.config.encoder_out_shortcut else 0):
        out[channel, channel * group:(channel + 1) * group, 1, 1] += 1 / group
        into[channel * repeats:(channel + 1) * repeats, channel, 1, 1] += 1
    out /= deviation_C[:, None, None, None]
    state["encoder.conv_out.bias"] /= deviation_C
    into *= deviation_C[None, :, None, None]
    scale = 2.0 ** max(0, math.ceil(math.log2(float(into.abs().max()) / LARGEST_WEIGHT)))
    into /= scale
    out *= scale
    state["encoder.conv_out.bias"] *= scale
    normalised = AutoencoderDC(**CONFIG, encoder_out_shortcut=False, decoder_in_shortcut=False, scaling_factor=1 / scale)
    normalised.load_state_dict(state)
    return normalised.eval()


def to_tensor(image: Image.Image) -> torch.Tensor:
    """(1, 3, H, W) float in [-1, 1]."""
    return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


@torch.no_grad()
def psnr_db(model, image: Image.Image) -> float:
    """Peak signal-to-noise ratio of encode + decode, in dB over 8-bit values (higher is better)."""
    pixels = to_tensor(image)
    error = ((model(pixels).sample.clamp(-1, 1) - pixels) * 127.5).square().mean().item()
    return 10 * math.log10(255.0 ** 2 / error)
