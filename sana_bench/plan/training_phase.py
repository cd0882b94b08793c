"""The memory of one training step, from the real step on tensors without data."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch

from sana_bench.config import RunConfig
from sana_bench.models import LATENT_PX, check_size
from sana_bench.plan.architecture import Architecture
from sana_bench.plan.flops import FlopCounter
from sana_bench.plan.ledger import Ledger
from sana_bench.plan.optimizer_state import make_optimizer, unsimulated_state
from sana_bench.plan.trainee import build_trainee
from sana_bench.plan.weightless import materialise, simulated
from sana_bench.train_config import StageSection, TrainSection
from sana_bench.training.flow_matching import flow_matching_loss

WEIGHTS, GRADIENTS, OPTIMIZER, EMA, GATHERED = "weights", "gradients", "optimizer", "EMA", "gathered by FSDP2"
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
    """Simulate a training step that is not the first one, so that the optimizer has its state. What torch.compile does to it is not known here.

    Args:
        stage: whose resolution, batch and accumulation are simulated, with square views.
        cuda: for a CUDA device; else for the CPU.

    Raises:
        SanaBenchError: the transformer cannot be trained as the recipe says.
    """
    transformer = build_trainee(architecture, config)
    check_size(transformer.config, stage.resolution, stage.resolution)
    with simulated(cuda) as ledger:
        optimizer, beside = _load(transformer, config.train, ledger, cuda)
        moment = ledger.now()
        flops = _step(transformer, optimizer, config, stage, ledger)
        parts = ledger.peak_since(moment)
        del beside
    return StepMemory(_cut(parts, transformer, config.train), flops)


def _load(transformer: torch.nn.Module, settings: TrainSection, ledger: Ledger, cuda: bool) -> tuple[torch.optim.Optimizer, list[torch.Tensor]]:
    """All that lies on the device between steps: the transformer, moved there; the optimizer with its state; and what must be held to stay there."""
    materialise(transformer)
    ledger.claim(WEIGHTS, (*transformer.parameters(), *transformer.buffers()))
    trained = _trained(transformer)
    optimizer = make_optimizer(settings, trained, cuda)
    _add_gradients(trained)
    optimizer.step()  # the first one makes the state
    optimizer.zero_grad(set_to_none=True)
    ledger.claim(OPTIMIZER, (value for slots in optimizer.state.values() for value in slots.values() if isinstance(value, torch.Tensor)))
    beside = {part: torch.empty(size, dtype=torch.uint8) for part, size in _beside(settings, trained).items()}
    for part, tensor in beside.items():
        ledger.claim(part, [tensor])
    return optimizer, list(beside.values())


def _step(transformer: torch.nn.Module, optimizer: torch.optim.Optimizer, config: RunConfig, stage: StageSection, ledger: Ledger) -> int:
    """As training/loop.py does it; the operations of its last batch."""
    settings, trained, inputs = config.train, _trained(transformer), _inputs(transformer, config, stage)
    if stage.gradient_accumulation_steps > 1 or is_copied(settings):
        _add_gradients(trained)  # those of earlier batches of the step, or DDP's buckets, which are there all the time
    with FlopCounter() as counter:
        with torch.autocast("cpu", torch.bfloat16) if settings.mixed_precision == "bf16" else nullcontext():
            loss = flow_matching_loss(transformer, *inputs)
        loss.backward()
    ledger.claim(GRADIENTS, [parameter.grad for parameter in trained])
    del loss, inputs
    torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
    optimizer.step()
    return counter.total


def _trained(transformer: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [parameter for parameter in transformer.parameters() if parameter.requires_grad]


def _add_gradients(trained: list[torch.nn.Parameter]) -> None:
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)


def _beside(settings: TrainSection, trained: list[torch.nn.Parameter]) -> dict[str, int]:
    """Bytes of further parts that lie on the device all the time."""
    return {OPTIMIZER: unsimulated_state(settings.optimizer, trained),
            EMA: 4 * sum(parameter.numel() for parameter in trained) if settings.ema_decay else 0}


def is_copied(settings: TrainSection) -> bool:
    """Whether several processes have a copy of the model each."""
    return settings.num_processes > 1 and settings.strategy == "ddp"


def _inputs(transformer: torch.nn.Module, config: RunConfig, stage: StageSection) -> tuple[torch.Tensor, ...]:
    """Arguments of `flow_matching_loss` after the transformer."""
    side, tokens = stage.resolution // LATENT_PX, config.generate.max_sequence_length
    dtype = transformer.dtype if config.train.mixed_precision == "no" else torch.float32
    latents = torch.empty(stage.train_batch_size, transformer.config.in_channels, side, side)
    embeds = torch.empty(stage.train_batch_size, tokens, transformer.config.caption_channels, dtype=dtype)
    mask = torch.empty(stage.train_batch_size, tokens, dtype=torch.int64)
    return latents, torch.empty_like(latents), torch.empty(stage.train_batch_size), embeds, mask


def _cut(parts: dict[str, int], transformer: torch.nn.Module, settings: TrainSection) -> dict[str, int]:
    """What one of several processes has under FSDP2: its share, and whole what is at work: blocks with their gradients, and what is in no block."""
    if settings.num_processes == 1 or is_copied(settings):
        return parts
    first, number = transformer.transformer_blocks[0], len(transformer.transformer_blocks)
    block = sum(parameter.nbytes * (2 if parameter.requires_grad else 1) for parameter in first.parameters())
    outside = sum(parameter.nbytes for parameter in transformer.parameters()) - number * sum(parameter.nbytes for parameter in first.parameters())
    shares = {part: size // settings.num_processes if part in CUT_BY_FSDP else size for part, size in parts.items()}
    return {**shares, GATHERED: BLOCKS_AT_ONCE * block + outside}
