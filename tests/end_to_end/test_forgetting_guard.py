"""The guard suite through the command line: an untouched base is at no distance from itself, a planted loss of what it drew is red."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.micro import run, write_run

GUARD = """
name = "no_people"
version = 1
description = "As many prompts without people as a verdict needs."
source = "sana-bench"
license = "CC0-1.0"
""" + "".join(f'[[prompt]]\nid = "{name}"\ntext = "{text}"\ntags = ["{tag}"]\nexpects = {{ faces = 0, persons = 0 }}\n' for name, text, tag in (
    ("lake", "a mountain lake at dawn", "outdoors"), ("bread", "a loaf of bread on a board", "indoors"), ("kite", "a red kite in the sky", "outdoors"),
    ("tram", "a yellow tram at night", "outdoors"), ("fern", "a fern in a clay pot", "indoors"), ("sign", "a sign that says open", "indoors"),
    ("cube", "two blue cubes and a ball", "indoors")))
DRIFT, KERNEL = "drift_efficientnet_lite0", "kid_to_base_efficientnet_lite0"


@pytest.fixture(scope="module")
def guarded(micro, tmp_path_factory) -> Path:
    """A recipe with a guard suite, whose base model was accepted as baseline."""
    recipe = write_run(tmp_path_factory.mktemp("guard"), **micro)
    (recipe.parent / "guard.toml").write_text(GUARD)
    recipe.write_text(recipe.read_text().replace("[run]", f'guard_suite = "{recipe.parent / "guard.toml"}"\nguard_metrics = ["{DRIFT}", "{KERNEL}"]\n[run]')
                      .replace('metrics = ["kid', 'metrics = ["face_rate"]\n#'))
    first = run("train-and-eval", "--config", recipe, "--json", "--set", "train.trainer=none")
    assert first.returncode == 1, first.stderr
    assert run("accept", json.loads(first.stdout)["run_dir"], "--reason", "the base").returncode == 0
    return recipe


def damaged_lora(recipe: Path, factor: float) -> Path:
    """A trained LoRA whose effect is that many times too strong."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    trained = run("train", "--config", recipe, "--json")
    source = next((recipe.parent / "store" / "checkpoint" / json.loads(trained.stdout)["digest"]).glob("*.safetensors"))
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
    target = recipe.parent / f"times_{factor:g}.safetensors"
    save_file({name: value * factor if ".lora_B." in name else value for name, value in load_file(source).items()}, target, metadata)
    return target


def verdicts_on_guard(process) -> dict[str, dict]:
    return {each["metric"]: each for each in json.loads(process.stdout)["verdicts"] if each["suite"] == "no_people"}


def test_the_untouched_base_is_at_no_distance_from_itself(guarded):
    again = run("train-and-eval", "--config", guarded, "--json", "--set", "train.trainer=none")
    assert again.returncode == 0, again.stderr
    verdicts = verdicts_on_guard(again)
    assert {name: (each["outcome"], each["candidate"], each["difference"]) for name, each in verdicts.items()} == {
        DRIFT: ("unchanged", 0.0, 0.0), KERNEL: ("unchanged", pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))}
    stages = json.loads(again.stdout)["stages"]
    assert {"guard generate", "guard generate base", "guard score"} <= stages.keys()


def test_a_fine_tune_that_forgets_is_red_on_the_guard(guarded):
    """Its twin, the same weights without effect, is not: what is red is the damage and not that a LoRA was loaded."""
    seen = {}
    for factor in (0, 1000):
        done = run("train-and-eval", "--config", guarded, "--json", "--set", "train.trainer=external", "--set",
                   f"train.weights={damaged_lora(guarded, factor)}")
        verdicts = verdicts_on_guard(done)
        seen[factor] = (done.returncode, verdicts[DRIFT]["outcome"])
        assert set(verdicts) == {DRIFT, KERNEL}, done.stderr
    assert seen == {0: (0, "unchanged"), 1000: (1, "regressed")}
    document = json.loads(done.stdout)
    assert verdicts[DRIFT]["difference"] > verdicts[DRIFT]["budget"] and f"{DRIFT} of no_people" in document["headline"]
    assert document["stages"]["guard generate base"]["reused"] and not document["stages"]["guard generate"]["reused"]
    page = Path(document["report"]).read_text()
    assert 'id="guard"' in page and "Guard: no_people" in Path(document["report"]).with_name("report.md").read_text()


def test_stages_on_their_own_draw_and_score_both_suites(guarded):
    """As one command does: the run folder is the same."""
    whole = run("train-and-eval", "--config", guarded, "--json")
    drawn, scored, compared = (run(command, "--config", guarded, "--json") for command in ("generate", "score", "compare"))
    assert (json.loads(drawn.stdout)["suite"], json.loads(drawn.stdout)["guard"]["suite"]) == ("micro_suite", "no_people")
    assert {each["metric"] for each in json.loads(scored.stdout)["guard"]["results"]} == {DRIFT, KERNEL}
    assert json.loads(compared.stdout)["run_dir"] == json.loads(whole.stdout)["run_dir"]
    again = run("compare", json.loads(whole.stdout)["run_dir"], "--json")
    assert {each["suite"] for each in json.loads(again.stdout)["verdicts"]} == {"micro_suite", "no_people"}


def test_a_run_without_the_guard_that_its_baseline_has_is_red(guarded):
    unguarded = run("train-and-eval", "--config", guarded, "--json", "--set", "train.trainer=none", "--set", "score.guard_suite=")
    assert unguarded.returncode == 1
    assert {each["outcome"] for each in verdicts_on_guard(unguarded).values()} == {"missing"}


@pytest.mark.parametrize(("guard", "part"), [("suite.toml", "score.guard_suite is score.suite"), ("other.toml", "score.guard_suite=")])
def test_a_guard_suite_that_cannot_be_used_is_an_error_before_anything_is_made(guarded, tmp_path, guard, part):
    """The suite itself, and another one than that of the baseline."""
    (guarded.parent / "other.toml").write_text(GUARD.replace("version = 1", "version = 2"))
    result = run("train-and-eval", "--config", guarded, "--set", f"score.guard_suite={guarded.parent / guard}", "--set", f"run.store={tmp_path}")
    assert result.returncode == 2 and part in result.stderr and "Traceback" not in result.stderr
    assert not list(tmp_path.glob("*/*"))
