"""Run folders of given numbers, and a real pytest that is asked about them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

from tests.bundles import make_bundle, write_result_folder

NUM = 12
BASE = [0.5 + 0.03 * index for index in range(NUM)]
"""Mean 0.665."""
WITHOUT = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:anyio")
"""Plugins of this environment that take long to import."""
END = "=== end of a call ==="
Scores = Mapping[str, Sequence[float | None]]


def shifted(shift: float, noise: float = 0.01, base: Sequence[float] = BASE) -> list[float]:
    """The base with a shift, and with noise whose mean is zero: a draw of another fine-tune."""
    return [value + shift + noise * (-1) ** index * (1 + 0.02 * (index // 2)) for index, value in enumerate(base)]


LIKE = shifted(0)
"""Another draw that is neither better nor worse."""


def write_run(folder: Path, candidate: Scores, baseline: Scores | None = None, *, gates: Sequence[dict] = (), guard: Scores | None = None,
              **fields) -> Path:
    """A run folder, with a copy of its baseline where there is one.

    Args:
        gates: that the recipe declared.
        guard: scores on the guard suite, "scenery".
        fields: as `make_bundle` takes them, of both sides.
    """
    for place, scores in ((folder, candidate), (folder / "baseline", baseline)):
        if scores is not None:
            bundle = make_bundle(scores, config={"name": "mine", "gate": list(gates)}, **fields)
            write_result_folder(replace(bundle, guard=make_bundle(guard, suite="scenery", suite_digest="s2")) if guard else bundle, place)
    return folder


def run_pytest(cwd: Path, *arguments: str | Path) -> subprocess.CompletedProcess:
    """pytest in a process of its own and in that folder, with the plugin as it is installed."""
    return _run(cwd, "-m", "pytest", *WITHOUT, *map(str, arguments))


def run_pytests(cwd: Path, *calls: Sequence[str | Path]) -> list[str]:
    """What each of several calls says on stdout, one after the other in one process, which saves its imports."""
    script = f"import json, pytest, sys\nfor call in json.loads(sys.argv[1]):\n    pytest.main(call)\n    print({END!r}, flush=True)"
    done = _run(cwd, "-c", script, json.dumps([[*WITHOUT, *map(str, call)] for call in calls]))
    assert done.returncode == 0, done.stderr
    return done.stdout.split(END)[:-1]


def _run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess:
    assert "sana_bench.gates.plugin" in entry_points(group="pytest11").names, "an editable installation of before lacks the plugin: install it again"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def cases_of(junit: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """(text of its failure, or "" where it passed; properties) by name of the test case."""
    return {case.get("name"): ("" if case.find("failure") is None else case.find("failure").text,
                               {each.get("name"): each.get("value") for each in case.iter("property")})
            for case in ElementTree.parse(junit).iter("testcase")}
