"""Floating-point operations of matrix products, convolutions and attention, two for each multiplication with addition."""

from __future__ import annotations

from math import prod

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten


class FlopCounter(TorchDispatchMode):
    """Adds up what the operators that run while it is active would compute.

    torch's own FlopCounterMode hooks into modules, which keeps alive what gradient checkpointing would free, and its formula for the gradient of
    a convolution knows no groups: it is off by the number of channels for depthwise ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if func is aten.convolution_backward.default:
            self.total += _convolution_backward(*args)
        elif func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=output)
        return output


def _convolution_backward(grad, images, weight, bias_sizes, stride, padding, dilation, transposed, output_padding, groups, output_mask) -> int:
    """The gradients of input and weight cost as much as the forward pass each: every output takes one product with each weight of its channel."""
    one_pass = 2 * prod(grad.shape) * prod(weight.shape[1:])
    return one_pass * (bool(output_mask[0]) + bool(output_mask[1]))
