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
PACKAGES = {"adamw_8bit": "bitsandbytes", "came": "came-pytorch"}
"""What an optimizer is in, where torch does not have it."""


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
            return _came()(parameters, betas=CAME_BETAS, eps=CAME_EPS, **rest)
    except ImportError as error:
        package = PACKAGES[settings.optimizer]
        raise ConfigError(f'train.optimizer "{settings.optimizer}" needs the package {package} ({error}): pip install {package}, '
                          f"or --set train.optimizer=adamw") from error
    return torch.optim.AdamW(parameters, **rest)


def _came() -> type[torch.optim.Optimizer]:
    """CAME for transformers whose feed-forward layers are 1x1 convolutions.

    It keeps sums over the last two axes of a weight in place of one number for each element. Of a 1x1 convolution these have one place each, so
    that it would keep five numbers a weight: while it steps, such weights are the matrices that they amount to.
    """
    import torch
    from came_pytorch import CAME

    class CameOnMatrices(CAME):
        @torch.no_grad()
        def step(self, closure=None):
            convolutions = [weight for group in self.param_groups for weight in group["params"]
                            if weight.grad is not None and weight.ndim == 4 and weight.shape[2:] == (1, 1)]
            for weight in convolutions:
                _reshape(weight, weight.shape[:2])
            try:
                return super().step(closure)
            finally:
                for weight in convolutions:
                    _reshape(weight, (*weight.shape, 1, 1))

    return CameOnMatrices


def _reshape(weight: torch.nn.Parameter, shape: tuple[int, ...]) -> None:
    gradient, weight.grad = weight.grad, None
    weight.data, gradient = weight.data.reshape(shape), gradient.reshape(shape)
    weight.grad = gradient
