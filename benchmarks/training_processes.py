"""Starts the processes of the benchmarks of training, from a process that stays small: a child's peak memory begins at its parent's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

POLL_S = 0.2
OFFLINE = {**os.environ, "SANA_BENCH_OFFLINE": "1"}


def material(folder: Path, *arguments: object) -> None:
    """`write_material` of training_material.py."""
    code = f"from pathlib import Path; from benchmarks.training_material import write_material; write_material(Path({str(folder)!r}), *{arguments!r})"
    subprocess.run([sys.executable, "-c", code], env=OFFLINE, check=True)


def side(name: str, folder: Path, warmup: int, steps: int, watch: Callable[[int], None] = lambda pid: None) -> dict:
    """What a side of training_sides.py found.

    Args:
        watch: called with the process's id several times a second while it runs.
    """
    print(f"{name} ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.training_sides", name, str(folder), str(warmup), str(steps)]
    with subprocess.Popen(command, env=OFFLINE, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            watch(process.pid)
            try:
                process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                continue
        output = process.stdout.read()
    if process.returncode:
        sys.exit(f"{name} ended with exit code {process.returncode}")
    return json.loads(output.splitlines()[-1])
