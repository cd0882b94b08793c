"""What all tests share: no network, fixed seeds, and the marks.

`weights` needs the embedded assets (`sana-bench assets pull`): without them such a test fails, saying so. `gpu` is skipped
where there is no CUDA device, `slow` where -m does not name it (`pytest -m slow`). `gate` reads a regression report.
Deselect with, say, `pytest -m "not weights"`.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

os.environ["SANA_BENCH_OFFLINE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell; whatever tests start, and stop by it, would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)

SEED = 20261124

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50, database=None)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "slow" not in config.getoption("markexpr"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: run it with pytest -m slow"))
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


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A micro Sana with a small training and reference folder, made once: the arguments of `micro.write_run`."""
    from tests.micro import build_base, write_photographs

    folder = tmp_path_factory.mktemp("micro")
    return {"base": build_base(folder / "base"), "training": write_photographs(folder / "training", 3),
            "reference": write_photographs(folder / "reference", 6)}
