"""The main job on a micro Sana, through the command line: every stage, every reuse, every exit code.

Run: pytest tests/end_to_end -q
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sana_bench.config import load_config
from sana_bench.metrics import METRICS
from sana_bench.pipeline import train_and_eval
from tests.micro import build_base, run, write_run

STAGES = ["train", "generate", "score", "compare", "report"]


@pytest.fixture(scope="module")
def accepted(micro, tmp_path_factory):
    """A recipe whose base model was run and accepted as baseline: (recipe, JSON of the first run)."""
    recipe = write_run(tmp_path_factory.mktemp("job"), **micro)
    first = run("train-and-eval", "--config", recipe, "--json", "--set", "train.trainer=none")
    document = json.loads(first.stdout)
    assert first.returncode == 1, "a run without a baseline must not be green"
    baselines = recipe.parent / "baselines"
    done = run("accept", document["run_dir"], "--reason", "first look")
    assert done.returncode == 0, done.stderr
    assert (baselines / "micro" / "acceptance.json").exists()
    return recipe, document


def reused(config_path: Path, *overrides: str) -> list[str]:
    outcome = train_and_eval(load_config(str(config_path), overrides))
    assert list(outcome.stages) == STAGES
    return [name for name in STAGES if outcome.stages[name].reused]


def test_a_run_without_a_baseline_is_missing_everywhere(accepted):
    document = accepted[1]
    assert document["outcome"] == "regressed" and {verdict["outcome"] for verdict in document["verdicts"]} == {"missing"}
    run_dir = Path(document["run_dir"])
    for name in ("result.json", "scores.parquet", "statistics.safetensors", "keypoints.json", "regression.json", "report.html", "report.md", "junit.xml"):
        assert (run_dir / name).stat().st_size > 0, name
    for name in STAGES:
        stage = document["stages"][name]
        assert stage["seconds"] >= 0 and stage["peak_memory_bytes"] > 1e7 and stage["reused"] is False


def test_a_trained_variant_is_compared_and_a_second_run_redoes_nothing(accepted):
    recipe, _ = accepted
    first = run("train-and-eval", "--config", recipe, "--json")
    document = json.loads(first.stdout)
    assert first.returncode == {"passed": 0, "regressed": 1}[document["outcome"]], first.stderr
    verdicts = {verdict["metric"]: verdict for verdict in document["verdicts"]}
    assert set(verdicts) == {"kid_efficientnet_lite0", "clip_score_tiny_clip", "face_rate"}
    assert verdicts["clip_score_tiny_clip"]["difference"] is not None
    assert document["stages"]["train"]["reused"] is False
    again = run("train-and-eval", "--config", recipe, "--json")
    second = json.loads(again.stdout)
    assert all(second["stages"][name]["reused"] for name in STAGES)
    assert (second["verdicts"], second["run_dir"]) == (document["verdicts"], document["run_dir"])


def grey_base(base: Path, folder: Path) -> Path:
    """The same Sana with an autoencoder that decodes everything to the same grey."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    save_file({name: value * 0 if name.startswith("decoder.conv_out") else value for name, value in weights.items()}, path)
    return folder


def test_a_change_for_the_worse_is_exit_code_1_and_its_mirror_image_is_0(micro, tmp_path):
    """Of noise and plain grey one leaves less to compress, in every picture: one of the two directions must be a regression."""
    bases = {"noise": micro["base"], "grey": grey_base(micro["base"], tmp_path / "grey_base")}
    options = ("--set", 'score.metrics=["compression_ratio"]', "--set", "train.trainer=none", "--set", f"run.store={tmp_path / 'store'}")
    seen = {}
    for baseline, candidate in (("noise", "grey"), ("grey", "noise")):
        shared = ("train-and-eval", "--config", write_run(tmp_path / baseline, **micro), *options, "--json")
        first = run(*shared, "--set", f"model.base={bases[baseline]}")
        assert run("accept", json.loads(first.stdout)["run_dir"], "--reason", "one side").returncode == 0
        second = run(*shared, "--set", f"model.base={bases[candidate]}")
        (verdict,) = json.loads(second.stdout)["verdicts"]
        seen[verdict["outcome"]] = (second.returncode, verdict["difference"])
    assert {outcome: code for outcome, (code, _) in seen.items()} == {"regressed": 1, "improved": 0}
    assert seen["regressed"][1] == pytest.approx(-seen["improved"][1])


def test_a_second_run_imports_no_torch(accepted):
    import subprocess
    import sys

    recipe, _ = accepted
    code = ("import sys; from sana_bench.cli import main; code = main(sys.argv[1:]); "
            "assert 'torch' not in sys.modules and 'diffusers' not in sys.modules, 'a reused run loaded torch'; sys.exit(code)")
    run("train-and-eval", "--config", recipe, "--json")
    again = subprocess.run([sys.executable, "-c", code, "train-and-eval", "--config", str(recipe)], capture_output=True, text=True)
    assert "loaded torch" not in again.stderr, again.stderr
    assert again.returncode in (0, 1)


def test_only_what_depends_on_a_change_is_made_again(accepted, micro):
    recipe, _ = accepted
    reused(recipe)
    assert reused(recipe) == STAGES
    assert reused(recipe, 'score.metrics=["face_rate"]') == ["train", "generate"]
    assert reused(recipe, "compare.num_resamples=500") == ["train", "generate"]
    assert reused(recipe, "generate.num_inference_steps=1") == ["train"]
    assert reused(recipe, "train.learning_rate=0.02") == []


def test_a_baseline_of_another_suite_is_an_error_before_anything_is_made(accepted, micro, tmp_path):
    recipe, _ = accepted
    other = write_run(tmp_path, suite_version=2, **micro)
    before = sorted(path for path in (recipe.parent / "baselines").rglob("*"))
    result = run("train-and-eval", "--config", other, "--set", f"run.baselines={recipe.parent / 'baselines'}")
    assert result.returncode == 2 and "suite" in result.stderr and "Traceback" not in result.stderr
    assert sorted(path for path in (recipe.parent / "baselines").rglob("*")) == before
    assert not list(tmp_path.glob("store/*/*"))


def test_a_budget_holds_for_its_own_run_only(accepted):
    recipe, _ = accepted
    budgets = [{each.metric: each.budget for each in train_and_eval(load_config(str(recipe), overrides)).report.verdicts}["face_rate"]
               for overrides in (('compare.budgets=[{metric="face_rate", budget=9.0}]',), ())]
    assert budgets == [9.0, METRICS.get("face_rate").budget]


def test_a_run_folder_is_compared_and_reported_from_its_records_alone(accepted, tmp_path):
    recipe, document = accepted
    run_dir = tmp_path / "reports" / "elsewhere"
    shutil.copytree(document["run_dir"], run_dir)
    config = json.loads((run_dir / "result.json").read_text())
    config["config"]["run"]["store"] = str(tmp_path / "no" / "store")
    (run_dir / "result.json").write_text(json.dumps(config))
    done = run("compare", run_dir, "--json")
    answer = json.loads(done.stdout)
    assert Path(answer["run_dir"]).parent == run_dir.parent and Path(answer["run_dir"]) != run_dir
    assert {each["outcome"] for each in answer["verdicts"] if each["difference"] is not None} == {"unchanged"}, done.stderr
    page = Path(answer["run_dir"]) / "report.html"
    page.unlink()
    assert run("report", answer["run_dir"]).returncode == 0 and page.stat().st_size > 0
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(("override", "part"), [
    ('score.metrics=["face_rat"]', "face_rate"), ('compare.budgets=[{metric="face_rat", budget=1.0}]', "face_rate"),
    ("data.reference=/nowhere", "/nowhere"), ("train.trainer=lara", "lora"), ("compare.baseline=/nowhere", "/nowhere")])
def test_what_can_be_known_at_once_stops_a_run_before_it_trains(micro, tmp_path, override, part):
    recipe = write_run(tmp_path, **micro)
    result = run("train-and-eval", "--config", recipe, "--set", override)
    assert result.returncode == 2 and part in result.stderr and "Traceback" not in result.stderr
    assert not list(tmp_path.glob("store/*/*"))


def test_a_lora_of_another_base_is_one_clear_error(micro, tmp_path):
    other = write_run(tmp_path / "other", **{**micro, "base": build_base(tmp_path / "base", heads=4)})
    assert run("train", "--config", other).returncode == 0
    (weights,) = tmp_path.glob("other/store/checkpoint/*/pytorch_lora_weights.safetensors")
    recipe = write_run(tmp_path / "own", **micro)
    result = run("train", "--config", recipe, "--set", "train.trainer=external", "--set", f"train.weights={weights}")
    assert result.returncode == 2 and "another base" in result.stderr and "Traceback" not in result.stderr


def test_captions_with_script_are_inert_in_the_report(accepted):
    page = (Path(accepted[1]["run_dir"]) / "report.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_an_unwritable_store_is_one_clear_error(accepted, tmp_path):
    recipe, _ = accepted
    (tmp_path / "file").write_text("")
    result = run("train-and-eval", "--config", recipe, "--set", f"run.store={tmp_path / 'file' / 'store'}")
    assert result.returncode == 2 and "store" in result.stderr and "Traceback" not in result.stderr


def test_an_empty_data_folder_is_one_clear_error(accepted, tmp_path):
    recipe, _ = accepted
    (tmp_path / "empty").mkdir()
    result = run("train", "--config", recipe, "--set", f"data.training={tmp_path / 'empty'}")
    assert result.returncode == 2 and "metadata.jsonl" in result.stderr and "Traceback" not in result.stderr


def test_stages_on_their_own_name_the_command_that_comes_first(micro, tmp_path):
    recipe = write_run(tmp_path, **micro)
    for command, needed in (("generate", "sana-bench train"), ("score", "sana-bench train"), ("compare", "sana-bench train")):
        result = run(command, "--config", recipe)
        assert result.returncode == 2 and needed in result.stderr, (command, result.stderr)
