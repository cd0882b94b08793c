"""Training state on disk: one safetensors file, written atomically, that training goes on from.

The state is the trainable weights, the optimizer's tensors, the moving average, and the loss curve. There is no random state in it: every
step draws from generators seeded by (seed, step), so a resumed run repeats the unbroken one bit for bit.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.errors import StoreError, TrainingError
from sana_bench.store import remove_unfinished, sha256_file, written_whole
from sana_bench.training.trainee import Trainee, whole_by_name
from sana_bench.workers import Background

if TYPE_CHECKING:
    import torch

STATE_FILE = "training_state.safetensors"


def save_training_state(folder: Path, trainee: Trainee, losses: list[float], identity: str, writer: Background) -> None:
    """Write the state after `len(losses)` steps, while training goes on. `identity` names the run that may resume from it.

    Every process takes part where the weights are cut among several; the main one writes.
    """
    state = {f"weight.{name}": value for name, value in trainee.weights.items()}
    for name, weight in trainee.weights.items():
        state |= {f"optimizer.{key}.{name}": value for key, value in trainee.optimizer.state.get(weight, {}).items()}
    if trainee.ema:
        state |= {f"ema.{name}": value for name, value in zip(trainee.weights, trainee.ema.shadow_params, strict=True)}
        state["ema_steps"] = trainee.ema.optimization_step
    writer.wait()  # one copy of the state at a time
    tensors = whole_by_name(state, keep=trainee.is_main)
    if trainee.is_main:
        writer.do(partial(save_weights, folder / STATE_FILE, tensors, {"identity": identity, "losses": json.dumps(losses)}))


def save_weights(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write safetensors atomically, the same bytes for the same content: the library leaves the order of `metadata` to chance.

    Raises:
        StoreError: the disk is full, or cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with written_whole(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # how the library says that the disk is full
            raise StoreError(f"cannot write {path}: {error}. What was there before is kept") from error
        _sort_header(temporary)


def weights_digest(path: Path) -> str:
    """SHA-256 of a weights file; of a folder, one of its files' names and contents."""
    if path.is_file():
        return sha256_file(path)
    files = sorted(each for each in path.rglob("*") if each.is_file())
    return hashlib.sha256(json.dumps([[str(each.relative_to(path)), sha256_file(each)] for each in files]).encode()).hexdigest()


def _sort_header(path: Path) -> None:
    """Write the header of a safetensors file again, in place, with its keys in order."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.dumps(json.loads(file.read(length)), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(header) <= length, "the same content, without a space, is no longer than it was"
        file.seek(8)
        file.write(header.ljust(length))


def remove_training_state(folder: Path) -> None:
    """Once the record of a training is written, nothing goes on from its state, which is several times as large as the weights."""
    (folder / STATE_FILE).unlink(missing_ok=True)


def load_training_state(folder: Path, trainee: Trainee, identity: str) -> list[float]:
    """Copy a saved state into `trainee`; return the losses so far ([] where nothing was saved).

    Raises:
        TrainingError: the state is damaged or belongs to another run.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    path = folder / STATE_FILE
    if trainee.is_main:
        remove_unfinished(path)
    if not path.exists():
        return []
    try:
        with safe_open(path, framework="pt") as state:
            metadata = state.metadata()
            if metadata["identity"] != identity:
                raise TrainingError(f"{path} was written by another run ({metadata['identity']}, this is {identity}); "
                                    f"delete it to start anew")
            trained = {name.removeprefix("weight.") for name in state.keys() if name.startswith("weight.")}
            if trained != set(trainee.weights):
                raise TrainingError(f"{path} holds other weights than are trained now (such as {min(trained ^ set(trainee.weights))}); "
                                    f"delete it to start anew")
            with torch.no_grad():
                for name, value in trainee.weights.items():
                    value.copy_(_like(state.get_tensor(f"weight.{name}"), value))
                if trainee.ema:
                    for name, value in zip(trainee.weights, trainee.ema.shadow_params, strict=True):
                        value.copy_(_like(state.get_tensor(f"ema.{name}"), value))
                    trainee.ema.optimization_step = int(state.get_tensor("ema_steps"))
            _load_optimizer(state, trainee)
            return json.loads(metadata["losses"])
    except (SafetensorError, KeyError) as error:
        raise TrainingError(f"{path} is damaged ({error}); delete it to start anew") from error


def _load_optimizer(state, trainee: Trainee) -> None:
    import torch

    for name, weight in trainee.weights.items():
        trainee.optimizer.state.pop(weight, None)
    for full_name in state.keys():
        kind, _, rest = full_name.partition(".")
        if kind == "optimizer":
            key, _, name = rest.partition(".")
            tensor, weight = state.get_tensor(full_name), trainee.weights[name]
            plain = tensor.ndim == 0 and tensor.dtype in (torch.int64, torch.float64)
            trainee.optimizer.state[weight][key] = tensor.item() if plain else _like(tensor, weight)


def _like(tensor: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """On the device of a weight, and cut among processes as that is where it has its shape. What has no dimensions stays on the processor."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(weight, DTensor) or tensor.shape != weight.shape:
        return tensor.to(weight.device) if tensor.ndim else tensor
    return distribute_tensor(tensor.to(weight.device), weight.device_mesh, weight.placements)
