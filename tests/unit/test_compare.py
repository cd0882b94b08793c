"""The verdict: every outcome beside its twin, invariances, and what may never pass unnoticed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from sana_bench.compare import compare, judge
from sana_bench.config import BudgetOverride, CompareSection
from sana_bench.errors import ConfigError, MetricError
from sana_bench.metrics import METRICS
from sana_bench.records import RegressionReport, Verdict
from sana_bench.results import ResultBundle
from sana_bench.statistics import Interval, set_interval
from tests.bundles import SET_METRIC, make_bundle, set_metric_registered

SETTINGS = CompareSection()
NUM = 12
SURE = 0.0
"""A p-value."""
BASE = [0.5 + 0.03 * index for index in range(NUM)]
WIGGLE = [0.01 * (-1) ** index * (1 + 0.02 * (index // 2)) for index in range(NUM)]
"""Different differences of mean zero: an interval of about +-0.007 around any shift."""


def run(candidate: ResultBundle, baseline: ResultBundle | None, settings: CompareSection = SETTINGS) -> RegressionReport:
    return compare(candidate, baseline, settings, "tiny")


def shifted(shift: float, wiggle: float = 1.0) -> list[float]:
    return [value + shift + wiggle * noise for value, noise in zip(BASE, WIGGLE, strict=True)]


def only(values: list[float | None], before: list[float | None] = BASE, settings: CompareSection = SETTINGS,
         **changes) -> Verdict:
    """Verdict on one metric with a budget of 0.1, higher is better."""
    sides = (make_bundle({"hand_rate": each}, changes={"hand_rate": changes}) for each in (values, before))
    return run(*sides, settings).verdicts[0]


@pytest.mark.parametrize(("low", "value", "high", "outcome"), [
    (-0.30, -0.20, -0.10, "regressed"),
    (0.10, 0.20, 0.30, "improved"),
    (-0.30, -0.11, -0.01, "regressed"),
    (-0.30, -0.10, -0.01, "inconclusive"),  # told from no change, and not beyond the budget
    (-0.09, -0.05, -0.01, "unchanged"),  # worse for sure, and within the budget for sure
    (0.01, 0.05, 0.09, "unchanged"),
    (0.01, 0.05, 0.30, "unchanged"),  # a gain beyond the budget is possible and not shown
    (-0.30, -0.05, -0.01, "inconclusive"),  # its mirror image: such a loss is a reason to look closer
    (-0.05, 0.20, 0.45, "unchanged"),
    (-0.45, -0.20, 0.05, "inconclusive"),
    (-0.05, 0.00, 0.05, "unchanged"),
    (-0.20, 0.00, 0.20, "inconclusive"),
    (-0.10, 0.00, 0.10, "unchanged"),
    (-0.10 - 1e-16, 0.0, 0.10, "unchanged"),  # on the bound but for an error of addition
    (1e-17, 0.15, 0.30, "unchanged"),  # as good as reaching zero
    (-0.30, -0.15, -1e-17, "inconclusive"),
])
def test_table_of_outcomes(low: float, value: float, high: float, outcome: str):
    assert judge(Interval(value, low, high), 0.1, 12, 0.95, SURE) == outcome


@pytest.mark.parametrize(("gain", "outcome"), [((-0.2, -0.3, -0.1), "regressed"), ((0.2, 0.1, 0.3), "improved"),
                                               ((0.0, 0.0, 0.0), "unchanged"), ((-0.1, -0.3, 0.1), "inconclusive")])
def test_without_a_budget_every_change_counts(gain: tuple[float, float, float], outcome: str):
    assert judge(Interval(*gain), 0.0, 12, 0.95, SURE) == outcome


def test_swapping_sides_swaps_regressed_and_improved_everywhere():
    """On a grid of all intervals: regressed mirrors improved, and an interval within the budget is unchanged both ways."""
    grid = np.linspace(-0.4, 0.4, 17)
    for low in grid:
        for high in grid[grid >= low]:
            for value in grid[(grid >= low) & (grid <= high)]:
                here = judge(Interval(value, low, high), 0.12, 12, 0.95, SURE)
                there = judge(Interval(-value, -high, -low), 0.12, 12, 0.95, SURE)
                assert (here == "regressed") == (there == "improved")
                if max(-low, high) <= 0.12:
                    assert here == there == "unchanged"


def test_five_prompts_never_make_a_verdict_and_six_do():
    sure = Interval(-0.5, -0.6, -0.4)
    assert judge(sure, 0.1, 5, 0.95, SURE) == "inconclusive"
    assert judge(sure, 0.1, 6, 0.95, SURE) == "regressed"
    assert judge(Interval(-0.5, None, None), 0.1, 12, 0.95, SURE) == "inconclusive"


def test_a_metric_below_its_own_number_of_images_is_shown_and_not_judged():
    verdict = only(shifted(-0.2), fewest_images=NUM + 1)
    assert (verdict.outcome, verdict.num_prompts_needed) == ("inconclusive", None)
    assert verdict.difference == pytest.approx(-0.2) and verdict.ci_high < 0
    assert verdict.reason.startswith(f"shown, not judged: below {NUM + 1} images")
    assert only(shifted(-0.2), fewest_images=NUM).outcome == "regressed"


@pytest.mark.parametrize(("fewest_images", "outcome"), [(0, "missing"), (NUM, "missing"), (NUM + 1, "inconclusive")])
def test_a_value_lost_below_that_number_is_not_judged_either(fewest_images: int, outcome: str):
    changes = {"hand_rate": {"fewest_images": fewest_images}}
    lost = {"hand_rate": {"fewest_images": fewest_images, "value": None, "num_scored": 0}}
    verdict = run(make_bundle({"hand_rate": [None] * NUM}, changes=lost), make_bundle({"hand_rate": BASE}, changes=changes)).verdicts[0]
    assert verdict.outcome == outcome and "no value on it" in verdict.reason


@pytest.mark.parametrize(("fewest_images", "outcome"), [(0, "missing"), (3, "missing"), (4, "inconclusive")])
def test_too_few_pairs_below_that_number_are_not_judged_either(fewest_images: int, outcome: str):
    """The set metric needs 4 samples and has 3 on either side."""
    with set_metric_registered():
        side = make_bundle({}, sets={SET_METRIC: BASE[:3]}, changes={SET_METRIC: {"fewest_images": fewest_images}})
        verdict = run(side, side).verdicts[0]
    assert verdict.outcome == outcome and "needs 4 samples" in verdict.reason


def test_identical_sides_are_unchanged_with_no_difference():
    with set_metric_registered():
        side = make_bundle({"hand_rate": BASE}, sets={SET_METRIC: BASE}, changes={"hand_rate": {"budget": 0.0}})
        report = run(side, side)
    assert [verdict.outcome for verdict in report.verdicts] == ["unchanged", "unchanged"]
    assert all((verdict.difference, verdict.ci_low, verdict.ci_high) == (0.0, 0.0, 0.0) for verdict in report.verdicts)
    assert (report.outcome, report.worst_samples) == ("passed", ())
    assert report.headline == "Passed: of 2 metrics, 2 did not change."


def test_regressed_and_its_twin():
    worse, better = only(shifted(-0.2)), only(shifted(0.2))
    assert (worse.outcome, better.outcome) == ("regressed", "improved")
    # the wiggle sums to zero, so the difference is the shift, and baseline + difference = candidate: 0.665 - 0.2
    assert (worse.difference, worse.baseline, worse.candidate) == pytest.approx((-0.2, 0.665, 0.465))
    assert worse.ci_low < -0.2 < worse.ci_high < 0
    assert worse.num_pairs == NUM and worse.num_prompts_needed is None
    assert worse.reason.startswith("worse by 0.2 share, beyond the budget of 0.1 share")


def test_lower_is_better_turns_the_verdict_and_not_the_difference():
    worse = only(shifted(0.2), higher_is_better=False)
    assert worse.outcome == "regressed" and worse.difference == pytest.approx(0.2) and 0 < worse.ci_low < worse.ci_high
    assert only(shifted(-0.2), higher_is_better=False).outcome == "improved"


def test_a_sure_loss_within_the_budget_is_unchanged_and_a_smaller_budget_makes_it_regressed():
    assert only(shifted(-0.05)).outcome == "unchanged"
    strict = CompareSection(budgets=(BudgetOverride(metric="hand_rate", budget=0.02),))
    verdict = only(shifted(-0.05), settings=strict)
    assert (verdict.outcome, verdict.budget) == ("regressed", 0.02)


def test_noise_beyond_the_budget_is_inconclusive_and_says_how_many_prompts_tell():
    verdict = only(shifted(-0.02, wiggle=30))  # differences of +-0.3
    assert verdict.outcome == "inconclusive" and verdict.ci_low < -0.1 < 0 < verdict.ci_high
    assert verdict.num_prompts_needed > NUM
    assert f"about {verdict.num_prompts_needed} prompts would tell" in verdict.reason
    assert verdict.smallest_detectable_effect > 0.1


def test_that_many_prompts_do_tell():
    few = only(shifted(-0.02, wiggle=30))
    num = 2 * math.ceil(1.05 * few.num_prompts_needed / 2)  # the ends of a bootstrap have some noise of their own
    before = [0.5] * num
    after = [0.5 - 0.02 + 0.3 * (-1) ** index * (1 + 0.002 * (index // 2)) for index in range(num)]
    assert only(after, before).outcome == "unchanged"


def test_inconclusive_alone_passes_and_the_headline_says_so():
    report = run(make_bundle({"hand_rate": shifted(-0.02, 30), "face_rate": shifted(0)}),
                 make_bundle({"hand_rate": BASE, "face_rate": BASE}))
    needed = report.verdicts[0].num_prompts_needed
    assert report.outcome == "passed"
    assert report.headline == (f"Passed, but not everything could be told: of 2 metrics, 1 cannot be told yet "
                               f"(hand_rate; about {needed} prompts would tell), 1 did not change.")


def test_too_few_prompts_are_inconclusive_however_large_the_change():
    verdict = only([0.0] * 5, [1.0] * 5)
    assert (verdict.outcome, verdict.num_prompts_needed) == ("inconclusive", 6)
    assert "5 prompt(s) cannot tell a change from chance; 6 are the least" in verdict.reason
    assert only([0.0] * 6, [1.0] * 6).outcome == "regressed"


def test_no_loss_is_promised_to_be_found_where_so_few_prompts_cannot_show_any_among_so_many_metrics():
    """Eight prompts: the least p-value is 2 / 2^8, which is enough for six metrics and not for seven."""
    def detectable(number: int) -> float | None:
        sides = (make_bundle({f"metric_{index}": [value + 0.01 * at * sign for at, value in enumerate(BASE[:8])] for index in range(number)}) for sign in (1, 0))
        return run(*sides).verdicts[0].smallest_detectable_effect

    assert detectable(6) > 0 and detectable(7) is None


def test_ten_images_of_one_prompt_are_one_prompt():
    sides = (make_bundle({"hand_rate": [value] * 10}, images=10) for value in (0.0, 1.0))
    verdict = run(*sides).verdicts[0]
    assert (verdict.outcome, verdict.num_pairs) == ("inconclusive", 10)
    assert verdict.ci_low is None and verdict.ci_high is None and verdict.smallest_detectable_effect is None


def test_pairs_are_samples_scored_on_both_sides_and_the_others_are_counted():
    before = [*BASE[:-1], None]
    after = [None, None, *shifted(-0.2)[2:]]
    verdict = only(after, before)
    assert verdict.num_pairs == NUM - 3
    # over pairs 2..10: 0.5 + 0.03 * 6 = 0.68; not the mean of all that the baseline has
    assert verdict.baseline == pytest.approx(0.68)
    assert verdict.candidate - verdict.baseline == pytest.approx(verdict.difference)
    assert "2 sample(s) scored only on the baseline; 1 sample(s) scored only on the candidate" in verdict.reason


@pytest.mark.parametrize("seed", [1, 2])
def test_order_of_samples_on_either_side_changes_nothing(seed: int):
    rng = np.random.default_rng(seed)
    values = {"hand_rate": shifted(-0.06, 10)}
    with set_metric_registered():
        plain, permuted = (
            run(make_bundle(values, sets={SET_METRIC: shifted(0, 5)}, images=2, order=orders[0]),
                make_bundle({"hand_rate": BASE}, sets={SET_METRIC: BASE}, images=2, order=orders[1]))
            for orders in ((None, None), (rng.permutation(NUM), rng.permutation(NUM))))
    assert plain == permuted


def test_swapping_the_sides_flips_every_sign():
    with set_metric_registered():
        one = make_bundle({"hand_rate": shifted(-0.2)}, sets={SET_METRIC: shifted(0, 20)})
        two = make_bundle({"hand_rate": BASE}, sets={SET_METRIC: BASE})
        there, back = run(one, two).verdicts, run(two, one).verdicts
    for here, mirrored in zip(there, back, strict=True):
        assert (here.difference, here.ci_low, here.ci_high) == pytest.approx(
            (-mirrored.difference, -mirrored.ci_high, -mirrored.ci_low), rel=1e-9)
        assert (here.baseline, here.candidate) == (mirrored.candidate, mirrored.baseline)
    assert (there[0].outcome, back[0].outcome) == ("regressed", "improved")


def test_seed_decides_the_interval_and_is_recorded():
    noise = np.random.default_rng(0).normal(0.5, 0.2, NUM)  # without ties, so that quantiles follow the draw
    candidate, baseline = make_bundle({"hand_rate": noise.tolist()}), make_bundle({"hand_rate": BASE})
    first, again, other = (run(candidate, baseline, CompareSection(seed=seed)) for seed in (1, 1, 2))
    assert first == again and first.verdicts[0].ci_low != other.verdicts[0].ci_low
    assert (first.seed, first.confidence, first.num_resamples) == (1, 0.95, 2000)


def test_set_metric_is_evaluated_on_the_pairs_with_a_paired_jackknife():
    before, after = [*BASE[:-1], None], [None, *shifted(0, 8)[1:]]
    with set_metric_registered():
        verdict = run(make_bundle({}, sets={SET_METRIC: after}), make_bundle({}, sets={SET_METRIC: before})).verdicts[0]
    pairs = np.array([before[1:-1], after[1:-1]])
    expected = set_interval(lambda at: pairs[1, at].var() - pairs[0, at].var(), range(NUM - 2))
    assert (verdict.difference, verdict.ci_low, verdict.ci_high) == pytest.approx(expected, rel=1e-12)
    assert (verdict.baseline, verdict.candidate) == pytest.approx((pairs[0].var(), pairs[1].var()))
    assert verdict.num_pairs == NUM - 2


def test_set_metric_that_collapses_is_regressed():
    """Half of the samples spread over a wide range, and then all of them alike."""
    wide = [float(index % 2) + 0.01 * index for index in range(24)]
    with set_metric_registered():
        report = run(make_bundle({}, sets={SET_METRIC: [0.5] * 24}), make_bundle({}, sets={SET_METRIC: wide}))
    assert report.verdicts[0].outcome == "regressed" and report.outcome == "regressed"


def test_set_metric_with_too_few_pairs_is_missing():
    with set_metric_registered():
        report = run(make_bundle({}, sets={SET_METRIC: [None] * 4 + BASE[4:]}),
                     make_bundle({}, sets={SET_METRIC: BASE[:7] + [None] * 5}))
    assert report.verdicts[0].outcome == "missing"
    assert "too few samples have a value on both sides (needs 4 samples, not 3)" in report.verdicts[0].reason


def test_a_metric_that_disappears_is_missing_and_fails():
    both = make_bundle({"hand_rate": BASE, "face_rate": BASE})
    report = run(make_bundle({"face_rate": shifted(0)}), both)
    outcomes = {verdict.metric: verdict.outcome for verdict in report.verdicts}
    assert outcomes == {"face_rate": "unchanged", "hand_rate": "missing"}
    gone = report.verdicts[1]
    assert (gone.candidate, gone.difference, gone.reason) == (None, None, "the candidate was not measured on it")
    assert gone.baseline == pytest.approx(0.665)
    assert report.outcome == "regressed" and "1 lack a value on one side (hand_rate)" in report.headline


@pytest.mark.parametrize(("why", "outcome", "report_outcome"), [("", "regressed", "regressed"), ("failed its self-test", "inconclusive", "passed")])
def test_a_metric_that_failed_its_self_test_is_shown_and_decides_nothing(why: str, outcome: str, report_outcome: str):
    sides = (make_bundle({"hand_rate": each}, changes={"hand_rate": {"not_judged": why}}) for each in (shifted(-0.3), BASE))
    report = run(*sides)
    assert (report.verdicts[0].outcome, report.outcome) == (outcome, report_outcome)
    assert report.verdicts[0].difference == pytest.approx(-0.3)


@pytest.mark.parametrize("why", ["", "failed its self-test"])
def test_nor_may_it_fail_a_report_by_being_new_gone_or_another_version(why: str):
    """Each beside its twin, which passed its self-test and fails the report."""
    face, unfit = {"face_rate": BASE}, {"hand_rate": {"not_judged": why}}
    with_it, without = make_bundle({**face, "hand_rate": BASE}, changes=unfit), make_bundle(face)
    newer = make_bundle({**face, "hand_rate": BASE}, changes={"hand_rate": {"not_judged": why, "version": 2}})
    reports = [run(with_it, without), run(without, with_it), run(newer, with_it)]
    assert [report.outcome for report in reports] == (["passed"] * 3 if why else ["regressed"] * 3)
    expected = ["inconclusive"] * 3 if why else ["missing", "missing", "not_comparable"]
    assert [next(verdict.outcome for verdict in report.verdicts if verdict.metric == "hand_rate") for report in reports] == expected


def test_a_metric_that_is_new_is_missing_too():
    report = run(make_bundle({"hand_rate": BASE, "face_rate": BASE}), make_bundle({"face_rate": BASE}))
    assert (report.verdicts[0].outcome, report.verdicts[0].reason) == ("missing", "the baseline was not measured on it")
    assert report.outcome == "regressed"


def test_nothing_scored_on_a_side_is_missing_and_never_zero():
    verdict = only([None] * NUM)
    assert (verdict.outcome, verdict.candidate, verdict.difference) == ("missing", None, None)
    assert verdict.reason == "the candidate has no value on it (no hand found: 12)"


def test_what_neither_side_could_score_has_lost_nothing_and_tells_nothing():
    verdict = only([None] * NUM, [None] * NUM)
    assert (verdict.outcome, verdict.baseline, verdict.candidate) == ("inconclusive", None, None)
    assert verdict.reason == "neither side has a value on it (candidate: no hand found: 12)"


def test_no_sample_scored_on_both_sides_is_missing():
    verdict = only([*BASE[:6], *[None] * 6], [*[None] * 6, *BASE[6:]])
    assert verdict.outcome == "missing" and "too few samples have a value on both sides" in verdict.reason
    assert "6 sample(s) scored only on the baseline" in verdict.reason


def test_without_a_baseline_everything_is_missing_and_the_headline_says_what_to_do():
    report = run(make_bundle({"hand_rate": BASE, "face_rate": BASE}), None)
    assert [verdict.outcome for verdict in report.verdicts] == ["missing", "missing"]
    assert report.outcome == "regressed"
    assert report.headline.startswith('No baseline "tiny" was accepted yet') and "sana-bench accept" in report.headline
    assert (report.baseline_digest, report.baseline_provenance, report.worst_samples) == ("", None, ())


def test_two_results_without_metrics_do_not_pass():
    assert run(make_bundle({}), make_bundle({})).outcome == "regressed"


@pytest.mark.parametrize(("field", "value", "said"), [
    ("version", 2, "version was 1 in the baseline and is 2 now"),
    ("extractor_digest", "e2", 'extractor digest was "e1" in the baseline and is "e2" now'),
    ("extractor", "faces", 'extractor was "hands" in the baseline and is "faces" now'),
    ("higher_is_better", False, "higher is better was True in the baseline and is False now"),
    ("unit", "points", 'unit was "share" in the baseline and is "points" now'),
])
def test_a_metric_measured_in_another_way_is_not_comparable_and_the_others_are(field: str, value: object, said: str):
    values = {"hand_rate": shifted(0.3), "face_rate": shifted(0)}
    report = run(make_bundle(values, changes={"hand_rate": {field: value}}),
                 make_bundle({"hand_rate": BASE, "face_rate": BASE}))
    hands, faces = report.verdicts
    assert (hands.outcome, hands.difference, faces.outcome) == ("not_comparable", None, "unchanged") and hands.reason.startswith(f"{said}: score ")
    assert hands.baseline == pytest.approx(0.665) and hands.candidate == pytest.approx(0.965)
    assert report.outcome == "regressed" and "1 cannot be compared (hand_rate)" in report.headline


def test_a_set_metric_of_another_version_than_this_code_is_not_evaluated():
    side = make_bundle({}, sets={SET_METRIC: BASE}, changes={SET_METRIC: {"version": 7}})
    with set_metric_registered():
        verdict = run(side, side).verdicts[0]
    assert verdict.outcome == "not_comparable"
    assert "both sides hold version 7, but this sana-bench has version 1" in verdict.reason
    verdict = run(side, side).verdicts[0]
    assert verdict.outcome == "not_comparable" and "does not have this metric" in verdict.reason


def test_other_real_images_matter_only_to_metrics_that_use_them():
    values = {"hand_shape_deviation": BASE, "hand_rate": BASE}
    report = run(make_bundle(values, reference="r2"), make_bundle(values, reference="r1"))
    assert [verdict.outcome for verdict in report.verdicts] == ["not_comparable", "unchanged"]
    assert 'real images that it compares with were "r1" in the baseline and are "r2" now' in report.verdicts[0].reason


@pytest.mark.parametrize(("sampling", "said"), [
    ({"guidance_scale": 7.0, "device": "cpu"}, "sampling setting guidance_scale was 4.5 in the baseline and is 7.0 now"),
    ({"guidance_scale": 4.5, "device": "cuda"}, 'sampling setting device was "cpu" in the baseline and is "cuda" now'),
    ({"guidance_scale": 4.5}, 'sampling setting device was "cpu" in the baseline and is "not recorded" now'),
])
def test_images_drawn_in_another_way_make_nothing_comparable(sampling: dict, said: str):
    report = run(make_bundle({"hand_rate": BASE, "face_rate": BASE}, sampling=sampling),
                 make_bundle({"hand_rate": BASE, "face_rate": BASE}))
    assert [verdict.outcome for verdict in report.verdicts] == ["not_comparable"] * 2 and len({verdict.reason for verdict in report.verdicts}) == 1
    assert report.verdicts[0].reason.startswith(f"{said}: draw ")
    assert report.outcome == "regressed" and report.headline == f'Nothing can be compared with baseline "tiny": {report.verdicts[0].reason}.'


def test_other_noise_makes_nothing_comparable():
    report = run(make_bundle({"hand_rate": BASE}, seed=200), make_bundle({"hand_rate": BASE}, seed=100))
    assert report.verdicts[0].outcome == "not_comparable"
    assert "p00_0 was drawn from seed 100 in the baseline and from 200 now" in report.verdicts[0].reason


def test_images_of_another_suite_make_nothing_comparable_and_both_are_named():
    report = run(make_bundle({"hand_rate": BASE}), make_bundle({"hand_rate": BASE}, suite_digest="s0"))
    assert (report.outcome, report.verdicts[0].outcome, report.verdicts[0].difference) == ("regressed", "not_comparable", None)
    assert "the suite was humans_test version 1 (s0) in the baseline and is humans_test version 1 (s1) now" in report.verdicts[0].reason


def test_a_budget_for_a_metric_that_does_not_exist_is_refused_with_the_near_name():
    settings = CompareSection(budgets=(BudgetOverride(metric="hand_rats", budget=0.1),))
    with pytest.raises(ConfigError, match='no metric "hand_rats". Did you mean "hand_rate"'):
        only(BASE, settings=settings)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused_and_not_judged(bad: float):
    with pytest.raises(MetricError, match="1 of 12 values are not finite"):
        only([bad, *BASE[1:]], value=0.6)


def test_headline_names_what_changed():
    before = {name: BASE for name in ("hand_rate", "face_rate", "clip_score_tiny_clip", "face_plausibility")}
    after = {"hand_rate": shifted(-0.21), "face_rate": shifted(0.3), "clip_score_tiny_clip": shifted(0), "face_plausibility": shifted(0)}
    report = run(make_bundle(after), make_bundle(before))
    assert report.headline == ("Regressed: of 4 metrics, 1 got worse (hand_rate -0.21), 1 got better (face_rate +0.3), "
                               "2 did not change.")


def test_worst_samples_are_sorted_by_loss_in_budgets_once_each():
    """p03 loses 0.3 of a budget of 0.1 on hands (3) and 0.9 of a budget of 0.2 on shape (4.5); p05 0.4 on hands (4)."""
    hands, shape = list(BASE), list(BASE)
    hands[3] -= 0.3
    hands[5] -= 0.4
    shape[3] += 0.9
    shape[7] -= 0.9  # lower is better: a gain
    settings = {"hand_shape_deviation": {"higher_is_better": False, "budget": 0.2}}
    report = run(make_bundle({"hand_rate": hands, "hand_shape_deviation": shape}, changes=settings),
                 make_bundle({"hand_rate": BASE, "hand_shape_deviation": BASE}, changes=settings))
    rows = [(row.sample_id, row.metric, round(row.harm, 6), round(row.difference, 6)) for row in report.worst_samples]
    assert rows == [("p03_0", "hand_shape_deviation", 4.5, 0.9), ("p05_0", "hand_rate", 4.0, -0.4)]


def test_at_most_twelve_worst_samples_and_none_of_what_cannot_be_compared():
    before, after = [1.0] * 20, [0.5 - 0.01 * index for index in range(20)]
    report = run(make_bundle({"hand_rate": after}), make_bundle({"hand_rate": before}))
    assert [row.sample_id for row in report.worst_samples] == [f"p{index:02d}_0" for index in range(19, 7, -1)]
    spoiled = make_bundle({"hand_rate": after}, changes={"hand_rate": {"version": 2}})
    assert run(spoiled, make_bundle({"hand_rate": before})).worst_samples == ()


def test_a_budget_of_zero_still_gives_finite_harm():
    settings = CompareSection(budgets=(BudgetOverride(metric="hand_rate", budget=0.0),))
    report = run(make_bundle({"hand_rate": shifted(-0.2, 0)}), make_bundle({"hand_rate": BASE}), settings)
    assert report.worst_samples[0].harm == pytest.approx(2.0)  # 0.2 in the metric's own budget of 0.1


def test_report_is_json_and_back():
    with set_metric_registered():
        report = run(make_bundle({"hand_rate": shifted(-0.2)}, sets={SET_METRIC: shifted(0, 9)}),
                     make_bundle({"hand_rate": BASE}, sets={SET_METRIC: BASE}))
    assert RegressionReport.model_validate_json(report.model_dump_json()) == report


def with_guard(own: ResultBundle, values: list[float | None] | None, **fields) -> ResultBundle:
    """The bundle with a guard suite, on which the same metric has these values."""
    return own if values is None else replace(own, guard=make_bundle({"hand_rate": values}, suite="guard_test", suite_digest="g1", **fields))


def test_the_guard_suite_is_judged_beside_the_first_and_decides_too():
    own = make_bundle({"hand_rate": BASE})
    report = run(with_guard(own, shifted(-0.3)), with_guard(own, BASE))
    assert [(each.suite, each.metric, each.outcome) for each in report.verdicts] == [
        ("humans_test", "hand_rate", "unchanged"), ("guard_test", "hand_rate", "regressed")]
    assert report.outcome == "regressed" and "hand_rate of guard_test -0.3" in report.headline
    assert report.worst_samples == () and len(report.guard_worst_samples) == NUM
    assert run(with_guard(own, BASE), with_guard(own, BASE)).outcome == "passed"


@pytest.mark.parametrize(("after", "before", "reason"), [
    (BASE, None, "the baseline was not measured on it"), (None, BASE, "the candidate was not measured on it")])
def test_a_guard_on_one_side_only_is_missing(after, before, reason):
    own = make_bundle({"hand_rate": BASE})
    report = run(with_guard(own, after), with_guard(own, before))
    assert [(each.suite, each.outcome, each.reason) for each in report.verdicts[1:]] == [("guard_test", "missing", reason)]
    assert report.outcome == "regressed"


def test_without_any_baseline_the_guard_is_missing_as_well():
    report = run(with_guard(make_bundle({"hand_rate": BASE}), BASE), None)
    assert [each.outcome for each in report.verdicts] == ["missing", "missing"] and "No baseline" in report.headline


def test_another_guard_suite_is_not_comparable_and_the_setting_is_named():
    own = make_bundle({"hand_rate": BASE})
    other = replace(own, guard=make_bundle({"hand_rate": BASE}, suite="guard_test", suite_digest="g2"))
    report = run(with_guard(own, BASE), other)
    assert [verdict.outcome for verdict in report.verdicts] == ["unchanged", "not_comparable"] and report.outcome == "regressed"
    assert "--set score.guard_suite=guard_test" in report.verdicts[1].reason


def test_a_guard_drawn_in_another_way_is_not_comparable_and_the_suite_is():
    own = make_bundle({"hand_rate": BASE})
    report = run(with_guard(own, BASE, sampling={"guidance_scale": 1.0}), with_guard(own, BASE))
    assert [each.outcome for each in report.verdicts] == ["unchanged", "not_comparable"] and report.outcome == "regressed"


@pytest.mark.parametrize(("now", "outcome"), [("b1", "unchanged"), ("b2", "not_comparable")])
def test_distances_to_another_base_are_not_comparable(now: str, outcome: str):
    name = "drift_efficientnet_lite0"
    sides = []
    for base in (now, "b1"):
        side = make_bundle({name: BASE}, changes={name: {"version": METRICS.get(name).version, "higher_is_better": False}})
        digests = {**side.result.provenance.digests, "compared base": base}
        sides.append(replace(side, result=side.result.model_copy(update={"provenance": side.result.provenance.model_copy(update={"digests": digests})})))
    (verdict,) = run(*sides).verdicts
    assert verdict.outcome == outcome
    assert outcome == "unchanged" or verdict.reason.startswith("the base model's images that it compares with were \"b1\" in the baseline and are \"b2\" now: ")


def test_differences_by_tag_are_of_every_comparable_sample_metric():
    tags = {f"p{index:02d}": ("left",) if index < 6 else ("right", "hard") for index in range(NUM)}
    after = [value + (0.2 if index < 6 else -0.1) for index, value in enumerate(BASE)]
    with set_metric_registered():
        sides = [make_bundle({"hand_rate": values, "face_rate": values}, sets={SET_METRIC: values}, prompt_tags=tags,
                             changes={"face_rate": {"version": version}}) for values, version in ((after, 2), (BASE, 1))]
        report = run(*sides)
    assert [(row.suite, row.tag, row.metric, round(row.difference, 9), row.num_prompts) for row in report.tags] == [
        ("humans_test", "hard", "hand_rate", -0.1, 6), ("humans_test", "left", "hand_rate", 0.2, 6), ("humans_test", "right", "hand_rate", -0.1, 6)]
    assert run(make_bundle({"hand_rate": BASE}, prompt_tags=tags), None).tags == ()
