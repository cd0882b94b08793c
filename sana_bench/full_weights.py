"""A whole transformer on disk, as diffusers keeps it: a folder of config.json and safetensors, in shards where it is large."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.errors import ModelError, StoreError

if TYPE_CHECKING:
    import torch

FOLDER, CONFIG_FILE, MAX_SHARD_SIZE = "transformer", "config.json", "5GB"
TRANSFORMER = "SanaTransformer2DModel"
WEIGHT_FILE = re.compile(r"diffusion_pytorch_model(\.(?P<variant>[^.-]+))?(?P<shard>-\d{5}-of-\d{5})?(\.(?P<late_variant>[^.-]+))?\.safetensors")
"""The name of a variant stands before the number of a shard, and in files of older versions of diffusers behind it."""
FREE_IN_CONFIG = {"dropout"}
"""Settings in which a fine-tune may differ from its base without being drawn in another way."""


def read_config(folder: Path) -> dict:
    """config.json of a transformer, with diffusers' defaults for what it does not say.

    Raises:
        ModelError: there is none, or it is of another class.
    """
    import inspect

    from diffusers import SanaTransformer2DModel

    try:
        config = json.loads((folder / CONFIG_FILE).read_text())
        name = config.get("_class_name", TRANSFORMER)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{folder / CONFIG_FILE} cannot be read: {error}") from error
    if name != TRANSFORMER:
        raise ModelError(f"{folder / CONFIG_FILE} is of a {name}, not of a {TRANSFORMER}")
    defaults = {key: each.default for key, each in inspect.signature(SanaTransformer2DModel.__init__).parameters.items() if key != "self"}
    return defaults | {key: value for key, value in config.items() if key in defaults}


def weight_files(folder: Path, variant: str) -> list[Path]:
    """The safetensors files of a transformer: those of the variant, else those without one, else those of its only one. Empty where there are none.

    Raises:
        ModelError: only variants that nobody asked for.
    """
    by_variant: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        if found := WEIGHT_FILE.fullmatch(path.name):
            by_variant.setdefault(found["variant"] or found["late_variant"] or "", []).append(path)
    if len(by_variant) > 1 and not {variant, ""} & by_variant.keys():
        raise ModelError(f"{folder} has the variants {', '.join(sorted(by_variant))}: say which with model.variant")
    files = by_variant.get(variant) or by_variant.get("") or next(iter(by_variant.values()), [])
    whole = [path for path in files if not WEIGHT_FILE.fullmatch(path.name)["shard"]]
    return whole or files


def stored_dtypes(files: Iterable[Path]) -> set[str]:
    """As safetensors call them, such as `BF16`, from the headers alone.

    Raises:
        ModelError: a file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    found = set()
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                found |= {file.get_slice(name).get_dtype() for name in file.keys()}
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} is not a readable safetensors file, so the transformer does not load: {error}") from error
    return found


def read_tensors(files: Iterable[Path]) -> dict[str, torch.Tensor]:
    """All tensors of a transformer by name, mapped from the disk.

    Raises:
        ModelError: a file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = {}
    for path in files:
        try:
            tensors |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} is not a readable safetensors file: {error}") from error
    return tensors


def empty_transformer(config: Mapping):
    """A SanaTransformer2DModel of that config that has shapes and no memory (device `meta`).

    Raises:
        ModelError: no transformer can have this config.
    """
    import torch
    from diffusers import SanaTransformer2DModel

    try:
        with torch.device("meta"):
            return SanaTransformer2DModel(**config)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise ModelError(f"the transformer's config cannot be used: {error}") from error


def check_same_config(config: Mapping, base_config: Mapping) -> None:
    """Refuse weights whose transformer computes something else than the base's.

    Raises:
        ModelError: with every setting in which they differ.
    """
    differ = [f"{name} is {config[name]} and the base's is {base_config[name]}"
              for name in base_config if name not in FREE_IN_CONFIG and config[name] != base_config[name]]
    lost = config["interpolation_scale"] is None and base_config["interpolation_scale"] is not None
    if differ:
        raise ModelError(f"the full weights are of another base: {'; '.join(differ)}"
                         + ("; without interpolation_scale they lack the positional embedding that the base was trained with" if lost else ""))


def save_transformer(tensors: Mapping[str, torch.Tensor], config: Mapping, folder: Path) -> None:
    """Write `folder` as `SanaTransformer2DModel.from_pretrained` reads it, whole or not at all. Each tensor keeps its dtype.

    Raises:
        ModelError: the tensors are not those of a transformer of this config.
        StoreError: the disk is full or cannot be written.
    """
    from safetensors import SafetensorError

    model = empty_transformer(config)
    _check_shapes(tensors, model.state_dict())
    model.load_state_dict(dict(tensors), strict=True, assign=True)
    temporary = folder.with_name(f".{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        model.save_pretrained(temporary, max_shard_size=MAX_SHARD_SIZE)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except (OSError, SafetensorError) as error:  # the latter is how the library says that the disk is full
        raise StoreError(f"cannot write {folder}: {error}. Free space or choose another folder (--set run.store=...)") from error


def _check_shapes(tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    missing, unknown = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    other = [f"{name} is {tuple(tensors[name].shape)}, not {tuple(expected[name].shape)}"
             for name in sorted(expected.keys() & tensors.keys()) if tensors[name].shape != expected[name].shape]
    whole = [f"{name} is {tensors[name].dtype}" for name in sorted(expected.keys() & tensors.keys()) if not tensors[name].is_floating_point()]
    problems = [f"{len(names)} {what} (such as {names[0]})" for what, names in
                (("tensors are missing", missing), ("tensors are none of its", unknown), ("have another shape", other), ("are no floating-point numbers", whole)) if names]
    if problems:
        raise ModelError(f"the full weights are of another base than this one: {'; '.join(problems)}")


def load_full_weights(folder: Path, dtype: torch.dtype):
    """The SanaTransformer2DModel in a folder, in that dtype.

    Raises:
        ModelError: it does not load.
    """
    from diffusers import SanaTransformer2DModel
    from safetensors import SafetensorError

    try:
        return SanaTransformer2DModel.from_pretrained(folder, dtype=dtype, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder} does not load as a {TRANSFORMER}: {error}") from error
