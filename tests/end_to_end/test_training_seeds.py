"""Several fine-tunes of one recipe: each is made once, all are in the run folder and in a baseline, and one that is damaged is an error.

Run: pytest tests/end_to_end/test_training_seeds.py -q
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from sana_bench.config import RunConfig, load_config
from sana_bench.pipeline import RunOutcome, train_and_eval
from sana_bench.results import load_bundle
from tests.micro import command, kill_when, run, write_run

STAGES = ["train", "generate", "generate base", "score", "guard generate", "guard generate base", "guard score"]
OF_ANOTHER_SEED = ["train", "generate", "score", "guard generate", "guard score"]


def write_guarded_run(folder: Path, micro: dict[str, Path], **changes) -> Path:
    """A recipe with a guard suite; both suites have a metric that needs the base model's own images."""
    recipe = write_run(folder, **micro, **changes)
    (folder / "guard.toml").write_text((folder / "suite.toml").read_text().replace("micro_suite", "guard_suite"))
    recipe.write_text(recipe.read_text().replace("[run]", f'guard_suite = "{folder / "guard.toml"}"\nguard_metrics = ["drift_efficientnet_lite0"]\n[run]')
                      .replace('"clip_score_tiny_clip"', '"drift_efficientnet_lite0"'))
    return recipe


def config_of(recipe: Path, num_seeds: int, *more: str) -> RunConfig:
    return load_config(str(recipe), (f"train.num_seeds={num_seeds}", *more))


def fresh_stages(outcome: RunOutcome) -> list[str]:
    return [name for name, stage in outcome.stages.items() if not stage.reused and name not in ("compare", "report")]


def contents(folder: Path, pattern: str) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob(pattern))}


@pytest.fixture(scope="module")
def two_seeds(micro, tmp_path_factory) -> tuple[Path, RunOutcome]:
    """A recipe whose base model was accepted as baseline, and its first run with two training seeds."""
    recipe = write_guarded_run(tmp_path_factory.mktemp("seeds"), micro)
    base = train_and_eval(load_config(str(recipe), ("train.trainer=none",)))
    assert run("accept", base.run_dir, "--reason", "the base").returncode == 0
    return recipe, train_and_eval(config_of(recipe, 2))


def test_two_seeds_are_two_fine_tunes_with_images_and_results_of_their_own(two_seeds):
    recipe, outcome = two_seeds
    weights = contents(recipe.parent, "store/checkpoint/*/pytorch_lora_weights.safetensors")
    assert len(weights) == len(set(weights.values())) == 2
    bundle = load_bundle(outcome.run_dir)
    (replicate,) = bundle.replicates
    assert (bundle.training_seed, replicate.training_seed) == (0, 1)
    for one, two in ((bundle, replicate), (bundle.guard, replicate.guard)):
        assert one.result.digest != two.result.digest and one.result.suite_digest == two.result.suite_digest
        assert [sample.seed for sample in one.result.samples] == [sample.seed for sample in two.result.samples], "the same noise"
        assert {s.pixels_sha256 for s in one.result.samples}.isdisjoint(s.pixels_sha256 for s in two.result.samples)
    assert fresh_stages(outcome) == [*(name for name in STAGES if "base" not in name), *(f"seed 1 {name}" for name in OF_ANOTHER_SEED)]
    assert sorted(path.name for path in (outcome.run_dir / "seeds" / "1").iterdir()) == [
        "guard", "result.json", "scores.parquet", "statistics.safetensors"], "nothing that is only to look at"


def test_reports_say_how_many_fine_tunes_a_verdict_is_on(two_seeds):
    recipe, outcome = two_seeds
    page, summary = ((outcome.run_dir / name).read_text() for name in ("report.html", "report.md"))
    assert 'id="training-seeds"' in page and "### By training seed" in summary and "| metric | seed 0 | seed 1 | mean |" in summary
    assert "drift_efficientnet_lite0 of guard_suite" in summary
    single = train_and_eval(config_of(recipe, 1))
    page, summary = ((single.run_dir / name).read_text() for name in ("report.html", "report.md"))
    assert "One fine-tune: another training seed may come out otherwise" in page and "One fine-tune" in summary and "By training seed" not in summary
    answer = run("train-and-eval", "--config", recipe)
    assert answer.stdout.count("One fine-tune") == 1
    base = run("train-and-eval", "--config", recipe, "--set", "train.trainer=none")
    assert "fine-tune:" not in base.stdout, "nothing was trained"


def test_nothing_is_made_twice_and_another_seed_costs_that_seed_alone(two_seeds):
    recipe, outcome = two_seeds
    again = train_and_eval(config_of(recipe, 2))
    assert (fresh_stages(again), again.run_dir, again.report) == ([], outcome.run_dir, outcome.report)
    assert fresh_stages(train_and_eval(config_of(recipe, 1))) == [], "the first of two is the only one of one"
    three = train_and_eval(config_of(recipe, 3))
    assert fresh_stages(three) == [f"seed 2 {name}" for name in OF_ANOTHER_SEED]
    assert [each.training_seed for each in load_bundle(three.run_dir).replicates] == [1, 2]
    later = train_and_eval(config_of(recipe, 2, "train.seed=1"))
    assert fresh_stages(later) == [] and [each.training_seed for each in load_bundle(later.run_dir).replicates] == [2]


def test_stages_on_their_own_end_in_the_same_run_folder(two_seeds):
    recipe, outcome = two_seeds
    options = ("--config", recipe, "--json", "--set", "train.num_seeds=2")
    trained, drawn, scored, compared = (json.loads(run(name, *options).stdout) for name in ("train", "generate", "score", "compare"))
    assert len({trained["digest"], trained["replicates"][0]["digest"]}) == 2
    assert [each["checkpoint_digest"] for each in (drawn, *drawn["replicates"])] == [each["digest"] for each in (trained, *trained["replicates"])]
    assert scored["replicates"][0]["guard"]["suite"] == "guard_suite"
    assert Path(compared["run_dir"]) == outcome.run_dir.resolve()
    untrained = run("generate", *options, "--set", "train.num_seeds=9")
    assert untrained.returncode == 2 and "sana-bench train" in untrained.stderr


def test_a_killed_run_goes_on_where_it_was(micro, tmp_path):
    options = ("--set", "train.num_seeds=2", "--set", 'score.metrics=["face_rate"]', "--set", "score.guard_suite=")
    unbroken, broken = (write_guarded_run(tmp_path / name, micro, steps=40) for name in ("unbroken", "broken"))
    assert run("train-and-eval", "--config", unbroken, *options).returncode == 1, "without a baseline"
    states, weights = "store/checkpoint/*/training_state.safetensors", "store/checkpoint/*/pytorch_lora_weights.safetensors"
    finished = "store/checkpoint/*/record.json"
    kill_when(command("train-and-eval", "--config", broken, *options), lambda: any(broken.parent.glob(finished)) and any(broken.parent.glob(states)))
    assert len(list(broken.parent.glob(weights))) == 1, "the kill came too late to prove anything"
    done = run("train-and-eval", "--config", broken, *options, "--json")
    stages = json.loads(done.stdout)["stages"]
    assert stages["train"]["reused"] and not stages["seed 1 train"]["reused"] and "train LoRA (seed 2 of 2)" in done.stderr
    for pattern in (weights, "store/samples/*/*.png", "store/results/*/scores.parquet"):
        expected = contents(unbroken.parent, pattern)
        assert len(expected) in (2, 12) and contents(broken.parent, pattern) == expected, pattern


@pytest.fixture
def accepted(two_seeds, tmp_path) -> tuple[Path, Path]:
    """(a copy of the run folder whose store is out of reach, a baseline that was made of it)"""
    run_dir = tmp_path / "reports" / "run"
    shutil.copytree(two_seeds[1].run_dir, run_dir)
    result = json.loads((run_dir / "result.json").read_text())
    result["config"]["run"] |= {"store": str(tmp_path / "none"), "baselines": str(tmp_path / "baselines")}
    (run_dir / "result.json").write_text(json.dumps(result))
    done = run("accept", run_dir, "--reason", "two fine-tunes")
    assert done.returncode == 0, done.stderr
    return run_dir, tmp_path / "baselines" / "micro"


def test_a_baseline_keeps_every_fine_tune_and_is_enough_to_compare_with(accepted):
    run_dir, baseline = accepted
    kept, made = ({name: digest for name, digest in contents(folder, "seeds/**/*.*").items() if not name.endswith("result.json")} for folder in (baseline, run_dir))
    assert kept == made and len(kept) == 4  # what they scored; where the run kept its files stays on its machine
    for place in ("seeds/1", "seeds/1/guard"):
        kept, made = (json.loads((folder / place / "result.json").read_text()) for folder in (baseline, run_dir))
        assert kept["config"].pop("run") != made["config"].pop("run") and kept == made
    done = run("compare", run_dir, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {each["difference"] for each in document["verdicts"] if each["difference"] is not None} == {0.0}
    copied = Path(document["run_dir"])
    assert len(load_bundle(copied / "baseline").replicates) == len(load_bundle(copied).replicates) == 1
    assert run("report", copied).returncode == 0


@pytest.mark.parametrize(("side", "damage", "part"), [
    ("baseline", lambda seed: (seed / "scores.parquet").write_bytes(b"PAR1"), "scores.parquet"),
    ("run", lambda seed: (seed / "result.json").unlink(), "result.json"),
    ("run", lambda seed: (seed / "guard" / "statistics.safetensors").unlink(), "statistics.safetensors"),
    ("baseline", shutil.rmtree, "is of 2 training seeds and holds 1"),
    ("run", lambda seed: seed.rename(seed.with_name("7")), "seeds/7 holds training seed 1")])
def test_a_damaged_fine_tune_is_one_clear_error(accepted, side, damage, part):
    run_dir, baseline = accepted
    damage({"run": run_dir, "baseline": baseline}[side] / "seeds" / "1")
    done = run("compare", run_dir)
    assert done.returncode == 2 and part in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in run_dir.parent.iterdir()) == ["run"], "nothing half made"


@pytest.mark.parametrize("options", [("train.trainer=none",), ("train.trainer=external", "train.weights={weights}")])
def test_trainers_without_noise_have_one_fine_tune(two_seeds, tmp_path, options):
    recipe, _ = two_seeds
    weights = next(recipe.parent.glob("store/checkpoint/*/pytorch_lora_weights.safetensors"))
    done = run("train-and-eval", "--config", recipe, "--set", "train.num_seeds=2", "--set", f"run.store={tmp_path}",
               *(word for option in options for word in ("--set", option.format(weights=weights))))
    assert done.returncode == 2 and "train.num_seeds is 2" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*/*"))
