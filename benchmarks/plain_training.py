"""LoRA training in the manner of the existing script for Sana (diffusers' train_dreambooth_lora_sana.py), without a cache: the peer of our loop.

Every image is decoded, cut and kept as float32 at the start; autoencoder, text encoder and transformer stay on the device, and every step runs all
three. Model, adapter, optimizer, precision and views of the images are ours, so that only the way of training differs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from sana_bench.config import RunConfig
from sana_bench.data.manifest import load_manifest, picture_view
from sana_bench.store import Store

if TYPE_CHECKING:
    import torch


def load_images(config: RunConfig, number: int | None = None) -> list[tuple[torch.Tensor, str]]:
    """All images of a recipe, or the first so many, as (3, H, W) float32 in [-1, 1] with their captions: 50.3 MB each at 2048x2048."""
    import torch

    manifest, side = load_manifest(config.data.training, Store(config.run.store)), config.train.resolution
    views = ((picture_view(manifest, row, (side, side)), row.text) for row in manifest.rows[:number])
    return [(torch.from_numpy(view_HW3.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1), text) for view_HW3, text in views]


class PlainTraining:
    """Loads everything; each `step` then gives the loss of one step of the optimizer."""

    def __init__(self, config: RunConfig, device: str):
        import torch

        from sana_bench.models import load_pipeline
        from sana_bench.training.lora import add_adapter
        from sana_bench.training.optimizers import build_optimizer

        self._settings, self._length, self._device = config.train, config.generate.max_sequence_length, device
        self._pipeline = load_pipeline(config.model, device)
        self._pipeline.vae.requires_grad_(False)
        self._pipeline.text_encoder.requires_grad_(False)
        self._transformer = self._pipeline.transformer.train()
        add_adapter(self._transformer, config.train)
        if config.train.gradient_checkpointing:
            self._transformer.enable_gradient_checkpointing()
        self._trained = [parameter for parameter in self._transformer.parameters() if parameter.requires_grad]
        self._optimizer = build_optimizer(config.train, self._trained)
        self._loader = torch.utils.data.DataLoader(load_images(config), config.train.train_batch_size, shuffle=True, drop_last=True)
        self._batches = iter(self._loader)

    def step(self) -> float:
        import torch

        pixels, texts = self._next_batch()
        with torch.no_grad():
            embeds, mask, _, _ = self._pipeline.encode_prompt(list(texts), do_classifier_free_guidance=False, max_sequence_length=self._length,
                                                              complex_human_instruction=None)
            vae = self._pipeline.vae
            latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent * vae.config.scaling_factor
        with torch.autocast(torch.device(self._device).type, torch.bfloat16, enabled=self._settings.mixed_precision == "bf16"):
            loss = self._loss(latents, embeds, mask)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._trained, self._settings.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def _next_batch(self) -> tuple[torch.Tensor, list[str]]:
        try:
            return next(self._batches)
        except StopIteration:
            self._batches = iter(self._loader)
            return next(self._batches)

    def _loss(self, latents: torch.Tensor, embeds: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        import torch

        noise = torch.randn_like(latents)
        sigmas = torch.rand(len(latents), device=latents.device).view(-1, 1, 1, 1)
        predicted = self._transformer((1 - sigmas) * latents + sigmas * noise, encoder_hidden_states=embeds, encoder_attention_mask=mask,
                                      timestep=sigmas.flatten() * 1000, return_dict=False)[0]
        return (predicted.float() - (noise - latents).float()).square().mean()


def time_steps(config: RunConfig, device: str, warmup: int, steps: int) -> dict[str, float]:
    """Seconds from nothing to the first step, and of `steps` steps after `warmup` others."""
    start = time.perf_counter()
    training = PlainTraining(config, device)
    ready = time.perf_counter()
    for _ in range(warmup):
        training.step()
    first = time.perf_counter()
    for _ in range(steps):
        training.step()
    return {"startup_s": ready - start, "steps": steps, "seconds": time.perf_counter() - first}
