"""Tensors of one cached file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.errors import StoreError

if TYPE_CHECKING:
    import torch


def read_cached(path: Path, *names: str) -> list[torch.Tensor]:
    """The tensors of these names, on the processor, in the dtypes in which they were written.

    Raises:
        StoreError: the file is missing or damaged, or has not all of them.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        return [tensors[name] for name in names]
    except (OSError, SafetensorError, KeyError) as error:
        raise StoreError(f"{path} is missing or damaged ({error}). Delete it to have it encoded again") from error
