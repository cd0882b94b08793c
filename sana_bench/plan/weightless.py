"""Modules and tensors without data, on which real code runs: shapes, dtypes and lifetimes are real, values are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from sana_bench.plan.ledger import Ledger


@contextmanager
def on_meta(dtype: torch.dtype) -> Iterator[None]:
    """Modules that are made inside have no data and that dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def simulated(cuda: bool) -> Iterator[Ledger]:
    """Inside, tensors are made without data and counted.

    Args:
        cuda: Cast as autocast does on CUDA where it differs from the CPU's. All tensors say that they are on the CPU either way, so that this
            works with every build of torch.
    """
    with ExitStack() as stack:
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        ledger = stack.enter_context(Ledger())
        if cuda:
            stack.enter_context(_cuda_casts())
        yield ledger


@contextmanager
def _cuda_casts() -> Iterator[None]:
    """CUDA's autocast normalises layers in float32, the CPU's as they come. Other operators that Sana has are treated alike by both.

    The function is exchanged, since a TorchFunctionMode is off in the backward pass, where gradient checkpointing computes blocks again.
    """
    original = F.layer_norm

    def layer_norm(input: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        return original(input.float() if torch.is_autocast_enabled("cpu") else input, *args, **kwargs)

    F.layer_norm = layer_norm
    try:
        yield
    finally:
        F.layer_norm = original


def materialise(module: torch.nn.Module) -> torch.nn.Module:
    """Move a module off the meta device, in place; inside `simulated` its tensors stay without data. Tied ones stay tied."""
    made: dict[int, torch.Tensor] = {}

    def twin(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            made[id(tensor)] = torch.empty(tensor.shape, dtype=tensor.dtype)
        return made[id(tensor)]

    for each in module.modules():
        for name, parameter in each._parameters.items():
            if parameter is not None:
                each._parameters[name] = torch.nn.Parameter(twin(parameter), requires_grad=parameter.requires_grad)
        for name, buffer in each._buffers.items():
            if buffer is not None:
                each._buffers[name] = twin(buffer)
    return module


def num_bytes(module: torch.nn.Module) -> int:
    """Of its parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
