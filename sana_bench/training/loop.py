"""The one training loop: seeded steps, a finite loss, a learning-rate schedule, checkpoints and progress."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.errors import TrainingError
from sana_bench.progress import progress
from sana_bench.training.checkpoints import load_training_state, save_training_state

if TYPE_CHECKING:
    import torch


def step_generator(seed: int, step: int) -> torch.Generator:
    """CPU generator of one step; it depends on nothing but the two numbers, so a resumed run draws the same."""
    import torch

    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def learning_rate_at(step: int, *, base: float, warmup_steps: int, total_steps: int, schedule: str) -> float:
    """Learning rate of a step (counted from 0): linear warm-up, then `constant`, `linear` or `cosine` to zero."""
    if step < warmup_steps:
        return base * (step + 1) / warmup_steps
    fraction = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    if schedule == "linear":
        return base * (1 - fraction)
    if schedule == "cosine":
        return base * 0.5 * (1 + math.cos(math.pi * fraction))
    return base


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What decides the course of a loop."""

    seed: int
    total_steps: int
    learning_rate: float
    warmup_steps: int = 0
    schedule: str = "constant"
    max_grad_norm: float = 1.0
    gradient_accumulation_steps: int = 1
    checkpoint_every: int = 100
    description: str = "train"


def run_loop(settings: LoopSettings, *, weights: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer,
             compute_loss: Callable[[int, torch.Generator], torch.Tensor], folder: Path, identity: str,
             backward: Callable[[torch.Tensor], None] | None = None,
             after_step: Callable[[int], None] = lambda step: None) -> list[float]:
    """Train `weights` from the last checkpoint in `folder` to `total_steps`; return the loss of every step.

    Args:
        weights: the trainable parameters by name; all of them are in `optimizer`, whose groups may have an `lr_scale`.
        compute_loss: (step, generator) -> scalar loss; all randomness comes from the generator.
        identity: digest of what decides the outcome; a checkpoint of another identity is refused.
        backward: how gradients are made, if not by the loss's own `backward` (accelerate's in the trainers).
        after_step: called with the number of finished steps.

    Raises:
        TrainingError: the loss is not finite (before the optimizer has seen it), or the checkpoint does not fit.
    """
    import torch

    losses = load_training_state(folder, dict(weights), optimizer, identity)
    parameters = list(weights.values())
    with progress(settings.description, settings.total_steps, len(losses)) as tracker:
        for step in range(len(losses), settings.total_steps):
            for group in optimizer.param_groups:
                group["lr"] = group.get("lr_scale", 1.0) * learning_rate_at(
                    step, base=settings.learning_rate, warmup_steps=settings.warmup_steps,
                    total_steps=settings.total_steps, schedule=settings.schedule)
            losses.append(_accumulate(settings, step, compute_loss, backward))
            norm = torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
            if not torch.isfinite(norm):
                raise _diverged("the gradient's norm", norm, step, settings)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            tracker.advance(f"loss {sum(losses[-20:]) / len(losses[-20:]):.4f}")
            if len(losses) % settings.checkpoint_every == 0 or len(losses) == settings.total_steps:
                save_training_state(folder, dict(weights), optimizer, losses, identity)
            after_step(len(losses))
    return losses


def _accumulate(settings: LoopSettings, step: int, compute_loss: Callable[[int, torch.Generator], torch.Tensor],
                backward: Callable[[torch.Tensor], None] | None) -> float:
    """Gradients of one step over `gradient_accumulation_steps` batches; the mean loss."""
    import torch

    generator, total = step_generator(settings.seed, step), 0.0
    for _ in range(settings.gradient_accumulation_steps):
        loss = compute_loss(step, generator) / settings.gradient_accumulation_steps
        if not torch.isfinite(loss):
            raise _diverged("the loss", loss, step, settings)
        backward(loss) if backward else loss.backward()
        total += loss.item()
    return total


def _diverged(what: str, value: torch.Tensor, step: int, settings: LoopSettings) -> TrainingError:
    return TrainingError(f"{what} is {value.item()} at step {step}; lower learning_rate ({settings.learning_rate}) or check the "
                         f"data. Nothing of this step was applied")
