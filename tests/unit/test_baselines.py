"""Baselines: found by name or path, changed only by accept, and whole at every moment."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sana_bench import baselines
from sana_bench.baselines import accept, find_baseline
from sana_bench.errors import BaselineError, StoreError
from sana_bench.records import Acceptance
from sana_bench.results import load_bundle
from sana_bench.store import read_record
from tests.bundles import make_bundle, make_replicates, write_result_folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANA_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def result_folder(tmp_path: Path) -> Path:
    return write_result_folder(make_bundle({"hand_rate": [1.0, 0.0]}, digest="first"), tmp_path / "run")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "baselines"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_accepted_result_is_found_and_says_who_and_why(result_folder: Path, folder: Path):
    assert find_baseline("mine", folder) is None
    accepted = accept(result_folder, "mine", "  the new normal ", folder)
    assert find_baseline("mine", folder) == accepted == folder / "mine"
    assert load_bundle(accepted).result == load_bundle(result_folder).result
    record = read_record(accepted / "acceptance.json", Acceptance)
    assert (record.reason, record.result_digest) == ("the new normal", "first")
    assert record.accepted.endswith("+00:00")


def test_only_the_result_is_copied_and_it_stays_untouched(result_folder: Path, folder: Path):
    (result_folder / "report.html").write_text("big")
    (result_folder / "regression.json").write_text("{}")
    before = contents(result_folder)
    accepted = accept(result_folder, "mine", "why", folder)
    assert contents(result_folder) == before
    assert set(contents(accepted)) == {"acceptance.json", "history.json", "keypoints.json", "result.json", "scores.parquet",
                                       "statistics.safetensors", "views/p00_0.webp", "views/p01_0.webp"}
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_a_new_baseline_replaces_the_old_one_whole(result_folder: Path, folder: Path, tmp_path: Path):
    accept(result_folder, "mine", "why", folder)
    second = write_result_folder(make_bundle({"hand_rate": [1.0, 0.5, 0.5]}, digest="second"), tmp_path / "second")
    accept(second, "mine", "better hands", folder)
    assert load_bundle(folder / "mine").result.digest == "second"
    assert (folder / "mine" / "views" / "p02_0.webp").exists()
    accept(result_folder, "mine", "back", folder)
    assert not (folder / "mine" / "views" / "p02_0.webp").exists()
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_a_baseline_can_be_accepted_again_onto_itself(result_folder: Path, folder: Path):
    accepted = accept(result_folder, "mine", "why", folder)
    accept(accepted, "mine", "another reason", folder)
    assert read_record(accepted / "acceptance.json", Acceptance).reason == "another reason"


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_no_reason_is_refused(result_folder: Path, folder: Path, reason: str):
    with pytest.raises(BaselineError, match="reason"):
        accept(result_folder, "mine", reason, folder)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["", "../mine", "a/b", ".hidden", "Mine", "mine\n"])
def test_names_that_are_no_plain_names_are_refused(result_folder: Path, folder: Path, name: str):
    with pytest.raises(BaselineError, match="cannot name a baseline"):
        accept(result_folder, name, "why", folder)
    assert not folder.exists()


def test_a_folder_that_is_no_result_is_refused_and_the_old_baseline_stays(result_folder: Path, folder: Path, tmp_path: Path):
    before = contents(accept(result_folder, "mine", "why", folder))
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="no result folder"):
        accept(tmp_path / "empty", "mine", "why", folder)
    (result_folder / "views" / "p01_0.webp").unlink()
    with pytest.raises(BaselineError, match="lacks 1 file.*views/p01_0.webp"):
        accept(result_folder, "mine", "why", folder)
    assert contents(folder / "mine") == before
    assert [path.name for path in folder.iterdir()] == ["mine"]


@pytest.mark.parametrize(("step", "failing_call"), [
    ("fsync", 1), ("fsync", 3), ("fsync", 8),  # a result file, a picture, the history
    ("rename", 1), ("rename", 2)])  # the second rename puts the new one in place of the old
def test_a_step_that_fails_leaves_the_old_baseline(result_folder: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                   step: str, failing_call: int):
    before = contents(accept(result_folder, "mine", "why", folder))
    second = write_result_folder(make_bundle({"hand_rate": [0.5, 0.5]}, digest="second"), tmp_path / "second")
    calls, real = [], getattr(os, step)

    def full_disk(*arguments) -> None:
        calls.append(arguments)
        if len(calls) == failing_call:
            raise OSError(28, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(os, step, full_disk)
    with pytest.raises(BaselineError, match=r"cannot write the baseline .*mine: \[Errno 28\] No space left on device\. Free space"):
        accept(second, "mine", "why", folder)
    assert len(calls) >= failing_call and contents(folder / "mine") == before
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_a_baseline_that_a_killed_accept_moved_aside_is_found_again(result_folder: Path, folder: Path):
    target = accept(result_folder, "mine", "why", folder)
    before = contents(target)
    target.rename(folder / ".mine.0123.old")
    assert contents(find_baseline("mine", folder)) == before


def test_an_interrupt_between_the_renames_puts_the_old_baseline_back(result_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch):
    before = contents(accept(result_folder, "mine", "why", folder))
    calls, rename = [], os.rename

    def interrupted(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        accept(result_folder, "mine", "again", folder)
    assert contents(folder / "mine") == before and [path.name for path in folder.iterdir()] == ["mine"]


def test_a_place_that_cannot_be_written_is_one_error(result_folder: Path, tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(BaselineError, match="cannot write the baseline"):
        accept(result_folder, "mine", "why", tmp_path / "file")


def test_own_baseline_comes_before_the_shipped_one(result_folder: Path, folder: Path, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch):
    shipped = tmp_path / "shipped"
    accept(result_folder, "mine", "shipped with the package", shipped)
    monkeypatch.setattr(baselines, "shipped_folder", lambda name: shipped)
    assert find_baseline("mine", folder) == shipped / "mine"
    accept(result_folder, "mine", "my own", folder)
    assert find_baseline("mine", folder) == folder / "mine"


def test_any_result_folder_is_a_baseline_by_path(result_folder: Path, folder: Path):
    assert find_baseline(str(result_folder), folder) == result_folder
    with pytest.raises(BaselineError, match="no result to compare with"):
        find_baseline(str(result_folder / "nothing"), folder)


def test_a_result_that_nobody_accepted_is_no_named_baseline(result_folder: Path, folder: Path):
    shutil.copytree(result_folder, folder / "mine")
    with pytest.raises(BaselineError, match="no accepted baseline"):
        find_baseline("mine", folder)


def test_the_guard_is_accepted_with_the_result(tmp_path: Path, folder: Path):
    bundle = make_bundle({"hand_rate": [1.0, 0.0]}, digest="first")
    run = write_result_folder(replace(bundle, guard=make_bundle({"face_rate": [1.0]}, digest="guard")), tmp_path / "run")
    accepted = accept(run, "mine", "why", folder)
    assert load_bundle(accepted).guard.result.digest == "guard"
    assert {"guard/result.json", "guard/scores.parquet", "guard/views/p00_0.webp"} <= set(contents(accepted))
    (run / "guard" / "scores.parquet").unlink()
    with pytest.raises(StoreError, match="scores.parquet"):
        accept(run, "mine", "damaged", folder)
    assert load_bundle(accepted).guard.result.digest == "guard"


def test_a_result_of_a_part_of_its_suite_is_refused_and_the_baseline_stays(result_folder: Path, folder: Path, tmp_path: Path):
    accept(result_folder, "mine", "why", folder)
    before = contents(folder)
    own, guard = (make_bundle({"hand_rate": [1.0, 0.0]}, digest="half", num_prompts_left=number) for number in (2, 0))
    for name, bundle in (("own", own), ("guard", replace(guard, guard=own))):
        stopped = write_result_folder(bundle, tmp_path / name)
        with pytest.raises(BaselineError, match=r"2 prompts of humans_test were not drawn.*--set compare.num_looks=1"):
            accept(stopped, "mine", "why", folder)
    assert contents(folder) == before


def test_every_training_seed_is_kept_and_one_that_lacks_a_file_is_refused(folder: Path, tmp_path: Path):
    several = make_replicates([make_bundle({"hand_rate": [1.0, value]}) for value in (0.0, 0.5, 1.0)])
    run = write_result_folder(several, tmp_path / "run")
    accepted = accept(run, "mine", "three fine-tunes", folder)
    assert [each.scores[1].value for each in load_bundle(accepted).replicates] == [0.5, 1.0]
    assert not list(accepted.glob("seeds/*/views"))
    before = contents(accepted)
    (run / "seeds" / "2" / "statistics.safetensors").unlink()
    with pytest.raises(StoreError, match="seeds/2/statistics.safetensors"):
        accept(run, "mine", "again", folder)
    assert contents(accepted) == before
