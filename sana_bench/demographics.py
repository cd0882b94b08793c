"""Who is in the images, as they present, and for whom the images are better: the compositions and group scores of a result.

Aggregates of perceived presentation only. Nothing is judged here; the metrics of diversity and parity are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np

from sana_bench.config import CompareSection
from sana_bench.errors import InsufficientSamplesError
from sana_bench.metrics import ScoredSample, Unscored
from sana_bench.metrics.composition import (corrected_shares, divergence_from_target, hill_number, mean_deviation_from_target,
                                            miller_madow_entropy, normalised_entropy)
from sana_bench.metrics.diversity import MIN_IMAGES
from sana_bench.metrics.parity import SMALLEST_GROUP, grouped_metrics
from sana_bench.metrics.perceived import ATTRIBUTES, perceived_class
from sana_bench.prompts import Attribute, Target
from sana_bench.records import Composition, GroupScore, Measure, PromptComposition, Score
from sana_bench.selftest.agreement import AGREEMENT
from sana_bench.selftest.results import shipped_fact
from sana_bench.statistics import mean_interval, set_interval, share_bounds
from sana_bench.store import digest_of

VERSION = 3
"""Goes up when the numbers move."""

FEWEST_PICTURES = 10
"""Pictures of a class on which the classifier must have been tried before its errors are corrected."""

LEAST_SHARE = 1e-4
"""A corrected share below it is none: the likelihood nears zero without reaching it, and a class would seem to be there."""

CORRECTED: tuple[Attribute, ...] = ("gender", "age")
"""Not skin tone: what was asked for is a noisy label of what a photograph shows."""


def demographics_digest() -> str:
    """Changes with everything that decides compositions and groups beside the metrics and their features."""
    return digest_of([VERSION, shipped_fact(AGREEMENT)])


@cache
def known_confusion(attribute: Attribute) -> np.ndarray | None:
    """(K, K) counts, rows true and columns perceived classes, of the classifier on photographs; None where it is of no use.

    Of use are only tables in which every class has FEWEST_PICTURES and is seen as itself more often than not: shares of a
    class that the classifier misses cannot be found from what it saw.
    """
    if attribute not in CORRECTED:
        return None
    confusion_KK = np.array(shipped_fact(AGREEMENT)[attribute]["confusion"], float)
    pictures_K = confusion_KK.sum(axis=1)
    return confusion_KK if (pictures_K >= FEWEST_PICTURES).all() and (np.diag(confusion_KK) > pictures_K / 2).all() else None


def compositions(samples: Sequence[ScoredSample], target: Target, settings: CompareSection) -> tuple[Composition, ...]:
    """One for each attribute whose extractor has looked at the samples."""
    return tuple(_composition(attribute, samples, target, settings) for attribute, perceived in ATTRIBUTES.items()
                 if samples and perceived.extractor in samples[0].features)


def _composition(attribute: Attribute, samples: Sequence[ScoredSample], target: Target, settings: CompareSection) -> Composition:
    classes, declared = ATTRIBUTES[attribute].classes, getattr(target, attribute)
    asked = [sample for sample in samples if attribute not in sample.prompt.states]
    found = [(sample.prompt.id, perceived_class(attribute, sample.features)) for sample in asked]
    labelled = [(prompt, classes.index(label)) for prompt, label in found if not isinstance(label, Unscored)]
    reasons = Counter(label.reason for _, label in found if isinstance(label, Unscored))
    labels_n = np.array([label for _, label in labelled], np.int64)
    counts_K = np.bincount(labels_n, minlength=len(classes))
    confusion_KK = known_confusion(attribute) if len(labels_n) else None
    target_K = np.array([declared.get(name, 0.0) for name in classes]) if declared else None
    prompts, confidence = [prompt for prompt, _ in labelled], settings.confidence

    def corrected(counts: np.ndarray) -> np.ndarray:
        shares = corrected_shares(counts, confusion_KK)
        return np.where(shares > LEAST_SHARE, shares, 0) * counts.sum()

    return Composition(
        attribute=attribute, classes=classes, counts=counts_K.tolist(), num_undetermined=sum(reasons.values()),
        undetermined_reasons=dict(reasons), num_not_asked=len(samples) - len(asked),
        shares=(counts_K / counts_K.sum()).tolist() if len(labels_n) else None,
        corrected_shares=None if confusion_KK is None else corrected_shares(counts_K, confusion_KK).tolist(),
        target=None if target_K is None else target_K.tolist(),
        corrected_intervals=None if confusion_KK is None else _share_intervals(labels_n, prompts, len(classes), corrected, confidence),
        measures=_measures(labels_n, prompts, len(classes), target_K, confidence),
        corrected_measures={} if confusion_KK is None else _measures(labels_n, prompts, len(classes), target_K, confidence, corrected),
        prompts=_by_prompt(found, classes))


def _measures(labels_n: np.ndarray, prompts: Sequence[str], num_classes: int, target_K: np.ndarray | None,
              confidence: float, corrected: Callable[[np.ndarray], np.ndarray] = lambda counts_K: counts_K) -> dict[str, Measure]:
    """Each with its interval, cut at the least and the most that the measure can be, which a jackknife does not know.

    Args:
        corrected: counts as they are seen to counts as they will have been.
    """
    if len(labels_n) < MIN_IMAGES:
        return {}
    ranged = {"entropy": (miller_madow_entropy, 0, np.inf), "normalised_entropy": (normalised_entropy, 0, 1)}
    for order in (0, 1, 2):
        ranged[f"hill_{order}"] = (lambda counts_K, order=order: hill_number(counts_K / counts_K.sum(), order), 1, num_classes)
    if target_K is not None:
        ranged["kl_to_target"] = (lambda counts_K: divergence_from_target(counts_K, target_K), 0, np.inf)
        ranged["mean_deviation_from_target"] = (
            lambda counts_K: mean_deviation_from_target(counts_K / counts_K.sum(), target_K), 0, 2 / num_classes)

    def counts_of(indices: np.ndarray) -> np.ndarray:
        if len(indices) < MIN_IMAGES:
            raise InsufficientSamplesError(f"{len(indices)} image(s) without one prompt; {MIN_IMAGES} are the least")
        return corrected(np.bincount(labels_n[indices], minlength=num_classes))

    measures = {}
    for name, (function, least, most) in ranged.items():
        found = set_interval(lambda indices, function=function: function(counts_of(indices)), prompts, confidence=confidence)
        ends = (None, None) if found.low is None else (max(found.low, least), min(found.high, most))
        measures[name] = Measure(value=found.value, low=ends[0], high=ends[1])
    return measures


def _share_intervals(labels_n: np.ndarray, prompts: Sequence[str], num_classes: int, corrected: Callable[[np.ndarray], np.ndarray],
                     confidence: float) -> tuple[tuple[float | None, float | None], ...]:
    """Interval of each class's corrected share, in [0, 1]."""
    def share_of(indices: np.ndarray, label: int) -> float:
        if len(indices) < MIN_IMAGES:
            raise InsufficientSamplesError(f"{len(indices)} image(s); {MIN_IMAGES} are the least")
        counts_K = np.bincount(labels_n[indices], minlength=num_classes)
        return float(corrected(counts_K)[label] / counts_K.sum())

    if len(labels_n) < MIN_IMAGES:
        return ((None, None),) * num_classes
    found = [set_interval(partial(share_of, label=label), prompts, confidence=confidence) for label in range(num_classes)]
    return tuple((None, None) if each.low is None else (max(each.low, 0.0), min(each.high, 1.0)) for each in found)


def _by_prompt(found: Sequence[tuple[str, str | Unscored]], classes: tuple[str, ...]) -> tuple[PromptComposition, ...]:
    rows = []
    for prompt_id in dict.fromkeys(prompt for prompt, _ in found):
        labels = [label for prompt, label in found if prompt == prompt_id]
        counts_K = np.array([labels.count(name) for name in classes])
        rows.append(PromptComposition(prompt_id=prompt_id, counts=counts_K.tolist(), num_undetermined=len(labels) - int(counts_K.sum()),
                                      entropy=miller_madow_entropy(counts_K) if counts_K.sum() else None))
    return tuple(rows)


def group_scores(samples: Sequence[ScoredSample], scores: Sequence[Score], settings: CompareSection) -> tuple[GroupScore, ...]:
    """One for each class, and each of the metrics of parity among the scores."""
    values = {(score.metric, score.sample_id): score.value for score in scores if score.value is not None}
    metrics = [entry.name for entry in grouped_metrics().values() if any(score.metric == entry.name for score in scores)]
    rows = []
    for attribute, perceived in ATTRIBUTES.items():
        if samples and perceived.extractor in samples[0].features:
            labels = {sample.sample_id: perceived_class(attribute, sample.features) for sample in samples}
            rows += [_group_score(attribute, group, metric, [sample for sample in samples if labels[sample.sample_id] == group], values, settings)
                     for metric in metrics for group in perceived.classes]
    return tuple(rows)


def _group_score(attribute: Attribute, group: str, metric: str, members: Sequence[ScoredSample],
                 values: dict[tuple[str, str], float], settings: CompareSection) -> GroupScore:
    scored = [sample for sample in members if (metric, sample.sample_id) in values]
    prompts = [sample.prompt.id for sample in scored]
    enough = len(set(prompts)) >= SMALLEST_GROUP
    numbers = np.array([values[metric, sample.sample_id] for sample in scored])
    value, low, high = mean_interval(numbers, prompts, confidence=settings.confidence, num_resamples=settings.num_resamples, seed=settings.seed,
                                     bounds=share_bounds(numbers)) if enough else (None,) * 3
    return GroupScore(attribute=attribute, group=group, metric=metric, value=value, low=low, high=high, num_images=len(scored),
                      num_prompts=len(set(prompts)), enough=enough)
