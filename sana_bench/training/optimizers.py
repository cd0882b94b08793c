"""Optimizers by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sana_bench.errors import ConfigError
from sana_bench.train_config import TrainSection

if TYPE_CHECKING:
    import torch

CAME_BETAS, CAME_EPS = (0.9, 0.999, 0.9999), (1e-30, 1e-16)
"""As in NVlabs/Sana's recipes."""


def build_optimizer(settings: TrainSection, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer that the recipe names, over `parameters` as one group.

    Raises:
        ConfigError: its package is not installed.
    """
    import torch

    rest = dict(lr=settings.learning_rate, weight_decay=settings.weight_decay)
    try:
        if settings.optimizer == "adamw_8bit":
            from bitsandbytes.optim import AdamW8bit

            return AdamW8bit(parameters, **rest)
        if settings.optimizer == "came":
            from came_pytorch import CAME

            return CAME(parameters, betas=CAME_BETAS, eps=CAME_EPS, **rest)
    except ImportError as error:
        package = {"adamw_8bit": "bitsandbytes", "came": "came-pytorch"}[settings.optimizer]
        raise ConfigError(f'train.optimizer "{settings.optimizer}" needs the package {package} ({error}): pip install {package}, '
                          f"or --set train.optimizer=adamw") from error
    return torch.optim.AdamW(parameters, **rest)
