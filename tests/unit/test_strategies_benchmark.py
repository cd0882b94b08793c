"""The study of training strategies: arms differ in what they claim and in nothing else, and what comes out is what is written."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.strategies import Trained, chosen_arms, compared
from benchmarks.strategies_arms import REFERENCE, SUITE, Arm, arms_of, changes, common_settings, config_with, write_sources
from benchmarks.strategies_report import BASE, ArmRecord, Study, is_told, render_markdown, write_study
from sana_bench.config import RunConfig
from sana_bench.data.manifest import load_imagefolder
from sana_bench.errors import ConfigError
from sana_bench.prompts import load_suite
from sana_bench.provenance import collect_provenance
from tests.bundles import make_bundle, make_replicates

SOURCES = {"portraits": Path("photographs/portraits"), "bodies": Path("photographs/bodies")}
CLAIMS = {
    "lora": set(),
    "full": {"train.trainer", "train.learning_rate", "train.max_grad_norm"},
    "regions": {"train.regions.face_weight", "train.regions.hand_weight"},
    "crops": {"train.regions.crop_share"},
    "unmixed": {"data.mix"},
    "progressive": {"train.earlier_stage", "train.max_train_steps"},
    "augmented": {"train.augment.num_views", "train.augment.rotation", "train.augment.crop"},
}
"""Settings in which each arm differs from the reference arm."""


def arms(*overrides: str, steps: int = 12) -> dict[str, tuple[Arm, RunConfig]]:
    """Each arm and its run, at 128 px."""
    common = (*common_settings(128, steps, SOURCES), *overrides)
    return {name: (arm, config_with(*common, *arm.overrides)) for name, arm in arms_of(config_with(*common)).items()}


def test_arms_differ_from_the_reference_in_what_they_claim_and_in_nothing_else():
    _, reference = arms()[REFERENCE]
    assert {name: set(changes(config, reference)) for name, (_, config) in arms().items()} == CLAIMS


@pytest.mark.parametrize("steps", [12, 13, 120])
def test_every_arm_sees_as_many_samples_at_one_learning_rate_and_ends_at_the_full_side(steps):
    for _, config in arms("train.gradient_accumulation_steps=3", steps=steps).values():
        stages = config.train.stages
        assert sum(stage.max_train_steps * stage.train_batch_size * stage.gradient_accumulation_steps for stage in stages) == 6 * steps
        assert stages[-1].resolution == 128
        assert {stage.learning_rate for stage in stages} == {config.train.learning_rate}


def test_settings_of_the_command_line_reach_every_arm_and_undo_none():
    plain, told = arms(), arms("train.learning_rate=0.5", "generate.num_inference_steps=3")
    assert {config.generate.num_inference_steps for _, config in told.values()} == {3}
    expected = {**dict.fromkeys(CLAIMS, 0.5), "full": plain["full"][1].train.learning_rate}
    assert {name: config.train.learning_rate for name, (_, config) in told.items()} == expected


def test_the_reference_is_always_among_the_arms_and_an_unknown_one_is_refused():
    known = {name: arm for name, (arm, _) in arms().items()}
    assert [arm.name for arm in chosen_arms(known, ("crops", "full"))] == [REFERENCE, "full", "crops"]
    assert [arm.name for arm in chosen_arms(known, ())] == list(CLAIMS)
    with pytest.raises(ConfigError, match='no arm "ful".*full'):
        chosen_arms(known, ("ful",))


def test_the_suite_has_the_prompts_that_the_gates_ask_about():
    prompts, config = load_suite(str(SUITE)).prompt, arms()[REFERENCE][1]
    by_tag = {tag: [prompt for prompt in prompts if tag in prompt.tags] for tag in ("face", "body")}
    assert {tag: len(found) for tag, found in by_tag.items()} == {"face": 24, "body": 16}
    assert all(prompt.expects.full_body == ("body" in prompt.tags) for prompt in prompts)
    assert len({prompt.text for prompt in prompts}) == len(prompts)
    assert {gate.tag for gate in config.gate} == {"", *by_tag}
    assert {gate.metric for gate in config.gate} < set(config.score.metrics)


def test_sources_part_the_photographs_by_kind(tmp_path):
    kinds = ("studio_portrait", "amateur_selfie", "studio_posture", "amateur_posture")
    lines = [{"file_name": f"{kind}.png", "text": f"a person, {kind}", "person": "P001", "kind": kind, "fit": "pad"} for kind in kinds]
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for shade, line in enumerate(lines):
        Image.new("RGB", (32, 48), (shade, shade, shade)).save(photographs / line["file_name"])
    (photographs / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    folders = write_sources(load_imagefolder(photographs), tmp_path / "sources")
    rows = {name: load_imagefolder(folder).rows for name, folder in folders.items()}
    assert {name: [row.kind for row in found] for name, found in rows.items()} == {"portraits": list(kinds[:2]), "bodies": list(kinds[2:])}
    assert {row for found in rows.values() for row in found} == set(load_imagefolder(photographs).rows)
    for name, found in rows.items():
        assert all((folders[name] / row.file_name).read_bytes() == (photographs / row.file_name).read_bytes() for row in found)
    before = (folders["bodies"] / "metadata.jsonl").stat().st_mtime_ns
    assert write_sources(load_imagefolder(photographs), tmp_path / "sources") == folders
    assert (folders["bodies"] / "metadata.jsonl").stat().st_mtime_ns == before


GATES = ('score.metrics=["face_plausibility", "clip_score_tiny_clip"]',
         'gate=[{name="faces", metric="face_plausibility", tag="face"}, {name="bodies", metric="clip_score_tiny_clip", tag="body"}]')
TAGS = {f"p{number:02}": ("face" if number < 24 else "body",) for number in range(40)}


def trained(name: str, gain: float, seed: int) -> Trained:
    """An arm of three seeds on 40 prompts: noise of 0.05 around 0.4, and the gain on all prompts."""
    arm, config = arms(*GATES)[name]
    noise_SP = np.random.default_rng(seed).normal(scale=0.05, size=(3, 40))
    seeds = [make_bundle({"face_plausibility": (0.4 + gain + noise_P).tolist(), "clip_score_tiny_clip": (40 + 20 * (gain + noise_P)).tolist()},
                         changes={"clip_score_tiny_clip": {"budget": 2.0}, "face_plausibility": {"budget": 0.05}}, prompt_tags=TAGS, digest=name)
             for noise_P in noise_SP]
    return Trained(arm, config, make_replicates(seeds))


@pytest.fixture(scope="module")
def study() -> Study:
    """A spoiled arm, one that helps, and one that does nothing; the base is as the reference is."""
    reference, base = trained(REFERENCE, 0.0, 0), trained(REFERENCE, 0.0, 9).bundle
    others = [trained("full", -0.3, 1), trained("crops", 0.2, 2), trained("regions", 0.0, 3)]
    comparisons = [compared(each, reference.bundle, REFERENCE) for each in others] + [compared(each, base, BASE) for each in (reference, *others)]
    records = tuple(ArmRecord(name=each.arm.name, title=each.arm.title, changes=changes(each.config, reference.config), trainable_parameters=1234567,
                              num_samples=12, train_seconds=(10.0, 20.0, 300.0)) for each in (reference, *others))
    return Study(reference=REFERENCE, side=128, steps=6, num_seeds=3, suite="strategies", num_prompts=40, confidence=0.95, arms=records,
                 comparisons=tuple(comparisons), provenance=collect_provenance("cpu", {}))


def outcomes(study: Study, against: str) -> dict[str, set[str]]:
    return {each.arm: {verdict.outcome for verdict in each.verdicts} for each in study.against(against)}


def test_a_spoiled_arm_is_called_worse_and_one_that_helps_better(study):
    assert outcomes(study, REFERENCE) == {"full": {"regressed"}, "crops": {"improved"}, "regions": {"unchanged"}}
    assert outcomes(study, BASE) == {"lora": {"unchanged"}, "full": {"regressed"}, "crops": {"improved"}, "regions": {"unchanged"}}


def test_verdicts_hold_the_spread_between_seeds(study):
    assert {verdict.num_training_seeds for each in study.comparisons for verdict in each.verdicts} == {3}
    assert {verdict.test for each in study.comparisons for verdict in each.verdicts} == {"t"}


def test_the_report_says_what_came_out_and_what_could_have_been_found(study):
    text = render_markdown(study)
    assert "- **full** regressed: faces, bodies." in text
    assert "- **regions** unchanged: faces, bodies." in text
    assert "| full | ▼ −0.29" in text or "| full | ▼ −0.3" in text
    assert "1,234,567" in text and "| 12 | 20.0 |" in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 5 and all(len({line.replace(r"\|", "").count("|") for line in table.splitlines()}) == 1 for table in tables)
    for verdict in study.comparisons[0].verdicts:
        assert verdict.smallest_detectable_effect > 0
        assert f"| {verdict.smallest_detectable_effect:.3f} | regressed |" in text or f"| {verdict.smallest_detectable_effect:.2f} | regressed |" in text


def test_a_difference_within_the_budget_is_told_from_chance_and_still_unchanged(study):
    reference, slight = trained(REFERENCE, 0.0, 0), trained("crops", 0.04, 4)
    verdict = compared(slight, reference.bundle, REFERENCE).verdicts[0]
    assert verdict.outcome == "unchanged" and is_told(verdict, 0.95)


def test_what_has_no_value_has_no_number_and_no_point(study):
    missing = study.comparisons[0].verdicts[0].model_copy(update={"outcome": "missing", "difference": None, "ci_low": None, "ci_high": None, "p_adjusted": None,
                                                                  "candidate": None, "smallest_detectable_effect": None})
    first = study.comparisons[0].model_copy(update={"verdicts": (missing, *study.comparisons[0].verdicts[1:])})
    assert "| full | ∅ – |" in render_markdown(study.model_copy(update={"comparisons": (first, *study.comparisons[1:])}))


def test_a_hostile_name_stays_text(study):
    verdicts = tuple(verdict.model_copy(update={"gate": "<b>| x"}) for verdict in study.comparisons[0].verdicts)
    text = render_markdown(study.model_copy(update={"comparisons": (study.comparisons[0].model_copy(update={"verdicts": verdicts}),)}))
    assert "<b>" not in text and r"\| x" in text


def test_it_is_written_as_json_markdown_and_a_picture(study, tmp_path):
    paths = write_study(study, tmp_path / "out")
    assert [path.name for path in paths] == ["strategies.json", "strategies.md", "strategies.png"]
    assert Study.model_validate_json(paths[0].read_text()) == study
    assert paths[1].read_text() == render_markdown(study)
    pixels = np.asarray(Image.open(io.BytesIO(paths[2].read_bytes())).convert("RGB"))
    assert pixels.shape[0] > 100 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    write_study(study.model_copy(update={"comparisons": tuple(study.against(REFERENCE))}), tmp_path / "alone")
    assert (tmp_path / "alone" / "strategies.png").read_bytes() != paths[2].read_bytes()
