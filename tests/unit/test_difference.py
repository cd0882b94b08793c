"""Differences over prompts and training seeds, and of perceived groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sana_bench.compare import compare
from sana_bench.config import CompareSection
from sana_bench.difference import GroupValue, measure_difference, measure_value, of_groups, satterthwaite, value_of_group
from sana_bench.errors import InsufficientSamplesError
from sana_bench.pairs import make_pairs
from sana_bench.records import GroupScore
from sana_bench.results import ResultBundle
from tests.bundles import SET_METRIC, make_bundle, set_metric_registered

SETTINGS = CompareSection(num_resamples=200)


def pairs_of(before: ResultBundle, after: ResultBundle):
    return make_pairs(after.result.results[0], before, after)


def bundle(values: np.ndarray, others: np.ndarray = (), **kwargs) -> ResultBundle:
    """Of one training seed, and of others."""
    made = make_bundle({"hand_rate": list(values)}, **kwargs)
    return replace(made, replicates=tuple(make_bundle({"hand_rate": list(each)}, **kwargs) for each in others))


def test_one_seed_is_tested_by_sign_flips_and_the_same_images_by_nothing():
    noise = np.random.default_rng(0).normal(size=(2, 12))
    found = measure_difference(pairs_of(bundle(noise[0]), bundle(noise[1])), SETTINGS)
    assert (found.test, found.degrees_of_freedom, found.seed_error, found.num_prompts) == ("sign flips", 11, 0, 12)
    same = measure_difference(pairs_of(bundle(noise[0]), bundle(noise[0])), SETTINGS)
    assert (tuple(same.interval), same.p_value, same.error) == ((0, 0, 0), 1, 0)


def test_equal_values_of_other_images_are_not_known_to_be_equal():
    """Shares of 12 pairs that happen to agree leave room for a change; of the same images they leave none."""
    ones = [1.0] * 12
    other = make_bundle({"hand_rate": ones, "face_rate": [0.5] * 12})
    found = measure_difference(pairs_of(bundle(ones), other), SETTINGS)
    assert found.interval.low < -0.1 and found.interval.high > 0.1 and found.error > 0


def test_set_metrics_exchange_labels_where_their_samples_can_and_else_are_tested_by_students_t():
    random = np.random.default_rng(1)
    with set_metric_registered() as entry:
        sides = [make_bundle({}, sets={SET_METRIC: list(scale * random.normal(size=12))}) for scale in (1, 4)]
        found = measure_difference(pairs_of(*sides), SETTINGS)
        assert found.test == "label permutation" and found.p_value < 0.05
        entry.make.join = staticmethod(lambda baseline, candidate: None)
        without = measure_difference(pairs_of(*sides), SETTINGS)
    assert without.test == "t" and without.interval == found.interval and without.p_value != found.p_value


def test_two_seeds_of_one_side_are_in_the_error():
    """Six prompts, two fine-tunes, by hand: S_prompts^2 / 6 of the mean differences + S_seeds^2 / 2 of the seeds' means."""
    before, after = np.zeros(6), np.array([[1, 2, 3, 4, 5, 6], [3, 3, 4, 6, 6, 8.0]])
    found = measure_difference(pairs_of(bundle(before), bundle(after[0], after[1:])), SETTINGS)
    prompts, seeds = after.mean(axis=0).var(ddof=1) / 6, after.mean(axis=1).var(ddof=1) / 2
    assert found.interval.value == pytest.approx(after.mean())
    assert found.error**2 == pytest.approx(prompts + seeds) and found.seed_error**2 == pytest.approx(seeds)
    assert found.degrees_of_freedom == pytest.approx((prompts + seeds) ** 2 / (prompts**2 / 5 + seeds**2 / 1))
    assert found.test == "t"


def test_seeds_of_a_set_metric_are_in_the_error_too():
    random = np.random.default_rng(2)
    with set_metric_registered():
        def side(*scales: float) -> ResultBundle:
            made = [make_bundle({}, sets={SET_METRIC: list(scale * random.normal(size=12))}) for scale in scales]
            return replace(made[0], replicates=tuple(made[1:]))

        found = measure_difference(pairs_of(side(1), side(1, 3, 5)), SETTINGS)
    assert found.test == "t" and 0 < found.seed_error < found.error and found.degrees_of_freedom < 11


def test_seeds_that_agree_on_every_prompt_do_not_exclude_what_so_few_prompts_cannot_show():
    """Nothing found on either side in eight prompts, by three fine-tunes: that is not to be sure of no change."""
    none = [0.0] * 8
    found = measure_difference(pairs_of(bundle(none), bundle(none, [none, none])), SETTINGS)
    assert found.interval.value == 0 and found.interval.high > 0.2 and found.p_value == pytest.approx(1)


def test_a_seed_without_a_value_on_a_set_metric_is_missing_and_said():
    with set_metric_registered():
        whole, few = (make_bundle({}, sets={SET_METRIC: values}) for values in ([1.0, 2, 3, 4, 5, 6, 7], [1.0, None, None, None, None, None, None]))
        few = replace(few, result=few.result.model_copy(update={"results": tuple(each.model_copy(update={"value": None}) for each in few.result.results),
                                                                "config": {"train": {"seed": 1}}}), statistics={})
        verdict = compare(replace(whole, replicates=(few,)), whole, SETTINGS, "base").verdicts[0]
    assert verdict.outcome == "missing" and verdict.reason == "the candidate has no value on it from training seed 1"


def test_a_sample_that_one_seed_has_not_scored_is_that_of_the_others():
    before, after = [0.0] * 6, [[1.0, None, 1, 1, 1, 1], [3.0, 2, None, 3, 3, 3]]
    pairs = pairs_of(bundle(before), bundle(after[0], after[1:]))
    assert pairs.means()[1].tolist() == [2, 2, 1, 2, 2, 2] and pairs.lost == ""
    assert pairs.seed_values(1) == pytest.approx([1, 2.8])
    unscored = pairs_of(bundle(before), bundle(after[0], [[None] * 6]))
    assert unscored.seed_values(1).tolist() == [1] and unscored.means()[1].tolist() == [1] * 5


@pytest.mark.parametrize(("between", "ignored"), [(0.0, False), (1.0, True)])
def test_coverage_over_prompts_and_seeds(between: float, ignored: bool):
    """300 recipes without an effect, 3 fine-tunes each; a verdict from the first alone holds for that fine-tune and not for the recipe."""
    random, covered, alone = np.random.default_rng(3), 0, 0
    for _ in range(300):
        prompts = random.normal(size=16)
        noise = random.normal(size=(3, 16)) + between * random.normal(size=(3, 1)) + 0.5 * prompts
        base = bundle(0.5 * random.normal(size=16))
        everything = measure_difference(pairs_of(base, bundle(noise[0], noise[1:])), SETTINGS)
        first = measure_difference(pairs_of(base, bundle(noise[0])), SETTINGS)
        covered += everything.interval.low <= 0 <= everything.interval.high
        alone += first.interval.low <= 0 <= first.interval.high
    assert covered / 300 >= 0.92
    assert (alone / 300 < 0.6) == ignored


def test_verdicts_say_how_many_fine_tunes_they_rest_on():
    random = np.random.default_rng(4)
    before, after = random.normal(size=12), random.normal(-3, 1, size=(3, 12))
    trained, untrained = {"train": {"trainer": "lora"}}, {"train": {"trainer": "none"}}
    one = compare(bundle(after[0], config=trained), bundle(before), SETTINGS, "b").verdicts[0]
    three = compare(bundle(after[0], after[1:], config=trained), bundle(before), SETTINGS, "b").verdicts[0]
    base = compare(bundle(after[0], config=untrained), bundle(before), SETTINGS, "b").verdicts[0]
    assert [each.num_training_seeds for each in (one, three, base)] == [1, 3, 0]
    assert "of one fine-tune" in one.reason and "fine-tune" not in three.reason and "fine-tune" not in base.reason
    assert {each.outcome for each in (one, three, base)} == {"regressed"}


def test_a_loss_of_one_fine_tune_alone_is_not_one_of_the_recipe():
    """The first fine-tune is worse beyond chance; two others are not, and so it cannot be told of the recipe."""
    random = np.random.default_rng(5)
    before, after = random.normal(size=12), random.normal(0, 0.3, size=(3, 12)) - [[3], [0], [0]]
    one = compare(bundle(after[0]), bundle(before), SETTINGS, "b").verdicts[0]
    three = compare(bundle(after[0], after[1:]), bundle(before), SETTINGS, "b").verdicts[0]
    assert (one.outcome, three.outcome) == ("regressed", "inconclusive")
    assert "more training seeds may" in three.reason


def test_satterthwaite_is_welchs():
    one, other = np.random.default_rng(6).normal(size=9), np.random.default_rng(7).normal(1, 3, size=14)
    error, freedom = satterthwaite([(one.var(ddof=1) / 9, 8), (other.var(ddof=1) / 14, 13)])
    expected = stats.ttest_ind(other, one, equal_var=False)
    assert ((other.mean() - one.mean()) / error, freedom) == pytest.approx((expected.statistic, expected.df))
    assert satterthwaite([(0, 8), (0, 3)]) == (0, 3)


def group(values: np.ndarray, confidence: float = 0.95) -> GroupScore:
    low, high = stats.t.interval(confidence, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    return GroupScore(attribute="gender", group="feminine", metric="hand_rate", value=values.mean(), low=low, high=high, num_images=len(values),
                      num_prompts=len(values), enough=True)


def test_perceived_groups_are_compared_by_welchs_test_from_what_was_recorded():
    one, other = np.random.default_rng(8).normal(size=9), np.random.default_rng(9).normal(1, 2, size=14)
    found, values = of_groups([[GroupValue(group(one), 0.95)], [GroupValue(group(other, 0.8), 0.8)]], SETTINGS)
    expected = stats.ttest_ind(other, one, equal_var=False)
    assert values == pytest.approx((one.mean(), other.mean())) and found.p_value == pytest.approx(expected.pvalue)
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_own_value_has_the_interval_of_its_prompts_and_seeds():
    values = np.random.default_rng(10).normal(size=(3, 12))
    one = measure_value(pairs_of(bundle(values[0]), bundle(values[0])), SETTINGS)
    assert one.value == pytest.approx(values[0].mean()) and one.low < one.value < one.high
    three = measure_value(pairs_of(bundle(values[0]), bundle(values[0], values[1:])), SETTINGS)
    parts = [(values.mean(axis=0).var(ddof=1) / 12, 11), (values.mean(axis=1).var(ddof=1) / 3, 2)]
    error, freedom = satterthwaite(parts)
    assert three == pytest.approx((values.mean(), *stats.t.interval(0.95, freedom, loc=values.mean(), scale=error)))


def test_a_set_metric_of_too_few_pairs_says_so_with_seeds_as_well():
    with set_metric_registered():
        side = make_bundle({}, sets={SET_METRIC: [0.1, 0.2, 0.3]})
        with pytest.raises(InsufficientSamplesError):
            measure_difference(pairs_of(side, replace(side, replicates=(side,))), SETTINGS)


def test_a_groups_own_value_is_that_of_all_fine_tunes():
    values = np.random.default_rng(11).normal(size=(3, 12)) + [[0], [0], [3]]
    found = value_of_group([GroupValue(group(each), 0.95) for each in values], 0.99)
    parts = [(np.mean([stats.sem(each) ** 2 for each in values]), 11), (values.mean(axis=1).var(ddof=1) / 3, 2)]
    error, freedom = satterthwaite(parts)
    assert found == pytest.approx((values.mean(), *stats.t.interval(0.99, freedom, loc=values.mean(), scale=error)))
    assert value_of_group([GroupValue(group(values[0]), 0.95)], 0.95)[1:] == pytest.approx(stats.t.interval(0.95, 11, loc=values[0].mean(), scale=stats.sem(values[0])))


def test_a_single_fine_tune_varies_as_those_of_the_other_side_do():
    """A baseline that is one fine-tune, and a candidate of three; an untrained baseline does not vary."""
    random = np.random.default_rng(12)
    before, after = random.normal(size=12), random.normal(size=(3, 12)) + [[0], [0.5], [1]]
    trained, untrained = ({"train": {"trainer": name}} for name in ("lora", "none"))
    candidate = bundle(after[0], after[1:], config=trained)
    one, none = (measure_difference(pairs_of(bundle(before, config=each), candidate), SETTINGS) for each in (trained, untrained))
    between = after.mean(axis=1).var(ddof=1)
    assert one.error**2 - none.error**2 == pytest.approx(between) and none.seed_error**2 == pytest.approx(between / 3)


def test_a_fine_tune_without_any_value_is_missing_and_not_left_to_the_others():
    random = np.random.default_rng(13)
    before, good, nothing = bundle(random.normal(size=12)), random.normal(3, 1, 12), [None] * 12
    whole = compare(bundle(good, [good + 0.1]), before, SETTINGS, "b").verdicts[0]
    broken = make_bundle({"hand_rate": nothing}, changes={"hand_rate": {"value": None}})
    lost = [compare(side, before, SETTINGS, "b").verdicts[0] for side in (
        replace(bundle(good), replicates=(broken,)), replace(broken, replicates=(bundle(good),)))]
    assert whole.outcome == "improved" and [each.outcome for each in lost] == ["missing", "missing"]


def test_the_guard_suite_is_judged_on_every_fine_tune():
    """The first has forgotten nothing, the two others have."""
    random = np.random.default_rng(14)
    base = random.normal(size=24)

    def side(*guards: np.ndarray) -> ResultBundle:
        made = [replace(bundle(base), guard=make_bundle({"hand_rate": list(each)}, suite="guard_test", suite_digest="g1")) for each in guards]
        return replace(made[0], replicates=tuple(made[1:]))

    kept = [base + random.normal(0, 0.02, 24) for _ in range(3)]
    good = compare(side(*kept), side(base), SETTINGS, "b").verdicts[1]
    bad = compare(side(kept[0], kept[1] - 1, kept[2] - 1), side(base), SETTINGS, "b").verdicts[1]
    assert (good.outcome, good.num_training_seeds) == ("unchanged", 3)
    assert (bad.outcome, bad.num_training_seeds) == ("inconclusive", 3) and bad.difference == pytest.approx(-2 / 3, abs=0.02)


def test_counted_classes_that_no_prompt_moves_say_nothing_of_others_with_seeds_neither():
    with set_metric_registered():
        def side(values: list[float], **others) -> ResultBundle:
            return make_bundle({"clip_score_tiny_clip": list(np.arange(12.0) + others.get("shift", 0))}, sets={SET_METRIC: values})

        constant = [0.5] * 12
        candidate = replace(side(constant, shift=1), replicates=(side(constant, shift=2),))
        for each in (candidate, side(constant, shift=1)):
            verdict = compare(each, side(constant), SETTINGS, "b").verdicts[1]
            assert (verdict.outcome, verdict.ci_low) == ("inconclusive", None) and "nothing tells how many" in verdict.reason
