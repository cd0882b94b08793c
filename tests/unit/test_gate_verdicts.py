"""Gates: every outcome beside a twin that is spoiled and red, slices, floors and ceilings, and what they decide together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sana_bench import drafts
from sana_bench.compare import compare
from sana_bench.config import CompareSection, GateSection
from sana_bench.difference import measure_difference
from sana_bench.errors import ConfigError
from sana_bench.records import GroupScore, RegressionReport, Verdict
from tests.bundles import SET_METRIC, make_bundle, set_metric_registered

SETTINGS = CompareSection(num_resamples=500)
NUM = 24
RANDOM = np.random.default_rng(0)
BASE = RANDOM.normal(0.5, 0.3, NUM)
NOISE = RANDOM.normal(0, 0.02, NUM)
NOISE -= NOISE.mean()
TAGS = {f"p{index:02d}": ("first",) if index < 12 else ("second",) for index in range(NUM)}


def report_of(after: np.ndarray, *gates: GateSection, before: np.ndarray | None = BASE, **fields) -> RegressionReport:
    """On `hand_rate`, whose own budget is 0.1 and of which higher is better."""
    baseline = None if before is None else make_bundle({"hand_rate": list(before)}, prompt_tags=TAGS)
    return compare(make_bundle({"hand_rate": list(after)}, prompt_tags=TAGS, **fields), baseline, SETTINGS, "b", gates)


def gated(after: np.ndarray, before: np.ndarray | None = BASE, **gate) -> Verdict:
    (verdict,) = report_of(after, GateSection(**{"metric": "hand_rate", **gate}), before=before).gates
    return verdict


def moved(shift: float) -> np.ndarray:
    return BASE + NOISE + shift


@pytest.mark.parametrize(("shift", "gate", "outcome", "passed"), [
    (0.0, {}, "unchanged", True), (-0.2, {}, "regressed", False), (0.2, {}, "improved", True),
    (-0.05, {"budget": 0.1}, "unchanged", True), (-0.05, {"budget": 0.02}, "regressed", False),
    (-0.05, {"relative_budget": 0.2}, "unchanged", True), (-0.05, {"relative_budget": 0.04}, "regressed", False),
    (-0.05, {"budget": 0.05}, "inconclusive", False), (-0.05, {"budget": 0.05, "on_inconclusive": "pass"}, "inconclusive", True),
])
def test_budgets_against_the_baseline(shift: float, gate: dict, outcome: str, passed: bool):
    verdict = gated(moved(shift), **gate)
    assert (verdict.outcome, verdict.passed, verdict.gate) == (outcome, passed, "hand_rate")
    assert report_of(moved(shift), GateSection(metric="hand_rate", **gate)).outcome == ("passed" if passed else "regressed")


def test_a_relative_budget_is_a_share_of_the_baselines_value_on_the_same_pairs():
    verdict = gated(moved(0), relative_budget=0.1, tag="first")
    assert verdict.budget == pytest.approx(0.1 * abs(BASE[:12].mean())) and verdict.baseline == pytest.approx(BASE[:12].mean())


@pytest.mark.parametrize(("limits", "outcome", "said"), [
    ({"floor": 0.1}, "unchanged", "holds the floor of 0.1"), ({"floor": 0.9}, "regressed", "is beyond the floor of 0.9"),
    ({"floor": 0.5}, "inconclusive", "does not exclude a value beyond the floor of 0.5"),
    ({"ceiling": 0.9}, "unchanged", "holds the ceiling of 0.9"), ({"ceiling": 0.1}, "regressed", "is beyond the ceiling of 0.1"),
    ({"floor": 0.1, "ceiling": 0.9}, "unchanged", "holds the floor of 0.1 and the ceiling of 0.9"),
])
def test_floors_and_ceilings_need_no_baseline(limits: dict, outcome: str, said: str):
    verdict = gated(moved(0), before=None, **limits)
    assert (verdict.outcome, verdict.passed) == (outcome, outcome == "unchanged") and said in verdict.reason
    assert verdict.candidate == pytest.approx(moved(0).mean()) and (verdict.baseline, verdict.difference) == (None, None)


def test_the_worse_of_both_demands_counts():
    assert gated(moved(-0.2), floor=0.1, budget=0.5).outcome == "unchanged"
    assert gated(moved(-0.2), floor=0.9, budget=0.5).outcome == "regressed"
    assert gated(moved(-0.2), floor=0.1, budget=0.1).outcome == "regressed"
    assert gated(moved(0), before=None, floor=0.1, budget=0.1).outcome == "missing"


def test_a_tag_is_judged_by_its_own_prompts():
    after = moved(0) - np.where(np.arange(NUM) < 12, 0.3, 0)
    first, second = gated(after, tag="first"), gated(after, tag="second")
    assert (first.outcome, second.outcome) == ("regressed", "unchanged")
    assert (first.num_prompts, first.num_pairs, first.tag, first.gate) == (12, 12, "first", "hand_rate[tag=first]")
    assert first.difference == pytest.approx((after - BASE)[:12].mean())


def test_a_set_metric_is_judged_by_tag_too():
    tags, random = TAGS, np.random.default_rng(1)
    before = random.uniform(-2, 2, NUM)  # a spread that twelve of them all show
    after = before * np.where(np.arange(NUM) < 12, 0.01, 1.01)
    gates = [GateSection(metric=SET_METRIC, tag=tag, budget=0.3, on_inconclusive="pass") for tag in ("first", "second")]
    with set_metric_registered():
        sides = [make_bundle({}, sets={SET_METRIC: list(values)}, prompt_tags=tags) for values in (after, before)]
        verdicts = compare(*sides, SETTINGS, "b", gates).gates
    assert [each.outcome == "regressed" for each in verdicts] == [True, False] and verdicts[0].test == "label permutation"


def with_group(value: float, **changes) -> dict:
    score = GroupScore(**{"attribute": "gender", "group": "feminine", "metric": "hand_rate", "value": value, "low": value - 0.05, "high": value + 0.05,
                          "num_images": 20, "num_prompts": 20, "enough": True, **changes})
    return {"groups": (score,)}


@pytest.mark.parametrize(("after", "changes", "outcome"), [(0.6, {}, "unchanged"), (0.3, {}, "regressed"), (0.3, {"enough": False}, "inconclusive"),
                                                          (0.52, {}, "inconclusive")])
def test_a_perceived_group_is_compared_with_itself(after: float, changes: dict, outcome: str):
    sides = [make_bundle({"hand_rate": list(values)}, **group) for values, group in (
        (moved(0), with_group(after, **changes)), (BASE, with_group(0.58)))]
    (verdict,) = compare(*sides, SETTINGS, "b", [GateSection(metric="hand_rate", group="gender=feminine")]).gates
    assert (verdict.outcome, verdict.passed) == (outcome, outcome == "unchanged")
    assert verdict.group == "gender=feminine" and (outcome == "inconclusive" or verdict.baseline == 0.58)


def test_a_floor_for_a_group_is_held_by_its_own_value():
    after = make_bundle({"hand_rate": list(moved(0))}, **with_group(0.6))
    for floor, outcome in ((0.5, "unchanged"), (0.7, "regressed"), (0.58, "inconclusive")):
        gate = GateSection(metric="hand_rate", group="gender=feminine", floor=floor)
        assert compare(after, None, SETTINGS, "b", [gate]).gates[0].outcome == outcome


def test_what_cannot_be_compared_or_is_missing_is_red():
    gate = GateSection(metric="hand_rate", on_inconclusive="pass")
    other = report_of(moved(0), gate, changes={"hand_rate": {"version": 2}})
    assert (other.gates[0].outcome, other.outcome) == ("not_comparable", "regressed")
    assert report_of(moved(0), gate, before=None).gates[0].outcome == "missing"
    missing = report_of(moved(0), GateSection(metric="face_rate", on_inconclusive="pass"))
    assert (missing.gates[0].outcome, missing.outcome) == ("missing", "regressed") and "score.extra_metrics" in missing.gates[0].reason


@pytest.mark.parametrize(("gate", "said"), [
    ({"tag": "frist"}, 'no prompt of humans_test has the tag "frist". Did you mean "first"'),
    ({"group": "gender=feminine"}, 'hand_rate has no value by "gender=feminine"'), ({"suite": "elsewhere"}, 'suite "elsewhere"; there is humans_test'),
])
def test_a_gate_on_what_is_not_there_is_an_error(gate: dict, said: str):
    with pytest.raises(ConfigError, match=f"gate .*{said.replace('.', '.')}"):
        gated(moved(0), **gate)


def test_a_metric_that_failed_its_self_test_cannot_be_gated():
    with pytest.raises(ConfigError, match="may decide nothing.*failed its self-test"):
        report_of(moved(0), GateSection(metric="hand_rate"), changes={"hand_rate": {"not_judged": "failed its self-test"}})


def test_with_gates_only_they_decide():
    """Everything else is shown."""
    values = {"hand_rate": list(moved(0)), "face_rate": list(moved(-0.5))}
    sides = [make_bundle(each) for each in (values, {name: list(BASE) for name in values})]
    without, report = compare(*sides, SETTINGS, "b"), compare(*sides, SETTINGS, "b", [GateSection(metric="hand_rate")])
    assert (without.outcome, report.outcome) == ("regressed", "passed")
    assert report.deciding == report.gates and without.deciding == without.verdicts
    assert report.headline == "Passed: of 1 gates, 1 did not change." and report.verdicts == without.verdicts


def test_the_worst_pairs_of_a_gate_are_its_own():
    after = moved(0)
    after[[3, 15, 16]] -= [1.0, 2.0, 0.5]
    assert [row.sample_id for row in gated(after).worst] == ["p15_0", "p03_0", "p16_0"]
    assert gated(after, tag="first").worst[0].sample_id == "p03_0"


def test_what_decides_together_shares_its_false_alarms():
    """By itself the loss is beyond chance (p = 0.01); one of ten gates it is not, one of ten that all lost it is."""
    random = np.random.default_rng(8)
    names = [name for name in ("hand_rate", "face_rate", "body_rate", "hand_plausibility", "face_plausibility", "body_plausibility",
                               "clip_score_tiny_clip", "sharpness_spectrum", "gender_compliance", "face_shape_deviation")]
    base = {name: list(BASE) for name in names}
    noise = random.normal(size=NUM)
    loss = (noise - noise.mean()) / noise.std() * 0.5 - 0.29
    lost, others = list(BASE + loss), {name: list(BASE + random.normal(0, 0.05, NUM)) for name in names}

    def verdict(values: dict, gates: list[str]) -> Verdict:
        return compare(make_bundle(values), make_bundle(base), SETTINGS, "b", [GateSection(metric=name, on_inconclusive="pass") for name in gates]).gates[0]

    alone = verdict({**others, "hand_rate": lost}, names[:1])
    among = verdict({**others, "hand_rate": lost}, names)
    together = verdict({name: list(BASE + loss - 0.4) for name in names}, names)
    assert 0.005 < alone.p_value < 0.05 and (alone.p_adjusted, alone.outcome) == (alone.p_value, "regressed")
    assert (among.p_adjusted, among.outcome) == (pytest.approx(10 * alone.p_value), "inconclusive") and "decided together" in among.reason
    assert together.outcome == "regressed"
    assert among.smallest_detectable_effect > alone.smallest_detectable_effect


def test_tags_are_marked_by_what_so_many_looks_leave():
    """Of 12 tags one has lost for sure."""
    tags = {f"p{index:02d}": (f"t{index // 8:02d}",) for index in range(96)}
    random = np.random.default_rng(9)
    before = random.normal(size=96)
    after = before + random.normal(0, 0.3, 96) - np.where(np.arange(96) // 8 == 4, 2, 0)
    rows = compare(make_bundle({"clip_score_tiny_clip": list(after)}, prompt_tags=tags), make_bundle({"clip_score_tiny_clip": list(before)}, prompt_tags=tags),
                   SETTINGS, "b").tags
    assert [row.tag for row in rows if row.q_value <= 0.1] == ["t04"]
    assert all(row.p_value <= row.q_value for row in rows) and rows[4].p_value == 2 / 2**8


def test_a_suite_that_no_gate_asks_about_is_decided_by_all_its_metrics():
    """A guard suite is no decoration: what the fine-tune forgot stops a run whose gates are all about people."""
    def side(values: np.ndarray, guard: np.ndarray):
        return replace(make_bundle({"hand_rate": list(values)}), guard=make_bundle({"hand_rate": list(guard)}, suite="guard_test", suite_digest="g1"))

    gates = [GateSection(metric="hand_rate"), GateSection(metric="hand_rate", suite="guard_test", budget=2.0)]
    report = compare(side(moved(0), moved(-1)), side(BASE, BASE), SETTINGS, "b", gates[:1])
    assert [(each.suite, each.outcome) for each in report.deciding] == [("humans_test", "unchanged"), ("guard_test", "regressed")]
    assert report.outcome == "regressed" and report.headline.startswith("Regressed: of 2 gates and metrics, 1 got worse (hand_rate of guard_test")
    asked = compare(side(moved(0), moved(-1)), side(BASE, BASE), SETTINGS, "b", gates)
    assert asked.deciding == asked.gates and asked.outcome == "passed"


def test_a_floor_is_no_floor_of_what_may_not_be_judged_yet():
    few = report_of(moved(0), GateSection(metric="hand_rate", floor=0.1), before=None, changes={"hand_rate": {"fewest_images": NUM + 1}})
    assert (few.gates[0].outcome, few.outcome) == ("inconclusive", "regressed") and f"below {NUM + 1} images" in few.gates[0].reason
    enough = report_of(moved(0), GateSection(metric="hand_rate", floor=0.1), before=None, changes={"hand_rate": {"fewest_images": NUM}})
    assert enough.outcome == "passed"
    two = compare(make_bundle({"hand_rate": [30.0, 30.0]}), None, SETTINGS, "b", [GateSection(metric="hand_rate", floor=29.9)])
    assert two.gates[0].outcome == "inconclusive" and "6 are the least" in two.gates[0].reason


@pytest.mark.parametrize(("lost", "outcome"), [(2, "unchanged"), (3, "inconclusive"), (12, "inconclusive")])
def test_what_has_lost_its_value_is_not_passed_over(lost: int, outcome: str):
    """24 pictures, of which the candidate broke some so much that they cannot be measured."""
    after = [None] * lost + list(moved(0)[lost:])
    (verdict,) = compare(make_bundle({"hand_rate": after}), make_bundle({"hand_rate": list(BASE)}), SETTINGS, "b", [GateSection(metric="hand_rate")]).gates
    assert (verdict.outcome, verdict.passed) == (outcome, outcome == "unchanged") and f"{lost} sample(s) scored only on the baseline" in verdict.reason
    found = compare(make_bundle({"hand_rate": list(BASE)}), make_bundle({"hand_rate": after}), SETTINGS, "b", [GateSection(metric="hand_rate")]).gates[0]
    assert found.outcome == "unchanged", "more values than before are no loss"


def test_a_share_of_nothing_is_no_budget():
    centred = BASE - BASE.mean()
    verdict = compare(make_bundle({"hand_rate": list(centred + NOISE)}), make_bundle({"hand_rate": list(centred)}, changes={"hand_rate": {"ci_low": -0.1, "ci_high": 0.1}}),
                      SETTINGS, "b", [GateSection(metric="hand_rate", relative_budget=0.1)]).gates[0]
    assert (verdict.outcome, verdict.passed) == ("inconclusive", False) and "Give an absolute one" in verdict.reason


def test_every_verdict_of_one_fine_tune_says_so():
    for shift in (-0.2, 0.0, 0.2):
        assert gated(moved(shift)).reason.endswith("; of one fine-tune")


def test_what_a_gate_has_measured_is_not_measured_again(monkeypatch):
    measured = []
    monkeypatch.setattr(drafts, "measure_difference", lambda pairs, settings, decides: measured.append((pairs.metric, decides)) or measure_difference(pairs, settings, decides))
    report_of(moved(0), GateSection(metric="hand_rate"), GateSection(metric="hand_rate", tag="first"))
    assert measured == [("hand_rate", True)] * 2
    measured.clear()
    report_of(moved(0))
    assert measured == [("hand_rate", True)]
