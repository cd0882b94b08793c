"""Find results below folders. What cannot be read is named and left out: one damaged run must not hide the others."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sana_bench.baselines import ACCEPTANCE_FILE
from sana_bench.comparability import BASE_DIGEST, REFERENCE_DIGEST
from sana_bench.config import CompareSection
from sana_bench.errors import HistoryError, SanaBenchError, StoreError
from sana_bench.history.rows import HistoryRow, read_rows
from sana_bench.records import BenchmarkResult, MetricResult, RegressionReport, Verdict
from sana_bench.results import BASELINE_FOLDER, GUARD_FOLDER, REPORT_RECORD, RESULT_FILE, SCORES_FILE, SEEDS_FOLDER
from sana_bench.store import digest_of, read_record

NO_RUNS = {BASELINE_FOLDER, "views"}
"""Folders of a run that hold no result of its own: what it was held against, and pictures."""


@dataclass(frozen=True)
class ScoresFile:
    """Values of single images, beside a result."""

    path: Path
    run: str
    result_digest: str
    suite: str


@dataclass
class Collection:
    """What was found."""

    rows: list[HistoryRow] = field(default_factory=list)
    scores: list[ScoresFile] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What was left out, and why."""


def collect(places: Sequence[Path]) -> Collection:
    """All results below folders, and those of Parquet files that an earlier history wrote.

    Returns:
        Rows by time; the order does not depend on that of the places. A row that a Parquet file and a folder share counts once.

    Raises:
        HistoryError: a place does not exist, or there is no result at all.
    """
    found = Collection()
    for place in places:
        if place.is_dir():
            for folder in sorted(_result_folders(place, found)):
                _read_folder(folder, found)
        elif place.is_file():
            _attempt(found, place, lambda place=place: found.rows.extend(read_rows(place)))
        else:
            raise HistoryError(f"there is no {place}. Give folders with runs or baselines in them, or a Parquet file made with --parquet")
    if not found.rows:
        left_out = f"; {len(found.problems)} could not be read, first: {found.problems[0]}" if found.problems else ""
        raise HistoryError(f"no result in {', '.join(map(_text, places))}{left_out}. sana-bench train-and-eval makes one")
    found.rows = sorted(set(found.rows), key=lambda row: (row.created, row.result_digest, row.run, row.suite, row.metric, repr(row)))
    return found


def _text(words: object) -> str:
    """A name that is no UTF-8 cannot stand in a table."""
    return os.fsencode(str(words)).decode(errors="replace")


def _result_folders(place: Path, found: Collection) -> Iterator[Path]:
    def note(error: OSError) -> None:
        found.problems.append(f"{_text(error.filename)}: {error.strerror}")

    for folder, inner, files in os.walk(place, onerror=note):
        own = NO_RUNS if RESULT_FILE in files else set()
        inner[:] = sorted(name for name in inner if not name.startswith(".") and name not in own)
        if RESULT_FILE in files and not (Path(folder).name == GUARD_FOLDER and (Path(folder).parent / RESULT_FILE).exists()):
            yield Path(folder)


def _read_folder(folder: Path, found: Collection) -> None:
    """The result of a run or a baseline, or of another training seed of it, and of its guard suite."""
    run = folder.parents[1] if folder.parent.name == SEEDS_FOLDER and (folder.parents[1] / RESULT_FILE).exists() else folder
    report = _attempt(found, folder, lambda: read_record(folder / REPORT_RECORD, RegressionReport) if (folder / REPORT_RECORD).exists() else None)
    source = "baseline" if (run / ACCEPTANCE_FILE).exists() else "run"
    for part in (folder, folder / GUARD_FOLDER):
        if (part / RESULT_FILE).exists():
            _attempt(found, part, lambda part=part: _take_in(part, run, source, report, found))


def _attempt(found: Collection, place: Path, read):
    """What `read` gives, or None with a problem noted."""
    try:
        return read()
    except SanaBenchError as error:
        told = str(error) if str(place) in str(error) else f"{place}: {error}"
        found.problems.append(_text(told))
        return None


def _take_in(part: Path, run: Path, source: str, report: RegressionReport | None, found: Collection) -> None:
    result = read_record(part / RESULT_FILE, BenchmarkResult)
    found.rows += rows_of(result, _text(run), source, report, "" if part == run else _digest_of_run(run))
    if (part / SCORES_FILE).exists():
        found.scores.append(ScoresFile(part / SCORES_FILE, _text(run), result.digest, result.suite))


def _digest_of_run(run: Path) -> str:
    """Of its own result; empty where that is damaged, which is noted where it is read for itself."""
    try:
        return read_record(run / RESULT_FILE, BenchmarkResult).digest
    except StoreError:
        return ""


def rows_of(result: BenchmarkResult, run: str, source: str, report: RegressionReport | None, run_digest: str = "") -> list[HistoryRow]:
    """A row for each metric. `run_digest`: of the run's own result, where `result` is another.

    Raises:
        StoreError: a number is not finite, or the time is none.
    """
    provenance, digests = result.provenance, result.provenance.digests
    verdicts = {verdict.metric: verdict for verdict in report.verdicts if (verdict.suite, verdict.tag, verdict.group) == (result.suite, "", "")
                } if report else {}
    common = {
        "created": _utc(provenance.created), "commit": provenance.commit, "dirty": provenance.dirty, "name": result.name, "run": run, "run_digest": run_digest or result.digest, "source": source,
        "training_seed": _training_seed(result), "confidence": _confidence(result),
        "result_digest": result.digest, "checkpoint_digest": digests.get("checkpoint", ""), "base_digest": digests.get("base", ""),
        "training_digest": digests.get("training data", ""), "samples_digest": digests.get("samples", "") or result.digest,
        "suite": result.suite, "suite_version": result.suite_version, "suite_digest": result.suite_digest,
        "design_digest": digest_of(sorted([sample.sample_id, sample.seed] for sample in result.samples)),
        "sampling_digest": digest_of(result.sampling), "reference_digest": digests.get(REFERENCE_DIGEST, ""),
        "compared_base_digest": digests.get(BASE_DIGEST, ""), "baseline_name": report.baseline_name if report else ""}
    return [HistoryRow(**common, **_measured(each), **_judged(verdicts.get(each.metric))) for each in result.results]


def _training_seed(result: BenchmarkResult) -> int:
    """0 where none is recorded."""
    train = result.config.get("train")
    seed = train.get("seed") if isinstance(train, dict) else None
    return seed if isinstance(seed, int) and abs(seed) < 2**63 else 0


def _confidence(result: BenchmarkResult) -> float:
    """Of its intervals; the usual one where none is recorded."""
    compared = result.config.get("compare")
    confidence = compared.get("confidence") if isinstance(compared, dict) else None
    return confidence if isinstance(confidence, float) and 0 < confidence < 1 else CompareSection().confidence


def _measured(result: MetricResult) -> dict:
    kept = ("metric", "version", "kind", "extractor", "extractor_digest", "unit", "higher_is_better", "value", "ci_low", "ci_high", "num_scored",
            "num_unscored", "budget", "not_judged")
    _check_finite(result.metric, (result.value, result.ci_low, result.ci_high, result.budget))
    return {name: getattr(result, name) for name in kept}


def _judged(verdict: Verdict | None) -> dict:
    if verdict is None:
        return {"baseline_value": None, "difference": None, "outcome": ""}
    _check_finite(verdict.metric, (verdict.baseline, verdict.difference))
    return {"baseline_value": verdict.baseline, "difference": verdict.difference, "outcome": verdict.outcome}


def _check_finite(metric: str, numbers: Iterable[float | None]) -> None:
    wrong = [number for number in numbers if number is not None and not math.isfinite(number)]
    if wrong:
        raise StoreError(f"its {metric} holds {wrong[0]}")


def _utc(created: str) -> datetime:
    """A time without a zone is taken for UTC, as provenance writes it."""
    try:
        time = datetime.fromisoformat(created)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise StoreError(f"it was created at {json.dumps(created)[:60]}, which is no time in ISO 8601") from error
