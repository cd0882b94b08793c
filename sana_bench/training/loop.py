"""The one training loop: seeded steps, a finite loss, a learning-rate schedule, checkpoints and progress.

One process or several: what they do differently is in `Trainee`, which accelerate fills for the trainers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.errors import TrainingError
from sana_bench.progress import progress
from sana_bench.training.checkpoints import load_training_state, save_training_state
from sana_bench.training.trainee import Trainee
from sana_bench.workers import Background

if TYPE_CHECKING:
    import torch


def step_generator(seed: int, step: int, *more: int) -> torch.Generator:
    """CPU generator of one step, or of one sample in it; it depends on nothing but the numbers, so a resumed run draws the same."""
    import torch

    digest = hashlib.sha256("/".join(map(str, (seed, step, *more))).encode()).digest()
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

    total_steps: int
    learning_rate: float
    first_step: int = 0
    """Steps of the loops before this one, which share its folder: the stages of one training."""
    warmup_steps: int = 0
    schedule: str = "constant"
    max_grad_norm: float = 1.0
    gradient_accumulation_steps: int = 1
    checkpoint_every: int = 100
    description: str = "train"


def run_loop(settings: LoopSettings, trainee: Trainee, compute_loss: Callable[[int, int], torch.Tensor], folder: Path, identity: str,
             after_step: Callable[[int], None] = lambda step: None) -> list[float]:
    """Train from the last checkpoint in `folder` to the end of `settings`; return the loss of every step, those of earlier loops included.

    Args:
        compute_loss: (step of this loop, number of the batch in it) -> scalar loss; its randomness is the same whenever a step is done again.
        identity: digest of what decides the outcome; a checkpoint of another identity is refused.
        after_step: called with the number of finished steps.

    Raises:
        TrainingError: the loss is not finite (before the optimizer has seen it), or the checkpoint does not fit.
    """
    losses = load_training_state(folder, trainee, identity)
    end = settings.first_step + settings.total_steps
    with progress(settings.description, settings.total_steps, min(settings.total_steps, len(losses) - settings.first_step)) as tracker, Background() as writer:
        while len(losses) < end:
            with trainee.watch.measure("total"):
                losses.append(_step(settings, trainee, len(losses) - settings.first_step, compute_loss))
                tracker.advance(f"loss {sum(losses[-20:]) / len(losses[-20:]):.4f}")
                if len(losses) % settings.checkpoint_every == 0 or len(losses) == end:
                    save_training_state(folder, trainee, losses, identity, writer)
            after_step(len(losses))
    if trainee.accelerator:
        trainee.accelerator.wait_for_everyone()  # the others go on from what the main process has written
    return losses


def _step(settings: LoopSettings, trainee: Trainee, step: int, compute_loss: Callable[[int, int], torch.Tensor]) -> float:
    """One step of the optimizer; the mean loss of its batches over all processes."""
    import torch

    for group in trainee.optimizer.param_groups:
        group["lr"] = group.get("lr_scale", 1.0) * learning_rate_at(
            step, base=settings.learning_rate, warmup_steps=settings.warmup_steps, total_steps=settings.total_steps, schedule=settings.schedule)
    total = 0.0
    for number in range(settings.gradient_accumulation_steps):
        with trainee.passes(last=number == settings.gradient_accumulation_steps - 1):
            loss = compute_loss(step, number) / settings.gradient_accumulation_steps
            with trainee.watch.measure("inside"):
                trainee.backward(loss)
                total += trainee.mean_over_processes(loss.detach())
        if not math.isfinite(total):
            raise _diverged("the loss", total, step, settings)
    with trainee.watch.measure("inside"):
        norm = trainee.clip(settings.max_grad_norm)
        if not torch.isfinite(norm):
            raise _diverged("the gradient's norm", norm.item(), step, settings)
        trainee.optimizer.step()
        trainee.optimizer.zero_grad(set_to_none=True)
        if trainee.ema:
            trainee.ema.step(trainee.weights.values())
    return total


def _diverged(what: str, value: float, step: int, settings: LoopSettings) -> TrainingError:
    return TrainingError(f"{what} is {value} at step {settings.first_step + step}; lower learning_rate ({settings.learning_rate}) or check the "
                         f"data. Nothing of this step was applied")
