"""gates.toml: what it says is what is asked, every mistake is named at once, and what does not exist is refused before it is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from sana_bench.config import GateSection, load_config
from sana_bench.errors import ConfigError
from sana_bench.gates.check import check_gates, judgeable_parts, judgeable_results
from sana_bench.gates.files import load_gates
from sana_bench.gates.judging import open_run
from sana_bench.guard import parts_of
from sana_bench.metrics import METRICS
from sana_bench.pipeline import check_inputs, compare_run_folder
from sana_bench.records import GroupScore, Look
from sana_bench.store import write_record
from tests.bundles import make_bundle
from tests.gates.runs import BASE, LIKE, write_run

GATES = """
[[gate]]
metric = "hand_rate"
tag = "portrait"
budget = 0.05

[[gate]]
name = "no faces lost"
metric = "face_rate"
floor = 0.9
on_inconclusive = "pass"
"""
GROUPS = tuple(GroupScore(attribute=attribute, group=group, metric="clip_score_tiny_clip", value=None, low=None, high=None, num_images=0, num_prompts=0, enough=False)
               for attribute, group in (("age", "over_50"), ("gender", "feminine")))
RESULT = make_bundle({"hand_rate": BASE, "face_rate": BASE, "clip_score_tiny_clip": BASE}, groups=GROUPS, changes={"face_rate": {"not_judged": "failed its self-test: melted"}},
                     prompt_tags={"p00": ("portrait", "outdoors"), "p01": ("portrait",)}).result


def written(folder: Path, text: str) -> Path:
    (folder / "gates.toml").write_text(text)
    return folder / "gates.toml"


def problem_of(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_gates(path)
    return str(caught.value)


def refusal(**gate) -> str:
    with pytest.raises(ConfigError) as caught:
        check_gates((GateSection(**gate),), judgeable_results([RESULT]))
    return str(caught.value)


def test_a_file_holds_the_same_gates_as_a_recipe(tmp_path: Path) -> None:
    gates = load_gates(written(tmp_path, GATES))
    (tmp_path / "recipe.toml").write_text(GATES)
    assert gates == load_config(str(tmp_path / "recipe.toml")).gate
    assert [(gate.label, gate.budget, gate.floor, gate.on_inconclusive) for gate in gates] == [
        ("hand_rate[tag=portrait]", 0.05, None, "fail"), ("no faces lost", None, 0.9, "pass")]


def test_all_mistakes_are_in_one_message(tmp_path: Path) -> None:
    message = problem_of(written(tmp_path, """
[[gate]]
metric = "hand_rate"
flor = 0.9
[[gate]]
budget = -1
metric = "face_rate"
[[gate]]
metric = "body_rate"
tag = "portrait"
group = "gender=feminine"
[[gate]]
tag = "portrait"
"""))
    assert message.startswith("gates.toml has 4 problem(s):")
    for part in ('gate.0.flor: unknown key. Did you mean "floor"?', "gate.1.budget", "gate.2: give tag or group, not both", "gate.3.metric: Field required"):
        assert part in message


@pytest.mark.parametrize(("text", "message"), [
    ("", "no [[gate]], so nothing would be asked"), ("gate = []", "no [[gate]], so nothing would be asked"), ("# only words\n", "no [[gate]]"),
    ('[gate]\nmetric = "hand_rate"', "write [[gate]]"), ("[[gate]", "is not TOML"),
    ('[[gates]]\nmetric = "hand_rate"', 'gates: unknown key. Did you mean "gate"?'), ("[other]\nkey = 1", "other: unknown key"),
    ('[[gate]]\nmetric = "hand_rate"\n' * 2, "two gates are called hand_rate"), ("gate = 3", "gate: "),
])
def test_a_file_that_asks_nothing_or_something_else_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert message in problem_of(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "nowhere.toml: No such file" in problem_of(tmp_path / "nowhere.toml")
    (tmp_path / "gates.toml").write_bytes(b"\xff\xfe\x00")
    assert "gates.toml is not TOML" in problem_of(tmp_path / "gates.toml")


@pytest.mark.parametrize("gate", [{"metric": "hand_rate"}, {"metric": "hand_rate", "tag": "portrait"}, {"metric": "hand_rate", "suite": "humans_test"},
                                  {"metric": "clip_score_tiny_clip", "group": "age=over_50"}])
def test_what_exists_may_be_asked(gate: dict) -> None:
    check_gates((GateSection(**gate),), judgeable_results([RESULT]))


@pytest.mark.parametrize(("gate", "message"), [
    ({"metric": "hand_rat"}, 'there is no metric "hand_rat". Did you mean "hand_rate"?'),
    ({"metric": "face_rate"}, "face_rate may not be gated: failed its self-test: melted"),
    ({"metric": "hand_rate", "suite": "human_test"}, 'the run has no suite "human_test". Did you mean "humans_test"? It has: humans_test'),
    ({"metric": "hand_rate", "tag": "portrit"}, 'no prompt of humans_test has the tag "portrit". Did you mean "portrait"? Known: outdoors, portrait'),
    ({"metric": "hand_rate", "group": "age=over_50"}, "hand_rate has no value by age on humans_test. It is known of: clip_score_tiny_clip"),
    ({"metric": "clip_score_tiny_clip", "group": "skin_tone=dark"}, "clip_score_tiny_clip has no value by skin_tone on humans_test. It is known of: no metric"),
    ({"metric": "clip_score_tiny_clip", "group": "gender=femine"}, 'there is no group "femine" of gender. Did you mean "feminine"? Known: feminine, masculine'),
])
def test_what_does_not_exist_is_refused_with_what_is_near(gate: dict, message: str) -> None:
    assert message in refusal(**gate)


def test_the_problems_of_all_gates_are_in_one_message() -> None:
    gates = (GateSection(metric="hand_rat"), GateSection(metric="hand_rate"), GateSection(metric="face_rate", tag="x", name="mine"))
    with pytest.raises(ConfigError, match="^3 problem") as caught:
        check_gates(gates, judgeable_results([RESULT]))
    assert 'gate "hand_rat": there is no metric' in str(caught.value) and str(caught.value).count('gate "mine": ') == 2


def test_a_metric_that_a_finished_run_lacks_is_left_to_the_verdict_and_one_that_nobody_knows_is_not() -> None:
    """`missing` is a verdict; a typing error is none."""
    assert "body_rate" in METRICS
    check_gates((GateSection(metric="body_rate"),), judgeable_results([RESULT]))
    other = make_bundle({"metric_of_a_plug_in": BASE}).result
    check_gates((GateSection(metric="metric_of_a_plug_in"),), judgeable_results([RESULT, other]))
    assert "no metric" in refusal(metric="metric_of_a_plug_in")


def test_the_candidate_says_whether_a_metric_decides() -> None:
    """Both sides hold face_rate, and only one says that it failed."""
    whole = make_bundle({"face_rate": BASE}).result
    check_gates((GateSection(metric="face_rate"),), judgeable_results([whole, RESULT]))
    with pytest.raises(ConfigError, match="failed its self-test"):
        check_gates((GateSection(metric="face_rate"),), judgeable_results([RESULT, whole]))


@pytest.mark.weights
@pytest.mark.parametrize(("overrides", "message"), [
    (('gate=[{metric = "hand_rate", tag = "studoi"}]',), 'no prompt of tiny_humans has the tag "studoi". Did you mean "studio"?'),
    (('gate=[{metric = "fid"}]',), "fid would not be measured on tiny_humans: add it to score.extra_metrics"),
    (('gate=[{metric = "skin_tone_diversity"}]',), "skin_tone_diversity may not be gated: failed its self-test"),
    (('gate=[{metric = "hand_rate", suite = "general_guard"}]', "score.guard_suite=general_guard"), "add it to score.guard_metrics"),
    (('gate=[{metric = "hand_rate", group = "gender=feminine"}]',), "hand_rate has no value by gender on tiny_humans. It is known of: "),
    (('gate=[{metric = "hand_rate", suite = "general_guard"}]',), 'the run has no suite "general_guard". It has: tiny_humans'),
])
def test_a_run_refuses_such_gates_before_it_draws_anything(tmp_path: Path, overrides: tuple[str, ...], message: str) -> None:
    config = load_config("tiny", (*overrides, f"run.store={tmp_path}"))
    with pytest.raises(ConfigError) as caught:
        check_inputs(config, parts_of(config))
    assert message in str(caught.value)


@pytest.mark.weights
def test_a_run_accepts_gates_on_what_it_will_measure() -> None:
    config = load_config("tiny", ('gate=[{metric = "hand_rate", tag = "studio"}, {metric = "hand_plausibility", group = "gender=feminine"}]',))
    check_gates(config.gate, judgeable_parts(parts_of(config)))


def test_a_finished_run_is_not_compared_again_by_a_gate_that_nobody_can_hold(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"hand_rate": BASE})
    config = load_config("tiny", ('gate=[{metric = "hand_rat"}]', f"run.baselines={tmp_path}", "compare.baseline=none"))
    with pytest.raises(ConfigError, match='no metric "hand_rat". Did you mean "hand_rate"'):
        compare_run_folder(run, config)
    assert sorted(tmp_path.iterdir()) == [run]


def test_a_run_that_stopped_at_a_look_is_judged_as_strictly_as_it_was_there(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"hand_rate": LIKE}, {"hand_rate": BASE})
    plain = open_run(run).judge(())
    look = Look(number=1, num_prompts=(12, 24), num_images=12, num_suite_images=24, confidence=0.5, reason="told")
    write_record(run / "regression.json", plain.model_copy(update={"look": look}))
    judged = open_run(run).judge(())
    assert plain.confidence == 0.95 < judged.confidence and judged.look.number == 1
    assert judged.verdicts[0].ci_high - judged.verdicts[0].ci_low > plain.verdicts[0].ci_high - plain.verdicts[0].ci_low
