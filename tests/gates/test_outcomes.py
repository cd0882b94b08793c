"""Every outcome of a gate through a real pytest on real result folders: green where the run holds it, and red on a twin that is spoiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sana_bench.gates.files import load_gates
from sana_bench.gates.judging import open_run
from sana_bench.records import GroupScore
from sana_bench.report.junit import render_junit
from tests.gates.runs import cases_of, run_pytest, shifted, write_run

NUM = 24
BASE = [0.5 + 0.015 * index for index in range(NUM)]
"""Mean 0.6725."""
TAGS = {f"p{index:02d}": ("portrait",) if index < 12 else ("outdoors",) for index in range(NUM)}


def moved(shift: float, noise: float = 0.01) -> list[float | None]:
    return shifted(shift, noise, BASE)


@dataclass(frozen=True)
class Case:
    """A gate on a metric that no other gate asks about. The metric's own budget is 0.1 and higher is better, unless `fields` say otherwise."""

    metric: str
    gate: str
    """Beside the metric."""
    held: Sequence[float | None]
    held_outcome: str
    spoiled: Sequence[float | None]
    spoiled_outcome: str
    says: str
    """Words in the failure."""
    fields: dict = field(default_factory=dict)
    """Of the metric's result on both sides."""
    spoiled_fields: dict = field(default_factory=dict)
    """Of the spoiled candidate's."""


LOST = [None] * NUM
CASES = {
    "improved": Case("hand_rate", "", moved(0.2), "improved", moved(-0.2), "regressed", "worse by 0.2 share, beyond the budget of 0.1 share"),
    "unchanged": Case("face_rate", "", moved(0), "unchanged", moved(-0.2), "regressed", "worse by 0.2 share"),
    "lower is better": Case("tiling_seam", "", moved(-0.2), "improved", moved(0.2), "regressed", "worse by 0.2 share", {"higher_is_better": False}),
    "inconclusive fails": Case("body_rate", 'on_inconclusive = "fail"', moved(0), "unchanged", moved(-0.02, 0.5), "inconclusive", "more than now"),
    "inconclusive passes": Case("body_plausibility", 'on_inconclusive = "pass"', moved(-0.02, 0.5), "inconclusive", moved(-0.2), "regressed", "worse by 0.2"),
    "not comparable": Case("hand_plausibility", 'on_inconclusive = "pass"', moved(0), "unchanged", moved(0), "not_comparable",
                           "version was 1 in the baseline and is 2 now", spoiled_fields={"version": 2}),
    "missing": Case("face_plausibility", 'on_inconclusive = "pass"', moved(0), "unchanged", LOST, "missing", "the candidate has no value on it",
                    spoiled_fields={"value": None, "num_scored": 0}),
    "floor": Case("gender_compliance", "floor = 0.4", moved(0), "unchanged", moved(-0.5), "regressed", "beyond the floor of 0.4"),
    "ceiling": Case("jpeg_blockiness", "ceiling = 0.9", moved(0), "unchanged", moved(0.5), "regressed", "beyond the ceiling of 0.9"),
    "floor and budget": Case("clip_score_tiny_clip", "floor = 0.4\nbudget = 1.0", moved(-0.2), "unchanged", moved(-0.5), "regressed", "beyond the floor of 0.4"),
    "budget": Case("hand_shape_deviation", "budget = 0.03", moved(0), "unchanged", moved(-0.05), "regressed", "beyond the budget of 0.03"),
    "relative budget": Case("face_shape_deviation", "relative_budget = 0.1", moved(-0.05), "unchanged", moved(-0.09), "regressed", "beyond the budget of 0.0673"),
    "tag": Case("age_compliance", 'tag = "portrait"', [*moved(0)[:12], *moved(-0.2)[12:]], "unchanged", [*moved(-0.2)[:12], *moved(0)[12:]], "regressed",
                "worse by 0.2"),
    "group": Case("sharpness_spectrum", 'group = "gender=feminine"', moved(0), "unchanged", moved(0), "regressed", "worse by 0.3"),
}
GUARD = "guard"
GATES = "\n".join(f'[[gate]]\nname = "{name}"\nmetric = "{case.metric}"\n{case.gate}' for name, case in CASES.items()) + f"""
[[gate]]
name = "{GUARD}"
metric = "hand_rate"
suite = "scenery"
"""


def group_of(value: float) -> GroupScore:
    return GroupScore(attribute="gender", group="feminine", metric=CASES["group"].metric, value=value, low=value - 0.05, high=value + 0.05,
                      num_images=20, num_prompts=20, enough=True)


def write_sides(folder: Path, *, spoiled: bool) -> Path:
    common = {case.metric: case.fields for case in CASES.values()}
    write_run(folder, {case.metric: case.spoiled if spoiled else case.held for case in CASES.values()}, guard={"hand_rate": moved(-0.2 if spoiled else 0)},
              changes={case.metric: {**case.fields, **(case.spoiled_fields if spoiled else {})} for case in CASES.values()},
              prompt_tags=TAGS, groups=(group_of(0.3 if spoiled else 0.6),))
    write_run(folder / "baseline", {case.metric: BASE for case in CASES.values()}, guard={"hand_rate": BASE}, changes=common,
              prompt_tags=TAGS, groups=(group_of(0.6),))
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gates")
    (folder / "gates.toml").write_text(GATES)
    for name in ("held", "spoiled"):
        write_sides(folder / name, spoiled=name == "spoiled")
    return folder


@pytest.fixture(scope="module")
def said(project: Path) -> dict[str, tuple[int, dict, str]]:
    """(exit code, test cases, stdout) by run."""
    found = {}
    for name in ("held", "spoiled"):
        done = run_pytest(project, "gates.toml", "--sana-bench-result", name, f"--junitxml={name}.xml", "--strict-markers", "-v")
        found[name] = done.returncode, cases_of(project / f"{name}.xml"), done.stdout
    return found


def test_every_gate_of_the_file_is_a_test_once(said: dict) -> None:
    assert list(said["held"][1]) == list(said["spoiled"][1]) == [*CASES, GUARD]


def test_a_run_that_holds_all_gates_ends_with_0_and_its_twin_with_1(said: dict) -> None:
    assert (said["held"][0], said["spoiled"][0]) == (0, 1)


@pytest.mark.parametrize("name", CASES)
def test_a_gate_that_is_held_is_green_and_says_its_outcome(said: dict, name: str) -> None:
    failure, known = said["held"][1][name]
    assert failure == "" and (known["outcome"], known["passed"]) == (CASES[name].held_outcome, "true")


@pytest.mark.parametrize("name", CASES)
def test_its_twin_on_the_spoiled_run_is_red_and_says_why(said: dict, name: str) -> None:
    failure, known = said["spoiled"][1][name]
    assert (known["outcome"], known["passed"]) == (CASES[name].spoiled_outcome, "false")
    assert CASES[name].says in failure and CASES[name].metric in failure


def test_a_green_gate_that_told_nothing_does_not_look_like_the_others(said: dict) -> None:
    assert "gates.toml::inconclusive passes PASSED (inconclusive)" in said["held"][2] and said["held"][2].count("PASSED (") == 1
    assert "gates.toml::inconclusive fails FAILED" in said["spoiled"][2] and "PASSED (" not in said["spoiled"][2]


def test_the_guard_suite_is_gated_by_its_name(said: dict) -> None:
    (whole, known), (failure, spoiled) = said["held"][1][GUARD], said["spoiled"][1][GUARD]
    assert (whole, known["suite"], known["outcome"]) == ("", "scenery", "unchanged")
    assert spoiled["outcome"] == "regressed" and "worse by 0.2" in failure and "scenery" in failure


def test_numbers_are_of_the_slice_that_was_asked(said: dict) -> None:
    known = said["spoiled"][1]["tag"][1]
    assert (known["tag"], known["num_prompts"]) == ("portrait", "12")
    assert float(known["baseline"]) == pytest.approx(sum(BASE[:12]) / 12) and float(known["difference"]) == pytest.approx(-0.2, abs=0.001)
    assert float(said["spoiled"][1]["relative budget"][1]["budget"]) == pytest.approx(0.06725)
    assert said["spoiled"][1]["group"][1]["group"] == "gender=feminine"


def test_worst_samples_stand_in_the_failure(said: dict) -> None:
    assert "lost most on it" in said["spoiled"][1]["tag"][0] and "p11_0" in said["spoiled"][1]["tag"][0]
    assert "p23" not in said["spoiled"][1]["tag"][0]  # which is no portrait


@pytest.mark.parametrize("name", ["held", "spoiled"])
def test_junit_without_pytest_says_the_same(project: Path, said: dict, name: str) -> None:
    """Names, failures and every property, from the same verdicts by the other way of writing them."""
    report = open_run(project / name).judge(load_gates(project / "gates.toml"))
    (project / "own.xml").write_bytes(render_junit(report, "mine"))
    own, by_pytest = cases_of(project / "own.xml"), said[name][1]
    assert {case: known for case, (_, known) in own.items()} == {case: known for case, (_, known) in by_pytest.items()}
    assert {case for case, (failure, _) in own.items() if failure} == {case for case, (failure, _) in by_pytest.items() if failure}
    assert (report.outcome == "passed") == (said[name][0] == 0)


def test_a_run_without_a_baseline_is_red_but_for_what_needs_none(project: Path, tmp_path: Path) -> None:
    (tmp_path / "gates.toml").write_text('[[gate]]\nmetric = "face_rate"\n[[gate]]\nname = "least"\nmetric = "face_rate"\nfloor = 0.4\n')
    write_run(tmp_path / "run", {"face_rate": moved(0)})
    done = run_pytest(tmp_path, "gates.toml", "--sana-bench-result", "run", "--junitxml=junit.xml")
    cases = cases_of(tmp_path / "junit.xml")
    assert done.returncode == 1 and "against no baseline" in done.stdout
    assert cases["face_rate"][1]["outcome"] == "missing" and cases["face_rate"][0] and cases["least"] == ("", cases["least"][1])
