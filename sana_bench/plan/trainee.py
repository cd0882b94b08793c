"""The transformer as a trainer sets it up: what is trained, what is frozen, and in which dtypes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sana_bench.config import RunConfig
from sana_bench.errors import ConfigError
from sana_bench.plan.architecture import Architecture
from sana_bench.registry import near_names
from sana_bench.train_config import TrainSection

LORA_TARGETS = {"attention": ("to_q", "to_k", "to_v"), "attention_out": ("to_q", "to_k", "to_v", "to_out.0"),
                "all": ("to_q", "to_k", "to_v", "to_out.0", "conv_inverted", "conv_point")}
FULL_TARGETS = {"attention": ("attn1", "attn2"), "cross_attention": ("attn2",)}
TRAINED_HERE = ("lora", "full")
"""Trainers that train on this machine; the others need no memory for it."""


def weights_dtype(config: RunConfig) -> torch.dtype:
    """Of the transformer while it is trained: full rank keeps its weights in float32, since bfloat16 would lose small updates."""
    return torch.float32 if config.train.trainer == "full" else getattr(torch, config.model.transformer_dtype)


def build_trainee(architecture: Architecture, config: RunConfig) -> torch.nn.Module:
    """The transformer with its adapters, or with the parameters to be trained set free. Call it inside `on_meta(weights_dtype(config))`.

    Raises:
        ConfigError: a name of a target is in no module.
    """
    transformer = architecture.build("transformer", weights_dtype(config)).train().requires_grad_(False)
    prepare_trainee(transformer, config.train)
    return transformer


def prepare_trainee(transformer: torch.nn.Module, settings: TrainSection) -> None:
    """Add adapters in float32, or set parameters free; switch gradient checkpointing."""
    if settings.trainer == "lora":
        _add_adapter(transformer, settings)
    else:
        for parameter in _chosen(transformer, settings):
            parameter.requires_grad_()
    if settings.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()


def _add_adapter(transformer: torch.nn.Module, settings: TrainSection) -> None:
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig

    targets = LORA_TARGETS.get(settings.target_modules, settings.target_modules) if isinstance(settings.target_modules, str) else settings.target_modules
    _modules(transformer, targets, "train.target_modules")
    transformer.add_adapter(LoraConfig(
        r=settings.rank, lora_alpha=settings.lora_alpha, lora_dropout=settings.lora_dropout, use_dora=settings.use_dora,
        use_rslora=settings.use_rslora, init_lora_weights="gaussian", target_modules=list(targets)))
    cast_training_params(transformer, torch.float32)


def _chosen(transformer: torch.nn.Module, settings: TrainSection) -> list[torch.nn.Parameter]:
    """Parameters that the trainer `full` trains."""
    wanted = settings.trainable_modules
    names = {name for name, _ in transformer.named_parameters()}
    if wanted != "all":
        modules = _modules(transformer, FULL_TARGETS[wanted] if isinstance(wanted, str) else wanted, "train.trainable_modules")
        names = {name for name in names if any(name.startswith(f"{module}.") for module in modules)}
    if settings.last_blocks:
        number = len(transformer.transformer_blocks)
        blocks = [f"transformer_blocks.{index}." for index in range(max(0, number - settings.last_blocks), number)]
        names = {name for name in names if name.startswith(tuple(blocks))}
    return [parameter for name, parameter in transformer.named_parameters() if name in names]


def _modules(transformer: torch.nn.Module, ends: Sequence[str], setting: str) -> list[str]:
    """Names of modules that end in one of `ends`, by whole parts."""
    names = [name for name, _ in transformer.named_modules() if name]
    found = {end: [name for name in names if f".{name}".endswith(f".{end}")] for end in ends}
    missing = [end for end in ends if not found[end]]
    if missing:
        raise ConfigError(f'{setting}: no module ends in "{missing[0]}".{near_names(missing[0], sorted({name.rpartition(".")[2] for name in names}))}')
    return [name for each in found.values() for name in each]
