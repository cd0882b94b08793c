"""Looks of a sequential run: where they are, how strict, when nothing is left to decide, and how often they err."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.compare import compare, judge
from sana_bench.config import RunConfig
from sana_bench.guard import Part
from sana_bench.looks import at_confidence, everything_decided, look_of, planned_looks, settings_at
from sana_bench.pairs import make_pairs
from sana_bench.prompts import Prompt, PromptSuite
from sana_bench.results import ResultBundle
from sana_bench.sequential import look_confidences
from sana_bench.significance import sign_flip_test
from sana_bench.statistics import mean_interval
from tests.bundles import make_bundle


def config_of(num_looks: int, **changes) -> RunConfig:
    return RunConfig.model_validate({"name": "looks", "compare": {"num_looks": num_looks}, **changes})


def part_of(num_prompts: int, name: str = "suite") -> Part:
    suite = PromptSuite(name=name, version=1, description="d", source="s", license="CC0-1.0",
                        prompt=tuple(Prompt(id=f"p{number:03}", text="a person") for number in range(num_prompts)))
    return Part(config_of(1), suite, "score.suite", "")


def ends(config: RunConfig, *sizes: int) -> list[tuple[int | None, ...]]:
    return [tuple(part.num_prompts for part in parts) for parts in planned_looks(config, [part_of(size) for size in sizes])]


def beginning_of(bundle: ResultBundle, num_prompts: int) -> ResultBundle:
    """The same result, had the run stopped after the first so many of its prompts."""
    kept = {sample.sample_id: sample for sample in bundle.result.samples if int(sample.prompt_id[1:]) < num_prompts}
    rows = tuple(row for row in bundle.scores if row.sample_id in kept)
    left = len({sample.prompt_id for sample in bundle.result.samples}) - num_prompts
    results = tuple(each.model_copy(update={"num_scored": sum(row.metric == each.metric and row.value is not None for row in rows)})
                    for each in bundle.result.results)
    result = bundle.result.model_copy(update={"samples": tuple(kept.values()), "results": results, "num_prompts_left": left})
    return ResultBundle(bundle.folder, result, rows, bundle.statistics)


def test_blocks_are_equal_and_the_last_look_sees_the_whole_suite():
    assert ends(config_of(1), 240) == [(None,)]
    assert ends(config_of(3), 240) == [(80,), (160,), (None,)]
    assert ends(config_of(2), 25, 98) == [(13, 49), (None, None)]


def test_a_look_that_could_find_nothing_is_not_taken():
    assert ends(config_of(2), 18) == [(None,)]  # 9 prompts: fewest_prompts(0.997) is 10
    assert ends(config_of(5), 24) == [(15,), (20,), (None,)]  # 10 prompts cannot show a p-value of 0.0008, nor 5 one of 0.000001
    assert ends(config_of(5), 240) == [(96,), (144,), (192,), (None,)]  # no test tells one of 0.000001
    assert ends(config_of(10), 3) == [(None,)]


def test_a_look_that_is_not_taken_leaves_its_error_to_the_next():
    config = config_of(5)
    looks = planned_looks(config, [part_of(24)])
    levels = [look_of(looks, number, config).confidence for number in (1, 2, 3)]
    assert levels == pytest.approx(look_confidences([15 / 24, 20 / 24, 1], 0.95))


def test_blocks_end_where_a_batch_does():
    assert ends(config_of(2, generate={"batch_size": 8}), 50) == [(32,), (None,)]
    assert ends(config_of(2, generate={"batch_size": 8, "num_images_per_prompt": 4}), 50) == [(26,), (None,)]
    assert ends(config_of(3, generate={"batch_size": 40}), 50) == [(40,), (None,)]


def test_a_look_counts_the_images_of_both_suites():
    config = config_of(2, generate={"num_images_per_prompt": 3})
    looks = planned_looks(config, [part_of(40), part_of(20, "guard")])
    look = look_of(looks, 1, config)
    assert (look.num_images, look.num_suite_images, look.num_prompts) == (90, 180, (20, 40))
    assert look.reason == "Stopped after 20 of 40 prompts, at look 1 of 2: every metric is decided; 50% of the images saved."
    assert look_of(looks, 2, config).reason.startswith("All 40 prompts were drawn")
    assert settings_at(config.compare, look).confidence == look.confidence and settings_at(config.compare, None) == config.compare
    assert look_of(planned_looks(config_of(1), [part_of(40)]), 1, config) is None


def test_another_confidence_moves_the_level_of_a_look_that_was_taken():
    config = config_of(2)
    look = look_of(planned_looks(config, [part_of(40)]), 1, config)
    other = RunConfig.model_validate({"name": "looks", "compare": {"confidence": 0.9}})
    assert at_confidence(look, config) == look
    assert at_confidence(look, other).confidence == pytest.approx(look_confidences([0.5, 1], 0.9)[0])


NOISE = np.random.default_rng(5).normal(0, 0.02, size=30)
BASE = [0.5] * 30
UNCLEAR = [0.5 + 20 * value for value in NOISE]


def decided(candidate: ResultBundle, baseline: ResultBundle, gates=()) -> bool:
    config = config_of(2, gate=list(gates))
    return everything_decided(compare(candidate, baseline, config.compare, "b", config.gate), candidate, baseline)


def test_what_is_told_from_the_budget_is_decided_and_what_is_not_goes_on():
    clear, worse = [0.5 + value for value in NOISE], [0.1 + value for value in NOISE]
    baseline = make_bundle({"a": BASE, "b": BASE}, digest="d0")
    for values, expected in ((clear, True), (worse, True), (UNCLEAR, False)):
        assert decided(beginning_of(make_bundle({"a": clear, "b": values}, seed=100), 15), baseline) is expected


def test_only_gates_decide_where_there_are_some():
    clear = [0.5 + value for value in NOISE]
    baseline, candidate = make_bundle({"a": BASE, "b": BASE}, digest="d0"), beginning_of(make_bundle({"a": clear, "b": UNCLEAR}), 15)
    assert decided(candidate, baseline, [{"metric": "a"}]) and not decided(candidate, baseline, [{"metric": "b"}])
    assert not decided(candidate, baseline)


def test_what_no_image_can_change_does_not_hold_a_run_up():
    clear, none = [0.5 + value for value in NOISE], [None] * 30
    changes = {"b": {"not_judged": "it failed its self-test"}}
    baseline = make_bundle({"a": BASE, "b": BASE}, digest="d0", changes=changes)
    assert decided(beginning_of(make_bundle({"a": clear, "b": UNCLEAR}, changes=changes), 15), baseline), "not judged"
    changes = {"b": {"fewest_images": 31}}
    whole = make_bundle({"a": BASE, "b": BASE}, digest="d0", changes=changes)
    assert decided(beginning_of(make_bundle({"a": clear, "b": UNCLEAR}, changes=changes), 15), whole), "judged from more images than there are"
    nowhere = make_bundle({"a": BASE, "b": none}, digest="d0")
    assert decided(beginning_of(make_bundle({"a": clear, "b": UNCLEAR}), 15), nowhere), "no value on the baseline's whole suite"
    assert decided(beginning_of(make_bundle({"a": clear}), 15), make_bundle({"a": BASE, "b": BASE}, digest="d0")), "not measured"


def test_what_more_images_may_change_holds_a_run_up():
    clear, late = [0.5 + value for value in NOISE], [None] * 15 + BASE[15:]
    baseline = make_bundle({"a": BASE, "b": late}, digest="d0")
    none_yet = beginning_of(make_bundle({"a": clear, "b": late}), 15)
    none_yet = ResultBundle(none_yet.folder, none_yet.result.model_copy(update={"results": tuple(
        each.model_copy(update={"value": None}) if each.metric == "b" else each for each in none_yet.result.results)}), none_yet.scores, {})
    assert compare(none_yet, baseline, config_of(2).compare, "b").verdicts[1].outcome == "missing"
    assert not decided(none_yet, baseline), "the parts that it counts may come later"
    changes = {"b": {"fewest_images": 20}}
    assert not decided(beginning_of(make_bundle({"a": clear, "b": clear}, changes=changes), 15), make_bundle({"a": BASE, "b": BASE}, digest="d0", changes=changes))


def test_samples_left_out_on_purpose_are_not_lost_and_others_are():
    baseline = make_bundle({"a": BASE}, digest="d0")
    stopped = beginning_of(make_bundle({"a": [None] + BASE[1:]}), 15)
    assert make_pairs(stopped.result.results[0], baseline, stopped).lost == "1 sample(s) scored only on the baseline"
    whole = make_bundle({"a": BASE[:15]})
    assert make_pairs(whole.result.results[0], baseline, whole).lost == "15 sample(s) scored only on the baseline"


LOOKS = (24, 48, 72)


def share_of(outcome: str, *, loss: float, budget: float, num_runs: int = 600) -> tuple[float, float]:
    """(share of runs that end so, mean share of prompts drawn), of a difference that is Student's t with 4 degrees of freedom, sd 1."""
    levels, random, ended, drawn = look_confidences([each / 72 for each in LOOKS], 0.95), np.random.default_rng(11), 0, 0
    for _ in range(num_runs):
        gains = random.standard_t(4, size=72) / 2**0.5 - loss
        for number, confidence in zip(LOOKS, levels, strict=True):
            prompts = range(number)
            found = judge(mean_interval(gains[:number], prompts, confidence=confidence, num_resamples=400), budget, number, confidence,
                          sign_flip_test(gains[:number], prompts))
            if found != "inconclusive":
                break
        ended, drawn = ended + (found == outcome), drawn + number
    return ended / num_runs, drawn / num_runs / 72


def test_looking_three_times_errs_as_rarely_as_was_asked():
    """A side of 2.5 % each, two standard errors of 600 runs (0.6 points) above."""
    assert share_of("regressed", loss=0, budget=0)[0] <= 0.038
    passed, drawn = share_of("unchanged", loss=0.5, budget=0.5)
    assert passed <= 0.038 and drawn < 0.95


def test_a_clear_change_takes_a_third_of_the_images():
    found, drawn = share_of("regressed", loss=2, budget=0.5, num_runs=100)
    assert found == 1 and drawn == pytest.approx(1 / 3, abs=0.02)
