"""The micro base and its data, made once a test session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.micro import build_base, write_photographs


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Arguments of write_run: base, training and reference."""
    folder = tmp_path_factory.mktemp("micro")
    return {"base": build_base(folder / "base"), "training": write_photographs(folder / "training", 3),
            "reference": write_photographs(folder / "reference", 6)}
