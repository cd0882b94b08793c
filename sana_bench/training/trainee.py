"""What a training loop trains: weights with their optimizer, in one process or several."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from diffusers.training_utils import EMAModel


@dataclass
class Stopwatch:
    """Seconds that training spends inside forward and backward passes and the optimizer, and outside of them."""

    inside: float = 0.0
    total: float = 0.0

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """`inside` or `total`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, what, getattr(self, what) + time.perf_counter() - start)


@dataclass
class Trainee:
    """What a loop trains."""

    weights: Mapping[str, torch.nn.Parameter]
    """The trainable parameters by name; all of them are in `optimizer`."""
    optimizer: torch.optim.Optimizer
    """Its groups may have an `lr_scale`."""
    ema: EMAModel | None = None
    """Of the weights, in their order."""
    accelerator: Accelerator | None = None
    model: torch.nn.Module | None = None
    """As accelerate prepared it."""
    watch: Stopwatch = field(default_factory=Stopwatch)

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return self.accelerator is None or self.accelerator.is_main_process

    def passes(self, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward pass of one batch: copies of the model average their gradients in those of the last batch of a step. Where the
        model is cut they are averaged every time, since nobody has room for all of them."""
        return nullcontext() if last or self.accelerator is None else self.accelerator.no_sync(self.model)

    def backward(self, loss: torch.Tensor) -> None:
        if self.accelerator is None:
            loss.backward()
        else:
            self.accelerator.backward(loss)

    def mean_over_processes(self, loss: torch.Tensor) -> float:
        return (loss if self.accelerator is None else self.accelerator.reduce(loss, "mean")).item()

    def clip(self, max_norm: float) -> torch.Tensor:
        """The norm of all gradients, before they are clipped to it."""
        import torch

        clip = torch.nn.utils.clip_grad_norm_ if self.accelerator is None else self.accelerator.clip_grad_norm_
        return whole(clip(list(self.weights.values()), max_norm))


def whole(value: torch.Tensor | float) -> torch.Tensor:
    """A copy on the processor, gathered where the tensor is cut among processes. Plain numbers become int64 or float64 without dimensions."""
    import torch

    if not isinstance(value, torch.Tensor):
        return torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float64)
    return _gathered(value.detach()).to("cpu", copy=True).contiguous()


def _gathered(value: torch.Tensor | float) -> torch.Tensor | float:
    from torch.distributed.tensor import DTensor

    return value.full_tensor() if isinstance(value, DTensor) else value


def whole_by_name(values: Mapping[str, torch.Tensor | float], keep: bool) -> dict[str, torch.Tensor]:
    """As `whole`, in the processes that `keep` them; the others only take part in gathering, one at a time, and copy nothing to the processor."""
    tensors = {}
    for name, value in values.items():
        gathered = _gathered(value)
        if keep:
            tensors[name] = whole(gathered)
    return tensors
