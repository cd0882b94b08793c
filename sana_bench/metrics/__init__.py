"""Metrics: numbers made of features. One file a metric (or a family); adding a file adds one.

The maths are free functions on arrays.

Two kinds:

- A *sample metric* gives each image a value, or a reason why it has none. Its result is the mean.
- A *set metric* gives the whole set a value. It first reduces features to small `statistics` (so that a baseline
  needs no features), then evaluates them on any choice of samples, which is how intervals and paired differences are made.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from sana_bench.features import EXTRACTORS, Features
from sana_bench.prompts import Prompt, Target
from sana_bench.registry import Registry
from sana_bench.store import digest_of, sha256_file


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
    reference_enlarged: Sequence[float] = ()
    """By which factor each of them was enlarged to its size (below 1: reduced), where that is known: enlarged, it is soft at native resolution."""
    target: Target
    """The suite's declared demographic target."""


class SampleMetric(Protocol):
    def __init__(self, context: MetricContext) -> None:
        """Prepare once a run (fit the reference)."""

    def score(self, sample: ScoredSample) -> float | Unscored: ...


class PartMetric(SampleMetric, Protocol):
    """A sample metric that also has a value for every hand, face or body that it finds."""

    part: Literal["hand", "face", "body"]

    def score_parts(self, sample: ScoredSample) -> np.ndarray:
        """(F,) float64, a value a row of the extractor `hands`, `faces` or `pose`."""

    def explain_parts(self, sample: ScoredSample) -> list[dict[str, float]]:
        """What each of these values is made of, by name, for people to read."""


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
    files: tuple[Path, ...]
    """Files of ours that it computes with."""
    usual: bool
    """Whether a run measures it where score.metrics names none."""
    sees: tuple[str, ...]
    """Damage (names in corruptions/ and selftest/scenarios.py) that it claims to see. Its self-test holds it to them."""
    explanation: str
    """First line of the class docstring."""
    card: Mapping[str, str]
    """The other parts of the class docstring, by the names in CARD_SECTIONS; `about` is what stands before them."""
    make: Callable[[MetricContext], SampleMetric | SetMetric]

    @property
    def extractors(self) -> tuple[str, ...]:
        return (self.extractor, *self.also_reads)

    def extractor_digest(self) -> str:
        """Changes with everything that its features are made with, and with the files that it makes a value of them with."""
        digests = [*(EXTRACTORS.get(name).digest() for name in self.extractors), *map(sha256_file, self.files)]
        return digests[0] if len(digests) == 1 else digest_of(digests)


CARD_SECTIONS = ("Formula", "Source", "Limits", "Use")
"""Headings in a metric's class docstring: how it is computed, whose idea it is, what it cannot tell, and what not to do with it."""

METRICS: Registry[MetricEntry] = Registry("metric", "sana_bench.metrics")


def register_metric(name: str, *, version: int, kind: Literal["sample", "set"], extractor: str, higher_is_better: bool,
                    unit: str, budget: float, needs_reference: bool = False, fewest_images: int = 0,
                    also_reads: tuple[str, ...] = (), files: tuple[Path, ...] = (), usual: bool = True,
                    sees: tuple[str, ...] = ()) -> Callable[[type], type]:
    """Class decorator; sets `extractor` on the class, whose docstring is the metric's card."""
    def entry(cls: type) -> MetricEntry:
        cls.extractor = extractor
        explanation, card = read_card(cls.__doc__ or "")
        return MetricEntry(name=name, version=version, kind=kind, extractor=extractor, also_reads=also_reads,
                           higher_is_better=higher_is_better, unit=unit, budget=budget, needs_reference=needs_reference,
                           fewest_images=fewest_images, files=files, usual=usual, sees=sees, explanation=explanation, card=card, make=cls)
    return METRICS.decorator(name, entry)


def usual_metrics() -> list[str]:
    """What is measured where a run names no metrics: one extractor of each kind."""
    return [name for name in METRICS.names() if METRICS.get(name).usual]


def read_card(docstring: str) -> tuple[str, dict[str, str]]:
    """First line of a metric's docstring, and its other parts by name. Lines of one paragraph are joined."""
    first, *rest = inspect.cleandoc(docstring).splitlines()
    parts, name = {"about": []}, "about"
    for line in rest:
        heading, colon, text = line.partition(":")
        if colon and heading in CARD_SECTIONS:
            name, line = heading.lower(), text
            parts[name] = []
        parts[name].append(line.strip())
    paragraphs = {name: re.sub(r" *\n *", " ", re.sub(r"\n{2,}", "\0", "\n".join(lines).strip())).replace("\0", "\n\n")
                  for name, lines in parts.items()}
    return first, {name: text for name, text in paragraphs.items() if text}
