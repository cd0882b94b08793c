"""Run folders of given numbers, and a real pytest that is asked about them."""

from __future__ import annotations

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
Scores = Mapping[str, Sequence[float | None]]


def shifted(shift: float, noise: float = 0.01, base: Sequence[float] = BASE) -> list[float]:
    """The base with a shift, and with noise whose mean is zero."""
    return [value + shift + noise * (-1) ** index for index, value in enumerate(base)]


def write_run(folder: Path, candidate: Scores, baseline: Scores | None = None, *, gates: Sequence[dict] = (), changes: Mapping[str, dict] | None = None,
              before: Mapping[str, dict] | None = None, guard: Scores | None = None, guard_baseline: Scores | None = None, **fields) -> Path:
    """A run folder, with a copy of its baseline where there is one.

    Args:
        gates: that the recipe declared.
        changes, before: fields of a metric's MetricResult on the side of the candidate and of the baseline.
        fields: of the BenchmarkResult of both.
    """
    config = {"name": "mine", "gate": list(gates)}
    for place, scores, guarding, own in ((folder, candidate, guard, changes), (folder / "baseline", baseline, guard_baseline, before)):
        if scores is not None:
            bundle = make_bundle(scores, changes=own, config=config, **fields)
            if guarding is not None:
                bundle = replace(bundle, guard=make_bundle(guarding, suite="scenery", suite_digest="s2"))
            write_result_folder(bundle, place)
    return folder


def run_pytest(cwd: Path, *arguments: str | Path) -> subprocess.CompletedProcess:
    """pytest in a process of its own and in that folder, with the plugins that are installed."""
    assert "sana_bench" in entry_points(group="pytest11").names, "an editable installation of before lacks the plugin: install it again"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *map(str, arguments)], cwd=cwd, env=environment,
                          capture_output=True, text=True, timeout=300)


def cases_of(junit: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """(text of its failure, or "" where it passed; properties) by name of the test case."""
    return {case.get("name"): ("" if case.find("failure") is None else case.find("failure").text,
                               {each.get("name"): each.get("value") for each in case.iter("property")})
            for case in ElementTree.parse(junit).iter("testcase")}
