"""The workflows of `ci init`: what may start them and with which rights, that nothing of a stranger reaches a shell, and that red stays red."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sana_bench.ci.init import PULL_REQUEST_LABEL, WorkflowOptions, init, render
from sana_bench.ci.markdown import MARKER
from sana_bench.cli import main
from sana_bench.config import RunConfig
from sana_bench.errors import ConfigError, StoreError
from sana_bench.shipped import PACKAGE
from sana_bench.store import write_record
from tests.report_fixture import make_run, make_suite
from tests.workflows import holds, load, play, strings

OPTIONS = WorkflowOptions(recipe="sana_1600m_2k_lora", gates="gates.toml", runner_label="gpu", requirement="git+https://example.org/x@" + "a" * 40, revision="c" * 40)
WORKFLOWS = {kind: load(render(kind, OPTIONS)) for kind in ("gpu", "cpu")}
OWN = {path.stem: load(path.read_text()) for path in sorted((PACKAGE.parent / ".github" / "workflows").glob("*.yml"))}
"""Those of this repository; none in an installation."""
EVERY = [*WORKFLOWS.items(), *OWN.items()]
BOTH = pytest.mark.parametrize("kind", WORKFLOWS)
ALL = pytest.mark.parametrize(("name", "workflow"), EVERY, ids=[name for name, _ in EVERY])


def jobs_with(workflow: dict) -> list[tuple[str, dict]]:
    return list(workflow["jobs"].items())


@ALL
def test_nothing_runs_a_strangers_code_with_rights(name, workflow):
    assert "pull_request_target" not in workflow["on"] and "issue_comment" not in workflow["on"] and "workflow_run" not in workflow["on"]
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for _, job in jobs_with(workflow):
        granted = job.get("permissions", workflow["permissions"])
        writes = {scope for scope, right in granted.items() if right == "write"}
        runs_the_repository = any("checkout" in step.get("uses", "") for step in job["steps"])
        assert writes <= {"pull-requests"} and not (writes and runs_the_repository)


@ALL
def test_no_expression_stands_in_a_shell_block(name, workflow):
    """What GitHub puts into a script before a shell reads it is a way in; everything comes in by the environment."""
    scripts = [step["run"] for _, job in jobs_with(workflow) for step in job["steps"] if "run" in step]
    assert scripts and not [script for script in scripts if "${{" in script]
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@ALL
def test_actions_are_pinned_to_commits_and_name_their_version(name, workflow):
    text = (PACKAGE.parent / ".github" / "workflows" / f"{name}.yml").read_text() if name in OWN else render(name, OPTIONS)
    used = re.findall(r"uses: (.*)", text)
    assert len(used) == sum("uses" in step for _, job in jobs_with(workflow) for step in job["steps"]) > 0
    assert all(re.fullmatch(r"actions/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in used)
    pins = dict(each.split("@", 1) for each in used)
    assert len({pin for action, pin in pins.items() if action.startswith("actions/cache")}) <= 1


@ALL
def test_every_expression_closes_and_every_reference_exists(name, workflow):
    for text in strings(workflow):
        assert text.count("${{") == text.count("}}")
    for _, job in jobs_with(workflow):
        needs = job.get("needs", [])
        assert set([needs] if isinstance(needs, str) else needs) <= set(workflow["jobs"])
        seen: set[str] = set()
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert set(re.findall(r"steps\.(\w+)\.", " ".join(strings(step)))) <= seen, "a step before it"
            seen |= {step["id"]} if "id" in step else set()
        assert job["timeout-minutes"] <= 360


@ALL
def test_a_checkout_leaves_no_token_behind(name, workflow):
    found = [step for _, job in jobs_with(workflow) for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert found and all(step["with"] == {"persist-credentials": False} for step in found)


def pull_request(action: str, head: str | None, label: str = "", labels: tuple[str, ...] = ()) -> dict:
    repository = {"full_name": head} if head else None  # a fork that was deleted
    return {"event_name": "pull_request", "repository": "us/models", "event": {
        "action": action, "label": {"name": label}, "pull_request": {"head": {"repo": repository}, "labels": [{"name": each} for each in labels]}}}


@pytest.mark.parametrize(("github", "runs"), [
    (pull_request("labeled", "us/models", PULL_REQUEST_LABEL), True),
    (pull_request("labeled", "us/models", "documentation", (PULL_REQUEST_LABEL,)), False),
    (pull_request("synchronize", "us/models", labels=(PULL_REQUEST_LABEL,)), False),  # new commits need the label anew
    (pull_request("labeled", "stranger/models", PULL_REQUEST_LABEL), False),
    (pull_request("labeled", None, PULL_REQUEST_LABEL), False),
    ({"event_name": "schedule", "repository": "us/models", "event": {}}, True),
    ({"event_name": "merge_group", "repository": "us/models", "event": {}}, True),
    ({"event_name": "workflow_dispatch", "repository": "us/models", "event": {}}, True),
])
def test_the_gpu_runs_for_a_label_on_our_own_branches_only(github, runs):
    workflow = WORKFLOWS["gpu"]
    assert holds(workflow["jobs"]["benchmark"]["if"], {"github": github}) == runs
    assert set(workflow["on"]) == {"pull_request", "merge_group", "schedule", "workflow_dispatch"}
    assert workflow["on"]["pull_request"]["types"] == ["labeled", "synchronize"]


@pytest.mark.parametrize(("github", "taken"), [
    (pull_request("synchronize", "us/models", labels=("bug", PULL_REQUEST_LABEL)), True),
    (pull_request("synchronize", "us/models", labels=("bug",)), False),
    (pull_request("labeled", "us/models", PULL_REQUEST_LABEL, (PULL_REQUEST_LABEL,)), False),
    (pull_request("synchronize", "stranger/models", labels=(PULL_REQUEST_LABEL,)), False),
    ({"event_name": "schedule", "repository": "us/models", "event": {}}, False),
])
def test_a_push_takes_the_label_away(github, taken):
    job = WORKFLOWS["gpu"]["jobs"]["take-label-away"]
    assert holds(job["if"], {"github": github}) == taken
    assert len(job["steps"]) == 1 and f"labels/{PULL_REQUEST_LABEL}" in job["steps"][0]["run"] and "DELETE" in job["steps"][0]["run"]


@pytest.mark.parametrize(("result", "event", "comments"), [("success", "pull_request", True), ("failure", "pull_request", True),
                                                           ("skipped", "pull_request", False), ("cancelled", "pull_request", False),
                                                           ("success", "schedule", False)])
def test_a_comment_is_written_for_pull_requests_with_a_verdict_or_an_error(result, event, comments):
    job = WORKFLOWS["gpu"]["jobs"]["comment"]
    assert holds(job["if"], {"github": {"event_name": event}, "needs": {"benchmark": {"result": result}}}) == comments
    assert job["permissions"] == {"pull-requests": "write"} and job["runs-on"] == "ubuntu-latest"


def test_a_label_that_is_not_ours_cancels_no_run():
    """A workflow's own concurrency is entered before any job's `if`."""
    assert "concurrency" not in WORKFLOWS["gpu"] and "concurrency" in WORKFLOWS["gpu"]["jobs"]["benchmark"]


def test_a_strangers_pull_request_gets_no_secret():
    assert "secrets." not in " ".join(strings(WORKFLOWS["cpu"])) and "environment" not in WORKFLOWS["cpu"]["jobs"]["benchmark"]
    assert WORKFLOWS["cpu"]["jobs"]["benchmark"]["runs-on"] == "ubuntu-latest" and list(WORKFLOWS["cpu"]["jobs"]) == ["benchmark"]
    gpu = WORKFLOWS["gpu"]["jobs"]
    assert [name for name, job in gpu.items() if "secrets." in " ".join(strings(job))] == ["benchmark"]


@BOTH
def test_what_is_shown_is_shown_whatever_the_verdict(kind):
    steps = {step.get("name"): step for step in WORKFLOWS[kind]["jobs"]["benchmark"]["steps"]}
    found = {"run": {"outputs": {"run_dir": "/r"}}}
    for name in ("Gates", "Summary", "Report", "Run folder", "JUnit", "Keep the store", "End as the benchmark ended"):
        assert re.search(r"!cancelled\(\)|always\(\)", steps[name]["if"]) and holds(steps[name]["if"], {"steps": found})
    assert steps["Report"]["with"] == {"path": "${{ steps.run.outputs.run_dir }}/report.html", "archive": False, "overwrite": True}
    restored, kept = (next(step for step in steps.values() if f"cache/{what}@" in step.get("uses", "")) for what in ("restore", "save"))
    assert restored["with"]["path"] == kept["with"]["path"] and restored["with"]["key"] == kept["with"]["key"]
    assert kept["with"]["key"].startswith(restored["with"]["restore-keys"])
    assert ("store/samples" in kept["with"]["path"]) == (kind == "cpu")


# init

def test_init_writes_all_and_a_second_time_changes_nothing(tmp_path):
    first = init(tmp_path, OPTIONS)
    assert {each.path.relative_to(tmp_path).as_posix(): each.state for each in first} == {
        ".github/workflows/sana-bench-gpu.yml": "written", ".github/workflows/sana-bench-cpu.yml": "written", "gates.toml": "written"}
    before = {each.path: (each.path.read_bytes(), each.path.stat().st_mtime_ns) for each in first}
    assert [each.state for each in init(tmp_path, OPTIONS)] == ["unchanged", "unchanged", "kept"]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before


def test_a_changed_workflow_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / ".github" / "workflows" / "sana-bench-cpu.yml"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(StoreError, match="sana-bench-cpu.yml.*--force; nothing was written"):
        init(tmp_path, OPTIONS)
    assert sorted(each.name for each in tmp_path.rglob("*") if each.is_file()) == ["sana-bench-cpu.yml"] and path.read_text() == "mine"
    assert [each.state for each in init(tmp_path, OPTIONS, force=True)] == ["written", "written", "written"]
    assert path.read_text() == render("cpu", OPTIONS)


@pytest.mark.parametrize("blocked", [".github/workflows/sana-bench-cpu.yml/", ".github/workflows/sana-bench-gpu.yml/", ".github", ".github/workflows", "gates.toml/"])
def test_where_one_cannot_be_written_none_is(tmp_path, blocked):
    """A folder where a file should be, or a file where a folder should be; with --force as well."""
    place = tmp_path / blocked
    place.parent.mkdir(parents=True, exist_ok=True)
    place.mkdir() if blocked.endswith("/") else place.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for force in (False, True):
        with pytest.raises(StoreError, match="move it away; nothing was written") as caught:
            init(tmp_path, OPTIONS, force)
        assert str(place) in str(caught.value) and "run.store" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_base_of_the_hub_needs_its_commit_before_anything_is_written(tmp_path):
    """From the option, or from the recipe."""
    for revision, holds_one in (("", False), ("main", False), ("d" * 40, True)):
        (tmp_path / "mine.toml").write_text(f'[model]\nbase = "owner/sana"\nrevision = "{revision}"\n')
        options = WorkflowOptions(**{**OPTIONS.__dict__, "recipe": "mine.toml", "revision": ""})
        if not holds_one:
            with pytest.raises(ConfigError, match='mine.toml takes its base "owner/sana" from the hub and names no commit.*--revision'):
                init(tmp_path, options)
            assert [each.name for each in tmp_path.iterdir()] == ["mine.toml"]
    assert init(tmp_path, options)
    with pytest.raises(ConfigError, match="sana_1600m_2k_lora takes its base .* --revision"):
        init(tmp_path, WorkflowOptions(**{**OPTIONS.__dict__, "revision": ""}))


def test_a_commit_reaches_the_run(tmp_path):
    job = WORKFLOWS["gpu"]["jobs"]["benchmark"]
    script = next(step["run"] for step in job["steps"] if step.get("id") == "run")
    assert job["env"]["REVISION"] == "c" * 40 and '--set "model.revision=$REVISION" --gates "$GATES"' in script
    assert any("${{ env.REVISION }}" in step.get("with", {}).get("key", "") for step in job["steps"]), "the weights of another commit are other weights"
    bare = load(render("gpu", WorkflowOptions(**{**OPTIONS.__dict__, "revision": ""})))["jobs"]["benchmark"]
    assert "REVISION" not in bare["env"] and "model.revision" not in " ".join(strings(bare))


def test_what_pip_installs_must_be_said(tmp_path, capfd):
    """No name that somebody else could hold on an index is taken for granted beside a secret."""
    assert main(["ci", "init", "--folder", str(tmp_path), "--recipe", "tiny"]) == 2
    assert "init needs --install" in capfd.readouterr().err and not list(tmp_path.iterdir())
    assert main(["ci", "init", "--folder", str(tmp_path), "--recipe", "tiny", "--install", "."]) == 0
    for kind in ("gpu", "cpu"):
        assert load((tmp_path / f".github/workflows/sana-bench-{kind}.yml").read_text())["jobs"]["benchmark"]["env"]["SANA_BENCH"] == "."


def test_gates_that_are_there_stay_even_with_force(tmp_path):
    (tmp_path / "gates.toml").write_text("mine")
    assert init(tmp_path, OPTIONS, force=True)[-1].state == "kept" and (tmp_path / "gates.toml").read_text() == "mine"


@pytest.mark.parametrize(("option", "value"), [
    ("runner_label", "gpu]\n  evil: 1"), ("runner_label", "${{ github.actor }}"), ("recipe", 'a"; rm -rf x'), ("recipe", "$(id)"), ("recipe", "../other.toml"),
    ("recipe", "no_such_recipe"), ("gates", "/etc/gates.toml"), ("gates", "gates.json"), ("requirement", "x`id`"), ("requirement", ""), ("recipe", "tiny\n"),
    ("revision", "main"), ("revision", "c" * 39), ("revision", "${{ x }}")])
def test_options_that_are_more_than_names_are_refused(tmp_path, option, value):
    with pytest.raises(ConfigError, match="cannot stand in a workflow|outside the repository|no recipe"):
        init(tmp_path, WorkflowOptions(**{**OPTIONS.__dict__, option: value}))
    assert not list(tmp_path.iterdir())


def test_options_stand_where_they_belong(tmp_path):
    (tmp_path / "recipes").mkdir()
    shutil.copyfile(PACKAGE / "recipes" / "tiny.toml", tmp_path / "recipes" / "mine.toml")
    options = WorkflowOptions(recipe="recipes/mine.toml", gates="ci/gates.toml", runner_label="a100-spot", requirement="sana-bench @ git+https://example.org/x@" + "a" * 40)
    init(tmp_path, options)
    gpu = load((tmp_path / ".github/workflows/sana-bench-gpu.yml").read_text())["jobs"]["benchmark"]
    assert gpu["runs-on"] == "a100-spot" and (tmp_path / "ci" / "gates.toml").exists()
    assert gpu["env"] == {"RECIPE": "recipes/mine.toml", "GATES": "ci/gates.toml", "SANA_BENCH": options.requirement}


def test_the_first_gates_ask_what_may_decide():
    """By the recipe's own check of gates, and by the metrics' self-tests."""
    from sana_bench.cards import cards

    gates = tomllib.loads((PACKAGE / "ci" / "templates" / "gates.toml").read_text())
    config = RunConfig.model_validate({"name": "x", **gates})
    found = cards(tuple(gate.metric for gate in config.gate))
    assert len(found) >= 5 and all(card.judges and card.usual for card in found)


# the shell blocks, for real

@pytest.fixture
def run_dir(tmp_path) -> Path:
    report, candidate, _ = make_run(tmp_path / "run", make_suite(6))
    write_record(candidate / "regression.json", report)
    return candidate


def program(folder: Path, code: int, run_dir: Path | None) -> dict[str, str]:
    """PATH with a sana-bench whose benchmark is over already, with that exit code; `ci` is the real one."""
    folder.mkdir()
    answer = f"echo '{json.dumps({'run_dir': str(run_dir)})}'" if run_dir else "echo error >&2"
    path = folder / "sana-bench"
    path.write_text(f'#!/usr/bin/env bash\ncase "$1" in\nassets) ;;\ntrain-and-eval) echo "$*" > {folder}/asked; ls > {folder}/seen; {answer}; exit {code} ;;\n*) exec {sys.executable} -m sana_bench "$@" ;;\nesac\n')
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return {"PATH": f"{folder}:{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]))}


CONTEXT = {"github": {"event_name": "pull_request", "server_url": "https://github.example", "repository": "us/models", "run_id": "7"}}


@BOTH
@pytest.mark.parametrize(("code", "failed"), [(0, []), (1, ["End as the benchmark ended"])])
def test_a_verdict_is_shown_and_ends_the_job_as_it_ended(kind, code, failed, tmp_path, run_dir):
    played = play(WORKFLOWS[kind]["jobs"]["benchmark"], tmp_path, program(tmp_path / "bin", code, run_dir), CONTEXT, leave_out=("Install", "Gates"))
    assert played.failed == failed, played.log
    assert played.outputs["run"] == {"code": str(code), "run_dir": str(run_dir)}
    assert "hand_shape_deviation" in played.summary and "▼ regressed" in played.summary
    comment = (tmp_path / "comment.md").read_text()
    assert comment.startswith(f"{MARKER}\n## ▼") and "(https://github.example/us/models/actions/runs/7)" in comment
    assert re.fullmatch(r"\d{4}-\d\d", played.outputs["week"]["week"])


@BOTH
def test_gates_do_not_depend_on_how_the_repository_runs_its_own_tests(kind, tmp_path, run_dir):
    """Its addopts, its conftest.py and its tests, none of which would hold here; and the CPU's are those of its recipe, whatever gates.toml asks."""
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "pytest.ini").write_text("[pytest]\naddopts = --cov=mine\n")
    (repository / "conftest.py").write_text("import what_is_not_installed\n")
    (repository / "test_own.py").write_text("def test_own(): assert False\n")
    (repository / "gates.toml").write_text('[[gate]]\nname = "of the file"\nmetric = "face_rate"\nfloor = 0.1\n')
    gate = {"name": "of the recipe", "metric": "face_rate", "floor": 0.1}
    results = run_dir / "result.json"
    results.write_text(json.dumps({**json.loads(results.read_text()), "config": {"name": "tiny", "gate": [gate]}}))
    played = play(WORKFLOWS[kind]["jobs"]["benchmark"], repository, program(tmp_path / "bin", 0, run_dir), CONTEXT, leave_out=("Install",))
    assert "Gates" in played.ran and played.failed == [], played.log
    names = [case.get("name") for case in ElementTree.parse(repository / "gates.xml").iter("testcase")]
    assert names == ["of the file" if kind == "gpu" else "of the recipe"]
    asked = (tmp_path / "bin" / "asked").read_text()
    assert ("--gates gates.toml" in asked) == (kind == "gpu") and ("--set model.revision=" in asked) == (kind == "gpu")


@BOTH
def test_the_checkout_is_as_it_was_when_the_benchmark_starts(kind, tmp_path, run_dir):
    """What is redirected is there before the benchmark looks whether anything changed."""
    (tmp_path / "checkout").mkdir()
    play(WORKFLOWS[kind]["jobs"]["benchmark"], tmp_path / "checkout", program(tmp_path / "bin", 0, run_dir), CONTEXT, leave_out=("Install", "Gates"))
    assert (tmp_path / "bin" / "seen").read_text().split() == ["output", "summary.md"], "GitHub's own, which are elsewhere there"


@BOTH
def test_an_error_is_said_and_is_red(kind, tmp_path):
    played = play(WORKFLOWS[kind]["jobs"]["benchmark"], tmp_path, program(tmp_path / "bin", 2, None), CONTEXT, leave_out=("Install",))
    assert played.failed == ["Train, draw, score and compare", "End as the benchmark ended"]
    assert "Gates" not in played.ran and "run_dir" not in played.outputs["run"]
    assert "## No verdict" in played.summary and "exit code 2" in played.summary
    assert (tmp_path / "comment.md").read_text().startswith(MARKER)


def github(folder: Path, known: str) -> dict[str, str]:
    """PATH with a gh that notes how it was called, and knows that comment."""
    folder.mkdir()
    path = folder / "gh"
    path.write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" "$*" >> {folder}/calls\ncase "$*" in *--paginate*) printf "%s" "{known}" ;; esac\n')
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return {"PATH": f"{folder}:/usr/bin:/bin", "GITHUB_REPOSITORY": "us/models"}


@pytest.mark.parametrize(("known", "call"), [("", "--method POST repos/us/models/issues/12/comments -F body=@comment.md"),
                                             ("11\n42\n", "--method PATCH repos/us/models/issues/comments/42 -F body=@comment.md")])
def test_there_is_one_comment_which_is_kept_up_to_date(tmp_path, known, call):
    (tmp_path / "comment.md").write_text(f"{MARKER}\nverdict")
    context = {"github": {"token": "t", "event": {"pull_request": {"number": 12}}}}
    played = play(WORKFLOWS["gpu"]["jobs"]["comment"], tmp_path, github(tmp_path / "bin", known), context)
    assert played.failed == [], played.log
    listed, written = (tmp_path / "bin" / "calls").read_text().splitlines()
    assert MARKER in listed and 'github-actions[bot]' in listed and written == f"api --silent {call}"


def test_a_comment_that_is_too_long_for_github_is_red_and_not_sent(tmp_path):
    (tmp_path / "comment.md").write_text("x" * 65536)
    played = play(WORKFLOWS["gpu"]["jobs"]["comment"], tmp_path, github(tmp_path / "bin", ""), {"github": {"token": "t", "event": {}}})
    assert played.failed and not (tmp_path / "bin" / "calls").exists()
