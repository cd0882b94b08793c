"""A run in blocks of prompts on a micro Sana: it stops where all is decided, says so, goes on later, and draws nothing twice.

Run: pytest tests/end_to_end/test_sequential_run.py -q
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import sana_bench.generate
import sana_bench.pipeline
from sana_bench.baselines import accept
from sana_bench.config import load_config
from sana_bench.errors import BaselineError
from sana_bench.generation.sampling import draw
from sana_bench.pipeline import RunOutcome, compare_run_folder, train_and_eval
from sana_bench.prompts import drawing_order, load_suite
from sana_bench.records import BenchmarkResult, RegressionReport
from sana_bench.sequential import look_confidences
from sana_bench.store import read_record
from tests.micro import command, kill_when, run, write_run

TOPICS = ("studio portrait of a person", "full-body studio photo of a man", "casual selfie of a woman", "studio headshot of a man")
SUITE = 'name = "{name}"\nversion = 1\ndescription = "24 prompts of four topics"\nsource = "sana-bench"\nlicense = "CC0-1.0"\n' + "".join(
    f'[[prompt]]\nid = "topic{topic}-{number}"\ntext = "{text}, take {number}"\ntags = ["topic{topic}"]\n'
    for topic, text in enumerate(TOPICS) for number in range(6))
METRICS = 'score.metrics=["compression_ratio", "clip_score_tiny_clip"]'
CLEAR, UNCLEAR = 'gate=[{metric="compression_ratio"}]', 'gate=[{metric="clip_score_tiny_clip"}]'
"""Plain grey compresses five times better than noise, on every prompt; how well noise happens to fit a prompt differs from prompt to prompt."""


def write_job(folder: Path, micro: dict[str, Path]) -> Path:
    recipe = write_run(folder, **micro)
    for name in ("suite", "guard"):
        (folder / f"{name}.toml").write_text(SUITE.format(name=name))
    return recipe


def grey_base(base: Path, folder: Path) -> Path:
    """The same Sana with an autoencoder that decodes everything to the same grey."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    save_file({name: value * 0 if name.startswith("decoder.conv_out") else value for name, value in weights.items()}, path)
    return folder


def run_job(recipe: Path, base: Path, baseline: str, *settings: str) -> RunOutcome:
    return train_and_eval(load_config(str(recipe), ("train.trainer=none", f"model.base={base}", f"compare.baseline={baseline}", METRICS, *settings)))


@pytest.fixture(scope="module")
def bases(micro, tmp_path_factory) -> dict[str, Path]:
    return {"noise": micro["base"], "grey": grey_base(micro["base"], tmp_path_factory.mktemp("bases") / "grey")}


@pytest.fixture(scope="module")
def baselines(micro, bases, tmp_path_factory) -> Path:
    """A folder with the baselines grey and noise, each accepted after a run that was not allowed to stop."""
    recipe = write_job(tmp_path_factory.mktemp("accepted"), micro)
    for name, base in bases.items():
        outcome = run_job(recipe, base, name, "compare.num_looks=2")
        assert outcome.report.look is None, "without a baseline a run is there to be accepted, and draws all"
        accept(outcome.run_dir, name, "to compare with", recipe.parent / "baselines")
    return recipe.parent / "baselines"


@pytest.fixture
def job(micro, baselines, tmp_path) -> Path:
    """A recipe with these baselines and a store of its own, in which nothing is drawn yet."""
    recipe = write_job(tmp_path, micro)
    shutil.copytree(baselines, tmp_path / "baselines")
    return recipe


@pytest.fixture
def drawn(monkeypatch) -> list[int]:
    """Seeds that were drawn, in their order."""
    seeds = []
    monkeypatch.setattr(sana_bench.generate, "draw", lambda pipeline, settings, prompts, each: seeds.extend(each) or draw(pipeline, settings, prompts, each))
    return seeds


def test_a_clear_change_stops_early_and_a_run_that_goes_on_draws_only_the_rest(job, bases, drawn, monkeypatch):
    config = load_config(str(job))
    first = run_job(job, bases["grey"], "noise", CLEAR, "compare.num_looks=2")
    look, result = first.report.look, read_record(first.run_dir / "result.json", BenchmarkResult)
    seen = drawing_order(load_suite(config.score.suite))[:12]
    assert (first.outcome, first.report.gates[0].outcome) == ("regressed", "regressed")
    assert (look.number, look.num_prompts, look.num_images, look.num_suite_images) == (1, (12, 24), 12, 24)
    assert first.report.confidence == look.confidence == pytest.approx(look_confidences([0.5, 1], 0.95)[0])
    assert {sample.prompt_id for sample in result.samples} == set(seen) and result.num_prompts_left == 12 and len(drawn) == 12
    said = "Stopped after 12 of 24 prompts, at look 1 of 2: every gate is decided; 50% of the images saved."
    assert first.report.headline.endswith(said) and said in (first.run_dir / "report.html").read_text() and said in (first.run_dir / "report.md").read_text()
    assert not any("scored only on" in verdict.reason for verdict in first.report.verdicts), "what was left out on purpose is not lost"

    with monkeypatch.context() as patched:
        patched.setattr(sana_bench.pipeline, "compare", None)  # a second run compares nothing again
        again = run_job(job, bases["grey"], "noise", CLEAR, "compare.num_looks=2")
    assert (again.run_dir, again.report, len(drawn)) == (first.run_dir, first.report, 12) and all(stage.reused for stage in again.stages.values())
    with pytest.raises(BaselineError, match="12 prompts of suite were not drawn.*compare.num_looks=1"):
        accept(first.run_dir, "noise", "half of it looks good", Path(config.run.baselines))

    whole = run_job(job, bases["grey"], "noise", CLEAR)
    assert len(drawn) == len(set(drawn)) == 24 and whole.report.look is None and "Stopped" not in whole.report.headline
    assert set(result.samples) < set(read_record(whole.run_dir / "result.json", BenchmarkResult).samples)
    accept(whole.run_dir, "noise", "all of it", Path(config.run.baselines))


def test_a_stopped_run_is_compared_again_at_the_level_of_its_look(job, bases):
    first = run_job(job, bases["grey"], "noise", CLEAR, "compare.num_looks=2")
    recorded = load_config(str(job), ("train.trainer=none", CLEAR, "compare.num_looks=2", "compare.baseline=grey"))
    other = compare_run_folder(first.run_dir, recorded)
    assert (other.report.baseline_name, other.report.gates[0].outcome) == ("grey", "unchanged")
    assert other.report.look == first.report.look and other.report.confidence == first.report.confidence
    sure = recorded.model_copy(update={"compare": recorded.compare.model_copy(update={"confidence": 0.9})})
    assert compare_run_folder(first.run_dir, sure).report.confidence == pytest.approx(look_confidences([0.5, 1], 0.9)[0])


def test_what_is_not_decided_goes_on_to_the_whole_suite(job, bases, drawn):
    outcome = run_job(job, bases["grey"], "noise", UNCLEAR, "compare.num_looks=2")
    look = outcome.report.look
    assert (look.number, look.num_images) == (2, 24) and len(drawn) == len(set(drawn)) == 24
    assert outcome.report.headline.endswith("All 24 prompts were drawn: not every gate was decided at the 1 look(s) before.")
    assert outcome.report.confidence == look.confidence == pytest.approx(look_confidences([0.5, 1], 0.95)[1])
    assert read_record(outcome.run_dir / "result.json", BenchmarkResult).num_prompts_left == 0


def test_the_guard_suite_is_drawn_in_blocks_too(micro, bases, tmp_path, drawn):
    recipe = write_job(tmp_path, micro)
    guard = (f"score.guard_suite={tmp_path / 'guard.toml'}", 'score.guard_metrics=["drift_efficientnet_lite0"]')
    accept(run_job(recipe, bases["noise"], "noise", *guard).run_dir, "noise", "whole", tmp_path / "baselines")
    drawn.clear()
    gates = 'gate=[{metric="compression_ratio"}, {metric="drift_efficientnet_lite0", suite="guard"}]'
    outcome = run_job(recipe, bases["grey"], "noise", *guard, gates, "compare.num_looks=2")
    look = outcome.report.look
    assert (look.number, look.num_prompts, look.num_images, look.num_suite_images) == (1, (12, 24), 24, 48) and len(drawn) == 24
    assert [gate.outcome for gate in outcome.report.gates] == ["regressed", "not_comparable"], "distances to another base's images are no pairs"
    assert read_record(outcome.run_dir / "guard" / "result.json", BenchmarkResult).num_prompts_left == 12
    with pytest.raises(BaselineError, match="were not drawn"):
        accept(outcome.run_dir, "noise", "half", tmp_path / "baselines")


def test_a_killed_run_goes_on_and_ends_the_same(job, bases, micro, baselines, tmp_path):
    unbroken = write_job(tmp_path / "unbroken", micro)
    shutil.copytree(baselines, unbroken.parent / "baselines")
    expected = run_job(unbroken, bases["grey"], "noise", CLEAR, "compare.num_looks=2")
    options = ("train.trainer=none", f"model.base={bases['grey']}", "compare.baseline=noise", METRICS, CLEAR, "compare.num_looks=2")
    arguments = ("train-and-eval", "--config", job, "--json", *(part for option in options for part in ("--set", option)))
    kill_when(command(*arguments), lambda: any(job.parent.glob("store/samples/*/*.png")))
    assert 0 < len(list(job.parent.glob("store/samples/*/*.png"))) < 12, "the kill came too late to prove anything"
    done = run(*arguments)
    document = json.loads(done.stdout)
    report = read_record(Path(document["run_dir"]) / "regression.json", RegressionReport)
    assert done.returncode == 1 and report.look == expected.report.look and report.verdicts == expected.report.verdicts
    images = [{path.name: path.read_bytes() for path in folder.glob("store/samples/*/*.png")} for folder in (job.parent, unbroken.parent)]
    assert images[0] == images[1] and len(images[0]) == 12


def test_every_training_seed_is_drawn_as_far_as_the_look_sees(job, bases, drawn):
    outcome = run_job(job, bases["grey"], "noise", CLEAR, "compare.num_looks=2", "train.trainer=lora", "train.num_seeds=2")
    look, result = outcome.report.look, read_record(outcome.run_dir / "result.json", BenchmarkResult)
    others = [read_record(path, BenchmarkResult) for path in outcome.run_dir.glob("seeds/*/result.json")]
    assert (look.number, outcome.report.gates[0].outcome, outcome.report.gates[0].num_training_seeds) == (1, "regressed", 2)
    assert [each.num_prompts_left for each in (result, *others)] == [12, 12] and len(drawn) == 24
