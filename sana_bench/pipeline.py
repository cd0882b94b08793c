"""The whole benchmark on one screen: train -> generate -> score -> compare -> report. What exists is never made again."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from sana_bench.baselines import find_baseline
from sana_bench.comparability import check_suite
from sana_bench.compare import JUDGEMENT_VERSION, check_budgets, compare
from sana_bench.config import RunConfig
from sana_bench.data.manifest import check_apart
from sana_bench.errors import DataError, SanaBenchError
from sana_bench.external_images import MAKER, config_for, suite_of, take_in
from sana_bench.features.open_clip_models import declare
from sana_bench.generate import find_sample_set, generate
from sana_bench.measure import measure
from sana_bench.prompts import PromptSuite, load_suite
from sana_bench.records import BenchmarkResult, Checkpoint, RegressionReport, SampleSet, StageCost
from sana_bench.report import write_report
from sana_bench.results import RESULT_FILE, files_of, load_bundle
from sana_bench.score import fetch_weights, find_result, score
from sana_bench.store import Store, copy_files, digest_of, read_record, write_record
from sana_bench.train import find_checkpoint, train
from sana_bench.training import TRAINERS

REPORT_RECORD = "regression.json"


@dataclass(frozen=True)
class StageReport:
    """One stage of one run. For a reused stage, seconds and memory are those of the run that did it."""

    seconds: float
    peak_memory_bytes: int
    reused: bool


@dataclass(frozen=True)
class RunOutcome:
    outcome: Literal["passed", "regressed"]
    run_dir: Path
    report: RegressionReport
    stages: dict[str, StageReport]


def train_and_eval(config: RunConfig) -> RunOutcome:
    """Train, generate, score, compare with the accepted baseline, and report. Ends in seconds where nothing changed."""
    store, suite = Store(config.run.store), load_suite(config.score.suite, config.score.prompt_form)
    check_inputs(config, suite)
    reused = {}
    reused["train"] = find_checkpoint(config, store) is not None
    checkpoint = train(config, store)
    reused["generate"] = find_sample_set(config, checkpoint, suite, store) is not None
    sample_set = generate(config, checkpoint, suite, store)
    reused["score"] = find_result(config, sample_set.digest, suite, store) is not None
    result_folder = score(config, checkpoint, sample_set, suite, store)
    return _compare_and_report(config, result_folder, reused)


def check_inputs(config: RunConfig, suite: PromptSuite) -> None:
    """Find now what would otherwise stop the run after hours: unknown names, data that does not load, another suite's baseline.

    Raises:
        SanaBenchError: the first of these.
    """
    TRAINERS.get(config.train.trainer)
    fetch_weights(config)
    check_budgets(config.compare)
    check_apart(config.data.training, config.data.reference)
    name, folder = _baseline(config)
    if folder:
        check_suite(suite.digest, read_record(folder / RESULT_FILE, BenchmarkResult), name)


def train_stage(config: RunConfig) -> Checkpoint:
    return train(config, Store(config.run.store))


def generate_stage(config: RunConfig) -> SampleSet:
    store, suite = Store(config.run.store), load_suite(config.score.suite, config.score.prompt_form)
    return generate(config, _checkpoint(config, store), suite, store)


def score_stage(config: RunConfig) -> Path:
    store, suite = Store(config.run.store), load_suite(config.score.suite, config.score.prompt_form)
    checkpoint = _checkpoint(config, store)
    return score(config, checkpoint, _sample_set(config, checkpoint, suite, store), suite, store)


def score_images(config: RunConfig, images: Path, suite_name: str) -> Path:
    """Score a folder of images that were made elsewhere; the result folder."""
    suite, store = suite_of(images, suite_name).in_form(config.score.prompt_form), Store(config.run.store)
    checkpoint, sample_set = take_in(images, suite, store)
    return score(config_for(config, sample_set), checkpoint, sample_set, suite, store)


def compare_images(config: RunConfig, images: Path, against: Path, suite_name: str) -> RunOutcome:
    """Score two folders of images and hold the first against the second, pair by pair.

    Raises:
        SanaBenchError: a folder or an image cannot be used, or the folders are of different suites.
    """
    if not suite_name and suite_of(images, "").digest != suite_of(against, "").digest:
        raise DataError(f"{images} and {against} have different captions: only images of the same prompts are pairs")
    candidate, baseline = score_images(config, images, suite_name), score_images(config, against, suite_name)
    named = config.model_copy(update={"name": MAKER})
    result, before = (read_record(folder / RESULT_FILE, BenchmarkResult) for folder in (candidate, baseline))
    run_id = digest_of([result.digest, before.digest, config.compare.model_dump(mode="json"), str(against), JUDGEMENT_VERSION, version("sana-bench")])
    run_dir = Path(config.run.reports).expanduser() / f"{MAKER}-{run_id}"
    report, stages = _make_run_folder(named, run_dir, result, candidate, baseline, against.name or str(against), {"score": False})
    return RunOutcome(report.outcome, run_dir, report, {stage: StageReport(cost.seconds, cost.peak_memory_bytes, False) for stage, cost in stages.items()})


def compare_stage(config: RunConfig) -> RunOutcome:
    """Compare and report what is scored already."""
    store, suite = Store(config.run.store), load_suite(config.score.suite, config.score.prompt_form)
    sample_set = _sample_set(config, _checkpoint(config, store), suite, store)
    folder = find_result(config, sample_set.digest, suite, store)
    if folder is None:
        raise SanaBenchError("these samples are not scored yet with these settings; run `sana-bench score` first")
    return _compare_and_report(config, folder, dict.fromkeys(("train", "generate", "score"), True))


def compare_run_folder(run_dir: Path, config: RunConfig) -> RunOutcome:
    """Compare a finished run with what the accepted baseline is now, from its folder alone; the new folder stands beside it."""
    beside = config.model_copy(update={"run": config.run.model_copy(update={"reports": str(run_dir.absolute().parent)})})
    return _compare_and_report(beside, run_dir, dict.fromkeys(("train", "generate", "score"), True))


def report_stage(config: RunConfig) -> Path:
    """Render the report of what is scored already, again where it was rendered before."""
    return run_folder_report(compare_stage(config).run_dir)


def run_folder_report(run_dir: Path) -> Path:
    """Render the report of a finished run again, from the records in its folder."""
    report = read_record(run_dir / REPORT_RECORD, RegressionReport)
    baseline = run_dir / "baseline"
    return write_report(run_dir, report, run_dir, baseline if baseline.is_dir() else None)


def _baseline(config: RunConfig) -> tuple[str, Path | None]:
    name = config.compare.baseline or config.name
    return name, find_baseline(name, Path(config.run.baselines))


def _compare_and_report(config: RunConfig, result_folder: Path, reused: dict[str, bool]) -> RunOutcome:
    name, baseline_folder = _baseline(config)
    result = read_record(result_folder / RESULT_FILE, BenchmarkResult)
    baseline_digest = read_record(baseline_folder / RESULT_FILE, BenchmarkResult).digest if baseline_folder else ""
    settings = config.model_dump(mode="json", exclude={"run"})
    run_id = digest_of([result.digest, settings, name, baseline_digest, JUDGEMENT_VERSION, version("sana-bench")])
    run_dir = Path(config.run.reports).expanduser() / f"{config.name}-{run_id}"
    finished = all((run_dir / file).exists() for file in (RESULT_FILE, REPORT_RECORD, "report.html"))
    if finished:
        report = read_record(run_dir / REPORT_RECORD, RegressionReport)
        stages = read_record(run_dir / RESULT_FILE, BenchmarkResult).stages
    else:
        report, stages = _make_run_folder(config, run_dir, result, result_folder, baseline_folder, name, reused)
    reused = {**reused, "compare": finished, "report": finished}
    return RunOutcome(report.outcome, run_dir, report,
                      {stage: StageReport(cost.seconds, cost.peak_memory_bytes, reused[stage]) for stage, cost in stages.items()})


def _make_run_folder(config: RunConfig, run_dir: Path, result: BenchmarkResult, result_folder: Path,
                     baseline_folder: Path | None, name: str, reused: dict[str, bool]) -> tuple[RegressionReport, dict[str, StageCost]]:
    """Everything about a run in one folder: records, views, the baseline it was held against, and the report."""
    baseline_copy = run_dir / "baseline" if baseline_folder else None
    declare(config.score.clip_model)
    with measure() as meter:
        baseline = load_bundle(baseline_folder) if baseline_folder else None
        report = compare(load_bundle(result_folder), baseline, config.compare, name)
        stages = {**result.stages, "compare": meter.cost()}
    with measure() as meter:
        names = [*files_of(result), "suite.json", "checkpoint.json", "cards.json"]
        copy_files(result_folder, run_dir, [name for name in names if name != RESULT_FILE])
        if baseline and baseline_folder and baseline_copy:
            copy_files(baseline_folder, baseline_copy, files_of(baseline.result))
        own = result.model_copy(update={"name": config.name, "config": config.model_dump(mode="json"), "stages": stages})
        write_record(run_dir / RESULT_FILE, own)
        write_report(run_dir, report, run_dir, baseline_copy, reused)
        stages["report"] = meter.cost()
    write_record(run_dir / RESULT_FILE, own.model_copy(update={"stages": stages}))
    write_report(run_dir, report, run_dir, baseline_copy, reused)  # once more, now that its own cost is known
    write_record(run_dir / REPORT_RECORD, report)
    return report, stages


def _checkpoint(config: RunConfig, store: Store) -> Checkpoint:
    checkpoint = find_checkpoint(config, store)
    if checkpoint is None:
        raise SanaBenchError("this variant is not trained yet; run `sana-bench train` with the same settings first")
    return checkpoint


def _sample_set(config: RunConfig, checkpoint: Checkpoint, suite: PromptSuite, store: Store) -> SampleSet:
    sample_set = find_sample_set(config, checkpoint, suite, store)
    if sample_set is None:
        raise SanaBenchError("this variant has no images yet; run `sana-bench generate` with the same settings first")
    return sample_set
