"""The transformer as a trainer sets it up, without weights."""

from __future__ import annotations

import torch

from sana_bench.config import RunConfig
from sana_bench.plan.architecture import Architecture
from sana_bench.plan.weightless import on_meta
from sana_bench.training.full import free_parameters
from sana_bench.training.lora import add_adapter

PREPARE = {"lora": add_adapter, "full": free_parameters}
"""By trainer that trains on this machine; the others need no memory for it."""


def build_trainee(architecture: Architecture, config: RunConfig) -> torch.nn.Module:
    """The transformer in training mode, on the meta device: with its adapters, or with the parameters that are trained in float32.

    Raises:
        ConfigError: the recipe trains what is not there.
    """
    dtype = getattr(torch, config.model.transformer_dtype)
    with on_meta(dtype):
        transformer = architecture.build("transformer", dtype).train()
        PREPARE[config.train.trainer](transformer, config.train)
    if config.train.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
    return transformer
