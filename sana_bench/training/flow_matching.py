"""Sana's training objective: flow matching with a shifted, logit-normal noise level.

With data x_0, noise e and noise level s in (0, 1): x_s = (1 - s) x_0 + s e, and the model predicts e - x_0.

Source: `diffusion/model/gaussian_diffusion.py` and `respace.py` of NVlabs/Sana (July 2025); Esser et al. 2024, eq. 19 and 23.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

NUM_TRAIN_TIMESTEPS = 1000


def shift_sigmas(sigmas: torch.Tensor, flow_shift: float) -> torch.Tensor:
    """Move noise levels in [0, 1] towards 1, as larger images need: s -> shift s / (1 + (shift - 1) s)."""
    return flow_shift * sigmas / (1 + (flow_shift - 1) * sigmas)


def draw_sigmas(batch_size: int, generator: torch.Generator, *, flow_shift: float, weighting_scheme: str = "logit_normal",
                logit_mean: float = 0.0, logit_std: float = 1.0, mode_scale: float = 1.29) -> torch.Tensor:
    """Noise levels of a batch, (batch_size,) float32 in (0, 1), shifted: logit-normal, by `mode` of Esser et al. (eq. 20), or uniform (`none`)."""
    import torch

    if weighting_scheme == "logit_normal":
        sigmas = torch.sigmoid(logit_mean + logit_std * torch.randn(batch_size, generator=generator))
    else:
        sigmas = torch.rand(batch_size, generator=generator)
    if weighting_scheme == "mode":
        sigmas = 1 - sigmas - mode_scale * (torch.cos(math.pi * sigmas / 2) ** 2 - 1 + sigmas)
    return shift_sigmas(sigmas, flow_shift)


def flow_matching_loss(transformer: torch.nn.Module, latents: torch.Tensor, noise: torch.Tensor, sigmas: torch.Tensor,
                       prompt_embeds: torch.Tensor, prompt_attention_mask: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Mean squared error between the predicted and the true flow.

    Args:
        transformer: a SanaTransformer2DModel, possibly with adapters.
        latents: (B, C, h, w) clean latents, already multiplied by the autoencoder's scaling factor.
        noise: like `latents`, standard normal.
        sigmas: (B,) noise levels in (0, 1).
        prompt_embeds: (B, T, D) from the text encoder, in the dtype in which the transformer takes its input; all else stays float32.
        prompt_attention_mask: (B, T), 1 for tokens that count.
        weights: (B, 1, h, w) how much each place of an image counts; each image counts the same as a whole. None: every place the same.

    Returns:
        Scalar float32 loss.
    """
    levels = sigmas.view(-1, 1, 1, 1).to(latents)
    noisy = (1 - levels) * latents + levels * noise
    predicted = transformer(noisy.to(prompt_embeds.dtype), encoder_hidden_states=prompt_embeds, encoder_attention_mask=prompt_attention_mask,
                            timestep=sigmas.to(latents.device) * NUM_TRAIN_TIMESTEPS, return_dict=False)[0]
    errors = (predicted.float() - (noise - latents)).square()
    if weights is None:
        return errors.mean()
    return (errors * (weights / weights.mean(dim=(1, 2, 3), keepdim=True))).mean()
