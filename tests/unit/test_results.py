"""Results on disk: a round trip keeps everything, and anything damaged or foreign is one clear error."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from sana_bench.errors import StoreError
from sana_bench.records import Composition, GroupScore, Measure
from sana_bench.results import (RESULT_FILE, SCORES_FILE, STATISTICS_FILE, ResultBundle, SetStatistics, all_files_of, load_bundle,
                                scored_digest, write_bundle)
from sana_bench.store import write_record
from tests.bundles import make_bundle, make_replicates, write_result_folder

FILES = [RESULT_FILE, SCORES_FILE, STATISTICS_FILE]


@pytest.fixture
def bundle() -> ResultBundle:
    return make_bundle({"hand_rate": [1.0, None, 0.0, 0.5]}, sets={"age_diversity": [0.1, None, 0.3, 0.4]}, images=2)


def write(bundle: ResultBundle, folder: Path) -> None:
    write_bundle(folder, bundle.result, bundle.scores, bundle.statistics)


def test_round_trip_keeps_records_missing_values_and_arrays(bundle: ResultBundle, tmp_path: Path):
    arrays = {"transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T, "scalar": np.array(2.5),
              "empty": np.zeros((0, 4)), "labels": np.array([1, 0, 1], dtype=np.int8)}
    held = SetStatistics(bundle.statistics["age_diversity"].sample_ids, arrays)
    write_bundle(tmp_path, bundle.result, bundle.scores, {"age_diversity": held})
    loaded = load_bundle(tmp_path)
    assert (loaded.result, loaded.scores) == (bundle.result, bundle.scores)
    assert loaded.scores[1].value is None and loaded.scores[1].reason == "no hand found"
    assert loaded.statistics["age_diversity"].sample_ids == ("p00_0", "p01_0", "p01_1")
    for name, array in arrays.items():
        got = loaded.statistics["age_diversity"].arrays[name]
        assert got.dtype == array.dtype and got.shape == array.shape and np.array_equal(got, array), name


def test_result_without_set_metrics_round_trips(tmp_path: Path):
    bundle = make_bundle({"hand_rate": [1.0, 0.0]})
    write(bundle, tmp_path)
    assert load_bundle(tmp_path).statistics == {}


def test_scores_are_a_table_that_other_tools_read(bundle: ResultBundle, tmp_path: Path):
    import pandas as pd

    write(bundle, tmp_path)
    table = pd.read_parquet(tmp_path / SCORES_FILE)
    assert list(table.columns) == ["sample_id", "prompt_id", "sample_index", "metric", "value", "reason"]
    assert table["prompt_id"].tolist() == ["p00", "p00", "p01", "p01"] and table["sample_index"].tolist() == [0, 1, 0, 1]
    assert table["value"].isna().tolist() == [False, True, False, False]


def test_same_bundle_is_written_as_the_same_bytes(bundle: ResultBundle, tmp_path: Path):
    for name in ("one", "two"):
        write(bundle, tmp_path / name)
    for file in FILES:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize("blocked", [SCORES_FILE, STATISTICS_FILE])
def test_a_write_that_fails_leaves_no_result(bundle: ResultBundle, tmp_path: Path, blocked: str):
    (tmp_path / blocked / "in the way").mkdir(parents=True)  # a folder that is not empty cannot be replaced by a file
    with pytest.raises(StoreError, match=blocked):
        write(bundle, tmp_path)
    assert not (tmp_path / RESULT_FILE).exists()


def test_foreign_and_absent_folders_are_refused(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(StoreError, match="is no result folder"):
            load_bundle(folder)
    (tmp_path / RESULT_FILE).write_text('{"some": "thing"}')
    with pytest.raises(StoreError, match="not a valid BenchmarkResult"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["absent", "empty", "truncated", "garbage"])
def test_every_damaged_file_is_named(bundle: ResultBundle, tmp_path: Path, file: str, damage: str):
    write(bundle, tmp_path)
    path = tmp_path / file
    whole = path.read_bytes()
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "truncated": whole[:len(whole) // 2], "garbage": b"\x00\xff" * 400}[damage])
    with pytest.raises(StoreError, match=file):
        load_bundle(tmp_path)


def test_parts_of_two_results_are_not_mixed(bundle: ResultBundle, tmp_path: Path):
    write(bundle, tmp_path / "one")
    other = make_bundle({"hand_rate": [1.0, 1.0, None, None]}, images=2)
    write(other, tmp_path / "two")
    (tmp_path / "one" / SCORES_FILE).write_bytes((tmp_path / "two" / SCORES_FILE).read_bytes())
    with pytest.raises(StoreError, match="hand_rate has 2 scores and its result says 3"):
        load_bundle(tmp_path / "one")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_never_written(bundle: ResultBundle, tmp_path: Path, bad: float):
    score = bundle.scores[0].model_copy(update={"value": bad})
    result = bundle.result.model_copy(update={"results": (bundle.result.results[0].model_copy(update={"ci_high": bad}),
                                                          bundle.result.results[1])})
    held = {"age_diversity": SetStatistics(bundle.statistics["age_diversity"].sample_ids,
                                           {"values": np.array([bad, 1.0, 1.0])})}
    group = GroupScore(attribute="gender", group="feminine", metric="hand_rate", value=0.5, low=bad, high=0.6, num_images=9,
                       num_prompts=9, enough=True)
    composition = Composition(attribute="gender", classes=("feminine", "masculine"), counts=(4, 4), num_undetermined=0,
                              undetermined_reasons={}, num_not_asked=0, shares=(0.5, 0.5), corrected_shares=None, target=None,
                              measures={"entropy": Measure(value=bad, low=None, high=None)}, prompts=())
    for spoiled in (dataclasses.replace(bundle, scores=(score, *bundle.scores[1:])),
                    dataclasses.replace(bundle, result=bundle.result.model_copy(update={"groups": (group,)})),
                    dataclasses.replace(bundle, result=bundle.result.model_copy(update={"compositions": (composition,)})),
                    dataclasses.replace(bundle, result=result),
                    dataclasses.replace(bundle, statistics=held)):
        with pytest.raises(StoreError, match="nan|inf|not finite"):
            write(spoiled, tmp_path)
    assert not (tmp_path / RESULT_FILE).exists()


def test_ids_that_are_no_file_names_are_refused(bundle: ResultBundle, tmp_path: Path):
    samples = (bundle.result.samples[0].model_copy(update={"sample_id": "../../etc/passwd"}), *bundle.result.samples[1:])
    with pytest.raises(StoreError, match="is no sample id"):
        write(dataclasses.replace(bundle, result=bundle.result.model_copy(update={"samples": samples})), tmp_path)


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda bundle: dataclasses.replace(bundle, scores=(*bundle.scores, bundle.scores[0])),
     "hand_rate of p00_0 is named twice"),
    (lambda bundle: dataclasses.replace(bundle, statistics={}), "age_diversity has a value and no statistics"),
    (lambda bundle: dataclasses.replace(bundle, scores=(bundle.scores[0].model_copy(update={"sample_id": "p99_0"}),
                                                        *bundle.scores[1:])), "not among the samples"),
])
def test_contradictions_are_named(bundle: ResultBundle, tmp_path: Path, spoil, message: str):
    with pytest.raises(StoreError, match=message):
        write(spoil(bundle), tmp_path)


def test_a_whole_result_folder_loads_too(bundle: ResultBundle, tmp_path: Path):
    assert load_bundle(write_result_folder(bundle, tmp_path / "whole")).result == bundle.result


def test_the_guard_is_read_with_the_result_wherever_it_is(tmp_path):
    own, guard = make_bundle({"hand_rate": [1.0]}, digest="own"), make_bundle({"face_rate": [1.0]}, digest="guard")
    inside = write_result_folder(dataclasses.replace(own, guard=guard), tmp_path / "inside")
    apart, elsewhere = write_result_folder(own, tmp_path / "apart"), write_result_folder(guard, tmp_path / "elsewhere")
    assert load_bundle(apart).guard is None
    assert load_bundle(inside).guard.result == load_bundle(apart, elsewhere).guard.result == guard.result
    assert scored_digest(inside) == scored_digest(apart, elsewhere) != scored_digest(apart) == "own"
    assert [name for name in all_files_of(load_bundle(inside)) if name.endswith(".webp")] == ["views/p00_0.webp", "guard/views/p00_0.webp"]
    (inside / "guard" / RESULT_FILE).unlink()
    with pytest.raises(StoreError, match="guard"):
        load_bundle(inside)


@pytest.fixture
def seeds() -> ResultBundle:
    """Three fine-tunes, each with a guard suite."""
    return make_replicates([make_bundle({"hand_rate": [1.0, 0.0]}), make_bundle({"hand_rate": [1.0, 0.5]}), make_bundle({"hand_rate": [0.0, 0.5]})],
                           [make_bundle({"face_rate": [value]}) for value in (1.0, 0.5, 0.0)])


def test_other_training_seeds_are_read_with_the_result_wherever_they_are(seeds: ResultBundle, tmp_path: Path):
    inside = write_result_folder(seeds, tmp_path / "inside")
    apart = [(write_result_folder(dataclasses.replace(each, guard=None, replicates=()), tmp_path / f"{each.training_seed}"),
              write_result_folder(each.guard, tmp_path / f"guard {each.training_seed}")) for each in (seeds, *seeds.replicates)]
    for read in (load_bundle(inside), load_bundle(*apart[0], apart[1:])):
        assert [each.training_seed for each in read.replicates] == [1, 2]
        assert [each.guard.scores[0].value for each in (read, *read.replicates)] == [1.0, 0.5, 0.0]
        assert [each.scores for each in read.replicates] == [each.scores for each in seeds.replicates]
    assert load_bundle(*apart[0]).replicates == ()
    assert scored_digest(inside) == scored_digest(*apart[0], apart[1:]) != scored_digest(*apart[0], apart[1:2]) != scored_digest(*apart[0])


def test_a_result_of_one_seed_keeps_its_digest(bundle: ResultBundle, tmp_path: Path):
    assert scored_digest(write_result_folder(bundle, tmp_path)) == bundle.result.digest


def test_of_other_seeds_only_what_decides_is_listed(seeds: ResultBundle):
    listed = all_files_of(seeds)
    assert [name for name in listed if name.startswith("seeds/2")] == [f"seeds/2/{name}" for name in FILES] + [f"seeds/2/guard/{name}" for name in FILES]
    assert len(listed) == len(set(listed)) and "views/p00_0.webp" in listed and "guard/views/p00_0.webp" in listed


def test_seeds_are_in_the_order_of_numbers_and_nothing_else_is_one(seeds: ResultBundle, tmp_path: Path):
    folder = write_result_folder(seeds, tmp_path)
    for name in ("10", "-3"):
        result = seeds.replicates[0].result.model_copy(update={"config": {"train": {"seed": int(name)}}})
        write_result_folder(dataclasses.replace(seeds.replicates[0], result=result), folder / "seeds" / name)
    (folder / "seeds" / "notes").mkdir()
    (folder / "seeds" / "5").write_text("no folder")
    assert [each.training_seed for each in load_bundle(folder).replicates] == [-3, 1, 2, 10]


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda each: {"suite_digest": "s2"}, "training seed 1 was drawn or measured in another way than seed 0"),
    (lambda each: {"sampling": {"guidance_scale": 7.0}}, "training seed 1 was drawn or measured in another way"),
    (lambda each: {"results": (each.results[0].model_copy(update={"version": 2}),)}, "training seed 1 was drawn or measured in another way"),
    (lambda each: {"config": {"train": {"seed": 2}}}, "seeds/1 holds training seed 2; training seed 2 is there twice"),
    (lambda each: {"config": {"train": {"seed": "../.."}}}, "seeds/1 holds training seed 0; training seed 0 is there twice"),
    (lambda each: {"config": {"train": "../.."}}, "seeds/1 holds training seed 0")])
def test_what_is_no_replicate_is_named(seeds: ResultBundle, tmp_path: Path, spoil, message: str):
    folder = write_result_folder(seeds, tmp_path)
    result = seeds.replicates[0].result
    write_record(folder / "seeds" / "1" / RESULT_FILE, result.model_copy(update=spoil(result)))
    with pytest.raises(StoreError, match=message):
        load_bundle(folder)


@pytest.mark.parametrize("lost", ["seeds/2", "seeds/1/guard", "guard"])
def test_a_fine_tune_that_was_lost_is_noticed(seeds: ResultBundle, tmp_path: Path, lost: str):
    folder = write_result_folder(seeds, tmp_path)
    write_record(folder / RESULT_FILE, seeds.result.model_copy(update={"config": {"train": {"seed": 0, "num_seeds": 3}}}))
    assert len(load_bundle(folder).replicates) == 2
    shutil.rmtree(folder / lost)
    with pytest.raises(StoreError, match="is of 3 training seeds and holds 2|another way"):
        load_bundle(folder)
