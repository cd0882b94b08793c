"""What a stage costs: seconds, and the highest memory of this process and its children while it ran."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from sana_bench.records import StageCost

INTERVAL_S = 0.05


class Meter:
    """Samples resident memory in a thread until it is stopped."""

    def __init__(self) -> None:
        self._process, self._start = psutil.Process(), time.monotonic()
        self._peak_bytes, self._stopped = self._resident_bytes(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def cost(self) -> StageCost:
        """Cost from the start until now."""
        self._peak_bytes = max(self._peak_bytes, self._resident_bytes())
        return StageCost(seconds=round(time.monotonic() - self._start, 3), peak_memory_bytes=self._peak_bytes)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(INTERVAL_S):
            self._peak_bytes = max(self._peak_bytes, self._resident_bytes())

    def _resident_bytes(self) -> int:
        total = self._process.memory_info().rss
        for child in self._process.children(recursive=True):
            try:
                total += child.memory_info().rss
            except psutil.NoSuchProcess:  # it ended between being listed and being read
                continue
        return total


@contextmanager
def measure() -> Iterator[Meter]:
    """`with measure() as meter: ...; meter.cost()`."""
    meter = Meter()
    try:
        yield meter
    finally:
        meter.stop()
