"""Where sana-bench's own files are: what comes with it (in the package, or at the top of a checkout), and its cache."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def shipped_folder(name: str) -> Path:
    """Folder `prompts`, `baselines` or `recipes`; the wheel carries the first two inside the package."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def cache_folder() -> Path:
    """`$SANA_BENCH_CACHE`, else `~/.cache/sana-bench`: third-party assets and the state of long builds."""
    cache = os.environ.get("SANA_BENCH_CACHE")
    return (Path(cache).expanduser() if cache else Path.home() / ".cache" / "sana-bench").absolute()
