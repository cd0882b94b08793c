"""Change points: a planted step is found where it is and the right way round, and a flat history seldom shows one."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import ruptures
from scipy import stats

from sana_bench.history.changes import MIN_SIDE, Line, _best_split, _step_down, _surprise, _weights, fewest_runs, find_changes
from sana_bench.history.collect import rows_of
from tests.history_fixture import NUM_PROMPTS, run_bundle

ROW = rows_of(run_bundle(0, {"hand_rate": [1.0, 0.0]}).result, "run", "run", None)[0]


def line(values, errors=0.03, runs=None, **fields) -> Line:
    """A line whose rows carry its values, an hour apart."""
    rows = [replace(ROW, value=float(value), run=f"run{at:03}", result_digest=f"result{at}", samples_digest=f"images{at}", **fields)
            for at, value in enumerate(values)]
    return Line(tuple(runs or (row.run for row in rows)), np.array(values, dtype=np.float64), np.broadcast_to(np.asarray(errors, dtype=np.float64), (len(rows),)),
                tuple((row,) for row in rows))


def flat_history(rng: np.random.Generator, num_runs: int = 20) -> list[Line]:
    """Twelve metrics over runs between which nothing changed: the same prompts throughout, of unlike difficulty, so that an interval says
    little about what differs between runs; a fine-tune's luck, which all metrics share in part; rates that move in steps; skew, heavy tails;
    runs of unlike size, and some without a value."""
    luck_N = rng.standard_normal(num_runs)
    lines = []
    for metric in range(12):
        difficulty_P, shared, size_N = rng.uniform(0.2, 1.1, NUM_PROMPTS), 0.03 * rng.random() * luck_N, rng.choice([1, 4], num_runs)
        draw = [lambda: rng.standard_normal(NUM_PROMPTS), lambda: rng.exponential(size=NUM_PROMPTS), lambda: rng.standard_t(3, NUM_PROMPTS)][metric % 3]
        values, errors = [], []
        for run in range(num_runs):
            scores_P = difficulty_P + shared[run] + 0.2 * draw() / math.sqrt(size_N[run])
            scores_P = (scores_P > 0.35).astype(float) if metric < 4 else scores_P
            values.append(scores_P.mean())
            errors.append(scores_P.std() / math.sqrt(NUM_PROMPTS))
        kept = np.flatnonzero(rng.random(num_runs) > 0.1 * (metric % 2))
        lines.append(line(np.array(values)[kept], np.array(errors)[kept], runs=[f"run{at:03}" for at in kept]))
    return lines


def test_flat_histories_show_a_change_in_at_most_one_of_twenty():
    """500 of them: 5 % are 25, and by chance of this very test up to 37 (99 % of the binomial)."""
    rng = np.random.default_rng(0)
    alarms = sum(any(found.changes for found in find_changes(flat_history(rng), num_orders=399, seed=at)) for at in range(500))
    assert alarms <= stats.binom.ppf(0.99, 500, 0.05)


def test_a_planted_step_is_found_among_flat_metrics():
    """Of 60 histories of 20 runs with a step of three standard deviations (between runs) in one of twelve metrics, nearly all tell it."""
    rng, hits = np.random.default_rng(1), 0
    for at in range(60):
        lines = flat_history(rng)
        values = rng.normal(0.5, 0.01, 20) - 0.03 * (np.arange(20) >= 11)
        found = find_changes([*lines, line(values)], num_orders=399, seed=at)[-1]
        hits += any(abs(int(change.after.run[3:]) - 11) <= 1 for change in found.changes)
    assert hits >= 54


@pytest.mark.parametrize(("step", "higher_is_better", "direction"), [(0.3, True, "better"), (-0.3, True, "worse"), (0.3, False, "worse"), (-0.3, False, "better")])
def test_direction_is_the_metrics_own(step: float, higher_is_better: bool, direction: str):
    values = np.random.default_rng(2).normal(0.5, 0.02, 16) + step * (np.arange(16) >= 9)
    (found,) = find_changes([line(values, higher_is_better=higher_is_better, budget=0.1)])
    (change,) = found.changes
    assert (change.before.run, change.after.run, change.direction) == ("run008", "run009", direction)
    assert change.mean_before == pytest.approx(values[:9].mean()) and change.mean_after == pytest.approx(values[9:].mean())
    assert change.budgets == pytest.approx(abs(values[9:].mean() - values[:9].mean()) / 0.1)
    assert change.p_adjusted < 0.01


def test_a_rise_and_a_fall_are_two_changes():
    at_N = np.arange(40)
    values = np.random.default_rng(3).normal(0.0, 0.02, 40) + 0.2 * ((at_N >= 12) & (at_N < 27))
    (found,) = find_changes([line(values)])
    assert [change.after.run for change in found.changes] == ["run012", "run027"]
    assert [change.direction for change in found.changes] == ["better", "worse"]


def test_too_few_runs_tell_nothing_and_say_so():
    """2 of the C(8, 4) = 70 ways to halve eight runs are as telling as the best, 2.9 %; of seven, 2 of 35, 5.7 %."""
    assert fewest_runs(0.05) == 8 and 2 / math.comb(7, 3) > 0.05 > 2 / math.comb(8, 4)
    steps = {number: [0.0] * (number // 2) + [1.0] * (number - number // 2) for number in (1, 5, 7, 8)}
    found = dict(zip(steps, find_changes([line(values + np.arange(len(values)) * 1e-4) for values in steps.values()]), strict=True))
    assert all(not found[number].changes and found[number].too_few == f"too few runs: {number} of 8 at least" for number in (1, 5, 7))
    assert len(found[8].changes) == 1 and found[8].too_few == ""


def test_an_odd_run_is_no_change():
    values = np.random.default_rng(4).normal(0.5, 0.01, 20)
    values[10], values[-1] = 5.0, -5.0
    assert find_changes([line(values)])[0].changes == ()


@pytest.mark.parametrize("value", [0.0, 1.0, 1e9, 0.1 + 0.2])
def test_a_value_that_never_moves_never_changed(value: float):
    assert find_changes([line([value] * 30, errors=0.0)])[0].changes == ()


def test_the_known_errors_bound_what_is_believed():
    """Ten values stand still and ten stand one image of 24 higher: beyond chance where results are sure, and not where they are not."""
    values = [0.5] * 6 + [0.5 + 1 / 24] * 6
    assert len(find_changes([line(values, errors=0.001)])[0].changes) == 1
    sure, unsure = (_surprise(line(values, errors=error), np.arange(12)[None])[0] for error in (0.001, 0.2))
    assert sure < 1e-9 and unsure > 0.1


def test_unsure_runs_weigh_less():
    weights = _weights(line([1.0, 1.1, 0.9, 1.0, 1.05, 0.95], errors=[0.1, 0.1, 0.1, 0.1, 0.1, 2.0]))
    assert weights.mean() == pytest.approx(1) and weights[5] < weights[0] / 50
    np.testing.assert_allclose(_weights(line([1.0, 2.0, 3.0], errors=[0.0, np.nan, 0.0])), 1)


def test_images_measured_twice_count_once():
    rows = [replace(ROW, value=0.1 * at, samples_digest=f"images{at // 2}", run=f"run{at}", ci_low=None) for at in range(6)]
    made = Line.of(rows)
    assert [group[0].run for group in made.rows_N] == ["run0", "run2", "run4"] and np.isnan(made.errors_N).all()


def test_fine_tunes_of_a_run_count_once():
    """Three seeds of two runs: values 0, 1, 2 and 3, 4, 5, standard error 0.3 each."""
    half = 1.959964 * 0.3
    made = Line.of([replace(ROW, value=float(at), samples_digest=f"images{at}", run=f"run{at // 3}", training_seed=at % 3, ci_low=at - half, ci_high=at + half)
                    for at in range(6)])
    assert len(set(made.runs)) == 2 and [len(group) for group in made.rows_N] == [3, 3]
    np.testing.assert_allclose(made.values_N, [1, 4])
    np.testing.assert_allclose(made.errors_N, 0.3 / math.sqrt(3))


def test_results_do_not_depend_on_the_order_of_lines():
    rng = np.random.default_rng(5)
    lines = [line(rng.normal(0.5, 0.02, 18) + 0.1 * shift * (np.arange(18) >= 8), runs=[f"run{at:03}" for at in range(18)]) for shift in (0, 1, 0, 2, 0)]
    forward, backward = find_changes(lines), find_changes(lines[::-1])[::-1]
    assert forward == backward and sum(bool(found.changes) for found in forward) == 2


def test_t_of_a_split_equals_scipys():
    """Equal weights, no known error: Student's t of both sides."""
    values = np.random.default_rng(6).normal(size=14)
    ours = _surprise(line(values, errors=np.nan), np.arange(14)[None], split=5)[0]
    assert ours == pytest.approx(stats.ttest_ind(values[:5], values[5:]).pvalue, rel=1e-9)


def test_the_best_split_equals_ruptures_own_for_equal_weights():
    for seed in range(20):
        values = np.random.default_rng(seed).normal(size=17)
        expected = ruptures.Binseg(model="l2", min_size=MIN_SIDE, jump=1).fit(values).predict(n_bkps=1)[0]
        assert _best_split(line(values, errors=0.0)) == expected
        best = _surprise(line(values, errors=0.0), np.arange(17)[None])[0]
        assert best == pytest.approx(_surprise(line(values, errors=0.0), np.arange(17)[None], expected)[0], rel=1e-12)


def test_the_best_split_is_the_most_surprising_for_any_weights():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        made = line(rng.normal(size=15), errors=rng.uniform(0.1, 3, 15))
        each = [_surprise(made, np.arange(15)[None], split)[0] for split in range(MIN_SIDE, 15 - MIN_SIDE + 1)]
        assert _best_split(made) == MIN_SIDE + int(np.argmin(each))


def test_p_of_one_line_is_the_share_of_all_its_orders():
    """Eight runs: all 40,320 orders against random ones."""
    made = line([0.1, 0.3, 0.2, 0.25, 0.5, 0.35, 0.6, 0.55])
    chance = _surprise(made, np.array(list(itertools.permutations(range(8)))))
    exact = (chance <= chance[0] * (1 + 1e-9)).mean()
    (change,) = find_changes([made], alpha=0.1)[0].changes
    assert change.p_adjusted == pytest.approx(exact, abs=4 * math.sqrt(exact / 4999))


def test_step_down_by_hand():
    """Three orders. Line 1 (0.01) is reached by the least of both lines in one: (1 + 1) / 4. Line 0 (0.6) is reached by its own in two: 3 / 4."""
    observed, chance = np.array([0.6, 0.01]), np.array([[0.005, 0.5, 0.9], [0.3, 0.02, 0.04]])
    np.testing.assert_allclose(_step_down(observed, chance), [0.75, 0.5])


def test_a_later_p_value_is_not_below_an_earlier_one():
    """Line 1 (0.01) is reached in three orders, by itself: 4 / 4. Line 0 (0.02) is reached by its own in none, and yet gets no less."""
    np.testing.assert_allclose(_step_down(np.array([0.02, 0.01]), np.array([[0.9, 0.9, 0.9], [0.01, 0.005, 0.01]])), [1, 1])


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_standard_errors_do_not_depend_on_the_confidence_of_the_intervals(confidence: float):
    half = 0.03 * stats.norm.ppf((1 + confidence) / 2)
    (error,) = Line.of([replace(ROW, value=0.5, ci_low=0.5 - half, ci_high=0.5 + half, confidence=confidence)]).errors_N
    assert error == pytest.approx(0.03)
