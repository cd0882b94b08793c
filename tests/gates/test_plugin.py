"""The pytest plugin: inert until it is asked, one test a gate then, and bad input never green."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.gates.runs import BASE, LIKE, cases_of, run_pytest, run_pytests, shifted, write_run

OK, FAILED, USAGE, NOTHING = 0, 1, 4, 5
TWO_GATES = """
[[gate]]
metric = "hand_rate"
[[gate]]
metric = "face_rate"
name = "faces"
"""
TAGS = {f"p{index:02d}": ("portrait",) if index < 8 else ("outdoors",) for index in range(12)}
BEFORE = {"hand_rate": BASE, "face_rate": BASE}
WORSE_HANDS = {"hand_rate": shifted(-0.2), "face_rate": LIKE}
HEAVY = ("torch", "numpy", "scipy", "pydantic", "pandas", "pyarrow", "diffusers", "matplotlib", "PIL", "sana_bench.config", "sana_bench.compare")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run like its baseline, and one whose hands got worse."""
    folder = tmp_path_factory.mktemp("runs")
    return {name: write_run(folder / name, scores, BEFORE, prompt_tags=TAGS)
            for name, scores in (("whole", {"hand_rate": LIKE, "face_rate": LIKE}), ("spoiled", WORSE_HANDS))}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with gates, and a test of its own."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers --strict-config\n")
    (tmp_path / "gates.toml").write_text(TWO_GATES)
    return tmp_path


class Red(NamedTuple):
    done: subprocess.CompletedProcess
    cases: dict[str, tuple[str, dict[str, str]]]


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory, runs: dict[str, Path]) -> Red:
    """What pytest says of two gates on the spoiled run."""
    folder = tmp_path_factory.mktemp("red")
    (folder / "gates.toml").write_text(TWO_GATES)
    done = run_pytest(folder, "gates.toml", f"--sana-bench-result={runs['spoiled']}", "--junitxml=junit.xml")
    return Red(done, cases_of(folder / "junit.xml"))


def write_test(project: Path, text: str) -> Path:
    (project / "test_own.py").write_text(textwrap.dedent(text))
    return project / "test_own.py"


def test_it_is_found_by_its_entry_point() -> None:
    own = [point.value for point in entry_points(group="pytest11") if point.name == "sana_bench.gates.plugin"]
    assert own == ["sana_bench.gates.plugin"], "an editable installation of before lacks the plugin: install it again"


def test_a_pytest_that_does_not_ask_imports_nothing_heavy(project: Path) -> None:
    write_test(project, f"""
        import sys

        def test_modules():
            assert "sana_bench.gates.plugin" in sys.modules
            assert not [name for name in {HEAVY} if name in sys.modules]
        """)
    done = run_pytest(project)
    assert (done.returncode, "1 passed" in done.stdout) == (OK, True), done.stdout + done.stderr


def test_importing_the_plugin_imports_next_to_nothing() -> None:
    script = "import sys, pytest; before = set(sys.modules); import sana_bench.gates.plugin; print(*sorted(set(sys.modules) - before))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert set(found) == {"sana_bench", "sana_bench.errors", "sana_bench.gates", "sana_bench.gates.plugin"}


def test_a_project_that_does_not_ask_is_as_it_would_be_without_the_plugin(project: Path) -> None:
    """The gates.toml there is somebody else's, and not even TOML."""
    (project / "gates.toml").write_text("{ not ours")
    write_test(project, "def test_own(): pass")
    listed = [run_pytest(project, "--collect-only", "-q", *extra) for extra in ((), ("-p", "no:sana_bench.gates.plugin"))]
    assert listed[0].returncode == OK and "test_own.py::test_own" in listed[0].stdout
    assert listed[0].stdout.splitlines()[:2] == listed[1].stdout.splitlines()[:2]
    assert run_pytest(project, "gates.toml").returncode == USAGE  # pytest's own: no test in it


def test_each_gate_is_a_test(project: Path) -> None:
    """As the documentation has it: a run folder within the project."""
    write_run(project / "reports/mine-1", {"hand_rate": LIKE, "face_rate": LIKE}, BEFORE)
    done = run_pytest(project, "gates.toml", "--sana-bench-result", "reports/mine-1", "-v")
    assert done.returncode == OK, done.stdout + done.stderr
    assert "gates.toml::hand_rate PASSED" in done.stdout and "gates.toml::faces PASSED" in done.stdout and "2 passed" in done.stdout
    assert f"sana-bench: {project / 'reports/mine-1'} against baseline mine" in done.stdout


def test_the_same_gates_are_red_on_a_spoiled_run_and_say_why(red: Red) -> None:
    assert red.done.returncode == FAILED and "1 failed, 1 passed" in red.done.stdout
    for words in ("hand_rate regressed: worse by 0.2 share", "humans_test", "0.665", "0.465", "−0.200 share", "95 % interval", "0.100 share",
                  "lost most on it", "p11_0", "FAILED gates.toml::hand_rate"):
        assert words in red.done.stdout, words
    assert "Traceback" not in red.done.stdout and "plugin.py" not in red.done.stdout and "report:" not in red.done.stdout


def test_the_page_is_named_where_there_is_one(project: Path) -> None:
    run = write_run(project / "run", WORSE_HANDS, BEFORE)
    (run / "report.html").write_text("page")
    assert f"report: {run / 'report.html'}" in run_pytest(project, "gates.toml", f"--sana-bench-result={run}").stdout


def test_junit_has_what_programs_ask(red: Red) -> None:
    text, known = red.cases["hand_rate"]
    assert "worse by 0.2 share" in text and red.cases["faces"][0] == ""
    assert {name: known[name] for name in ("metric", "suite", "gate", "outcome", "passed", "unit")} == {
        "metric": "hand_rate", "suite": "humans_test", "gate": "hand_rate", "outcome": "regressed", "passed": "false", "unit": "share"}
    numbers = {name: float(known[name]) for name in ("baseline", "candidate", "difference", "budget", "ci_low", "ci_high", "p_adjusted")}
    assert [numbers[name] for name in ("baseline", "candidate", "difference", "budget")] == pytest.approx([0.665, 0.465, -0.2, 0.1])
    assert numbers["ci_low"] < -0.2 < numbers["ci_high"] < 0 and numbers["p_adjusted"] < 0.05
    assert "tag" not in known and "floor" not in known


def test_gates_are_chosen_by_metric_tag_suite_name_and_mark(project: Path, runs: dict[str, Path]) -> None:
    (project / "gates.toml").write_text(TWO_GATES + '[[gate]]\nmetric = "hand_rate"\ntag = "portrait"\nname = "hands close up"\n')
    write_test(project, "def test_own(): pass")
    hands, faces, close, own = "gates.toml::hand_rate", "gates.toml::faces", "gates.toml::hands close up", "test_own.py::test_own"
    choices = {(): {hands, faces, close, own}, ("-m", "sana_bench_gate"): {hands, faces, close}, ("-m", "not sana_bench_gate"): {own},
               ("-k", "hand_rate"): {hands, close}, ("-k", "portrait"): {close}, ("-k", "humans_test"): {hands, faces, close}, (faces,): {faces}}
    said = run_pytests(project, *((f"--sana-bench-result={runs['whole']}", "--collect-only", "-q", *choice) for choice in choices))
    assert [{line for line in each.splitlines() if "::" in line} for each in said] == list(choices.values())


def test_a_gate_that_is_chosen_alone_is_judged_among_all(project: Path, runs: dict[str, Path], red: Red) -> None:
    """Leaving out the others with -k must not make the correction for looking at them smaller."""
    run_pytest(project, "gates.toml", f"--sana-bench-result={runs['spoiled']}", "--junitxml=junit.xml", "-k", "hand_rate")
    alone, among = cases_of(project / "junit.xml"), red.cases
    assert set(alone) == {"hand_rate"} and alone["hand_rate"] == among["hand_rate"]
    known = alone["hand_rate"][1]
    assert float(known["p_adjusted"]) == pytest.approx(2 * float(known["p_value"]))


def test_two_workers_say_the_same_as_one(project: Path, runs: dict[str, Path], red: Red) -> None:
    done = run_pytest(project, "gates.toml", f"--sana-bench-result={runs['spoiled']}", "--junitxml=junit.xml", "-n", "2")
    assert done.returncode == FAILED and "1 failed, 1 passed" in done.stdout
    assert cases_of(project / "junit.xml") == red.cases


def test_any_toml_file_that_is_named_holds_gates(project: Path, runs: dict[str, Path]) -> None:
    (project / "gates.toml").rename(project / "nightly.toml")
    said = run_pytests(project, *((each, f"--sana-bench-result={runs['spoiled']}") for each in ("nightly.toml", "nightly.toml::faces")))
    assert "1 failed, 1 passed" in said[0] and "1 passed" in said[1] and "failed" not in said[1]


def test_without_a_file_the_gates_of_the_recipe_are_judged(project: Path) -> None:
    """Then those of a file, which stand for the recipe's."""
    (project / "gates.toml").unlink()
    run = write_run(project / "run", WORSE_HANDS, BEFORE, gates=[{"metric": "hand_rate", "name": "hands"}])
    done = run_pytest(project, f"--sana-bench-result={run}", "-v")
    assert done.returncode == FAILED and "\nresult.json::hands FAILED" in done.stdout and "1 failed" in done.stdout, done.stdout + done.stderr
    (project / "gates.toml").write_text('[[gate]]\nmetric = "face_rate"\n')
    done = run_pytest(project, f"--sana-bench-result={run}", "-v")
    assert done.returncode == OK and "gates.toml::face_rate PASSED" in done.stdout and "1 passed" in done.stdout


@pytest.mark.parametrize("paths", [(), (".",), ("tests",), ("tests/test_a.py",), ("tests/test_a.py::test_a",)])
def test_a_result_is_judged_whatever_else_is_run(project: Path, paths: tuple[str, ...]) -> None:
    """By the run's own gates: a file of that name that lies somewhere below is somebody else's."""
    (project / "gates.toml").unlink()
    (project / "tests" / "fixtures").mkdir(parents=True)
    (project / "tests" / "fixtures" / "gates.toml").write_text('[[gate]]\nmetric = "face_rate"\n')
    (project / "tests" / "test_a.py").write_text("def test_a(): pass")
    run = write_run(project / "run", WORSE_HANDS, BEFORE, gates=[{"metric": "hand_rate", "name": "hands"}])
    done = run_pytest(project, *paths, f"--sana-bench-result={run}", "-v")
    assert done.returncode == FAILED and "result.json::hands FAILED" in done.stdout and "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "sana-bench: judged by 1 gate(s) of result.json" in done.stdout


def test_gates_in_the_root_are_asked_once_and_named_ones_instead_of_them(project: Path) -> None:
    run = write_run(project / "run", WORSE_HANDS, BEFORE, gates=[{"metric": "hand_rate", "name": "hands"}])
    write_test(project, "def test_own(): pass")
    (project / "gates.toml").write_text('[[gate]]\nmetric = "face_rate"\n')
    (project / "ci").mkdir()
    (project / "ci" / "nightly.toml").write_text(TWO_GATES)
    root, ci, own, test = {"gates.toml::face_rate"}, {"ci/nightly.toml::hand_rate", "ci/nightly.toml::faces"}, {"result.json::hands"}, {"test_own.py::test_own"}
    choices = {(): root | test, (".",): root | test, ("test_own.py",): root | test, ("ci",): root, ("gates.toml",): root, ("ci/nightly.toml",): ci,
               (str(run / "result.json"),): own, ("run/result.json", "test_own.py"): own | test, ("-m", "not sana_bench_gate"): test}
    said = run_pytests(project, *((f"--sana-bench-result={run}", "--collect-only", "-q", *choice) for choice in choices))
    found = [[line for line in each.splitlines() if "::" in line] for each in said]
    assert [set(lines) for lines in found] == list(choices.values()) and all(len(lines) == len(set(lines)) for lines in found)
    assert "sana-bench: judged by no gate: all were left out" in run_pytest(project, f"--sana-bench-result={run}", "-m", "not sana_bench_gate").stdout


def test_the_plugin_may_be_named_beside_its_entry_point(project: Path, runs: dict[str, Path]) -> None:
    done = run_pytest(project, "-p", "sana_bench.gates.plugin", "gates.toml", f"--sana-bench-result={runs['whole']}")
    assert done.returncode == OK and "2 passed" in done.stdout, done.stdout + done.stderr


def test_a_folder_with_a_hostile_name_steers_no_terminal(project: Path) -> None:
    """In the header, in the verdict's text, and as the baseline's name."""
    run = write_run(project / "run\x1b[31m\u202e", WORSE_HANDS, BEFORE)
    (run / "report.html").write_text("page")
    for extra in ((), (f"--sana-bench-baseline={run / 'baseline'}",)):
        done = run_pytest(project, "gates.toml", f"--sana-bench-result={run}", *extra)
        assert done.returncode == FAILED and "report: " in done.stdout and "\\x1b[31m" in done.stdout
        assert not {"\x1b", "\u202e"} & set(done.stdout + done.stderr)


def test_without_any_gate_every_metric_is_one(tmp_path: Path, runs: dict[str, Path]) -> None:
    spoiled, whole = run_pytests(tmp_path, *((f"--sana-bench-result={runs[name]}", "-v") for name in ("spoiled", "whole")))
    assert "1 failed, 1 passed" in spoiled and "2 passed" in whole
    assert "\nresult.json::hand_rate[humans_test] FAILED" in spoiled and "\nresult.json::face_rate[humans_test] PASSED" in spoiled
    assert "lost most on it" in spoiled


def test_another_baseline_may_be_named(project: Path, runs: dict[str, Path]) -> None:
    """Held against what is as bad, the spoiled run lost nothing."""
    as_bad = write_run(project / "as_bad", {"hand_rate": shifted(-0.2, 0), "face_rate": BASE})
    arguments = ("gates.toml", f"--sana-bench-result={runs['spoiled']}")
    assert run_pytest(project, *arguments, f"--sana-bench-baseline={as_bad}").returncode == OK
    done = run_pytest(project, *arguments, "--sana-bench-baseline=nobody")
    assert done.returncode == USAGE and 'no baseline "nobody" was accepted' in done.stderr


@pytest.mark.parametrize(("arguments", "message"), [
    (("--sana-bench-baseline=tiny",), "give that too"), (("--sana-bench-result=",), "--sana-bench-result is empty"),
    (("--sana-bench-result=run", "--sana-bench-baseline="), "no result to compare with"),
])
def test_half_of_the_options_is_wrong_usage_and_not_a_green_session(project: Path, arguments: tuple[str, ...], message: str) -> None:
    """As where a script's variable is not set."""
    write_run(project / "run", BEFORE, BEFORE)
    write_test(project, "def test_own(): pass")
    done = run_pytest(project, *arguments)
    assert done.returncode == USAGE and message in done.stderr and "passed" not in done.stdout


@pytest.mark.parametrize(("gates", "message", "arguments"), [
    ("", "gates.toml has no [[gate]]", ("gates.toml",)), ("[[gate]", "gates.toml is not TOML", ()),
    ('[[gate]]\nmetric = "hand_rat"', 'Did you mean "hand_rate"?', ("gates.toml",)),
    ('[[gate]]\nmetric = "hand_rate"\nflor = 1', 'Did you mean "floor"?', ()),
    ('[[gate]]\nmetric = "hand_rate"\ntag = "portrat"', 'Did you mean "portrait"?', ("gates.toml", "--collect-only")),
])
def test_bad_gates_are_wrong_usage_in_one_message(project: Path, runs: dict[str, Path], gates: str, message: str, arguments: tuple[str, ...]) -> None:
    (project / "gates.toml").write_text(gates)
    done = run_pytest(project, *arguments, f"--sana-bench-result={runs['whole']}")
    assert done.returncode == USAGE and message in done.stderr, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr and "passed" not in done.stdout


def test_bad_gates_are_not_green_with_workers_either(project: Path, runs: dict[str, Path]) -> None:
    (project / "gates.toml").write_text("")
    write_test(project, "def test_own(): pass")
    for path in ("gates.toml", "test_own.py"):
        done = run_pytest(project, path, f"--sana-bench-result={runs['whole']}", "-n", "2")
        assert done.returncode not in (OK, NOTHING) and "gates.toml has no [[gate]]" in done.stdout and "Traceback" not in done.stdout


@pytest.mark.parametrize(("damage", "workers"), [("nowhere", ()), ("empty", ()), ("result", ("-n", "2")), ("scores", ()), ("baseline", ())])
def test_a_damaged_run_is_wrong_usage_in_one_message(project: Path, damage: str, workers: tuple[str, ...]) -> None:
    run = write_run(project / "run", BEFORE, BEFORE)
    (project / "empty").mkdir()
    if damage in ("result", "scores"):
        next(run.glob(f"{damage}.*")).write_bytes(b"{")
    elif damage == "baseline":
        (run / "baseline" / "statistics.safetensors").unlink()
    done = run_pytest(project, "gates.toml", f"--sana-bench-result={project / damage if damage in ('nowhere', 'empty') else run}", *workers)
    assert done.returncode == USAGE and done.stderr.startswith("ERROR: sana-bench: "), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr and "passed" not in done.stdout


def test_tests_of_ones_own_read_the_report(project: Path, runs: dict[str, Path]) -> None:
    (project / "gates.toml").write_text('[[gate]]\nmetric = "face_rate"\n[[gate]]\nmetric = "hand_rate"\ntag = "portrait"\nbudget = 0.5\n')
    write_test(project, """
        import pytest

        def test_hands(sana_bench_report):
            verdict = sana_bench_report.verdict("hand_rate")
            assert verdict.outcome != "regressed", verdict.reason

        def test_slice(sana_bench_report):
            assert sana_bench_report.verdict("hand_rate", tag="portrait").passed
            assert len(sana_bench_report.gates) == 2

        def test_misspelt(sana_bench_report):
            with pytest.raises(LookupError, match="no verdict on hand_rate portrat.*hand_rate humans_test portrait"):
                sana_bench_report.verdict("hand_rate", tag="portrat")

        def test_result(sana_bench_result):
            assert {each.metric for each in sana_bench_result.results} == {"hand_rate", "face_rate"}
        """)
    done = run_pytest(project, f"--sana-bench-result={runs['spoiled']}", "-rA")
    assert done.returncode == FAILED and "1 failed, 5 passed" in done.stdout, done.stdout
    assert "FAILED test_own.py::test_hands" in done.stdout and "AssertionError: worse by 0.2 share" in done.stdout
    alone = run_pytest(project, "test_own.py::test_hands", f"--sana-bench-result={runs['whole']}")
    assert alone.returncode == OK and "3 passed" in alone.stdout  # the gates too, as always


def test_a_fixture_without_a_run_fails_and_says_what_is_missing(project: Path) -> None:
    write_test(project, "def test_report(sana_bench_report): pass\ndef test_result(sana_bench_result): pass")
    done = run_pytest(project)
    assert done.returncode == FAILED and "2 errors" in done.stdout and "need pytest --sana-bench-result=RUN_DIR" in done.stdout
    assert "skipped" not in done.stdout and "Traceback" not in done.stdout


def test_hostile_names_steer_no_terminal_and_break_no_xml(project: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    (project / "gates.toml").write_text('[[gate]]\nmetric = "hand_rate"\nname = "a::b \\u001b[31m<x> & \\"手\\u202e\\n]]>"\n')
    done = run_pytest(project, "gates.toml", f"--sana-bench-result={runs['spoiled']}", "-v", f"--junitxml={tmp_path / 'junit.xml'}")
    assert done.returncode == FAILED
    assert "\x1b" not in done.stdout and "\u202e" not in done.stdout and "\\x1b[31m<x>" in done.stdout
    (name,) = cases_of(tmp_path / "junit.xml")
    assert name.startswith('a:b \\x1b[31m<x> & "手\\u202e ]]>')
    (project / "gates.toml").write_text('[[gate]]\nmetric = "hand_rate"\ntag = "\\u001b[31m\\u202e"\n')
    refused = run_pytest(project, "gates.toml", f"--sana-bench-result={runs['spoiled']}")
    assert refused.returncode == USAGE and not {"\x1b", "\u202e"} & set(refused.stderr) and "\\x1b[31m" in refused.stderr
