"""What accelerate does for training: one process or several, each on its own device."""

from __future__ import annotations

import os
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING

from sana_bench.train_config import TrainSection

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

PATIENCE = timedelta(days=1)
"""A process waits so long for another one, which may have more images to encode; one that has ended ends the others at once."""


def join(settings: TrainSection, device: str) -> Accelerator:
    """This process's part in training. A process may train again, with other settings."""
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    if device.startswith("cuda"):
        torch.cuda.set_device(torch.device(device).index or 0)  # accelerate trains on the current device, not on the one it is told
    os.environ.pop("ACCELERATE_USE_FSDP", None)  # `cut` does that, on every kind of device, and accelerate on some
    AcceleratorState._reset_state(reset_partial_state=True)
    without_copies = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    return Accelerator(mixed_precision=settings.mixed_precision, cpu=device == "cpu",
                       kwargs_handlers=[without_copies, InitProcessGroupKwargs(timeout=PATIENCE)])


def main_says(accelerator: Accelerator, value: bool) -> bool:
    """What the main process has for `value`, in all processes."""
    import torch
    from accelerate.utils import broadcast

    return bool(broadcast(torch.tensor(int(value), device=accelerator.device)))


def cut(transformer: torch.nn.Module, accelerator: Accelerator) -> None:
    """Cut a transformer's weights among all processes, in place, by FSDP2; its gradients and what an optimizer keeps of them are cut alike.

    A block is whole on a device only while it is computed. Weights keep their dtypes, frozen bfloat16 ones beside float32 adapters too, and
    autocast chooses what is computed in which, as in one process: float32 weights are sent whole, so that the losses are those of one process.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")  # the loss changes no prediction in place
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for block in transformer.transformer_blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(transformer, mesh=mesh)
