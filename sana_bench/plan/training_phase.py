"""The memory of one training step, from the real step on tensors without data."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch

from sana_bench.config import RunConfig
from sana_bench.models import LATENT_PX, check_size
from sana_bench.plan.architecture import Architecture
from sana_bench.plan.flops import FlopCounter
from sana_bench.plan.optimizer_state import make_optimizer, unsimulated_state
from sana_bench.plan.trainee import build_trainee
from sana_bench.plan.weightless import materialise, simulated
from sana_bench.train_config import StageSection, TrainSection
from sana_bench.training.flow_matching import flow_matching_loss

WEIGHTS, GRADIENTS, OPTIMIZER, EMA, GATHERED = "weights", "gradients", "optimizer", "EMA", "gathered blocks"
CUT_BY_FSDP = (WEIGHTS, GRADIENTS, OPTIMIZER, EMA)
BLOCKS_AT_ONCE = 2
"""FSDP2 gathers the next block while one is at work."""


@dataclass(frozen=True)
class StepMemory:
    """What one training step has on one device when most is alive."""

    parts: dict[str, int]
    """Bytes by part."""
    flops: int
    """Of forward and backward pass of one batch, recomputation with gradient checkpointing among them."""

    @property
    def peak(self) -> int:
        return sum(self.parts.values())


def step_memory(architecture: Architecture, config: RunConfig, stage: StageSection, *, cuda: bool) -> StepMemory:
    """Simulate a training step that is not the first one, so that the optimizer has its state.

    Args:
        stage: whose resolution, batch and accumulation are simulated, with square views.
        cuda: for a CUDA device; else for the CPU.

    Raises:
        SanaBenchError: the transformer cannot be trained as the recipe says.
    """
    settings, transformer = config.train, build_trainee(architecture, config)
    check_size(transformer.config, stage.resolution, stage.resolution)
    with simulated(cuda) as ledger:
        materialise(transformer)
        ledger.claim(WEIGHTS, (*transformer.parameters(), *transformer.buffers()))
        trained = [parameter for parameter in transformer.parameters() if parameter.requires_grad]
        optimizer = make_optimizer(settings, trained, cuda)
        _make_state(optimizer, trained)
        ledger.claim(OPTIMIZER, _state_of(optimizer))
        beside = {part: torch.empty(size, dtype=torch.uint8) for part, size in _beside(settings, trained).items()}
        for part, tensor in beside.items():
            ledger.claim(part, [tensor])
        moment, inputs = ledger.now(), _inputs(transformer, config, stage)
        if stage.gradient_accumulation_steps > 1 or _has_buckets(settings):  # gradients are there while a batch is worked on
            _add_gradients(trained)
        with FlopCounter() as counter:
            with torch.autocast("cpu", torch.bfloat16) if settings.mixed_precision == "bf16" else nullcontext():
                loss = flow_matching_loss(transformer, *inputs)
            loss.backward()
        ledger.claim(GRADIENTS, [parameter.grad for parameter in trained])
        del loss, inputs
        torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
        optimizer.step()
        parts = ledger.peak_since(moment)
    return StepMemory(_cut(parts, transformer, settings), counter.total)


def _has_buckets(settings: TrainSection) -> bool:
    """Whether the model is copied, by DDP: all gradients lie in buckets then, which stay."""
    return settings.num_processes > 1 and settings.strategy == "ddp"


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


def _beside(settings: TrainSection, trained: list[torch.nn.Parameter]) -> dict[str, int]:
    """Bytes of further parts that lie on the device all the time."""
    size = 4 * sum(parameter.numel() for parameter in trained)
    return {OPTIMIZER: unsimulated_state(settings.optimizer, trained), EMA: size if settings.ema_decay else 0}


def _inputs(transformer: torch.nn.Module, config: RunConfig, stage: StageSection) -> tuple[torch.Tensor, ...]:
    """Arguments of `flow_matching_loss` after the transformer."""
    side, tokens = stage.resolution // LATENT_PX, config.generate.max_sequence_length
    dtype = transformer.dtype if config.train.mixed_precision == "no" else torch.float32
    latents = torch.empty(stage.train_batch_size, transformer.config.in_channels, side, side, dtype=dtype)
    embeds = torch.empty(stage.train_batch_size, tokens, transformer.config.caption_channels, dtype=dtype)
    mask = torch.empty(stage.train_batch_size, tokens, dtype=torch.int64)
    return latents, torch.empty_like(latents), torch.empty(stage.train_batch_size), embeds, mask


def _cut(parts: dict[str, int], transformer: torch.nn.Module, settings: TrainSection) -> dict[str, int]:
    """What one of several processes has under FSDP2: its share, and the blocks that are at work whole."""
    if settings.num_processes == 1 or settings.strategy == "ddp":
        return parts
    block = sum(parameter.nbytes for parameter in transformer.transformer_blocks[0].parameters())
    shares = {part: size // settings.num_processes if part in CUT_BY_FSDP else size for part, size in parts.items()}
    return {**shares, GATHERED: BLOCKS_AT_ONCE * block}
