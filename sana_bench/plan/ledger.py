"""Counts the bytes of all tensors that are alive while code runs, whether they hold data or not."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from itertools import accumulate

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

OTHER = "activations"
"""Part of everything that no other part was claimed for: what autograd keeps, and temporaries."""


class Ledger(TorchDispatchMode):
    """While it is active, each storage that an operator returns is booked in, and booked out when its last owner drops it.

    What was made before is not seen. Views and in-place results are storages that are known already, so nothing is counted twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bookings: list[tuple[int, int]] = []
        """(number of the storage, bytes; negative where it went)."""
        self._numbers: dict[int, int] = {}
        self._parts: dict[int, str] = {}
        self._made = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor):
                self._book_in(tensor.untyped_storage())
        return output

    def _book_in(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._numbers:
            return
        self._made += 1
        self._numbers[storage._cdata] = self._made
        self._bookings.append((self._made, storage.nbytes()))
        weakref.finalize(storage, self._book_out, storage._cdata, self._made, storage.nbytes())

    def _book_out(self, address: int, number: int, size: int) -> None:
        del self._numbers[address]
        self._bookings.append((number, -size))

    def claim(self, part: str, tensors: Iterable[torch.Tensor]) -> None:
        """Say what these tensors, which are alive, are; the last word counts."""
        for tensor in tensors:
            self._parts[self._numbers[tensor.untyped_storage()._cdata]] = part

    def now(self) -> int:
        """A moment, for `peak_since`."""
        return len(self._bookings)

    def peak_since(self, moment: int) -> dict[str, int]:
        """Bytes by part at the time after `moment` when most were alive, OTHER last."""
        totals = list(accumulate(size for _, size in self._bookings))
        end = max(range(max(moment - 1, 0), len(totals)), key=totals.__getitem__, default=-1) + 1
        alive: dict[str, int] = {}
        for number, size in self._bookings[:end]:
            part = self._parts.get(number, OTHER)
            alive[part] = alive.get(part, 0) + size
        return {part: alive[part] for part in sorted(alive, key=OTHER.__eq__) if alive[part]}
