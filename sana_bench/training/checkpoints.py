"""Training state on disk: one safetensors file, written atomically, that training goes on from.

The state is the trainable weights, the optimizer's tensors, and the loss curve. There is no random state in it: every
step draws from a generator seeded by (seed, step), so a resumed run repeats the unbroken one bit for bit.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sana_bench.errors import TrainingError

STATE_FILE = "training_state.safetensors"


def save_training_state(folder: Path, weights: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer,
                        losses: list[float], identity: str) -> None:
    """Write the state after `len(losses)` steps. `identity` names the run that may resume from it."""
    tensors = {f"weight.{name}": value.detach().contiguous() for name, value in weights.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        for key, value in slots.items():
            tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value).contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{STATE_FILE}.{os.getpid()}"
    save_file(tensors, temporary, metadata={"identity": identity, "losses": json.dumps(losses)})
    os.replace(temporary, folder / STATE_FILE)


def load_training_state(folder: Path, weights: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer,
                        identity: str) -> list[float]:
    """Copy a saved state into `weights` and `optimizer`; return the losses so far ([] where nothing was saved).

    Raises:
        TrainingError: the state is damaged or belongs to another run.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return []
    try:
        with safe_open(path, framework="pt") as state:
            metadata = state.metadata()
            if metadata["identity"] != identity:
                raise TrainingError(f"{path} was written by another run ({metadata['identity']}, this is {identity}); "
                                    f"delete it to start anew")
            tensors = {name: state.get_tensor(name) for name in state.keys()}
    except (SafetensorError, KeyError) as error:
        raise TrainingError(f"{path} is damaged ({error}); delete it to start anew") from error
    with torch.no_grad():
        for name, value in weights.items():
            value.copy_(tensors[f"weight.{name}"])
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            slots.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    return json.loads(metadata["losses"])
