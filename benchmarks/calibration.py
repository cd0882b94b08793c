"""Calibration by simulation: how often verdicts are wrong where nothing changed, and right where something did.

    python -m benchmarks.calibration [--repetitions 500] [--workers 2]

Every comparison goes through `compare`, as that of a run does. Prompts are drawn with replacement from the shipped baseline and example, all metrics
together, so that they are as related as they really are, and from made-up populations of 20,000 rows. Tables in Markdown:

false alarms    runs in which any metric regressed, or any improved, though nothing changed: each prompt's sides are exchanged or not, at random.
                With budgets of 0 the statistics alone must hold; beside it what p-values without Holm's correction would do.
power           a loss is planted in one of the metrics; how often it is found, beside what the run promises (`sensitivity.power_of` at the level
                that one change among so many is held to, with the standard error that runs without a change print).
coverage        of the 95 % interval of the difference, by metric.
false unchanged a true loss of exactly the budget that is called unchanged, by metric.

Limits hold for the mean over a population's metrics; the worst one stands beside it with its name. On some shipped metrics one row of 24 makes up four
fifths of the variance: of 20 draws 43 % never see it, and no interval knows of what was not seen.

The last row of coverage is a control that must fail: four images a prompt, each taken for a prompt of its own. The exit code is 1 where a limit
of `LIMITS` does not hold.
"""

from __future__ import annotations

import argparse
import gc
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from benchmarks.calibration_data import Population, comparison, made_up, shipped
from sana_bench.compare import compare
from sana_bench.config import CompareSection
from sana_bench.workers import num_processors
from sana_bench.records import Verdict
from sana_bench.sensitivity import power_of, smallest_detectable_effect

CONFIDENCE = 0.95
LIMITS = {"false alarms": 0.05, "power": 0.10, "coverage": 0.93, "false unchanged": 0.05}


@dataclass(frozen=True)
class Study:
    """One kind of comparison, to be made many times."""

    population: Population
    num_prompts: int
    num_images: int = 1
    jitter: bool = True
    by_image: bool = False

    @property
    def size(self) -> str:
        return f"{self.num_prompts} x {self.num_images}"


def simulate(study: Study, repetitions: int, pool: Executor | None = None, workers: int = 1) -> list[tuple[Verdict, ...]]:
    """The verdicts of so many comparisons. A repetition's draw depends on its number alone, not on who makes it."""
    chunks = np.array_split(np.arange(repetitions), workers)
    parts = (pool.map if pool else map)(partial(_compare_some, study), chunks)
    return [verdicts for part in parts for verdicts in part]


def _compare_some(study: Study, numbers: Sequence[int]) -> list[tuple[Verdict, ...]]:
    name = zlib.crc32(f"{study.population.name}/{study.size}".encode())
    made = []
    for number in numbers:
        random = np.random.default_rng([name, int(number)])
        candidate, baseline = comparison(study.population, study.num_prompts, study.num_images, random, jitter=study.jitter, by_image=study.by_image)
        made.append(compare(candidate, baseline, CompareSection(confidence=CONFIDENCE), "simulated").verdicts)
    return made


@dataclass(frozen=True)
class Rate:
    """So many of so many, with a binomial 95 % interval (Clopper-Pearson)."""

    count: int
    number: int

    @property
    def value(self) -> float:
        return self.count / self.number

    def limits(self) -> tuple[float, float]:
        from scipy.stats import binomtest

        return tuple(binomtest(self.count, self.number).proportion_ci())

    def __str__(self) -> str:
        low, high = self.limits()
        return f"{100 * self.value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def any_outcome(runs: Sequence[Sequence[Verdict]], outcome: str) -> Rate:
    """Runs with at least one such verdict."""
    return Rate(sum(any(verdict.outcome == outcome for verdict in verdicts) for verdicts in runs), len(runs))


def any_uncorrected(runs: Sequence[Sequence[Verdict]]) -> Rate:
    """Runs with at least one p-value that would be a change if it were the only one."""
    return Rate(sum(any(verdict.p_value is not None and verdict.p_value <= 1 - CONFIDENCE for verdict in verdicts) for verdicts in runs), len(runs))


def coverage(runs: Sequence[Sequence[Verdict]], truths: Sequence[float]) -> list[Rate]:
    """By metric, of the comparisons that have an interval."""
    rates = []
    for metric, truth in enumerate(truths):
        ends = [(verdicts[metric].ci_low, verdicts[metric].ci_high) for verdicts in runs if verdicts[metric].ci_low is not None]
        rates.append(Rate(sum(low - 1e-9 <= truth <= high + 1e-9 for low, high in ends), len(ends)))
    return rates


def outcomes(runs: Sequence[Sequence[Verdict]], metric: int, outcome: str) -> Rate:
    return Rate(sum(verdicts[metric].outcome == outcome for verdicts in runs), len(runs))


def unchanged_at_budget(population: Population) -> tuple[Population, np.ndarray]:
    """The population with each metric's true change made its budget, and its direction such that it is a loss; and (M,) the true changes."""
    truth_M = np.array([population.differences(metric).mean() for metric in range(len(population.metrics))])
    metrics = tuple(metric.model_copy(update={"higher_is_better": bool(truth < 0) if abs(truth) > 1e-9 else index % 2 == 0})
                    for index, (metric, truth) in enumerate(zip(population.metrics, truth_M, strict=True)))
    return replace(population, metrics=metrics).with_budgets(np.abs(truth_M)), truth_M


@dataclass(frozen=True)
class Planted:
    """A loss in one metric of a population without a change."""

    population: Population
    metric: int
    num_prompts: int

    @property
    def asked(self) -> dict[str, float]:
        """As `power_of` takes it: the level is what the p-value of one change among metrics without one must reach."""
        return {"alpha": (1 - CONFIDENCE) / len(self.population.metrics), "budget": self.population.metrics[self.metric].budget,
                "counted_prompts": self.num_prompts if self.population.counts(self.metric) else 0}

    def effect(self, aim: float) -> float:
        """Loss that should be found so often, by the standard error that is true of the population."""
        error = self.population.differences(self.metric).std() / self.num_prompts**0.5
        return smallest_detectable_effect(error, self.num_prompts - 1, power=aim, **self.asked)

    def printed_errors(self, pilots: Sequence[Sequence[Verdict]]) -> list[float]:
        """Standard errors behind the smallest detectable effects that runs without a change print."""
        from scipy.optimize import brentq

        freedom = self.num_prompts - 1
        least = smallest_detectable_effect(0, freedom, **self.asked)
        printed = [verdicts[self.metric].smallest_detectable_effect for verdicts in pilots]
        return [brentq(lambda error, effect=effect: smallest_detectable_effect(error, freedom, **self.asked) - effect, 0, effect, rtol=1e-4) if effect > least else 0
                for effect in printed]

    def promised(self, errors: Sequence[float], effect: float) -> float:
        """Power for such a loss by these standard errors, on average over them."""
        return float(np.mean([power_of(effect, error, self.num_prompts - 1, **self.asked) for error in errors]))


def populations() -> dict[str, Population]:
    """Without set metrics, which have a study of their own."""
    return {"shipped scores": replace(shipped(), sets=()), "shipped scores and set metrics": shipped(),
            **{family: made_up(name, family) for family, name in (("normal", "normal"), ("student", "heavy tails (Student, 4 df)"),
                                                                  ("skewed", "skewed (exponential)"), ("spiked", "normal in 15 % of prompts, else 0"))}}


def false_alarms(known: dict[str, Population], run: Callable[[Study], list]) -> Iterator[tuple[list[str], bool]]:
    shipped_scores, heavy = known["shipped scores"].without_change(), known["student"].without_change()
    strict = shipped_scores.with_budgets(np.zeros(len(shipped_scores.metrics)))
    with_sets = known["shipped scores and set metrics"].without_change().with_budgets(np.zeros(len(shipped_scores.metrics)))
    studies = [("none", Study(strict, prompts, images)) for prompts, images in ((20, 1), (24, 1), (24, 2), (60, 1), (60, 2))]
    studies += [("their own", Study(shipped_scores, 24)), ("none", Study(heavy, 20)), ("none", Study(heavy, 60, 2)), ("none", Study(with_sets, 24))]
    for budgets, study in studies:
        runs = run(study)
        wrong = [any_outcome(runs, outcome) for outcome in ("regressed", "improved")]
        either = Rate(sum(any(verdict.outcome in ("regressed", "improved") for verdict in verdicts) for verdicts in runs), len(runs))
        yield ([study.population.name + (" and set metrics" if study.population.sets else ""), study.size, str(len(runs[0])), budgets, *map(str, wrong), str(either),
                f"{100 * any_uncorrected(runs).value:.0f} %"], either.value <= LIMITS["false alarms"])


def power(known: dict[str, Population], run: Callable[[Study], list]) -> Iterator[tuple[list[str], bool]]:
    """Losses that should be found in a half, four fifths and 95 % of runs."""
    cases = [("shipped scores", "clip_score_tiny_clip", 24), ("shipped scores", "face_plausibility", 24), ("shipped scores", "face_rate", 24),
             ("shipped scores", "face_rate", 60), ("normal", "normal_00", 20), ("student", "student_00", 24)]
    for name, metric, num_prompts in cases:
        population = known[name].without_change()
        planted = Planted(population, [each.metric for each in population.metrics].index(metric), num_prompts)
        errors = planted.printed_errors(run(Study(population, num_prompts)))
        for aim in (0.5, 0.8, 0.95):
            effect = planted.effect(aim)
            found = outcomes(run(Study(population.harmed(planted.metric, effect), num_prompts)), planted.metric, "regressed")
            promised = planted.promised(errors, effect)
            yield ([f"{population.name}: {metric}", f"{num_prompts} x 1", f"{planted.asked['budget']:g}", f"{effect:.3g}", f"{100 * promised:.0f} %", str(found)],
                   abs(found.value - promised) <= LIMITS["power"])


def intervals(known: dict[str, Population], run: Callable[[Study], list]) -> Iterator[tuple[list[str], bool]]:
    for name in ("shipped scores", "normal", "student", "skewed", "spiked"):
        population, truth_M = unchanged_at_budget(known[name])
        for images in (1, 2) if name == "shipped scores" else (1,):
            runs = run(Study(population, 20, images, jitter=False))
            covered, wrong = coverage(runs, truth_M), [outcomes(runs, metric, "unchanged") for metric in range(len(truth_M))]
            worst, most = worst_of(population, covered, min), worst_of(population, wrong, max)
            mean, mean_wrong = np.mean([rate.value for rate in covered]), np.mean([rate.value for rate in wrong])
            yield ([population.name, f"20 x {images}", f"{100 * mean:.1f} %", worst, f"{100 * mean_wrong:.1f} %", most],
                   mean >= LIMITS["coverage"] and mean_wrong <= LIMITS["false unchanged"])
    control, truth_M = unchanged_at_budget(known["normal"])
    covered = coverage(run(Study(control, 20, 4, jitter=False, by_image=True)), truth_M)
    mean = np.mean([rate.value for rate in covered])
    yield ["control: images taken for prompts", "20 x 4", f"{100 * mean:.1f} %", worst_of(control, covered, min), "", ""], mean < LIMITS["coverage"]


def worst_of(population: Population, rates: Sequence[Rate], choose: Callable) -> str:
    place = choose(range(len(rates)), key=lambda metric: rates[metric].value)
    return f"{population.metrics[place].metric}: {rates[place]}"


TABLES = {"false alarms": (false_alarms, ("population", "prompts x images", "metrics", "budgets", "any regressed", "any improved", "either (at most 5 %)", "without Holm")),
          "power": (power, ("loss planted in", "prompts x images", "budget", "true loss", "promised", "found (within 10 points)")),
          "intervals": (intervals, ("population", "prompts x images", "coverage, mean of metrics (at least 93 %)", "worst metric",
                                    "loss of exactly the budget called unchanged (at most 5 %)", "worst metric"))}


def main() -> int:
    arguments = parse()
    failed, known = 0, populations()
    compare(*comparison(known["shipped scores"], 20, 1, np.random.default_rng(0)), CompareSection(), "")
    gc.freeze()  # what is imported by now need not be looked through again
    with ProcessPoolExecutor(arguments.workers) as pool:
        def run(study: Study) -> list[tuple[Verdict, ...]]:
            return simulate(study, arguments.repetitions, pool, arguments.workers)

        for name, (rows_of, head) in TABLES.items():
            if arguments.only not in name:
                continue
            print(f"\n{name}\n\n| {' | '.join(head)} | |\n|{'---|' * (len(head) + 1)}", flush=True)
            for cells, held in rows_of(known, run):
                failed += not held
                print(f"| {' | '.join(cells)} | {'' if held else '**no**'} |", flush=True)
    return int(failed > 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=500)
    parser.add_argument("--workers", type=int, default=num_processors())
    parser.add_argument("--only", default="", help="tables whose name holds this")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
