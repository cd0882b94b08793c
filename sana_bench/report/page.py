"""What both renderings show, gathered from the records once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from sana_bench.cards import MetricCard
from sana_bench.data.shares import repetition_note
from sana_bench.errors import ReportError
from sana_bench.prompts import PromptSuite
from sana_bench.records import BenchmarkResult, Checkpoint, Provenance, RegressionReport, ShareOfSamples, StageCost
from sana_bench.report.charts import Attribute, ForestRow, LossCurve, common_reach, forest, loss_curve, perceived_attributes
from sana_bench.report.guard import Guard, make_guard
from sana_bench.report.pairs import (ALONE_PX, MAX_THUMB_PAIRS, THUMB_PX, Album, Pair, Shot, WorstPair, make_pairs, open_album,
                                     worst_pairs)
from sana_bench.report.people import CompositionTable, GroupTable, composition_tables, group_tables
from sana_bench.report.tags import TagTable, tag_table
from sana_bench.report.training import TrainingSeeds, training_seeds
from sana_bench.report.verdicts import Row, in_order, rows_of
from sana_bench.report.wording import NOT_COMPARED, OUTCOMES, OutcomeWords
from sana_bench.results import ResultBundle
from sana_bench.store import read_record

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class Stage:
    name: str
    cost: StageCost
    reused: bool | None
    """None where it was not recorded."""


@dataclass(frozen=True)
class PromptRow:
    """Mean difference of one prompt's pairs on each sample metric."""

    prompt_id: str
    sample_id: str
    """Its first sample that has a card, to link to; empty where none has."""
    cells: tuple[tuple[float | None, float | None], ...]
    """(difference, harm in budgets) a metric"""


@dataclass(frozen=True)
class FoundAndWhole:
    """Rate and plausibility of one part, side by side."""

    part: str
    columns: tuple[tuple[float | None, float | None], ...]
    """(baseline, candidate) of the rate, of the plausibility, and of the plausibility over the rate."""


@dataclass(frozen=True)
class Page:
    """Everything that a rendering may say."""

    report: RegressionReport
    words: OutcomeWords
    result: BenchmarkResult
    compared: bool
    """False without a baseline: the candidate alone is shown."""
    counts: tuple[tuple[OutcomeWords, int], ...]
    gates: tuple[Row, ...]
    """Empty where none is declared."""
    rows: tuple[Row, ...]
    found_and_whole: tuple[FoundAndWhole, ...]
    forest: list[ForestRow]
    reach: float
    loss: LossCurve | None
    trained_on: tuple[ShareOfSamples, ...]
    """How often training saw what, where that differs from the images."""
    trained_on_note: str
    training: TrainingSeeds | None
    attributes: list[Attribute]
    compositions: tuple[CompositionTable, ...]
    groups: tuple[GroupTable, ...]
    tags: TagTable | None
    guard: Guard | None
    sample_metrics: tuple[str, ...]
    prompt_rows: tuple[PromptRow, ...]
    pairs: list[Pair]
    worst: list[WorstPair]
    thumbs: dict[str, tuple[Shot, ...]]
    suite: PromptSuite | None
    cards: tuple[MetricCard, ...]
    """As they were when the candidate was scored."""
    stages: tuple[Stage, ...]
    provenances: tuple[tuple[str, Provenance], ...]


def make_page(report: RegressionReport, candidate: ResultBundle, baseline: ResultBundle | None,
              reused: Mapping[str, bool] | None) -> Page:
    """Gather what is shown; nothing here judges."""
    suite = _optional(candidate.folder / "suite.json", PromptSuite)
    checkpoint = _optional(candidate.folder / "checkpoint.json", Checkpoint)
    summary = checkpoint.summary if checkpoint else None
    result, album = candidate.result, open_album(candidate, baseline)
    results = [side.result for side in (candidate, candidate.guard) if side]
    pairs = make_pairs(report, candidate, baseline, suite)
    reach, thumb_px = common_reach((*report.verdicts, *report.gates)), THUMB_PX if baseline else ALONE_PX
    verdicts, tally = in_order(report.verdicts), Counter(verdict.outcome for verdict in report.deciding)
    own = [verdict for verdict in verdicts if verdict.suite == result.suite]
    guarding = [verdict for verdict in verdicts if verdict.suite != result.suite]
    sides = [("candidate", report.candidate_provenance), ("baseline", report.baseline_provenance)]
    return Page(
        report=report, words=OUTCOMES[report.outcome] if baseline or report.gates else NOT_COMPARED, result=result,
        compared=baseline is not None,
        counts=tuple((OUTCOMES[outcome], tally[outcome]) for outcome in OUTCOMES if tally[outcome]),
        gates=rows_of(in_order(report.gates), results, reach), rows=rows_of(own, results, reach),
        found_and_whole=found_and_whole(candidate, baseline, album),
        forest=forest(own, reach), reach=reach, loss=loss_curve(summary),
        trained_on=summary.shares if summary else (), trained_on_note=repetition_note(summary.shares) if summary else "",
        training=training_seeds(report, candidate),
        attributes=perceived_attributes(candidate, baseline),
        compositions=composition_tables(result, baseline.result if baseline else None), groups=group_tables(result),
        tags=tag_table(report, candidate), guard=make_guard(report, guarding, reach, candidate.guard, baseline.guard if baseline else None),
        sample_metrics=tuple(each.metric for each in result.results if each.kind == "sample"),
        prompt_rows=_prompt_rows(pairs, {pair.sample_id for pair in pairs[:MAX_THUMB_PAIRS]}), pairs=pairs, worst=worst_pairs(report.worst_samples, pairs, album),
        thumbs={pair.sample_id: album.shots(pair.sample_id, thumb_px) for pair in pairs[:MAX_THUMB_PAIRS]}, suite=suite,
        cards=_cards_of(candidate),
        stages=tuple(Stage(name, cost, reused.get(name) if reused else None) for name, cost in result.stages.items()),
        provenances=tuple((side, provenance) for side, provenance in sides if provenance))


def _optional(path: Path, kind: type[R]) -> R | None:
    return read_record(path, kind) if path.exists() else None


def found_and_whole(candidate: ResultBundle, baseline: ResultBundle | None, album: Album) -> tuple[FoundAndWhole, ...]:
    """Parts of which the candidate has both."""
    def value(side: ResultBundle | None, metric: str) -> float | None:
        return next((each.value for each in side.result.results if each.metric == metric), None) if side else None

    rows = []
    for part in ("face", "hand", "body"):
        sides = [(value(side, f"{part}_rate"), value(side, f"{part}_plausibility")) for side in (baseline, candidate)]
        found = tuple(_mean(album.plausibility_of_found(side, part)) for side in ("baseline", "candidate"))
        if None not in sides[1]:
            rows.append(FoundAndWhole(part, (*((before, after) for before, after in zip(*sides, strict=True)), found)))
    return tuple(rows)


def _cards_of(candidate: ResultBundle) -> tuple[MetricCard, ...]:
    """Of the suite's metrics, then of those that only the guard suite has."""
    cards = [card for side in (candidate, candidate.guard) if side for card in _cards(side.folder / "cards.json")]
    return tuple({card.name: card for card in cards}.values())


def _cards(path: Path) -> tuple[MetricCard, ...]:
    """None for a result of before there were any.

    Raises:
        ReportError: the file is damaged.
    """
    try:
        return TypeAdapter(tuple[MetricCard, ...]).validate_json(path.read_bytes()) if path.exists() else ()
    except ValidationError as error:
        raise ReportError(f"{path} is damaged ({error.errors()[0]['msg']}). Score again, or delete it to show no cards") from error


def _prompt_rows(pairs: Sequence[Pair], with_card: set[str]) -> tuple[PromptRow, ...]:
    """One row a prompt; none at all where no metric was compared pair by pair."""
    if all(score.difference is None for pair in pairs for score in pair.scores):
        return ()
    by_prompt: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_prompt.setdefault(pair.prompt_id, []).append(pair)
    return tuple(PromptRow(prompt_id, next((pair.sample_id for pair in group if pair.sample_id in with_card), ""), tuple(
        (_mean(score.difference for score in column), _mean(score.harm for score in column))
        for column in zip(*(pair.scores for pair in group), strict=True))) for prompt_id, group in by_prompt.items())


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
