"""What a metric is, in one document: what it measures and how, its self-test, its blind spots, and what not to use it for."""

from __future__ import annotations

from sana_bench.card_tables import FactTable, facts_of, tables_of
from sana_bench.evidence.plausibility import PARTS
from sana_bench.extract import in_order
from sana_bench.metrics import METRICS, MetricEntry
from sana_bench.records import Record
from sana_bench.selftest.results import MetricSelfTest, known_facts, known_selftest, why_not_judged
from sana_bench.split import LEARNED_KINDS


class MetricCard(Record):
    """A registered metric for people."""

    name: str
    version: int
    explanation: str
    about: str
    formula: str
    source: str
    limits: str
    responsible_use: str
    kind: str
    """`sample`: a mean of values an image; `set`: a value of the whole set."""
    unit: str
    higher_is_better: bool
    budget: float
    extractor: str
    """Whose features it is made of."""
    extractors: tuple[str, ...]
    """All that run for it, in order."""
    usual: bool = True
    """Whether a run measures it where it names no metrics."""
    needs_reference: bool
    needs_base: bool = False
    """Whether it compares images with the base model's own."""
    fewest_images: int
    trained_on: tuple[str, ...]
    """Kinds of damage that a network behind it has learned; none of them is in its self-test."""
    seconds_per_image: float | None
    judges: bool
    """Whether it may decide a verdict."""
    why_not: str
    self_test: MetricSelfTest | None
    facts: dict[str, object]
    """What else was measured for it, by name."""
    tables: tuple[FactTable, ...] = ()
    """The facts for people."""


def card_of(entry: MetricEntry) -> MetricCard:
    test, why = known_selftest(entry), why_not_judged(entry)
    part = next((part for part in PARTS if entry.extractor == f"{part}_evidence"), None)
    facts = facts_of(entry, known_facts())
    return MetricCard(
        name=entry.name, version=entry.version, explanation=entry.explanation, about=entry.card.get("about", ""),
        formula=entry.card.get("formula", ""), source=entry.card.get("source", ""), limits=entry.card.get("limits", ""),
        responsible_use=entry.card.get("use", ""), kind=entry.kind, unit=entry.unit, higher_is_better=entry.higher_is_better,
        budget=entry.budget, extractor=entry.extractor, extractors=tuple(in_order(entry.extractors)), usual=entry.usual, needs_reference=entry.needs_reference,
        needs_base=entry.needs_base,
        fewest_images=entry.fewest_images, trained_on=tuple(sorted(name for name in LEARNED_KINDS if part and name.startswith(f"{part}_"))),
        seconds_per_image=test.seconds_per_image if test else None, judges=not why, why_not=why, self_test=test,
        facts=facts, tables=tables_of(facts))


def cards(names: tuple[str, ...] = ()) -> list[MetricCard]:
    """Of the named metrics, or of all.

    Raises:
        ConfigError: an unknown name.
    """
    return [card_of(METRICS.get(name)) for name in names or METRICS.names()]
