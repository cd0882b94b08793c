"""Metrics: numbers made of features. One file a metric (or a family); adding a file adds one.

The maths are free functions on arrays.

Two kinds:

- A *sample metric* gives each image a value, or a reason why it has none. Its result is the mean.
- A *set metric* gives the whole set a value. It first reduces features to small `statistics` (so that a baseline
  needs no images), then evaluates them on any choice of samples, which is how intervals and paired differences are made.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from sana_bench.errors import ConfigError
from sana_bench.features import EXTRACTORS, ExtractorEntry, Features, pooled_features
from sana_bench.prompts import Prompt, Target
from sana_bench.records import Record
from sana_bench.registry import Registry
from sana_bench.store import Store, digest_of, sha256_file


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
    base: Mapping[str, Mapping[str, Features]] = field(default_factory=dict)
    """Of metrics that need it: features of the base model's own images of the same prompts and noise, by sample id and extractor."""
    store: Store | None = None
    """Where a metric keeps the answers of a service; None keeps none."""


class Service(Protocol):
    """Something outside that a metric asks, such as a model behind an endpoint, and that is set up on a machine or is not.

    Nothing of it can ship: its metrics are self-tested where they are used and only where they are named, on the damage that they claim to see.
    """

    def identity(self) -> str:
        """What decides its answers, for people and digests; empty where it is not set up."""

    def require(self) -> None:
        """Raises ConfigError where it is not set up, and says how to do so."""


class SampleMetric(Protocol):
    def __init__(self, context: MetricContext) -> None:
        """Prepare once a run (fit the reference)."""

    def score(self, sample: ScoredSample) -> float | Unscored: ...


class FlaggingMetric(SampleMetric, Protocol):
    """A sample metric that has something to say of some images that it gives a value."""

    def flag(self, sample: ScoredSample) -> str:
        """The same words for every such image, for they are counted; empty for the others."""


class PartMetric(SampleMetric, Protocol):
    """A sample metric that also has a value for every hand, face or body that it finds."""

    part: Literal["hand", "face", "body"]

    def score_parts(self, sample: ScoredSample) -> np.ndarray:
        """(F,) float64, a value a row of the extractor `hands`, `faces` or `pose`."""

    def explain_parts(self, sample: ScoredSample) -> list[dict[str, float]]:
        """What each of these values is made of, by name, for people to read."""


class AskingMetric(SampleMetric, Protocol):
    """A sample metric that asks a service, which may be a poor judge today and another one tomorrow."""

    def beside(self, samples: Sequence[ScoredSample]) -> Mapping[str, float]:
        """Numbers to read beside its value, by name, such as how often it contradicted itself."""

    def controls(self, damaged: Sequence[ScoredSample]) -> tuple[Control, ...]:
        """What it is held to in its self-test, beside damage; `damaged` are plainly damaged copies of the base's images."""


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

    @staticmethod
    def join(baseline: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        """Statistics of both sides' samples as one set, the baseline's first, so that samples can change sides.

        Returns:
            None where what is kept of the samples does not tell how those of one side are to those of the other.
        """


class NotingMetric(SetMetric, Protocol):
    """A set metric that has something to say beside its value."""

    def note(self, samples: Sequence[ScoredSample]) -> str:
        """One clause on what it makes of these samples, at least one; empty where there is nothing to say."""


class Control(Record):
    """What a metric was held to beside damage: a share of cases that must be right."""

    name: str
    share: float
    least: float
    number: int
    """Of cases."""


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
    """Extractors whose features of the generated images, and of the base's own, it reads beside; the reference has none of them."""
    higher_is_better: bool
    unit: str
    budget: float
    """How much worse is too much, in `unit`, unless a recipe says otherwise."""
    needs_reference: bool
    needs_base: bool
    """Whether it compares images with the base model's own of the same prompts and noise."""
    fewest_images: int
    """From how many pairs of images on it may decide; below, its difference is shown and not judged."""
    files: tuple[Path, ...]
    """Files of ours that it computes with."""
    service: Service | None
    """Whom it asks, where it asks anybody."""
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

    @property
    def always_here(self) -> bool:
        """Whether it can be measured without fetching weights by name; the others have no shipped self-test."""
        return all(EXTRACTORS.get(name).always_here for name in self.extractors)

    def extractor_digest(self) -> str:
        """Changes with everything that its features are made with, and with the files and the service that it makes a value of them with."""
        digests = [*(EXTRACTORS.get(name).digest() for name in self.extractors), *map(sha256_file, self.files)]
        if self.service is not None:
            digests.append(self.service.identity())
        return digests[0] if len(digests) == 1 else digest_of(digests)


CARD_SECTIONS = ("Formula", "Source", "Limits", "Use")
"""Headings in a metric's class docstring: how it is computed, whose idea it is, what it cannot tell, and what not to do with it."""

METRICS: Registry[MetricEntry] = Registry("metric", "sana_bench.metrics")


def register_metric(name: str, *, version: int, kind: Literal["sample", "set"], extractor: str, higher_is_better: bool,
                    unit: str, budget: float, needs_reference: bool = False, needs_base: bool = False, fewest_images: int = 0,
                    also_reads: tuple[str, ...] = (), files: tuple[Path, ...] = (), service: Service | None = None, usual: bool = True,
                    sees: tuple[str, ...] = ()) -> Callable[[type], type]:
    """Class decorator; sets `extractor` on the class, whose docstring is the metric's card."""
    return METRICS.decorator(name, lambda cls: metric_entry(
        cls, name=name, version=version, kind=kind, extractor=extractor, also_reads=also_reads, higher_is_better=higher_is_better, unit=unit,
        budget=budget, needs_reference=needs_reference, needs_base=needs_base, fewest_images=fewest_images, files=files, service=service,
        usual=usual, sees=sees))


def metric_entry(cls: type, *, extractor: str, also_reads: tuple[str, ...] = (), needs_reference: bool = False, needs_base: bool = False,
                 fewest_images: int = 0, files: tuple[Path, ...] = (), service: Service | None = None, usual: bool = True, **what_it_is) -> MetricEntry:
    """The entry of a class, unregistered; the arguments are those of `register_metric`."""
    cls.extractor = extractor
    explanation, card = read_card(cls.__doc__ or "")
    return MetricEntry(extractor=extractor, also_reads=also_reads, needs_reference=needs_reference, needs_base=needs_base, fewest_images=fewest_images,
                       files=files, service=service, usual=usual, explanation=explanation, card=card, make=cls, **what_it_is)


def variant_of(metric: type, of: str, /, **words: str) -> type:
    """A subclass for one extractor or the like, in whose card every `{word}` is replaced."""
    card = metric.__doc__ or ""
    for word, replacement in words.items():
        card = card.replace(f"{{{word}}}", replacement)
    return type(f"{metric.__name__}_{of}", (metric,), {"__doc__": card})


def has_no_rows(entry: ExtractorEntry) -> str:
    """Why there is no distance on an extractor, or nothing."""
    return "" if entry.pooled else "has nothing that distances are made of"


def sums_up_no_images(entry: ExtractorEntry) -> str:
    """The same where an image must have one row."""
    return has_no_rows(entry) or (f"has a row for each {entry.rows} and none of the whole image" if entry.rows else "")


def reads_no_texts(entry: ExtractorEntry) -> str:
    """The same where prompts must lie in the space of images."""
    return sums_up_no_images(entry) or ("" if entry.text else "reads no texts")


def on_every_extractor(family: str, make: Callable[[str], MetricEntry], explanation: str,
                       why_not: Callable[[ExtractorEntry], str] = sums_up_no_images) -> None:
    """Make `<family>_<extractor>` a metric of every extractor that it fits; registered where its weights are always here.

    Args:
        make: an extractor's name -> the metric on it, which has that name.
        why_not: why it does not fit an extractor, as what follows its name; empty where it does.
    """
    def checked(extractor: str) -> MetricEntry:
        reason = why_not(EXTRACTORS.get(extractor))
        if reason:
            raise ConfigError(f'no metric "{family}_{extractor}": {extractor} {reason}')
        return make(extractor)

    METRICS.add_family(family, checked, explanation)
    for name in pooled_features():
        if not why_not(EXTRACTORS.get(name)):
            METRICS.register(f"{family}_{name}", make(name))


def usual_metrics() -> list[str]:
    """What is measured where a run names no metrics: one extractor of each kind."""
    return [name for name in METRICS.names() if METRICS.get(name).usual]


def require_services(entries: Iterable[MetricEntry]) -> None:
    """Raises ConfigError where a service that one of them asks is not set up."""
    for entry in entries:
        if entry.service is not None:
            entry.service.require()


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
