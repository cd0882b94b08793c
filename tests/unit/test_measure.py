"""Time and memory of a stage, children included."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from sana_bench.measure import measure

MEGABYTES = 200


def test_memory_that_was_held_and_freed_counts() -> None:
    with measure() as meter:
        before = meter.cost().peak_memory_bytes
        held = np.ones(MEGABYTES << 20, np.uint8)
        during = meter.cost().peak_memory_bytes
        del held
        after = meter.cost()
    assert during - before > 0.9 * (MEGABYTES << 20)
    assert after.peak_memory_bytes == during and after.seconds > 0


def test_memory_of_children_counts() -> None:
    code = f"held = b'1' * ({MEGABYTES} << 20); print('held', flush=True); import sys; sys.stdin.read()"
    with measure() as meter:
        before = meter.cost().peak_memory_bytes
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout.readline() == b"held\n"
            assert meter.cost().peak_memory_bytes - before > 0.9 * (MEGABYTES << 20)
            child.stdin.close()
