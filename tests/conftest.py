"""What all tests share: no network, fixed seeds, and the marks.

`weights` needs the embedded assets (`sana-bench assets pull`): without them such a test fails, saying so. `gpu` is skipped where
there is no CUDA device. `gate` reads a regression report. Deselect with, say, `pytest -m "not weights"`.
"""

from __future__ import annotations

import os
import random
import sys

import numpy as np
import pytest
from hypothesis import settings

os.environ["SANA_BENCH_OFFLINE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

SEED = 20261124

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50, database=None)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """The same global random numbers in every test, alone or together; torch's only where a test has loaded it."""
    random.seed(SEED)
    np.random.seed(SEED)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(SEED)
