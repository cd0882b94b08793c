"""Assets of pretrained models, as files of the same format with other numbers in them, so that no test needs a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sana_bench.assets.pins import ASSETS
from sana_bench.assets.sources import LocalFolder
from sana_bench.store import sha256_file


def put_asset(name: str, file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the asset of that name is this file, in a cache of its own."""
    monkeypatch.setenv("SANA_BENCH_CACHE", str(cache))
    monkeypatch.setitem(ASSETS, name, replace(ASSETS[name], source=LocalFolder(folder=file.parent), members={file.name: sha256_file(file)}))
