"""What moved since the baseline was accepted is not comparable, and the reason says what to do: the settings that it names do put it back."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from sana_bench.baselines import accept
from sana_bench.comparability import check_suite
from sana_bench.compare import compare
from sana_bench.config import CompareSection, RunConfig, load_config
from sana_bench.errors import BaselineError
from sana_bench.generation.sampling import sampling_record
from sana_bench.guard import parts_of
from sana_bench.records import BenchmarkResult, Verdict
from sana_bench.results import ResultBundle, load_bundle
from sana_bench.shipped import shipped_folder
from sana_bench.store import read_record
from tests.bundles import make_bundle, write_result_folder

VALUES = [0.1 * index for index in range(10)]
ACCEPT = 'sana-bench accept RUN_DIR --reason "..."'
OLD = RunConfig(name="tiny")
GUARD = str(shipped_folder("prompts") / "general_guard.toml")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANA_BENCH_CACHE", str(tmp_path / "cache"))


def side(config: RunConfig = OLD, metric: str = "hand_rate", changes: dict | None = None, provenance: dict | None = None, **fields) -> ResultBundle:
    """A result of that recipe."""
    bundle = make_bundle({metric: VALUES}, changes={metric: changes or {}}, config=config.model_dump(mode="json"),
                         sampling=sampling_record(config.generate, config.model, "cpu"), **fields)
    changed = bundle.result.provenance.model_copy(update=provenance or {})
    return replace(bundle, result=bundle.result.model_copy(update={"provenance": changed}))


def verdict_on(before: ResultBundle, after: ResultBundle, tmp_path: Path) -> Verdict:
    """Of the candidate against the baseline, accepted and read back."""
    accept(write_result_folder(before, tmp_path / "old"), "tiny", "why", tmp_path / "baselines")
    report = compare(after, load_bundle(tmp_path / "baselines" / "tiny"), CompareSection(), "tiny")
    (verdict,) = report.verdicts
    assert (report.outcome == "passed") == (verdict.outcome == "unchanged")
    return verdict


def put_back(reason: str, *overrides: str) -> RunConfig:
    """The recipe after what the reason says with --set, as a shell and the command line read it."""
    words = shlex.split(re.search(r"(--set .*?)(?:, or |; where |\)|$)", reason)[1])
    advised = tuple(word for word in words if word != "--set")
    assert len(words) == 2 * len(advised)
    return load_config("tiny", (*overrides, *advised))


def test_with_nothing_moved_there_is_no_obstacle(tmp_path: Path):
    """The twin of all below."""
    verdict = verdict_on(side(), side(), tmp_path)
    assert verdict.outcome == "unchanged" and "sana-bench accept" not in verdict.reason


def test_a_moved_metric_version(tmp_path: Path):
    packages = {"torch": "2.1", "mediapipe": "0.10.32"}
    verdict = verdict_on(side(provenance={"commit": "ab12" * 10, "packages": packages}),
                         side(changes={"version": 2}, provenance={"commit": "cd34" * 10, "packages": {**packages, "torch": "2.2"}}), tmp_path)
    assert verdict.outcome == "not_comparable" and verdict.difference is None
    assert verdict.reason.startswith("version was 1 in the baseline and is 2 now: score the baseline's variant with this sana-bench and accept that")
    assert ACCEPT in verdict.reason and "git checkout ab12ab12ab12; pip install torch==2.1" in verdict.reason and "mediapipe" not in verdict.reason


def test_a_moved_metric_version_of_an_installed_release(tmp_path: Path):
    verdict = verdict_on(side(provenance={"sana_bench": "0.1.0"}), side(changes={"version": 2}, provenance={"sana_bench": "0.2.0"}), tmp_path)
    assert verdict.outcome == "not_comparable" and ACCEPT in verdict.reason and verdict.reason.endswith("go back to what it was scored with: sana-bench 0.1.0")


def test_a_checkout_with_changes_is_said_to_be_one(tmp_path: Path):
    verdict = verdict_on(side(provenance={"commit": "ab12" * 10, "dirty": True}), side(changes={"version": 2}), tmp_path)
    assert "git checkout ab12ab12ab12, which had changes that were not committed" in verdict.reason


def test_a_commit_of_the_users_own_repository_is_nowhere_to_go_back_to(tmp_path: Path):
    """An installed sana-bench records that; checking it out would not bring sana-bench's old code back."""
    verdict = verdict_on(side(provenance={"commit": "ab12" * 10, "commit_of": "project", "sana_bench": "0.1.0"}),
                         side(changes={"version": 2}, provenance={"commit": "cd34" * 10, "commit_of": "project", "sana_bench": "0.2.0"}), tmp_path)
    assert "git checkout" not in verdict.reason and verdict.reason.endswith("go back to what it was scored with: sana-bench 0.1.0")


def test_a_moved_extractor(tmp_path: Path):
    """Of the same code and packages: then it is the weights."""
    verdict = verdict_on(side(), side(changes={"extractor_digest": "e2"}), tmp_path)
    assert verdict.outcome == "not_comparable" and verdict.difference is None
    assert verdict.reason.startswith('extractor digest was "e1" in the baseline and is "e2" now: ')
    assert ACCEPT in verdict.reason and "put back the weights" in verdict.reason


@pytest.mark.parametrize(("section", "key", "value"), [
    ("generate", "guidance_scale", 7.5), ("generate", "num_inference_steps", 3), ("generate", "negative_prompt", 'no "hats", \\ it\'s true'),
    ("generate", "negative_prompt", "true"), ("generate", "scheduler", "flow_euler"), ("generate", "use_resolution_binning", True),
    ("model", "vae_dtype", "bfloat16")])
def test_a_moved_sampling_setting(tmp_path: Path, section: str, key: str, value: object):
    """Following the advice with the new recipe draws as the baseline was drawn."""
    old = OLD.model_copy(update={section: getattr(OLD, section).model_copy(update={key: value})})
    verdict = verdict_on(side(old), side(), tmp_path)
    assert verdict.outcome == "not_comparable" and verdict.difference is None
    assert verdict.reason.startswith(f"sampling setting {key} was ") and ACCEPT in verdict.reason
    assert getattr(getattr(put_back(verdict.reason), section), key) == value


def test_all_moved_sampling_settings_are_named_at_once(tmp_path: Path):
    new = OLD.model_copy(update={"generate": OLD.generate.model_copy(update={"guidance_scale": 1.0, "height": 1024})})
    verdict = verdict_on(side(), side(new), tmp_path)
    back = put_back(verdict.reason, "generate.guidance_scale=1.0", "generate.height=1024")
    assert (back.generate.guidance_scale, back.generate.height) == (4.5, 2048)


@pytest.mark.parametrize(("now", "advised"), [({"device": "cuda"}, "run.device=cpu"), ({"complex_human_instruction_sha256": "0" * 16}, "")])
def test_a_moved_device_is_a_setting_and_what_no_setting_puts_back_asks_for_a_new_baseline(tmp_path: Path, now: dict, advised: str):
    after = side()
    moved = replace(after, result=after.result.model_copy(update={"sampling": {**after.result.sampling, **now}}))
    verdict = verdict_on(side(), moved, tmp_path)
    assert verdict.outcome == "not_comparable" and ACCEPT in verdict.reason and ("--set" in verdict.reason) == bool(advised) and advised in verdict.reason


def test_another_suite(tmp_path: Path):
    verdict = verdict_on(side(suite="humans_old", suite_digest="s0"), side(), tmp_path)
    assert verdict.outcome == "not_comparable" and verdict.difference is None and ACCEPT in verdict.reason
    assert "humans_old version 1 (s0) in the baseline and is humans_test version 1 (s1) now" in verdict.reason and "put version 1 of it back" in verdict.reason
    back = put_back(verdict.reason, "score.prompt_form=short")
    assert (back.score.suite, back.score.prompt_form) == ("humans_old", "long")


@pytest.mark.parametrize("recorded", [True, False])
def test_other_noise_names_its_setting(tmp_path: Path, recorded: bool):
    """Results of before there was such a setting were drawn from noise 0."""
    new = OLD.model_copy(update={"generate": OLD.generate.model_copy(update={"seed": 7})})
    before = side(seed=100)
    if not recorded:
        before.result.config["generate"].pop("seed")
    verdict = verdict_on(before, side(new, seed=500), tmp_path)
    assert verdict.outcome == "not_comparable" and verdict.reason.startswith("sample p00_0 was drawn from seed 100 in the baseline and from 500 now: ")
    assert put_back(verdict.reason, "generate.seed=7").generate.seed == 0 and ACCEPT in verdict.reason


def test_other_noise_that_no_setting_explains_asks_for_a_new_baseline(tmp_path: Path):
    verdict = verdict_on(side(seed=100), side(seed=500), tmp_path)
    assert verdict.outcome == "not_comparable" and "--set" not in verdict.reason and ACCEPT in verdict.reason


def test_a_guard_suite_of_ones_own_is_put_back_by_its_path(tmp_path: Path):
    """A guard's result has that suite as its own, under its part's settings."""
    guards = []
    for path, digest in ((GUARD, "g0"), ("general_guard", "g1")):
        asked = OLD.model_copy(update={"score": OLD.score.model_copy(update={"guard_suite": path})})
        (_, part) = parts_of(asked)
        guards.append(side(part.config, suite=part.suite.name, suite_digest=digest))
    before, after = (replace(side(), guard=guard) for guard in guards)
    accept(write_result_folder(before, tmp_path / "old"), "tiny", "why", tmp_path / "baselines")
    report = compare(after, load_bundle(tmp_path / "baselines" / "tiny"), CompareSection(), "tiny")
    reason = next(each.reason for each in report.verdicts if each.suite == guards[1].result.suite)
    back = put_back(reason, "score.guard_suite=general_guard").score
    assert (back.guard_suite, back.suite) == (GUARD, OLD.score.suite)


def test_another_suite_of_ones_own_is_put_back_by_its_path(tmp_path: Path):
    old = OLD.model_copy(update={"score": OLD.score.model_copy(update={"suite": "my suites/mine.toml"})})
    assert put_back(verdict_on(side(old, suite_digest="s0"), side(), tmp_path).reason).score.suite == "my suites/mine.toml"


def test_a_run_is_told_the_same_before_it_draws(tmp_path: Path):
    accept(write_result_folder(side(suite="humans_old"), tmp_path / "old"), "tiny", "why", tmp_path / "baselines")
    baseline = read_record(tmp_path / "baselines" / "tiny" / "result.json", BenchmarkResult)
    check_suite("s1", baseline, "tiny")
    with pytest.raises(BaselineError, match=r'"tiny" is of another suite: humans_old version 1 \(s1\).*--set compare\.baseline=') as caught:
        check_suite("s2", baseline, "tiny")
    assert ACCEPT in str(caught.value) and put_back(str(caught.value)).score.suite == "humans_old"


def test_other_real_images_and_another_base(tmp_path: Path):
    old = OLD.model_copy(update={"data": OLD.data.model_copy(update={"reference": "my_photos"})})
    verdict = verdict_on(side(old, "hand_shape_deviation", reference="r0"), side(metric="hand_shape_deviation"), tmp_path)
    assert verdict.outcome == "not_comparable" and ACCEPT in verdict.reason and put_back(verdict.reason).data.reference == "my_photos"
