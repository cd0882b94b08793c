"""Training state on disk: one safetensors file, written atomically, that training goes on from.

The state is the trainable weights, the optimizer's tensors, and the loss curve. There is no random state in it: every
step draws from a generator seeded by (seed, step), so a resumed run repeats the unbroken one bit for bit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.errors import TrainingError
from sana_bench.store import write_bytes

if TYPE_CHECKING:
    import torch

STATE_FILE = "training_state.safetensors"


def save_training_state(folder: Path, weights: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer,
                        losses: list[float], identity: str) -> None:
    """Write the state after `len(losses)` steps. `identity` names the run that may resume from it."""
    import torch

    tensors = {f"weight.{name}": value.detach().contiguous() for name, value in weights.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        for key, value in slots.items():
            tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value).contiguous()
    save_weights(folder / STATE_FILE, tensors, {"identity": identity, "losses": json.dumps(losses)})


def save_weights(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write safetensors atomically, the same bytes for the same content: the library leaves the order of `metadata` to chance."""
    from safetensors.torch import save

    data = save(tensors, metadata)
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors start at a multiple of eight bytes
    write_bytes(path, len(header).to_bytes(8, "little") + header + data[8 + length:])


def load_training_state(folder: Path, weights: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer,
                        identity: str) -> list[float]:
    """Copy a saved state into `weights` and `optimizer`; return the losses so far ([] where nothing was saved).

    Raises:
        TrainingError: the state is damaged or belongs to another run.
    """
    import torch
    from safetensors import SafetensorError, safe_open

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
    trained = {name.removeprefix("weight.") for name in tensors if name.startswith("weight.")}
    if trained != set(weights):
        raise TrainingError(f"{path} holds other weights than are trained now (such as {min(trained ^ set(weights))}); delete it to start anew")
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
