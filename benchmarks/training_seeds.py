"""How far fine-tunes of one recipe lie apart that differ in their training seed alone, and what that does to a verdict.

For every usual metric it prints the mean over the seeds, the standard deviation (SD) between them, and the SD that would be there if every fine-tune drew
each prompt a little differently for no reason but chance: that much the interval of a single fine-tune holds already. A ratio well above 1 is what it
does not hold, and what another seed of the same recipe may do to its verdict. Then the half width of the interval of the difference to the base model,
with one fine-tune and with all of them, and the outcome that each fine-tune alone would have had.

What is in the store is not made again, so that a run that was stopped goes on, and one more seed costs that seed. Drawing takes longest. A smaller
--side is faster, but below 2048 px tiny-sana draws few people that can be found, so that the metrics of faces, hands and bodies say little there:

    python benchmarks/training_seeds.py                          # 4 seeds of the recipe `tiny` at 2048 px: 7 minutes each on two idle cores
    python benchmarks/training_seeds.py --seeds 8 --side 1024 --plot seeds.png
    python benchmarks/training_seeds.py --set train.max_train_steps=200
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sana_bench.base_images import as_base
from sana_bench.compare import compare
from sana_bench.config import RunConfig, load_config
from sana_bench.console import Table, number, plain_table
from sana_bench.errors import InsufficientSamplesError
from sana_bench.pairs import Pairs, make_pairs
from sana_bench.pipeline import generate_stage, score_stage, train_stage
from sana_bench.records import MetricResult, Verdict
from sana_bench.results import ResultBundle, load_bundle


@dataclass(frozen=True)
class Spread:
    """One metric over the seeds, in its unit."""

    result: MetricResult
    values_K: np.ndarray
    expected: float
    """SD between seeds if prompts were drawn independently by each."""
    alone: tuple[Verdict, ...]
    """On each fine-tune."""
    together: Verdict

    @property
    def seen(self) -> float:
        return float(self.values_K.std(ddof=1))

    @property
    def ratio(self) -> float | None:
        return self.seen / self.expected if self.expected else None


def main() -> None:
    arguments = parse()
    sides = (f"train.resolution={arguments.side}", f"generate.width={arguments.side}", f"generate.height={arguments.side}") if arguments.side else ()
    config = load_config(arguments.config, (*sides, *arguments.overrides, f"train.num_seeds={arguments.seeds}"))
    fine_tunes, base = made(config), made(as_base(config))
    spreads = spreads_of(fine_tunes, base, config)
    num_prompts = len({sample.prompt_id for sample in fine_tunes.result.samples})
    print(f"{arguments.seeds} fine-tunes of {config.name}, {config.train.max_train_steps} steps at {config.train.resolution} px; "
          f"{len(fine_tunes.result.samples)} images of {num_prompts} prompts at {config.generate.width} px\n")
    print(plain_table(table_of(spreads)))
    print("\n" + "\n".join(summary(spreads, arguments.seeds, num_prompts)))
    if arguments.plot:
        plot(spreads, arguments.plot)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="tiny", help="recipe")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--side", type=int, default=0, help="pixels, for training and drawing (the recipe's own)")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="SECTION.KEY=VALUE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the spread into this PNG or SVG")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds: one fine-tune has no spread")
    return arguments


def made(config: RunConfig) -> ResultBundle:
    """Trained, drawn and scored, as far as it is not in the store."""
    train_stage(config)
    generate_stage(config)
    (own, *guard), *others = score_stage(config)
    return load_bundle(own, *guard, replicates=others)


def spreads_of(fine_tunes: ResultBundle, base: ResultBundle, config: RunConfig) -> list[Spread]:
    """Of every metric but those that have no value on some fine-tune, or too few samples to leave a prompt out."""
    each_alone = [replace(fine_tunes, replicates=()), *fine_tunes.replicates]
    verdicts = [{verdict.metric: verdict for verdict in compare(each, base, config.compare, "the base model").verdicts if verdict.suite == each.result.suite}
                for each in (*each_alone, fine_tunes)]
    spreads = []
    for result in fine_tunes.result.results:
        if any(each.metric == result.metric and each.value is None for side in each_alone for each in side.result.results):
            continue
        pairs = make_pairs(result, fine_tunes, fine_tunes)
        try:
            values_K, expected = pairs.seed_values(1), expected_spread(pairs)
        except InsufficientSamplesError:
            continue
        *alone, together = (by_metric[result.metric] for by_metric in verdicts)
        spreads.append(Spread(result, values_K, expected, tuple(alone), together))
    return spreads


def expected_spread(pairs: Pairs) -> float:
    """SD between seeds that independent noise of their prompts would make, by a jackknife over prompts of every two seeds' difference.

    For the mean of one value a prompt and seed this is the square root of the residual mean square of the two-way layout over the number of prompts.

    Raises:
        InsufficientSamplesError: some seed has no value without some prompt.
    """
    prompts_N = np.asarray(pairs.prompt_ids)
    names = np.unique(prompts_N)
    if pairs.values is not None and any(len(set(prompts_N[~np.isnan(values_N)])) < 2 for values_N in pairs.values[1]):
        raise InsufficientSamplesError("a seed has values of one prompt only")
    left_out_KP = np.array([[pairs.value_of(1, seed, np.flatnonzero(prompts_N != name)) for name in names] for seed in range(pairs.num_seeds[1])])
    effects_KP = left_out_KP - left_out_KP.mean(axis=1, keepdims=True)
    return math.sqrt((len(names) - 1) / len(names) * effects_KP.var(axis=0, ddof=1).sum())


def half_width(verdict: Verdict) -> float:
    return (verdict.ci_high - verdict.ci_low) / 2 if verdict.ci_low is not None and verdict.ci_high is not None else math.nan


def table_of(spreads: Sequence[Spread]) -> Table:
    rows = []
    for spread in sorted(spreads, key=lambda spread: -(spread.ratio or 0)):
        one, together = float(np.mean([half_width(verdict) for verdict in spread.alone])), half_width(spread.together)
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in Counter(verdict.outcome for verdict in spread.alone).most_common())
        rows.append((spread.result.metric, number(float(spread.values_K.mean())), number(spread.seen), number(spread.expected), number(spread.ratio),
                     number(spread.result.budget), number(one), number(together), number(together / one if one else None), outcomes,
                     spread.together.outcome))
    return Table(("metric", "mean", "SD between seeds", "SD expected", "ratio", "budget", "half width, 1 seed", "all seeds", "widens", "each alone",
                  "together"), rows)


def summary(spreads: Sequence[Spread], num_seeds: int, num_prompts: int) -> list[str]:
    from scipy.stats import f

    ratios = np.array([spread.ratio for spread in spreads if spread.ratio is not None])
    low, high = np.sqrt(f.ppf([0.025, 0.975], num_seeds - 1, (num_seeds - 1) * (num_prompts - 1)))
    split = sum(len({verdict.outcome for verdict in spread.alone}) > 1 for spread in spreads)
    return [f"ratio: median {np.median(ratios):.2f}; above {high:.2f} in {(ratios > high).sum()} of {len(ratios)} metrics. Chance alone leaves it between "
            f"{low:.2f} and {high:.2f} in 95 % and would put {0.025 * len(ratios):.1f} above",
            f"{split} of {len(spreads)} metrics have another outcome by one fine-tune than by another of the same recipe"]


def plot(spreads: Sequence[Spread], path: Path) -> None:
    """Each fine-tune's distance from the mean of all, in budgets; grey: what independent noise of the prompts would make of it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = sorted((spread for spread in spreads if spread.result.budget), key=lambda spread: spread.seen / spread.result.budget)
    figure, axes = pyplot.subplots(figsize=(8, 0.28 * len(shown) + 1.2), layout="constrained")
    for place, spread in enumerate(shown):
        budget = spread.result.budget
        axes.barh(place, 2 * spread.expected / budget, left=-spread.expected / budget, color="0.85", height=0.7)
        axes.plot((spread.values_K - spread.values_K.mean()) / budget, np.full(len(spread.values_K), place), "o", color="tab:blue", markersize=4, alpha=0.8)
    axes.set_yticks(range(len(shown)), [spread.result.metric for spread in shown], fontsize=7)
    axes.set_xlabel("difference to the mean of all fine-tunes, in budgets (grey: ± SD expected)")
    for bound in (-1, 1):
        axes.axvline(bound, color="tab:red", linewidth=0.8, linestyle=":")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
