"""Every command has help that teaches, stands in the README, starts light, fails with one message, keeps stdout clean."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sana_bench.cli import COMMANDS, main
from sana_bench.config import shipped_recipes
from sana_bench.console import Reply, Table, plain_table
from sana_bench.errors import SanaBenchError
from sana_bench.pipeline import RunOutcome, StageReport
from sana_bench.records import BenchmarkResult, Provenance, RegressionReport, StageCost, Verdict
from sana_bench.usage import Command

README = Path(__file__).parents[2] / "README.md"
HEAVY = ("torch", "diffusers", "transformers", "peft", "mediapipe", "pandas", "pyarrow", "matplotlib", "scipy", "rich",
         "pydantic", "numpy")


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "sana_bench", *words], capture_output=True, text=True, check=False)


def error_of(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must fail as an error a user can mend: exit code 2, one message on stderr, nothing on stdout."""
    code = main(words)
    out, err = capfd.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("sana-bench: error: ") and err.count("sana-bench: error:") == 1
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_teaches(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    out, _ = capfd.readouterr()
    assert caught.value.code == 0
    summary, blank, *paragraph = COMMANDS[name].run.__doc__.splitlines()
    assert summary in out and blank == "" and len(" ".join(paragraph).split()) >= 10
    assert "examples:" in out and "--json" in out
    assert all(f"  {example}\n" in f"{out}\n" for example in COMMANDS[name].examples)


@pytest.mark.parametrize("example", [example for command in COMMANDS.values() for example in command.examples])
def test_every_example_parses(example: str) -> None:
    program, name, *words = shlex.split(example.partition(" > ")[0])
    assert program == "sana-bench"
    arguments = COMMANDS[name].parse(words)
    recipe = getattr(arguments, "config", None)
    assert recipe is None or recipe.endswith(".toml") or recipe in shipped_recipes()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_readme_and_in_the_overview(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert f"`{name}`" in README.read_text() or f"sana-bench {name}" in README.read_text()
    assert main(["--help"]) == 0
    assert f"  {name} " in capfd.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_names_the_nearest_option(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert 'unknown option "--jsn". Did you mean "--json"?' in error_of(capfd, name, "--jsn")


def test_help_and_parsing_import_nothing_heavy() -> None:
    program = ("import sys\nfrom sana_bench.cli import COMMANDS, main\nmain(['--help'])\n"
               "[command.parser().format_help() for command in COMMANDS.values()]\n"
               f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout.startswith("usage: sana-bench COMMAND")


def test_a_pipeline_is_imported_without_torch() -> None:
    """The second run of `train-and-eval` has nothing to compute, so it must not pay for torch."""
    program = ("import sys\nimport sana_bench.pipeline\n"
               "print([name for name in ('torch', 'mediapipe', 'diffusers') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    program, number = capfd.readouterr().out.split()
    assert program == "sana-bench" and number[0].isdigit()


@pytest.mark.parametrize(("words", "part"), [
    (["trian"], 'unknown command "trian". Did you mean "train"?'),
    (["train_and_eval"], 'Did you mean "train-and-eval"?'),
    (["--verson"], 'unknown option "--verson". Did you mean "--version"?'),
    (["train", "extra"], "unrecognized arguments: extra"),
    (["train", "--conf", "tiny"], 'unknown option "--conf"'),
    (["train", "--config"], "expected one argument"),
    (["train", "--config", "tinny"], 'no recipe "tinny"'),
    (["train", "--set", "train.rnak=3"], 'train.rnak: unknown key. Did you mean "rank"?'),
    (["train", "--set", "train.rank=many"], "train.rank: "),
    (["train", "--set", "train.rank"], "--set takes section.key=value"),
    (["train-and-eval", "--set", "score.suite=tiny_human"], 'Did you mean "tiny_humans"?'),
    (["accept", "nowhere"], "--reason"),
    (["accept", "nowhere", "--reason", "x"], "cannot read nowhere/result.json"),
    (["compare", "nowhere"], "cannot read nowhere/result.json"),
    (["compare", "nowhere", "--set", "train.rank=3"], "give either a run folder, or --config and --set"),
    (["report", "nowhere", "--config", "tiny"], "give either a run folder, or --config and --set"),
    (["report", "nowhere"], "cannot read nowhere"),
    (["assets", "lst"], 'unknown action "lst". Did you mean "list"?'),
    (["assets"], "required: list|pull|verify"),
    (["prompts", "check", "nothing_like_it"], 'no prompt suite "nothing_like_it"'),
    (["build-tiny", "autoencodr"], 'Did you mean "autoencoder"?'),
])
def test_a_wrong_command_line_is_one_error(words: list[str], part: str, capfd: pytest.CaptureFixture[str], tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if words[0] in ("train", "train-and-eval"):
        words = [*words, "--set", f"run.store={tmp_path / 'store'}"]
    assert part in error_of(capfd, *words)


def test_all_problems_of_a_recipe_and_of_overrides_come_together(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('[train]\nrnak = 3\nlearning_rate = "fast"\n')
    done = call("train-and-eval", "--config", str(tmp_path / "bad.toml"), "--set", "generate.height=100")
    assert (done.returncode, done.stdout) == (2, "")
    assert "3 problem(s)" in done.stderr and "Traceback" not in done.stderr
    assert all(key in done.stderr for key in ("train.rnak", "train.learning_rate", "generate.height"))


def test_a_broken_suite_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('name = "bad"\n[[prompt]]\ntext = "no id"\n[[prompt]]\nid = "a"\ntext = "x"\n')
    done = call("prompts", "check", str(tmp_path / "bad.toml"), "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "prompt.0.id: Field required" in done.stderr and "version: Field required" in done.stderr


def test_prompts_list_as_json_and_as_text(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "list", "--json"]) == 0
    assert {suite["name"] for suite in json.loads(capfd.readouterr().out)} >= {"tiny_humans", "human_core"}
    assert main(["prompts", "list"]) == 0
    header, *rows = capfd.readouterr().out.splitlines()
    assert header.split() == ["suite", "version", "prompts", "licence", "digest", "description"]
    assert sorted(row.split()[0] for row in rows) == [row.split()[0] for row in rows]


# main() itself, with commands made for the purpose.

@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    def register(run) -> None:
        monkeypatch.setitem(COMMANDS, "probe", Command("probe", "Test", (), lambda parser: None, run))
    return register


def test_stdout_belongs_to_the_answer_alone(command, capfd: pytest.CaptureFixture[str]) -> None:
    def noisy(arguments) -> Reply:
        """probe"""
        print("a library speaks")
        subprocess.run([sys.executable, "-c", "print('a child speaks')"], check=True)
        return Reply({"answer": 42})

    command(noisy)
    assert main(["probe", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out) == {"answer": 42}
    assert "a library speaks" in err and "a child speaks" in err
    print("afterwards stdout is stdout again")
    assert capfd.readouterr().out == "afterwards stdout is stdout again\n"


@pytest.mark.parametrize(("error", "code", "part"), [
    (SanaBenchError("the cup is empty; fill it"), 2, "sana-bench: error: the cup is empty; fill it\n"),
    (KeyboardInterrupt(), 130, "the same command goes on from there.\n"),
    (ZeroDivisionError("our fault"), 2, "ZeroDivisionError: our fault\n"),
])
def test_every_way_to_fail_has_its_code(command, error: BaseException, code: int, part: str,
                                        capfd: pytest.CaptureFixture[str]) -> None:
    def fail(arguments) -> Reply:
        """probe"""
        raise error

    command(fail)
    assert main(["probe", "--json"]) == code
    out, err = capfd.readouterr()
    assert out == "" and err.endswith(part)
    assert ("Traceback" in err) == isinstance(error, ZeroDivisionError)
    assert len(err.splitlines()) == 1 or isinstance(error, ZeroDivisionError)


def test_a_plain_table_is_aligned() -> None:
    assert plain_table(Table(("a", "long head"), [("wide cell", "1"), ("b", "")])) == "a          long head\nwide cell  1\nb"


def run_outcome(run_dir: Path, outcome: str) -> RunOutcome:
    """A finished run with one verdict."""
    cost = StageCost(seconds=61.5, peak_memory_bytes=2_000_000_000)
    provenance = Provenance(created="2026-01-01T00:00:00+00:00", sana_bench="0", commit="", dirty=False, python="3",
                            platform="p", device="cpu", packages={}, digests={})
    verdict = Verdict(
        metric="hand_rate", suite="tiny_humans", outcome={"passed": "unchanged"}.get(outcome, outcome), baseline=0.9,
        candidate=0.456789, difference=-0.443211, ci_low=-0.6, ci_high=None, budget=0.1, num_pairs=8,
        smallest_detectable_effect=0.2, num_prompts_needed=None, unit="share", higher_is_better=True, reason="r")
    report = RegressionReport(
        outcome=outcome, headline="hands got lost", verdicts=(verdict,), worst_samples=(), baseline_name="tiny",
        baseline_digest="b", candidate_digest="c", baseline_provenance=provenance, candidate_provenance=provenance,
        confidence=0.95, num_resamples=2000, seed=0)
    result = BenchmarkResult(
        digest="c", name="tiny", config={}, suite="tiny_humans", suite_version=1, suite_digest="d", sampling={}, samples=(),
        results=(), provenance=provenance, stages={"train": cost})
    run_dir.mkdir()
    (run_dir / "result.json").write_text(result.model_dump_json())
    return RunOutcome(outcome, run_dir, report, {"train": StageReport(61.5, 2_000_000_000, True)})


@pytest.mark.parametrize(("name", "function"), [("train-and-eval", "train_and_eval"), ("compare", "compare_stage")])
@pytest.mark.parametrize(("outcome", "code"), [("passed", 0), ("regressed", 1)])
def test_a_verdict_is_an_exit_code_and_a_document(
        name: str, function: str, outcome: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str]) -> None:
    made = run_outcome(tmp_path / "run", outcome)
    monkeypatch.setattr(f"sana_bench.pipeline.{function}", lambda config: made)
    assert main([name, "--json"]) == code
    document = json.loads(capfd.readouterr().out)
    assert (document["outcome"], document["run_dir"]) == (outcome, str(tmp_path / "run"))
    assert document["result"]["digest"] == "c"
    assert document["stages"] == {"train": {"seconds": 61.5, "peak_memory_bytes": 2_000_000_000, "reused": True}}
    assert [each["difference"] for each in document["verdicts"]] == [-0.443211]
    assert main([name]) == code
    out = capfd.readouterr().out
    assert f"{outcome}: hands got lost" in out and "0.4568" in out and str(tmp_path / "run" / "report.html") in out
    assert "train reused" in out
