"""Extractors whose costly part is a network that takes rows of many images at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from sana_bench.features import Features, View

if TYPE_CHECKING:
    import torch

ROWS_ON_ACCELERATOR = 32


class Network(ABC):
    """What can be done on any thread of the processor, and what the device does. One object serves all threads."""

    def extract(self, view: View, known: Mapping[str, Features]) -> Features:
        """Features of one image by itself."""
        return self.forward([self.prepare(view, known)])[0]

    @abstractmethod
    def prepare(self, view: View, known: Mapping[str, Features]) -> Any:
        """What `forward` takes of one image. Called from several threads at once."""

    @abstractmethod
    def forward(self, inputs: Sequence[Any]) -> list[Features]:
        """Features of each image, whichever images come along."""

    def close(self) -> None:
        """Nothing native to free."""


class PooledNetwork(Network):
    """A network that sums up a whole image in one row. A subclass prepares (1, ...) float32 an image.

    Features:
        features: (D,) float32.
    """

    device: str

    @abstractmethod
    def infer(self, rows_B: torch.Tensor) -> torch.Tensor:
        """(B, ...) float32 on the device -> (B, D)."""

    def forward(self, inputs: Sequence[np.ndarray]) -> list[Features]:
        return [{"features": row_1D[0]} for row_1D in run_rows(self.infer, inputs, self.device, rows_at_once(self.device))]


def rows_at_once(device: str) -> int:
    """Rows of a batch: one on a processor, where more gain nothing."""
    return 1 if device == "cpu" else ROWS_ON_ACCELERATOR


def run_rows(network: Callable[[torch.Tensor], torch.Tensor], inputs: Sequence[np.ndarray], device: str, batch_size: int) -> list[np.ndarray]:
    """Run the rows of several images through a network in batches of always the same size; the last is filled up with zeros.

    Kernels are chosen by the size of a batch and sum in another order at another size. At one size a row's place in the batch still moves it
    by a rounding, its neighbours do not; one row at a time, as on a processor, nothing does.

    Args:
        network: (batch_size, ...) on the device -> (batch_size, D).
        inputs: (K, ...) an image, of one dtype; K may differ and may be 0.

    Returns:
        (K, D) float32 an image; D is 0 where there is no row at all.
    """
    import torch

    rows = np.concatenate(inputs) if inputs else np.zeros((0, 0), np.float32)
    found = []
    with one_thread(), torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            batch = torch.from_numpy(rows[start:start + batch_size])
            filled = torch.cat([batch, batch.new_zeros(batch_size - len(batch), *batch.shape[1:])])
            found.append(network(filled.to(device))[:len(batch)].float().cpu().numpy())
    joined = np.concatenate(found) if found else np.zeros((0, 0), np.float32)
    return np.split(joined, np.cumsum([len(each) for each in inputs]))[:-1]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread while inside.

    The order of sums then does not depend on the machine's number of cores; and an image this small gains nothing from two
    threads, which on busy cores wait for each other in every layer (2.1 s an image instead of 0.1 s, measured).
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
