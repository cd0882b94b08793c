"""The wheel holds all that an installation outside a checkout needs.

It is built by the build backend alone, without a network.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest

from sana_bench.shipped import PACKAGE

ROOT = PACKAGE.parent


@pytest.fixture(scope="module")
def members(tmp_path_factory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
                    "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("folder", ["sana_bench", "prompts", "baselines"])
def test_every_tracked_file_is_in_it(members: set[str], folder: str) -> None:
    tracked = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    if not tracked:
        pytest.skip("not a checkout")
    inside = {name if folder == "sana_bench" else f"sana_bench/{name}" for name in tracked if (ROOT / name).exists()}
    assert inside <= members, sorted(inside - members)


def test_nothing_of_the_tests_or_reports_is_in_it(members: set[str]) -> None:
    assert {name.partition("/")[0].partition("-")[0] for name in members} <= {"sana_bench"} | {
        name.partition("/")[0] for name in members if ".dist-info/" in name}
