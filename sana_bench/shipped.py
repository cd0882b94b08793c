"""Where the data files that come with sana-bench are: inside an installed package, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def shipped_folder(name: str) -> Path:
    """Folder `prompts`, `baselines` or `recipes`; the wheel carries the first two inside the package."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name
