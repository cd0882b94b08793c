"""The real calibration in small: the embedded model against itself in other noise, and damaged, through train, generate, score and compare."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.calibration_real import another_noise, held_against, noisy_base, scored, with_base, with_trainer, Case
from sana_bench.compare import compare
from sana_bench.config import RunConfig, load_config

SUITE = """
name = "few_people"
version = 1
description = "As many prompts as three metrics together need."
source = "sana-bench"
license = "CC0-1.0"
""" + "".join(f'[[prompt]]\nid = "{who}-{where}"\ntext = "a photo of a {who}, {where}"\n' for who in ("woman", "man", "person") for where in ("park", "street", "studio"))
METRICS = ("clip_score_tiny_clip", "sharpness_spectrum", "tiling_seam")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> RunConfig:
    """The embedded model, at 256 px and few steps."""
    folder = tmp_path_factory.mktemp("calibration")
    (folder / "suite.toml").write_text(SUITE)
    return with_trainer(load_config("tiny", (
        f'score.suite="{folder / "suite.toml"}"', f"score.metrics={list(METRICS)}", "generate.height=256", "generate.width=256", "generate.num_inference_steps=6",
        f'run.store="{folder / "store"}"', "run.device=cpu", "gate=[]")), "none")


def test_the_same_model_in_another_noise_has_not_regressed(base):
    """The images are others, so that it is not by being the same."""
    case = Case("another noise", another_noise(base), base, damaged=False)
    report = held_against(case)
    assert len(report.verdicts) == len(METRICS) and all(verdict.outcome in ("unchanged", "inconclusive", "improved") for verdict in report.verdicts)
    assert all(verdict.num_pairs == 9 and verdict.difference != 0 for verdict in report.verdicts)
    assert case.as_it_must(report) and not replace(case, damaged=True).as_it_must(report)


def test_images_of_another_noise_are_no_pairs_of_a_baseline(base):
    report = compare(scored(another_noise(base)), scored(base), base.compare, "tiny")
    assert {verdict.outcome for verdict in report.verdicts} == {"not_comparable"} and report.outcome == "regressed"
    assert "was drawn from seed" in report.verdicts[0].reason


@pytest.mark.parametrize(("level", "damaged"), [(0, False), (1, True)])
def test_noise_on_the_weights_is_caught_and_a_copy_without_it_is_not(base, tmp_path, level, damaged):
    case = Case("noise", with_base(base, noisy_base(base, level, tmp_path)), base, damaged)
    report = held_against(case)
    assert case.as_it_must(report) and report.outcome == ("regressed" if damaged else "passed")
    assert any(verdict.p_adjusted <= 0.05 for verdict in report.verdicts if verdict.outcome == "regressed") == damaged
