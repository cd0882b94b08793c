"""The memory of one training step, from the real step on tensors without data."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch

from sana_bench.config import RunConfig
from sana_bench.models import LATENT_PX
from sana_bench.plan.architecture import Architecture
from sana_bench.plan.flops import FlopCounter
from sana_bench.plan.optimizer_state import EXTRA_STATE, make_optimizer
from sana_bench.plan.trainee import build_trainee, weights_dtype
from sana_bench.plan.weightless import materialise, on_meta, simulated
from sana_bench.training.flow_matching import flow_matching_loss

WEIGHTS, GRADIENTS, OPTIMIZER, EMA, BUCKETS = "weights", "gradients", "optimizer", "EMA", "DDP buckets"


@dataclass(frozen=True)
class StepMemory:
    """What one training step has on the device when most is alive."""

    parts: dict[str, int]
    """Bytes by part; the peak is their sum."""
    flops: int
    """Of forward and backward pass, recomputation with gradient checkpointing among them."""


def step_memory(architecture: Architecture, config: RunConfig, *, resolution: int, batch_size: int, cuda: bool) -> StepMemory:
    """Simulate a training step that is not the first one, so that the optimizer has its state.

    Args:
        resolution: side of the square view in pixels.
        batch_size: of one process.
        cuda: for a CUDA device; else for the CPU.
    """
    settings = config.train
    with on_meta(weights_dtype(config)):
        transformer = build_trainee(architecture, config)
    with simulated(cuda) as ledger:
        materialise(transformer)
        ledger.claim(WEIGHTS, (*transformer.parameters(), *transformer.buffers()))
        trained = [parameter for parameter in transformer.parameters() if parameter.requires_grad]
        optimizer = make_optimizer(settings, trained, cuda)
        _make_state(optimizer, trained)
        ledger.claim(OPTIMIZER, _state_of(optimizer))
        kept = _beside(settings, trained)
        for part, tensor in kept.items():
            ledger.claim(part, [tensor])
        moment, inputs = ledger.now(), _inputs(transformer, config, resolution, batch_size)
        if settings.gradient_accumulation_steps > 1:  # the gradients of earlier micro-batches stay while a later one is worked on
            _add_gradients(trained)
        with FlopCounter() as counter, _autocast(settings.mixed_precision):
            loss = flow_matching_loss(transformer, *inputs)
        with counter:
            loss.backward()
        ledger.claim(GRADIENTS, [parameter.grad for parameter in trained])
        del loss, inputs
        torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
        optimizer.step()
        return StepMemory(ledger.peak_since(moment), counter.total)


def _autocast(mixed_precision: str):
    return torch.autocast("cpu", torch.bfloat16) if mixed_precision == "bf16" else nullcontext()


def _add_gradients(trained: list[torch.nn.Parameter]) -> None:
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)


def _make_state(optimizer: torch.optim.Optimizer, trained: list[torch.nn.Parameter]) -> None:
    """An optimizer makes its state in its first step."""
    _add_gradients(trained)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _state_of(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [value for slots in optimizer.state.values() for value in slots.values() if isinstance(value, torch.Tensor)]


def _beside(settings, trained: list[torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    """One tensor for each further part that lies on the device all the time."""
    number = sum(parameter.numel() for parameter in trained)
    sizes = {OPTIMIZER: EXTRA_STATE[settings.optimizer](trained), EMA: 4 * number if settings.ema_decay else 0,
             BUCKETS: 4 * number if settings.num_processes > 1 and settings.strategy == "ddp" else 0}
    return {part: torch.empty(size, dtype=torch.uint8) for part, size in sizes.items() if size}


def _inputs(transformer: torch.nn.Module, config: RunConfig, resolution: int, batch_size: int) -> tuple[torch.Tensor, ...]:
    """Arguments of `flow_matching_loss` after the transformer."""
    side, channels = resolution // LATENT_PX, transformer.config.in_channels
    dtype = weights_dtype(config) if config.train.mixed_precision == "no" else torch.float32
    latents = torch.empty(batch_size, channels, side, side, dtype=dtype)
    embeds = torch.empty(batch_size, config.generate.max_sequence_length, transformer.config.caption_channels, dtype=dtype)
    mask = torch.empty(batch_size, config.generate.max_sequence_length, dtype=torch.int64)
    return latents, torch.empty_like(latents), torch.empty(batch_size), embeds, mask
