"""Evidence of damage that landmarks cannot give: a small network looks at each hand and face, and finds where it is broken.

It is trained on graded corruptions of photographs of the training people, of the kinds that `split.py` lets it learn; other
people and other kinds are kept for the self-test.
"""

from __future__ import annotations

from pathlib import Path

from sana_bench.shipped import PACKAGE

FOLDER = PACKAGE / "evidence" / "weights"
"""Where `sana-bench build-evidence` puts what it learns."""


def network_file(part: str, folder: Path = FOLDER) -> Path:
    """Weights of the network of `hand` or `face`."""
    return folder / f"{part}.safetensors"


def calibration_file(part: str, folder: Path = FOLDER) -> Path:
    """How its parts become one plausibility: see plausibility.py."""
    return folder / f"{part}.json"
