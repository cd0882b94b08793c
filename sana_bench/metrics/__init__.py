"""Metrics: numbers made of features. One file a metric (or a family); adding a file adds one.

The maths are free functions on arrays.

Two kinds:

- A *sample metric* gives each image a value, or a reason why it has none. Its result is the mean.
- A *set metric* gives the whole set a value. It first reduces features to small `statistics` (so that a baseline
  needs no features), then evaluates them on any choice of samples, which is how intervals and paired differences are made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from sana_bench.features import EXTRACTORS, Features
from sana_bench.prompts import Prompt, Target
from sana_bench.registry import Registry
from sana_bench.store import digest_of


@dataclass(frozen=True)
class Unscored:
    """This image has no value on this metric, and why ("no face found")."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class ScoredSample:
    """One image as a metric sees it."""

    sample_id: str
    prompt: Prompt
    features: Mapping[str, Features]
    """By extractor."""


@dataclass(frozen=True, kw_only=True)
class MetricContext:
    """What a metric may need beside the samples."""

    reference: Sequence[Mapping[str, Features]]
    """Features of the real images (people never trained on), by extractor."""
    reference_people: Sequence[str] = ()
    """Who each of them shows, where that is known: images of one person are no independent measure of another."""
    target: Target
    """The suite's declared demographic target."""


class SampleMetric(Protocol):
    def __init__(self, context: MetricContext) -> None:
        """Prepare once a run (fit the reference)."""

    def score(self, sample: ScoredSample) -> float | Unscored: ...


class SetMetric(Protocol):
    def __init__(self, context: MetricContext) -> None: ...

    def usable(self, sample: ScoredSample) -> Unscored | None:
        """Why a sample cannot take part, or None where it can."""

    def statistics(self, samples: Sequence[ScoredSample]) -> dict[str, np.ndarray]:
        """Small arrays that `evaluate` needs; those of per-sample size have samples on their first axis or axes."""

    @staticmethod
    def evaluate(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
        """Value on the chosen samples (integers into the samples given to `statistics`; repeats allowed).

        Raises:
            InsufficientSamplesError: too few samples to mean anything.
        """


@dataclass(frozen=True, kw_only=True)
class MetricEntry:
    """A registered metric."""

    name: str
    version: int
    """Goes up when numbers move; results of another version are not compared."""
    kind: Literal["sample", "set"]
    extractor: str
    """The extractor whose features it is made of (that one's `needs` come along)."""
    also_reads: tuple[str, ...]
    """Extractors whose features of the generated images it reads beside; the reference has none of them."""
    higher_is_better: bool
    unit: str
    budget: float
    """How much worse is too much, in `unit`, unless a recipe says otherwise."""
    needs_reference: bool
    fewest_images: int
    """From how many pairs of images on it may decide; below, its difference is shown and not judged."""
    explanation: str
    """First line of the class docstring."""
    make: Callable[[MetricContext], SampleMetric | SetMetric]

    @property
    def extractors(self) -> tuple[str, ...]:
        return (self.extractor, *self.also_reads)

    def extractor_digest(self) -> str:
        """Changes with everything that its features are made with."""
        digests = [EXTRACTORS.get(name).digest() for name in self.extractors]
        return digests[0] if len(digests) == 1 else digest_of(digests)


METRICS: Registry[MetricEntry] = Registry("metric", "sana_bench.metrics")


def register_metric(name: str, *, version: int, kind: Literal["sample", "set"], extractor: str, higher_is_better: bool,
                    unit: str, budget: float, needs_reference: bool = False, fewest_images: int = 0,
                    also_reads: tuple[str, ...] = ()) -> Callable[[type], type]:
    """Class decorator; sets `extractor` on the class, whose docstring's first line explains the metric in the report."""
    def entry(cls: type) -> MetricEntry:
        cls.extractor = extractor
        return MetricEntry(name=name, version=version, kind=kind, extractor=extractor, also_reads=also_reads,
                           higher_is_better=higher_is_better, unit=unit, budget=budget, needs_reference=needs_reference, fewest_images=fewest_images,
                           explanation=(cls.__doc__ or "").strip().splitlines()[0], make=cls)
    return METRICS.decorator(name, entry)
