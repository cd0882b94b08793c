"""The whole benchmark on one screen: train -> generate -> score -> compare -> report. What exists is never made again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from sana_bench.base_images import BaseImages, as_base, needing_base
from sana_bench.baselines import find_baseline
from sana_bench.comparability import check_suite
from sana_bench.compare import JUDGEMENT_VERSION, check_budgets, compare
from sana_bench.config import RunConfig
from sana_bench.data.manifest import check_apart
from sana_bench.errors import DataError, SanaBenchError
from sana_bench.external_images import MAKER, config_for, suite_of, take_in
from sana_bench.features.open_clip_models import declare
from sana_bench.gates.check import check_gates, judgeable_parts, judgeable_sides
from sana_bench.generate import find_sample_set, generate
from sana_bench.guard import GUARD_PREFIX, Part, parts_of
from sana_bench.looks import at_confidence, everything_decided, look_of, planned_looks, settings_at
from sana_bench.measure import measure
from sana_bench.processes import check_alone
from sana_bench.progress import part_of_whole
from sana_bench.prompts import PromptSuite
from sana_bench.records import BenchmarkResult, Checkpoint, Look, LookDecision, RegressionReport, SampleSet, StageCost
from sana_bench.report import write_report
from sana_bench.results import (BASELINE_FOLDER, GUARD_FOLDER, REPORT_RECORD, RESULT_FILE, SEEDS_FOLDER, ResultBundle, all_files_of, load_bundle,
                                parts_of_bundle, scored_digest)
from sana_bench.score import chosen_metrics, fetch_weights, find_result, score
from sana_bench.store import Store, copy_files, digest_of, read_record, write_record
from sana_bench.train import find_checkpoint, train
from sana_bench.training_seeds import FineTune, fine_tunes_of, seed_prefix

BESIDE = ("suite.json", "checkpoint.json", "cards.json")
"""What stands beside a result in the store, for the report."""


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
    check_alone("train-and-eval")
    store, parts, reused = Store(config.run.store), parts_of(config), {}
    check_inputs(config, parts)
    _train(config, store, reused)
    looks = planned_looks(config, parts) if _baseline(config)[1] else [parts]  # what has nothing to be held against is there to be accepted: whole
    for number, seen in enumerate(looks, 1):
        look = look_of(looks, number, config)
        by_seed = [[_draw_and_score(part, checkpoint, store, reused) for part in _as_seen(parts_of(each.config, each.prefix), seen)]
                   for each, checkpoint in _trained(config, store)]
        if number == len(looks) or _may_stop(config, by_seed, look, store):
            break
    return _compare_and_report(config, by_seed, reused, look)


def _as_seen(parts: Sequence[Part], seen: Sequence[Part]) -> list[Part]:
    """The parts of one training seed, with as many prompts as a look sees."""
    return [replace(part, num_prompts=each.num_prompts) for part, each in zip(parts, seen, strict=True)]


def _may_stop(config: RunConfig, by_seed: Sequence[Sequence[Path]], look: Look, store: Store) -> bool:
    """Whether all is decided at a look before the last one."""
    name, baseline_folder = _baseline(config)
    digest = _run_id(config, by_seed, name, baseline_folder, look)
    known = store.find("looks", digest, LookDecision)
    if known is None:
        declare(config.score.clip_model)
        candidate, baseline = load_bundle(*_places(by_seed)), load_bundle(baseline_folder)
        report = compare(candidate, baseline, settings_at(config.compare, look), name, config.gate)
        known = store.finish("looks", digest, LookDecision(decided=everything_decided(report, candidate, baseline)))
    return known.decided


def _run_id(config: RunConfig, by_seed: Sequence[Sequence[Path]], name: str, baseline_folder: Path | None, look: Look | None) -> str:
    """Of everything that decides a verdict."""
    settings = config.model_dump(mode="json", exclude={"run"})
    return digest_of([scored_digest(*_places(by_seed)), settings, name, scored_digest(baseline_folder) if baseline_folder else "", JUDGEMENT_VERSION,
                      version("sana-bench"), *([look.model_dump()] if look else [])])


def _train(config: RunConfig, store: Store, reused: dict[str, bool]) -> list[Checkpoint]:
    """One for each training seed; notes which had been trained before."""
    checkpoints = []
    for each in fine_tunes_of(config):
        reused[f"{each.prefix}train"] = find_checkpoint(each.config, store) is not None
        with part_of_whole(each.label):
            checkpoints.append(train(each.config, store))
    return checkpoints


def _draw_and_score(part: Part, checkpoint: Checkpoint, store: Store, reused: dict[str, bool]) -> Path:
    """The result folder of one suite; notes which of its stages had been done before."""
    sample_set, base = _draw(part, checkpoint, store, reused)
    reused[f"{part.prefix}score"] = find_result(part.config, sample_set.digest, part.suite, store, base) is not None
    return score(part.config, checkpoint, sample_set, part.suite, store, base)


def _draw(part: Part, checkpoint: Checkpoint, store: Store, reused: dict[str, bool]) -> tuple[SampleSet, BaseImages | None]:
    """The images of one suite, and the base model's own where a metric needs them."""
    reused[f"{part.prefix}generate"] = find_sample_set(part.config, checkpoint, part.suite, store, part.num_prompts) is not None
    sample_set = generate(part.config, checkpoint, part.suite, store, part.num_prompts)
    if not needing_base(chosen_metrics(part.config)):
        return sample_set, None
    untouched = train(as_base(part.config), store)
    reused[f"{part.prefix}generate base"] = find_sample_set(part.config, untouched, part.suite, store, part.num_prompts) is not None
    return sample_set, BaseImages(untouched, generate(part.config, untouched, part.suite, store, part.num_prompts))


def check_inputs(config: RunConfig, parts: Sequence[Part]) -> None:
    """Find now what would otherwise stop the run after hours: unknown names, data that does not load, another suite's baseline.

    Raises:
        SanaBenchError: the first of these.
    """
    fine_tunes_of(config)
    for part in parts:
        fetch_weights(part.config)
    check_budgets(config.compare)
    if config.gate:
        check_gates(config.gate, judgeable_parts(parts))
    for source in config.data.sources:
        check_apart(source, config.data.reference)
    name, folder = _baseline(config)
    if folder:
        for part, place in zip(parts, (folder, folder / GUARD_FOLDER), strict=False):
            if place.is_dir():
                check_suite(part.suite.digest, read_record(place / RESULT_FILE, BenchmarkResult), name, part.setting)


def train_stage(config: RunConfig) -> list[Checkpoint]:
    """One for each training seed."""
    return _train(config, Store(config.run.store), {})


def generate_stage(config: RunConfig) -> list[list[SampleSet]]:
    """For each training seed, the images of the suite and of the guard suite. The base model's own are drawn too where a metric needs them."""
    store = Store(config.run.store)
    return [[_draw(part, checkpoint, store, {})[0] for part in parts_of(each.config)] for each, checkpoint in _trained(config, store)]


def score_stage(config: RunConfig) -> list[list[Path]]:
    """For each training seed, the result folders of the suite and of the guard suite."""
    store = Store(config.run.store)
    return [[score(part.config, checkpoint, _sample_set(part.config, checkpoint, part.suite, store), part.suite, store, _base_images(part, store))
             for part in parts_of(each.config)] for each, checkpoint in _trained(config, store)]


def score_images(config: RunConfig, images: Path, suite_name: str, against: Path | None = None) -> Path:
    """Score a folder of images that were made elsewhere; the result folder.

    Args:
        against: The folder whose images stand for the base model's own, where a metric needs these.
    """
    suite, store = suite_of(images, suite_name).in_form(config.score.prompt_form), Store(config.run.store)
    checkpoint, sample_set = take_in(images, suite, store)
    base = BaseImages(*take_in(against, suite, store)) if against and needing_base(chosen_metrics(config)) else None
    return score(config_for(config, sample_set), checkpoint, sample_set, suite, store, base)


def compare_images(config: RunConfig, images: Path, against: Path, suite_name: str) -> RunOutcome:
    """Score two folders of images and hold the first against the second, pair by pair.

    Raises:
        SanaBenchError: a folder or an image cannot be used, or the folders are of different suites.
    """
    if not suite_name and suite_of(images, "").digest != suite_of(against, "").digest:
        raise DataError(f"{images} and {against} have different captions: only images of the same prompts are pairs")
    candidate, baseline = (score_images(config, folder, suite_name, against) for folder in (images, against))
    named = as_base(config).model_copy(update={"name": MAKER, "gate": ()})  # a recipe's gates are about its own suite and metrics
    run_id = digest_of([scored_digest(candidate), scored_digest(baseline), config.compare.model_dump(mode="json"), str(against), JUDGEMENT_VERSION,
                        version("sana-bench")])
    run_dir = Path(config.run.reports).expanduser() / f"{MAKER}-{run_id}"
    report, stages = _make_run_folder(named, run_dir, load_bundle(candidate), baseline, against.name or str(against), {"score": False})
    return RunOutcome(report.outcome, run_dir, report, {stage: StageReport(cost.seconds, cost.peak_memory_bytes, False) for stage, cost in stages.items()})


def compare_stage(config: RunConfig) -> RunOutcome:
    """Compare and report what is scored already."""
    store = Store(config.run.store)
    by_seed = [[find_result(part.config, _sample_set(part.config, checkpoint, part.suite, store).digest, part.suite, store, _base_images(part, store))
                for part in parts_of(each.config)] for each, checkpoint in _trained(config, store)]
    if any(None in folders for folders in by_seed):
        raise SanaBenchError("these samples are not scored yet with these settings; run `sana-bench score` first")
    return _compare_and_report(config, by_seed, {})


def compare_run_folder(run_dir: Path, config: RunConfig) -> RunOutcome:
    """Compare a finished run with what the accepted baseline is now, from its folder alone; the new folder stands beside it."""
    beside = config.model_copy(update={"run": config.run.model_copy(update={"reports": str(run_dir.absolute().parent)})})
    record = run_dir / REPORT_RECORD
    look = read_record(record, RegressionReport).look if record.exists() else None
    return _compare_and_report(beside, [[run_dir]], {}, at_confidence(look, config) if look else None)


def report_stage(config: RunConfig) -> Path:
    """Render the report of what is scored already, again where it was rendered before."""
    return run_folder_report(compare_stage(config).run_dir)


def run_folder_report(run_dir: Path) -> Path:
    """Render the report of a finished run again, from the records in its folder."""
    report = read_record(run_dir / REPORT_RECORD, RegressionReport)
    baseline = run_dir / BASELINE_FOLDER
    return write_report(run_dir, report, run_dir, baseline if baseline.is_dir() else None)


def _baseline(config: RunConfig) -> tuple[str, Path | None]:
    name = config.compare.baseline or config.name
    return name, find_baseline(name, Path(config.run.baselines))


def _compare_and_report(config: RunConfig, by_seed: Sequence[Sequence[Path]], reused: dict[str, bool],
                        look: Look | None = None) -> RunOutcome:
    """Compare, report, and put everything into one run folder; what is there already is read.

    Args:
        by_seed: for each training seed, the folder of the suite's result, and of the guard suite's where that is not in it.
        reused: by stage, whether it had been done before; it had where nothing is said.
        look: at which of several this is; None where it is the only one.
    """
    name, baseline_folder = _baseline(config)
    run_dir = Path(config.run.reports).expanduser() / f"{config.name}-{_run_id(config, by_seed, name, baseline_folder, look)}"
    finished = all((run_dir / file).exists() for file in (RESULT_FILE, REPORT_RECORD, "report.html"))
    if finished:
        report = read_record(run_dir / REPORT_RECORD, RegressionReport)
        stages = read_record(run_dir / RESULT_FILE, BenchmarkResult).stages
    else:
        candidate = load_bundle(*_places(by_seed))
        reused = {**dict.fromkeys(_stages_of(candidate), True), **reused}
        report, stages = _make_run_folder(config, run_dir, candidate, baseline_folder, name, reused, look)
    reused = {**reused, "compare": finished, "report": finished}
    return RunOutcome(report.outcome, run_dir, report,
                      {stage: StageReport(cost.seconds, cost.peak_memory_bytes, reused.get(stage, True)) for stage, cost in stages.items()})


def _places(by_seed: Sequence[Sequence[Path]]) -> tuple[Path, Path | None, Sequence[Sequence[Path]]]:
    """The same folders as `load_bundle` and `scored_digest` take them."""
    (own, *guard), *others = by_seed
    return own, guard[0] if guard else None, others


def _make_run_folder(config: RunConfig, run_dir: Path, candidate: ResultBundle, baseline_folder: Path | None, name: str,
                     reused: dict[str, bool], look: Look | None = None) -> tuple[RegressionReport, dict[str, StageCost]]:
    """Everything about a run in one folder: records, views, the baseline it was held against, and the report."""
    baseline_copy = run_dir / BASELINE_FOLDER if baseline_folder else None
    declare(config.score.clip_model)
    with measure() as meter:
        baseline = load_bundle(baseline_folder) if baseline_folder else None
        check_gates(config.gate, judgeable_sides(candidate, baseline))
        report = compare(candidate, baseline, settings_at(config.compare, look), name, config.gate)
        if look:
            report = report.model_copy(update={"look": look, "headline": f"{report.headline} {look.reason}"})
        stages = {**_stages_of(candidate), "compare": meter.cost()}
    with measure() as meter:
        for part, place, files in parts_of_bundle(candidate):
            beside = BESIDE if not place.startswith(SEEDS_FOLDER) else ()
            copy_files(part.folder, run_dir / place, [name for name in (*files, *beside) if place or name != RESULT_FILE])
        if baseline and baseline_folder and baseline_copy:
            copy_files(baseline_folder, baseline_copy, all_files_of(baseline))
        own = candidate.result.model_copy(update={"name": config.name, "config": config.model_dump(mode="json"), "stages": stages})
        write_record(run_dir / RESULT_FILE, own)
        write_report(run_dir, report, run_dir, baseline_copy, reused)
        stages["report"] = meter.cost()
    write_record(run_dir / RESULT_FILE, own.model_copy(update={"stages": stages}))
    write_report(run_dir, report, run_dir, baseline_copy, reused)  # once more, now that its own cost is known
    write_record(run_dir / REPORT_RECORD, report)
    return report, stages


def _stages_of(bundle: ResultBundle) -> dict[str, StageCost]:
    """What was done before comparing: for the suite, for the guard suite, which rests on the same training, and for the other training seeds,
    whose images are held against the same ones of the base."""
    guard = bundle.guard.result.stages if bundle.guard else {}
    stages = {**bundle.result.stages, **{f"{GUARD_PREFIX}{name}": cost for name, cost in guard.items() if name != "train"}}
    for replicate in bundle.replicates:
        stages |= {f"{seed_prefix(replicate.training_seed)}{name}": cost for name, cost in _stages_of(replicate).items() if not name.endswith("generate base")}
    return {name: cost for name, cost in stages.items() if name not in ("compare", "report")}


def _base_images(part: Part, store: Store) -> BaseImages | None:
    """The base model's own images, which must be there; None where no metric needs them."""
    if not needing_base(chosen_metrics(part.config)):
        return None
    checkpoint = _checkpoint(as_base(part.config), store)
    return BaseImages(checkpoint, _sample_set(part.config, checkpoint, part.suite, store))


def _trained(config: RunConfig, store: Store) -> Iterator[tuple[FineTune, Checkpoint]]:
    """The fine-tunes, which must all be trained, one after the other; progress says which."""
    trained = [(each, _checkpoint(each.config, store)) for each in fine_tunes_of(config)]
    for each, checkpoint in trained:
        with part_of_whole(each.label):
            yield each, checkpoint


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
