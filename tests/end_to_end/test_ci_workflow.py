"""The shell blocks of the GPU workflow, in order, in a repository of a user's: a real benchmark, the gates in pytest, the summary, and the colour of the job."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sana_bench.ci.init import WorkflowOptions, init
from sana_bench.shipped import PACKAGE
from tests.micro import write_run
from tests.workflows import Played, load, play

pytestmark = pytest.mark.weights
GATES = '[[gate]]\nname = "faces there"\nmetric = "face_rate"\nfloor = {floor}\n'
"""Noise of 64 pixels shows no face: its rate is 0, which holds against a floor of 0 and against no higher one."""


@pytest.fixture(scope="module")
def repository(micro, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    write_run(folder, **micro)
    (folder / "gates.toml").write_text(GATES.format(floor=0))
    init(folder, WorkflowOptions(recipe="micro.toml", gates="gates.toml", runner_label="gpu", requirement="."))
    (folder / "bin").mkdir()
    program = folder / "bin" / "sana-bench"
    program.write_text(f'#!/usr/bin/env bash\nexec {shlex.quote(sys.executable)} -m sana_bench "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    return folder


def run_job(repository: Path, gates: str) -> Played:
    (repository / "gates.toml").write_text(gates)
    (repository / "summary.md").unlink(missing_ok=True)
    (repository / "gates.xml").unlink(missing_ok=True)
    job = load((repository / ".github" / "workflows" / "sana-bench-gpu.yml").read_text())["jobs"]["benchmark"]
    context = {"github": {"event_name": "pull_request", "server_url": "https://github.example", "repository": "us/models", "run_id": "7"}}
    environment = {"PATH": f"{repository / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin", "PYTEST_ADDOPTS": "",
                   "PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]))}
    return play(job, repository, environment, context, leave_out=("Install",))


def failures(path: Path) -> dict[str, bool]:
    return {case.get("name"): case.find("failure") is not None for case in ElementTree.parse(path).iter("testcase")}


def test_a_run_that_holds_is_green_and_its_twin_is_red(repository):
    green = run_job(repository, GATES.format(floor=0))
    assert green.failed == [], green.log
    assert failures(repository / "gates.xml") == {"faces there": False}
    assert "| faces there | ✓ yes |" in green.summary and "## ✓" in green.summary
    assert (Path(green.outputs["run"]["run_dir"]) / "report.html").exists()

    red = run_job(repository, GATES.format(floor=0.5))
    assert red.failed == ["Gates", "End as the benchmark ended"], red.log
    assert red.outputs["run"]["code"] == "1" and failures(repository / "gates.xml") == {"faces there": True}
    assert "| faces there | ✗ **no** |" in red.summary and "## ▼" in red.summary
    comment = (repository / "comment.md").read_text()
    assert "| faces there | ✗ **no** |" in comment and "/actions/runs/7)" in comment


def test_gates_that_cannot_be_asked_are_an_error_and_no_verdict(repository):
    broken = run_job(repository, '[[gate]]\nmetric = "hnd_rate"\n')
    assert broken.failed == ["Train, draw, score and compare", "End as the benchmark ended"], broken.log
    assert broken.outputs["run"] == {"code": "2"} and "## No verdict" in broken.summary
    assert 'Did you mean "hand_rate"' in broken.log and not (repository / "gates.xml").exists()
