"""Results per tag of a prompt: where in the suite a metric is high or low, and where a change happened.

Exploratory: with hundreds of cells some lie beyond chance by chance alone, so no verdict is made here or rests on these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from sana_bench.config import CompareSection
from sana_bench.prompts import PromptSuite
from sana_bench.records import Sample, Score, TagDifference, TagScore
from sana_bench.significance import benjamini_hochberg, fewest_prompts, sign_flip_test
from sana_bench.statistics import Interval, mean_interval, share_bounds

TAGS_VERSION = 2
"""Goes up when the numbers move."""


def tags_of(suite: PromptSuite) -> dict[str, tuple[str, ...]]:
    """Tags by prompt id, of the prompts that have some."""
    return {prompt.id: prompt.tags for prompt in suite.prompt if prompt.tags}


def tag_scores(prompt_tags: Mapping[str, Sequence[str]], samples: Iterable[Sample], scores: Iterable[Score],
               settings: CompareSection) -> tuple[TagScore, ...]:
    """One for every metric and tag with a scored image, metric after metric."""
    prompts = {sample.sample_id: sample.prompt_id for sample in samples}
    by_metric: dict[str, list[tuple[str, float]]] = {}
    for score in scores:
        if score.value is not None:
            by_metric.setdefault(score.metric, []).append((prompts[score.sample_id], score.value))
    return tuple(
        TagScore(tag=tag, metric=metric, value=found.value, low=found.low, high=found.high, num_images=len(chosen),
                 num_prompts=len(set(chosen)), enough=_enough(chosen, settings))
        for metric, rows in by_metric.items()
        for values in [np.array([value for _, value in rows], dtype=float)]
        for tag, at, chosen, found in _by_tag([prompt for prompt, _ in rows], values, share_bounds(values), prompt_tags, settings))


def tag_differences(suite: str, metric: str, prompt_ids: Sequence[str], differences_N: np.ndarray, prompt_tags: Mapping[str, Sequence[str]],
                    settings: CompareSection, bounds: tuple[float, float] | None = None) -> list[TagDifference]:
    """One for every tag of these pairs' prompts, without q-values.

    Args:
        prompt_ids: of N pairs.
        differences_N: (N,) float, candidate minus baseline.
        bounds: of a difference, where they are known.
    """
    return [TagDifference(suite=suite, tag=tag, metric=metric, difference=found.value, low=found.low, high=found.high, num_pairs=len(chosen),
                          num_prompts=len(set(chosen)), enough=_enough(chosen, settings),
                          p_value=sign_flip_test(differences_N[at], chosen, seed=settings.seed) if _enough(chosen, settings) else None)
            for tag, at, chosen, found in _by_tag(prompt_ids, differences_N, bounds, prompt_tags, settings)]


def with_q_values(found: Sequence[TagDifference]) -> list[TagDifference]:
    """The same, with what so many looks leave of their p-values."""
    tested = [each for each in found if each.p_value is not None]
    q_values = iter(benjamini_hochberg([each.p_value for each in tested]))
    return [each if each.p_value is None else each.model_copy(update={"q_value": next(q_values)}) for each in found]


def _by_tag(prompt_ids: Sequence[str], values: np.ndarray, bounds: tuple[float, float] | None, prompt_tags: Mapping[str, Sequence[str]],
            settings: CompareSection) -> Iterator[tuple[str, list[int], list[str], Interval]]:
    """(tag, places of the values with it, prompt of each, mean and interval over prompts) of every tag, in alphabetical order."""
    for tag in sorted({tag for prompt_id in set(prompt_ids) for tag in prompt_tags.get(prompt_id, ())}):
        at = [place for place, prompt_id in enumerate(prompt_ids) if tag in prompt_tags.get(prompt_id, ())]
        chosen = [prompt_ids[place] for place in at]
        yield tag, at, chosen, mean_interval(values[at], chosen, confidence=settings.confidence, num_resamples=settings.num_resamples,
                                             seed=settings.seed, bounds=bounds)


def _enough(prompt_ids: Sequence[str], settings: CompareSection) -> bool:
    return len(set(prompt_ids)) >= fewest_prompts(settings.confidence)
