"""What a baseline holds and what it was: through acceptances, kills at every step, several at once, and from before there was a history."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from sana_bench import baselines
from sana_bench.baselines import Baseline, accept, baseline_names, find_baseline, read_baseline
from sana_bench.config import load_config
from sana_bench.errors import BaselineError
from sana_bench.pipeline import compare_run_folder
from sana_bench.prompts import load_suite
from sana_bench.records import Acceptance, Checkpoint, StageCost
from sana_bench.report.pairs import open_album
from sana_bench.results import ResultBundle, load_bundle, write_bundle
from sana_bench.shipped import shipped_folder
from sana_bench.store import read_record, write_record
from tests.bundles import make_bundle, write_result_folder


SHIPPED = sorted(path.parent.name for path in shipped_folder("baselines").glob("*/acceptance.json"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANA_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "baselines"


def bundle_of(digest: str, values: list[float], commit: str = "", dirty: bool = False) -> ResultBundle:
    bundle = make_bundle({"hand_rate": values}, digest=digest)
    provenance = bundle.result.provenance.model_copy(update={"commit": commit, "dirty": dirty})
    return replace(bundle, result=bundle.result.model_copy(update={"provenance": provenance}))


def run_folder(at: Path, digest: str, values: list[float], **where) -> Path:
    return write_result_folder(bundle_of(digest, values, **where), at / digest)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def told(baseline: Baseline) -> list[tuple[str, str, float | None, int]]:
    """(reason, digest, value, images) of every acceptance, oldest first."""
    return [(state.acceptance.reason, state.acceptance.result_digest, state.result.results[0].value, state.num_images)
            for state in (*baseline.past, baseline.state)]


def test_every_acceptance_is_kept_with_its_commit_and_values(folder: Path, tmp_path: Path):
    accept(run_folder(tmp_path, "first", [1.0, 0.0], commit="a" * 40), "mine", "start", folder)
    accept(run_folder(tmp_path, "second", [1.0, 1.0, 0.25], commit="b" * 40, dirty=True), "mine", "better hands", folder)
    accept(tmp_path / "first", "mine", "back", folder)
    mine = read_baseline("mine", folder)
    assert told(mine) == [("start", "first", 0.5, 2), ("better hands", "second", 0.75, 3), ("back", "first", 0.5, 2)]
    assert [(state.acceptance.commit[0], state.acceptance.dirty) for state in mine.past] == [("a", False), ("b", True)]
    assert (mine.state.acceptance.commit, mine.state.acceptance.dirty) == ("a" * 40, False)
    row = mine.past[1].result.results[0]
    assert (row.ci_low, row.ci_high, row.version, row.extractor_digest) == (0.75, 0.75, 1, "e1")


def test_past_states_hold_nothing_of_single_images(folder: Path, tmp_path: Path):
    accept(run_folder(tmp_path, "first", [0.5] * 40), "mine", "start", folder)
    accept(run_folder(tmp_path, "second", [0.5] * 40), "mine", "again", folder)
    history = (folder / "mine" / "history.json").read_text()
    assert "first" in history and "p39" not in history and len(history) < (folder / "mine" / "result.json").stat().st_size


def test_the_guard_of_a_past_state_is_kept(folder: Path, tmp_path: Path):
    guarded = replace(bundle_of("first", [1.0]), guard=make_bundle({"face_rate": [0.25]}, digest="guard"))
    accept(write_result_folder(guarded, tmp_path / "run"), "mine", "start", folder)
    accept(run_folder(tmp_path, "second", [0.5]), "mine", "no guard any more", folder)
    mine = read_baseline("mine", folder)
    assert (mine.past[0].guard.digest, mine.past[0].guard.results[0].value, mine.state.guard) == ("guard", 0.25, None)


def make_old(baseline: Path) -> None:
    """As baselines were before there was a history: four fields, no history."""
    record = json.loads((baseline / "acceptance.json").read_text())
    (baseline / "acceptance.json").write_text(json.dumps({name: record[name] for name in ("schema_version", "reason", "accepted", "result_digest")}))
    (baseline / "history.json").unlink()


def test_a_baseline_of_before_there_was_a_history_is_read_and_its_state_kept(folder: Path, tmp_path: Path):
    make_old(accept(run_folder(tmp_path, "first", [1.0, 0.0], commit="a" * 40), "mine", "long ago", folder))
    old = read_baseline("mine", folder)
    assert told(old) == [("long ago", "first", 0.5, 2)] and old.state.result.provenance.commit == "a" * 40
    accept(run_folder(tmp_path, "second", [1.0, 1.0]), "mine", "now", folder)
    assert told(read_baseline("mine", folder)) == [("long ago", "first", 0.5, 2), ("now", "second", 1.0, 2)]


def test_the_baseline_of_this_repository_is_read():
    assert "tiny" in baseline_names(Path("nowhere"))
    tiny = read_baseline("tiny", Path("nowhere"))
    assert tiny.shipped and tiny.state.num_images == 24 and tiny.state.acceptance.reason and tiny.num_bytes > 100_000


def test_history_goes_on_from_the_shipped_baseline_of_that_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    accept(run_folder(tmp_path, "first", [0.5]), "mine", "shipped", tmp_path / "shipped")
    monkeypatch.setattr(baselines, "shipped_folder", lambda name: tmp_path / "shipped")
    assert read_baseline("mine", folder).shipped
    accept(run_folder(tmp_path, "second", [1.0]), "mine", "my own", folder)
    mine = read_baseline("mine", folder)
    assert not mine.shipped and [row[0] for row in told(mine)] == ["shipped", "my own"]
    assert [row[0] for row in told(read_baseline("mine", tmp_path / "elsewhere"))] == ["shipped"]


KILLS = """
import os, sys
from pathlib import Path
from sana_bench.baselines import accept

def die_at(number):
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event in ("os.rename", "shutil.rmtree"):  # every file is put in place by a rename
            seen += 1
            if seen == number:
                os._exit(9)
    sys.addaudithook(hook)

codes, work = [], Path(sys.argv[1])
while not codes or codes[-1] == 9:
    child = os.fork()
    if child == 0:
        die_at(len(codes) + 1)
        accept(work / "second", "mine", "new", work / f"place{len(codes)}")
        os._exit(0)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(codes)
"""


PLACES = {"store": "/home/alice/store", "reports": "/home/alice/secret", "baselines": "/home/alice/baselines", "num_workers": 3}


def placed(digest: str, device: str):
    return make_bundle({"hand_rate": [0.5]}, digest=digest, config={"generate": {"seed": 4}, "run": {**PLACES, "device": device}})


def test_a_baseline_does_not_say_where_its_runs_kept_their_files(folder: Path, tmp_path: Path):
    """Nor does its history, though a state of it was accepted when they were still copied; the device, which decides pixels, stays."""
    first, second = (replace(placed(digest, device), guard=placed(f"{digest} guard", device), replicates=())
                     for digest, device in (("first", "cpu"), ("second", "cuda")))
    target = accept(write_result_folder(first, tmp_path / "first"), "mine", "why", folder)
    for part in (target, target / "guard"):
        old = load_bundle(part).result
        write_record(part / "result.json", old.model_copy(update={"config": {**old.config, "run": {**PLACES, "device": "cpu"}}}))
    run = write_result_folder(second, tmp_path / "second")
    before = contents(run)
    accept(run, "mine", "again", folder)
    assert contents(run) == before
    assert not [file for file, content in contents(target).items() if b"alice" in content]
    bundle, (past,) = load_bundle(target), read_baseline("mine", folder).past
    assert [each.config for each in (bundle.result, bundle.guard.result)] == [{"generate": {"seed": 4}, "run": {"device": "cuda"}}] * 2
    assert [each.config["run"] for each in (past.result, past.guard)] == [{"device": "cpu"}] * 2


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="kills forked processes")
def test_an_accept_that_is_killed_at_any_step_leaves_one_whole_baseline_with_its_history(tmp_path: Path):
    """13 steps: 6 files of the result, 2 records, 3 renames of folders, the removal of the old one, and of what is not there any more."""
    run_folder(tmp_path, "second", [1.0, 1.0])
    start = accept(run_folder(tmp_path, "zeroth", [0.0, 0.0]), "mine", "zero", tmp_path / "start")
    accept(run_folder(tmp_path, "first", [0.5, 0.5]), "mine", "old", tmp_path / "start")
    for number in range(17):
        shutil.copytree(tmp_path / "start", tmp_path / f"place{number}")
    done = subprocess.run([sys.executable, "-c", KILLS, str(tmp_path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [9] * 13 + [0], done.stderr
    old, outcomes = contents(start), []
    for number in range(14):
        place = tmp_path / f"place{number}"
        assert baseline_names(place) == ["mine", *SHIPPED]
        found = find_baseline("mine", place)
        assert (load_bundle(found).result.digest == "second") or contents(found) == old
        reasons = [row[0] for row in told(read_baseline("mine", place))]
        outcomes.append(reasons)
        accept(tmp_path / "second", "mine", "after", place)
        assert [row[0] for row in told(read_baseline("mine", place))] == [*reasons, "after"]
        assert [path.name for path in place.iterdir()] == ["mine"]
    assert outcomes == [["zero", "old"]] * 10 + [["zero", "old", "new"]] * 4


def test_an_old_baseline_that_was_half_removed_is_not_put_back(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A kill in the middle of the removal, after which somebody deletes the baseline."""
    run = run_folder(tmp_path, "first", [0.5])
    accept(run, "mine", "why", folder)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path, **_: (path / "scores.parquet").unlink(missing_ok=True))
        accept(run, "mine", "again", folder)
    (half,) = [path for path in folder.iterdir() if path.name != "mine"]
    assert not (half / "scores.parquet").exists()
    shutil.rmtree(folder / "mine")
    assert baseline_names(folder) == SHIPPED and find_baseline("mine", folder) is None


AT_ONCE = """
import os, sys
from pathlib import Path
from sana_bench.baselines import accept

children = []
for number in range(4):
    children.append(os.fork())
    if children[-1] == 0:
        accept(Path(sys.argv[1]), "mine", f"reason {number}", Path(sys.argv[2]))
        os._exit(0)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="forks")
def test_acceptances_at_the_same_time_lose_none(folder: Path, tmp_path: Path):
    done = subprocess.run([sys.executable, "-c", AT_ONCE, str(run_folder(tmp_path, "first", [0.5])), str(folder)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [0, 0, 0, 0], done.stderr
    assert {row[0] for row in told(read_baseline("mine", folder))} == {f"reason {number}" for number in range(4)}


def test_what_a_killed_accept_of_another_name_left_is_not_taken(folder: Path, tmp_path: Path):
    """`.mine.v2.<id>.old` is of the baseline mine.v2."""
    accept(run_folder(tmp_path, "first", [0.5]), "mine.v2", "why", folder).rename(folder / ".mine.v2.0123abcd.old")
    assert find_baseline("mine", folder) is None
    assert find_baseline("mine.v2", folder) == folder / "mine.v2"


def test_a_folder_that_is_no_baseline_is_not_overwritten(folder: Path, tmp_path: Path):
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(BaselineError, match="is no baseline and would be lost.*--as NAME"):
        accept(run_folder(tmp_path, "first", [0.5]), "mine", "why", folder)
    assert contents(folder / "mine") == {"notes.txt": b"mine"} and [path.name for path in folder.iterdir()] == ["mine"]


@pytest.mark.parametrize("file", ["history.json", "acceptance.json", "result.json"])
def test_a_damaged_record_is_one_error_and_nothing_is_replaced(folder: Path, tmp_path: Path, file: str):
    accepted = accept(run_folder(tmp_path, "first", [0.5]), "mine", "why", folder)
    (accepted / file).write_text("{")
    before = contents(accepted)
    for attempt in (lambda: read_baseline("mine", folder), lambda: accept(tmp_path / "first", "mine", "again", folder)):
        with pytest.raises(BaselineError, match=f"mine is damaged.*{file}.*version control"):
            attempt()
    assert contents(accepted) == before


def test_unknown_names_are_one_error_with_what_there_is(folder: Path, tmp_path: Path):
    accept(run_folder(tmp_path, "first", [0.5]), "mine", "why", folder)
    with pytest.raises(BaselineError, match=r'no baseline "mien" was accepted. Accepted: mine, tiny; for a run folder give a path, such as ./mien'):
        read_baseline("mien", folder)
    with pytest.raises(BaselineError, match="cannot name a baseline"):
        read_baseline("../mine", folder)


def test_pictures_become_thumbnails_that_do_not_fade(folder: Path, tmp_path: Path):
    """Noise is the worst that a picture can be: 1024 px of it as a run keeps them against what the baseline keeps."""
    run = write_result_folder(bundle_of("first", [1.0, 0.0]), tmp_path / "run", view_px=1024)
    accepted = accept(run, "mine", "why", folder)
    large, small = (path / "views" / "p00_0.webp" for path in (run, accepted))
    assert Image.open(large).size == (1024, 1024) and Image.open(small).size == (640, 640)
    assert small.stat().st_size < 0.45 * large.stat().st_size
    before = small.read_bytes()
    accept(accepted, "mine", "again", folder)
    assert small.read_bytes() == before


def test_a_picture_that_is_small_already_is_copied(folder: Path, tmp_path: Path):
    run = write_result_folder(bundle_of("first", [1.0]), tmp_path / "run", view_px=640)
    assert (accept(run, "mine", "why", folder) / "views" / "p00_0.webp").read_bytes() == (run / "views" / "p00_0.webp").read_bytes()


def test_a_damaged_picture_is_one_error_and_the_old_baseline_stays(folder: Path, tmp_path: Path):
    before = contents(accept(run_folder(tmp_path, "first", [1.0]), "mine", "why", folder))
    (tmp_path / "first" / "views" / "p00_0.webp").write_bytes(b"no picture")
    with pytest.raises(BaselineError, match="p00_0.webp cannot be decoded"):
        accept(tmp_path / "first", "mine", "again", folder)
    assert contents(folder / "mine") == before and [path.name for path in folder.iterdir()] == ["mine"]
    assert read_record(folder / "mine" / "acceptance.json", Acceptance).reason == "why"


@pytest.fixture
def run_of_tiny(tmp_path: Path) -> Path:
    """A run folder with real scores, features and pictures: the repository's baseline, but for two values of face_rate, and with pictures of 1024 px."""
    held = load_bundle(shipped_folder("baselines") / "tiny")
    names = [score.sample_id for score in held.scores if score.metric == "face_rate" and score.value == 1.0][:2]
    scores = tuple(score.model_copy(update={"value": 0.0}) if score.metric == "face_rate" and score.sample_id in names else score for score in held.scores)
    run = tmp_path / "reports" / "run"
    shutil.copytree(held.folder, run)
    write_bundle(run, held.result.model_copy(update={"digest": "changed"}), scores, held.statistics)
    for view in (run / "views").iterdir():
        Image.open(view).resize((1024, 1024)).save(view, quality=85)
    write_record(run / "suite.json", load_suite("tiny_humans"))
    cost = StageCost(seconds=0, peak_memory_bytes=0)
    write_record(run / "checkpoint.json", Checkpoint(digest="c", base="tiny-sana", base_digest="b", trainer="none", kind="base", cost=cost))
    (run / "cards.json").write_text("[]")
    return run


def test_comparing_needs_the_baseline_folder_alone(run_of_tiny: Path, folder: Path, tmp_path: Path):
    """As CI does it: no store can be had, and what was accepted is gone but for its baseline. Nothing is drawn again."""
    whole = shutil.copytree(shipped_folder("baselines") / "tiny", tmp_path / "whole")
    accept(whole, "mine", "why", folder)
    shutil.rmtree(whole)
    (tmp_path / "file").write_text("no folder can be made in here")
    config = load_config("tiny", (f"run.store={tmp_path / 'file' / 'store'}", f"run.baselines={folder}", "compare.baseline=mine", "compare.num_resamples=100"))
    outcome = compare_run_folder(run_of_tiny, config)
    verdicts = {each.metric: each for each in outcome.report.verdicts}
    assert verdicts["face_rate"].difference == pytest.approx(-2 / verdicts["face_rate"].num_pairs)
    assert verdicts["kid_efficientnet_lite0"].difference == pytest.approx(0, abs=1e-9) and verdicts["kid_efficientnet_lite0"].ci_low is not None
    assert not {"missing", "not_comparable"} & {each.outcome for each in outcome.report.verdicts}
    assert load_bundle(outcome.run_dir / "baseline").result.digest == load_bundle(folder / "mine").result.digest
    assert "data:image/webp" in (outcome.run_dir / "report.html").read_text()


def test_a_report_shows_both_sides_of_a_pair_at_the_size_of_the_thumbnail(run_of_tiny: Path, folder: Path):
    """Else the candidate would look sharper for no other reason than that it is no baseline yet."""
    album = open_album(load_bundle(run_of_tiny), load_bundle(accept(run_of_tiny, "mine", "why", folder)))
    sample = load_bundle(run_of_tiny).result.samples[0].sample_id
    before, after = album.shots(sample, 1024)
    assert (before.side, before.width, before.height) == ("baseline", 640, 640) and (after.side, after.width, after.height) == ("candidate", 640, 640)
    assert before.image == after.image, "the same picture, made small in the same way"
    assert [shot.width for shot in album.shots(sample, 320)] == [320, 320]
    assert [shot.width for shot in open_album(load_bundle(run_of_tiny), None).shots(sample, 1024)] == [1024]
