"""What optimizers keep between steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch

from sana_bench.train_config import TrainSection
from sana_bench.training.optimizers import build_optimizer

MIN_8BIT_SIZE, BLOCK = 4096, 256
"""bitsandbytes keeps the moments of smaller tensors in float32, and a float32 scale for each block of the others."""


def make_optimizer(settings: TrainSection, trained: Sequence[torch.nn.Parameter], cuda: bool) -> torch.optim.Optimizer:
    """AdamW itself, which runs without data. For one that may not be installed here, SGD, which keeps nothing: see `unsimulated_state`."""
    optimizer = build_optimizer(settings, trained) if settings.optimizer == "adamw" else torch.optim.SGD(trained)
    for group in optimizer.param_groups:
        group["foreach"] = cuda  # as torch chooses for tensors with data: all at once on CUDA, with temporaries as large as all, and one by one on a CPU
    return optimizer


def unsimulated_state(name: str, trained: Sequence[torch.nn.Parameter]) -> int:
    """Bytes that the optimizer keeps beside what `make_optimizer` makes."""
    return 0 if name == "adamw" else STATE[name](trained)


def _adamw(trained: Sequence[torch.nn.Parameter]) -> int:
    """Two moments, and a float32 number of steps for each tensor."""
    return sum(8 * each.numel() + 4 for each in trained)


def _adamw_8bit(trained: Sequence[torch.nn.Parameter]) -> int:
    """Two moments of one byte an element, and their scales."""
    large = [each.numel() for each in trained if each.numel() >= MIN_8BIT_SIZE]
    small = [each.numel() for each in trained if each.numel() < MIN_8BIT_SIZE]
    return 2 * sum(size + 4 * -(-size // BLOCK) for size in large) + 8 * sum(small)


def _came(trained: Sequence[torch.nn.Parameter]) -> int:
    """The first moment, and the second moment and its instability: as sums over each of the last two axes, or whole for vectors."""
    return 4 * sum(each.numel() + (2 * _sums(each.shape) if each.dim() > 1 else each.numel()) for each in trained)


def _sums(shape: torch.Size) -> int:
    shape = shape[:2] if shape[2:] == (1, 1) else shape  # training/optimizers.py takes such convolutions for matrices
    return prod(shape[:-1]) + prod(shape[:-2]) * shape[-1]


STATE: dict[str, Callable[[Sequence[torch.nn.Parameter]], int]] = {"adamw": _adamw, "adamw_8bit": _adamw_8bit, "came": _came}
"""Bytes of state by optimizer."""
