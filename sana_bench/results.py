"""Results on disk: `result.json`, `scores.parquet` and `statistics.safetensors` in a folder, written and read as one bundle.

A run folder, an artifact of the store and a baseline are all such folders; `keypoints.json` and `views/` beside them are
for people to look at and decide nothing. A run folder and a baseline hold the result of their guard suite, where they have one,
as such a folder of its own: `guard/`. So they do those of the fine-tunes from other training seeds, without what is for people to
look at: `seeds/<seed>/`, each with a `guard/` of its own.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sana_bench.errors import StoreError
from sana_bench.records import BenchmarkResult, MetricResult, Score
from sana_bench.store import digest_of, read_record, write_bytes, write_record

RESULT_FILE, SCORES_FILE, STATISTICS_FILE = "result.json", "scores.parquet", "statistics.safetensors"
KEYPOINTS_FILE = "keypoints.json"
GUARD_FOLDER, SEEDS_FOLDER = "guard", "seeds"
DECIDING = (RESULT_FILE, SCORES_FILE, STATISTICS_FILE)
"""What a verdict is made of."""
BASELINE_FOLDER, REPORT_RECORD = "baseline", "regression.json"
"""In a run folder: what it was held against, as a result folder of its own, and the verdict."""
SAMPLE_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
"""Ids become file names, so nothing else is read from a file that somebody else may have written."""


@dataclass(frozen=True)
class SetStatistics:
    """What one set metric keeps of the samples it could use."""

    sample_ids: tuple[str, ...]
    """In the order of the arrays' sample axes."""
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class ResultBundle:
    """A result folder in memory."""

    folder: Path
    result: BenchmarkResult
    scores: tuple[Score, ...]
    statistics: Mapping[str, SetStatistics]
    """By set metric."""
    guard: ResultBundle | None = None
    """Of the guard suite; None where there is none."""
    replicates: tuple[ResultBundle, ...] = ()
    """The same suite drawn by the fine-tunes from the other training seeds, in the order of the seeds; empty with a single one."""

    @property
    def training_seed(self) -> int:
        """Of its fine-tune; 0 where none is recorded."""
        seed = _train_setting(self.result, "seed")
        return 0 if seed is None else seed


UNTRAINED = "none"
"""The trainer that draws with the base as it is, so that there is no other fine-tune of the recipe."""


def is_trained(result: BenchmarkResult) -> bool:
    """Whether it is known to be of a fine-tune."""
    train = result.config.get("train")
    return isinstance(train, dict) and train.get("trainer", UNTRAINED) != UNTRAINED


def loss_in_budgets(result: MetricResult, difference: float, budget: float) -> float:
    """How much of the budget a change of this metric costs, negative for a gain; of its own budget where `budget` is zero."""
    return (-difference if result.higher_is_better else difference) / (budget or result.budget or 1.0)


def files_of(result: BenchmarkResult) -> list[str]:
    """The files of its folder, relative to it: what decides and what people look at."""
    return [RESULT_FILE, SCORES_FILE, STATISTICS_FILE, KEYPOINTS_FILE, *(f"views/{sample.sample_id}.webp" for sample in result.samples)]


def parts_of_bundle(bundle: ResultBundle) -> Iterator[tuple[ResultBundle, str, list[str]]]:
    """(part, its folder in a run folder or a baseline, its files) of the suite, of the guard suite, and of both for every other training seed."""
    yield bundle, "", files_of(bundle.result)
    if bundle.guard:
        yield bundle.guard, GUARD_FOLDER, files_of(bundle.guard.result)
    for replicate in bundle.replicates:
        for part, place, _ in parts_of_bundle(replicate):
            yield part, f"{SEEDS_FOLDER}/{replicate.training_seed}/{place}".rstrip("/"), list(DECIDING)


def all_files_of(bundle: ResultBundle) -> list[str]:
    """The files of a run folder or a baseline, relative to it, those of its guard suite and of its other training seeds among them."""
    return [f"{place}/{name}".lstrip("/") for _, place, files in parts_of_bundle(bundle) for name in files]


def seed_folders(folder: Path) -> list[Path]:
    """Those in a run folder or a baseline that hold the results of the other training seeds, in the order of the seeds."""
    return sorted((path for path in (folder / SEEDS_FOLDER).glob("*") if re.fullmatch(r"-?[0-9]{1,20}", path.name) and path.is_dir()),
                  key=lambda path: int(path.name))


def scored_digest(folder: Path, guard: Path | None = None, replicates: Sequence[Sequence[Path]] = ()) -> str:
    """Of everything that was scored, told from the records alone; arguments as of `load_bundle`."""
    own, guard = read_record(folder / RESULT_FILE, BenchmarkResult).digest, guard or folder / GUARD_FOLDER
    own = digest_of([own, scored_digest(guard)]) if guard.is_dir() else own
    others = [scored_digest(*places) for places in replicates or [(path,) for path in seed_folders(folder)]]
    return digest_of([own, "training seeds", *others]) if others else own


def write_bundle(folder: Path, result: BenchmarkResult, scores: tuple[Score, ...],
                 statistics: Mapping[str, SetStatistics]) -> None:
    """Write a result folder, each file whole or not at all, `result.json` last: a folder that has one is complete.

    Raises:
        StoreError: a number is not finite, the parts contradict one another, or the folder cannot be written.
    """
    bundle = ResultBundle(folder, result, scores, statistics)
    _check(bundle)
    write_bytes(folder / SCORES_FILE, _scores_bytes(bundle))
    write_bytes(folder / STATISTICS_FILE, _statistics_bytes(statistics))
    write_record(folder / RESULT_FILE, result)


def load_bundle(folder: Path, guard: Path | None = None, replicates: Sequence[Sequence[Path]] = ()) -> ResultBundle:
    """Read and check a result folder, that of its guard suite, and those of the other training seeds.

    Args:
        guard: Where the result of the guard suite is, if not in `folder`.
        replicates: Where those of the other training seeds are, if not in `folder`: each the first two arguments of this function.

    Raises:
        StoreError: it is no result folder, a file of it is missing or damaged, or its parts contradict one another.
    """
    if not (folder / RESULT_FILE).is_file():
        raise StoreError(f"{folder} is no result folder: it has no {RESULT_FILE}. Give a run folder, or score again")
    guard = guard or folder / GUARD_FOLDER
    bundle = ResultBundle(folder, read_record(folder / RESULT_FILE, BenchmarkResult), _read_scores(folder / SCORES_FILE),
                          _read_statistics(folder / STATISTICS_FILE), load_bundle(guard) if guard.is_dir() else None,
                          tuple(load_bundle(*places) for places in replicates or [(path,) for path in seed_folders(folder)]))
    _check(bundle)
    return bundle


def _scores_bytes(bundle: ResultBundle) -> bytes:
    """Parquet with one row a sample and metric; a missing value is null, never NaN."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    samples = {sample.sample_id: sample for sample in bundle.result.samples}
    rows = [{"sample_id": score.sample_id, "prompt_id": samples[score.sample_id].prompt_id,
             "sample_index": samples[score.sample_id].sample_index, "metric": score.metric, "value": score.value,
             "reason": score.reason} for score in bundle.scores]
    schema = pa.schema([("sample_id", pa.string()), ("prompt_id", pa.string()), ("sample_index", pa.int64()),
                        ("metric", pa.string()), ("value", pa.float64()), ("reason", pa.string())])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer)
    return buffer.getvalue()


def _read_scores(path: Path) -> tuple[Score, ...]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Of a Python file, or with threads, the pools of arrow may outlive the interpreter and abort it: https://github.com/apache/arrow/issues/34314
        file = pq.ParquetFile(pa.BufferReader(path.read_bytes()))
        rows = file.read(columns=["sample_id", "metric", "value", "reason"], use_threads=False).to_pylist()
        return tuple(Score(**row) for row in rows)
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:  # pydantic's ValidationError is a ValueError
        raise _damaged(path, error) from error


def _statistics_bytes(statistics: Mapping[str, SetStatistics]) -> bytes:
    """Safetensors with tensors `<metric>/<array>` and the sample ids of each metric in the metadata."""
    from safetensors.numpy import save

    tensors = {f"{metric}/{name}": np.asarray(array, order="C")  # safetensors writes the buffer as it lies in memory
               for metric, held in statistics.items() for name, array in held.arrays.items()}
    return save(tensors, {"sample_ids": json.dumps({metric: held.sample_ids for metric, held in statistics.items()})})


def _read_statistics(path: Path) -> dict[str, SetStatistics]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            sample_ids = json.loads((file.metadata() or {})["sample_ids"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        statistics = {metric: SetStatistics(tuple(ids), {}) for metric, ids in sample_ids.items()}
        for key, array in tensors.items():
            metric, _, name = key.partition("/")
            statistics[metric].arrays[name] = array
        return statistics
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path} is missing or damaged ({type(error).__name__}: {str(error).strip():.120}). "
                      f"Delete its folder and score again")


def _check(bundle: ResultBundle) -> None:
    problems = [*_problems(bundle), *_problems_of_seeds(bundle)]
    if problems:
        raise StoreError(f"the result in {bundle.folder} cannot be used: {'; '.join(problems[:5])}"
                         f"{f' and {len(problems) - 5} more problems' if len(problems) > 5 else ''}. Score again")


def _problems(bundle: ResultBundle) -> Iterator[str]:
    """Everything that makes a bundle contradict itself."""
    result = bundle.result
    ids = {sample.sample_id for sample in result.samples}
    yield from (f"{name!r:.60} is no sample id" for name in sorted(ids) if not SAMPLE_ID.fullmatch(name))
    yield from (f"{what} is named twice" for what, count in Counter(
        [f"metric {each.metric}" for each in result.results] + [f"sample {sample.sample_id}" for sample in result.samples]
        + [f"the {score.metric} of {score.sample_id}" for score in bundle.scores]).items() if count > 1)
    for score in bundle.scores:
        if score.sample_id not in ids:
            yield f"a score of {score.metric} is for {score.sample_id!r:.60}, which is not among the samples"
        if score.value is not None and not math.isfinite(score.value):
            yield f"{score.metric} of {score.sample_id} is {score.value}; a missing value is None with a reason"
    scored = Counter(score.metric for score in bundle.scores if score.value is not None)
    for each in result.results:
        for number in (each.value, each.ci_low, each.ci_high, each.budget):
            if number is not None and not math.isfinite(number):
                yield f"the result of {each.metric} holds {number}"
        if each.kind == "sample" and scored[each.metric] != each.num_scored:
            yield f"{each.metric} has {scored[each.metric]} scores and its result says {each.num_scored}"
        if each.kind == "set" and each.value is not None and each.metric not in bundle.statistics:
            yield f"{each.metric} has a value and no statistics"
    measures = [(name, each) for composition in result.compositions for name, each in composition.measures.items()]
    for name, each in (*measures, *((f"{group.metric} of {group.group}", group) for group in result.groups),
                       *((f"{tagged.metric} of {tagged.tag}", tagged) for tagged in result.tags)):
        if not all(math.isfinite(number) for number in (each.value, each.low, each.high) if number is not None):
            yield f"{name} is not finite"
    for metric, held in bundle.statistics.items():
        if not ids.issuperset(held.sample_ids) or len(set(held.sample_ids)) < len(held.sample_ids):
            yield f"the statistics of {metric} name samples twice or that are not among the samples"
        if not all(np.isfinite(array).all() for array in held.arrays.values()):
            yield f"the statistics of {metric} are not finite"


def _problems_of_seeds(bundle: ResultBundle) -> Iterator[str]:
    """Everything that makes the fine-tunes from several training seeds no replicates of one another."""
    own, guard = _what_was_asked(bundle), bundle.guard and _what_was_asked(bundle.guard)
    for replicate in bundle.replicates:
        if _what_was_asked(replicate) != own or (replicate.guard and _what_was_asked(replicate.guard)) != guard:
            yield f"training seed {replicate.training_seed} was drawn or measured in another way than seed {bundle.training_seed}"
        if replicate.folder.parent.name == SEEDS_FOLDER and replicate.folder.name != str(replicate.training_seed):
            yield f"{SEEDS_FOLDER}/{replicate.folder.name} holds training seed {replicate.training_seed}"
    seeds = [each.training_seed for each in (bundle, *bundle.replicates)]
    yield from (f"training seed {seed} is there twice" for seed, count in Counter(seeds).items() if count > 1)
    asked = _train_setting(bundle.result, "num_seeds") or 1
    if len(seeds) < asked:
        yield f"it is of {asked} training seeds and holds {len(seeds)}"


def _what_was_asked(bundle: ResultBundle) -> list:
    return [bundle.result.suite_digest, bundle.result.sampling, [(each.metric, each.version, each.extractor_digest) for each in bundle.result.results]]


def _train_setting(result: BenchmarkResult, name: str) -> int | None:
    """A whole number among the training settings of a result; None where it is not recorded, or is none."""
    train = result.config.get("train")
    value = train.get(name) if isinstance(train, dict) else None
    return value if isinstance(value, int) else None
