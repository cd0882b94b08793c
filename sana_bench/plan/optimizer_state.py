"""What optimizers keep between steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch

from sana_bench.train_config import TrainSection

MIN_8BIT_SIZE, BLOCK = 4096, 256
"""bitsandbytes keeps the moments of smaller tensors in float32, and a float32 scale for each block of the others."""


def make_optimizer(settings: TrainSection, trained: Sequence[torch.nn.Parameter], cuda: bool) -> torch.optim.Optimizer:
    """AdamW itself, which runs without data. For one whose kernels need a device, SGD, which keeps nothing: see EXTRA_STATE."""
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(trained, foreach=cuda)  # torch's own choice on each
    return torch.optim.SGD(trained, foreach=cuda)


def _adamw_8bit(trained: Sequence[torch.nn.Parameter]) -> int:
    """Two moments of one byte an element, and their scales."""
    large = [each.numel() for each in trained if each.numel() >= MIN_8BIT_SIZE]
    small = [each.numel() for each in trained if each.numel() < MIN_8BIT_SIZE]
    return 2 * sum(size + 4 * -(-size // BLOCK) for size in large) + 8 * sum(small)


def _came(trained: Sequence[torch.nn.Parameter]) -> int:
    """The first moment, and the second moment and its confidence as sums over each of the last two axes; whole for vectors."""
    return 4 * sum(each.numel() + (2 * _factors(each.shape) if each.dim() > 1 else each.numel()) for each in trained)


def _factors(shape: torch.Size) -> int:
    return prod(shape[:-1]) + prod(shape[:-2]) * shape[-1]


EXTRA_STATE: dict[str, Callable[[Sequence[torch.nn.Parameter]], int]] = {"adamw": lambda trained: 0, "adamw_8bit": _adamw_8bit, "came": _came}
"""Bytes of state by optimizer, of those that are not simulated."""
