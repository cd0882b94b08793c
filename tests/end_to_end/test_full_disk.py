"""A disk that really is full: a small tmpfs, mounted in a name space of its own.

Run: pytest tests/end_to_end/test_full_disk.py -q
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.micro import run, write_run

ON_A_SMALL_DISK = """
disk=$1; mount -t tmpfs -o size=$2k tmpfs "$disk" || exit 99; shift 2
"$@"; echo "code $?"
mount -o remount,size=64m tmpfs "$disk"; echo "the disk has grown" >&2
"$@"; echo "code $?"
"""


def can_mount() -> bool:
    """Whether this machine lets a process mount a file system in a name space of its own."""
    words = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    return shutil.which("unshare") is not None and subprocess.run(words, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def unbroken(micro, tmp_path_factory) -> list[dict]:
    """The verdicts of a run that had space enough."""
    return json.loads(run("train-and-eval", "--config", write_run(tmp_path_factory.mktemp("unbroken"), **micro), "--json").stdout)["verdicts"]


@pytest.mark.skipif(not can_mount(), reason="this machine does not let a process mount a file system")
@pytest.mark.parametrize(("folder", "kilobytes"), [("store", 32), ("store", 120), ("reports", 16)])  # in training, scoring, reporting
def test_a_full_disk_is_one_error_and_the_run_goes_on_once_there_is_space(micro, tmp_path: Path, unbroken: list[dict], folder: str,
                                                                          kilobytes: int):
    recipe, disk = write_run(tmp_path, **micro), tmp_path / folder
    disk.mkdir()
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh", disk, str(kilobytes),
         sys.executable, "-m", "sana_bench", "train-and-eval", "--config", recipe, "--json"], capture_output=True, text=True)
    first, _ = done.stderr.split("the disk has grown")
    failed, answer = done.stdout.split("code 2\n")
    errors = [line for line in first.splitlines() if "error" in line]
    assert failed == "" and "Traceback" not in done.stderr
    assert len(errors) == 1 and "No space left on device" in errors[0] and str(disk) in errors[0], first
    document, _, code = answer.rpartition("code ")
    assert code == "1\n" and json.loads(document)["verdicts"] == unbroken
