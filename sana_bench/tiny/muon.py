"""Muon for a network's hidden matrices, AdamW for everything else, as one optimizer.

Source: Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon); the step is scaled to the size of AdamW's, so that both
share a learning rate (Liu et al. 2025, arXiv 2502.16982). `torch.optim.Muon` takes no 1x1 convolutions, in which a Sana has
half of its weights.
"""

from __future__ import annotations

import torch

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5
ADAMW_RMS = 0.2
"""Typical root mean square of AdamW's updates, in learning rates."""


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest (semi-)orthogonal matrix, about: singular values end between 0.7 and 1.2. (M, N) -> (M, N), float32.

    Computed in bfloat16, as the source does: the iteration needs no more, and takes half the time.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    update = matrix.mT if tall else matrix
    update = (update / (update.norm() + 1e-7)).bfloat16().contiguous()
    for _ in range(NUM_ITERATIONS):
        gram = update @ update.mT
        update = torch.addmm(update, torch.addmm(gram, gram, gram, beta=b, alpha=c), update, beta=a)
    return (update.mT if tall else update).float()


class MuonAdamW(torch.optim.AdamW):
    """AdamW, but for the `matrices`: weights of (out, in) or, in 1x1 convolutions, (out, in, 1, 1)."""

    def __init__(self, matrices: list[torch.nn.Parameter], others: list[torch.nn.Parameter], *, momentum: float = 0.95, **settings):
        super().__init__([{"params": matrices, "momentum": momentum}, {"params": others, "momentum": None}], **settings)

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            if group["momentum"] is not None:
                for weight in group["params"]:
                    self._step_matrix(weight, group)
        super().step()

    def _step_matrix(self, weight: torch.nn.Parameter, group: dict) -> None:
        """One Nesterov step along the orthogonalised momentum. The gradient goes, and AdamW passes over what has none."""
        if weight.grad is None:
            return
        state = self.state[weight]
        if not state:
            state.update(momentum_buffer=torch.zeros_like(weight), step=torch.zeros(()))  # AdamW loads no state without "step"
        average = state["momentum_buffer"]
        average.lerp_(weight.grad, 1 - group["momentum"])
        update = weight.grad.lerp(average, group["momentum"]).flatten(1)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(orthogonalise(update).view_as(weight), alpha=-group["lr"] * ADAMW_RMS * max(update.shape) ** 0.5)
        weight.grad = None


def split_parameters(module: torch.nn.Module, blocks: tuple[str, ...]) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """(matrices, others): linear layers and 1x1 convolutions below submodules of the names `blocks`, and the rest."""
    matrices, others = [], []
    for path, layer in module.named_modules():
        inside = any(part in blocks for part in path.split("."))
        dense = isinstance(layer, torch.nn.Linear) or (
            isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1)
        for name, parameter in layer.named_parameters(recurse=False):
            (matrices if inside and dense and name == "weight" else others).append(parameter)
    return matrices, others
