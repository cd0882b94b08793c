"""The history of many results: what is read and what is left out, which values make a line, questions in SQL, and the command."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sana_bench.cli import main
from sana_bench.console import printable
from sana_bench.errors import HistoryError
from sana_bench.history.collect import Collection, collect
from sana_bench.history.query import MOST_ROWS, ask
from sana_bench.history.rows import read_rows, write_rows
from sana_bench.history.series import make_history
from sana_bench.history.text import history_document
from tests.history_fixture import NUM_PROMPTS, commit, made, prompt_scores, run_bundle, write_run
from tests.report_fixture import HOSTILE

STEP_AT, NUM_RUNS = 10, 18


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """18 runs; from the eleventh on hands are worse. The last has a guard suite, a verdict and, as every run, the baseline it was held against."""
    place, rng = tmp_path_factory.mktemp("history") / "reports", np.random.default_rng(0)
    hands_P, faces_P = rng.uniform(0.3, 0.9, NUM_PROMPTS), rng.uniform(0.3, 0.9, NUM_PROMPTS)
    for at in range(NUM_RUNS):
        bundle = run_bundle(at, {"hand_plausibility": prompt_scores(rng, hands_P, 0.05, -0.15 * (at >= STEP_AT)),
                                 "face_plausibility": prompt_scores(rng, faces_P, 0.05)})
        guard = run_bundle(at, {"face_rate": [1.0, 0.0, 1.0]}, suite="guard_test", suite_digest="s2", provenance=made(at, samples=f"guard images{at}"))
        write_run(place / f"tiny-{at:02d}", replace(bundle, guard=guard) if at == NUM_RUNS - 1 else bundle, "regressed" if at == NUM_RUNS - 1 else "")
        write_run(place / f"tiny-{at:02d}" / "baseline", run_bundle(900, {"hand_plausibility": [0.0]}))
    return place


@pytest.fixture(scope="module")
def found(runs: Path) -> Collection:
    return collect([runs])


def rows_of_runs(tmp_path: Path, *bundles):
    for at, bundle in enumerate(bundles):
        write_run(tmp_path / f"r{at}", bundle)
    return collect([tmp_path]).rows


def lines_of(rows, metric="hand_rate"):
    (series,) = [each for each in make_history(rows).series if each.metric == metric]
    return series.segments


# What is read.

def test_a_row_holds_what_the_records_say(found: Collection):
    assert len(found.rows) == 2 * NUM_RUNS + 1 and found.problems == []
    row = next(row for row in found.rows if row.commit == commit(NUM_RUNS - 1) and row.metric == "hand_plausibility")
    assert (row.outcome, row.baseline_value, row.difference, row.baseline_name) == ("regressed", 0.75, -0.125, "old")
    assert (row.name, row.suite, row.suite_digest, row.samples_digest, row.checkpoint_digest, row.source) == ("tiny", "humans_test", "s1", "images17", "c17", "run")
    assert row.num_scored == NUM_PROMPTS and row.ci_low < row.value < row.ci_high
    guard = next(row for row in found.rows if row.suite == "guard_test")
    assert (guard.metric, guard.value, guard.outcome, guard.run) == ("face_rate", pytest.approx(2 / 3), "regressed", row.run)
    assert all(row.outcome == "" and row.baseline_value is None for row in found.rows if row.commit != guard.commit)


def test_rows_survive_parquet_and_count_once(found: Collection, runs: Path, tmp_path: Path):
    write_rows(tmp_path / "h.parquet", found.rows)
    assert read_rows(tmp_path / "h.parquet") == found.rows
    assert collect([tmp_path / "h.parquet", runs]).rows == collect([runs, tmp_path / "h.parquet"]).rows == found.rows


def test_the_order_of_folders_and_files_does_not_matter(found: Collection, runs: Path):
    folders = [runs / f"tiny-{at:02d}" for at in range(NUM_RUNS)]
    random.Random(0).shuffle(folders)
    again = collect(folders)
    assert again.rows == found.rows
    assert history_document(make_history(again.rows)) == history_document(make_history(found.rows)) == history_document(make_history(found.rows[::-1]))


def test_damaged_and_foreign_folders_are_named_and_left_out(found: Collection, runs: Path, tmp_path: Path):
    place = shutil.copytree(runs, tmp_path / "reports")
    (place / "tiny-03" / "result.json").write_text('{"cut off')
    (place / "tiny-04" / "result.json").write_text('{"schema_version": 1, "accuracy": 0.9}')
    (place / f"tiny-{NUM_RUNS - 1}" / "regression.json").write_bytes(b"\xff")
    text = (place / "tiny-05" / "result.json").read_text()
    (place / "tiny-05" / "result.json").write_text(text.replace("2026-01-01T05", "yesterday"))
    (place / "notes").mkdir()
    (place / ".tiny.0123.old").mkdir()
    shutil.copy(runs / "tiny-00" / "result.json", place / ".tiny.0123.old")
    (place / "broken.parquet").write_bytes(b"PAR1")
    left = collect([place, place / "broken.parquet"])
    assert len(left.problems) == 5
    for name in ("tiny-03", "tiny-04", "tiny-05", f"tiny-{NUM_RUNS - 1}", "broken.parquet"):
        assert sum(name in problem for problem in left.problems) == 1
    runs_left = {Path(row.run).name for row in left.rows}
    assert runs_left == {Path(row.run).name for row in found.rows} - {"tiny-03", "tiny-04", "tiny-05"}
    assert all(row.outcome == "" for row in left.rows)  # the damaged verdict costs its verdict only


def test_numbers_that_are_none_cost_their_result(tmp_path: Path):
    write_run(tmp_path / "run", run_bundle(0, {"hand_rate": [0.25, 0.5]}))
    text = (tmp_path / "run" / "result.json").read_text()
    assert '"value": 0.375' in text
    (tmp_path / "run" / "result.json").write_text(text.replace('"value": 0.375', '"value": 1e999'))
    with pytest.raises(HistoryError, match="no result in .*first: .*hand_rate"):
        collect([tmp_path])


@pytest.mark.parametrize(("place", "part"), [("nowhere", "there is no"), ("empty", "no result in")])
def test_no_result_is_an_error(place: str, part: str, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(HistoryError, match=part):
        collect([tmp_path / place])


def test_a_table_of_something_else_is_refused(tmp_path: Path, found: Collection):
    pq.write_table(pq.read_table(found.scores[0].path), tmp_path / "x.parquet")
    with pytest.raises(HistoryError, match="lacks the column created"):
        read_rows(tmp_path / "x.parquet")


# What makes a line.

@pytest.mark.parametrize(("change", "words"), [
    ({"changes": {"hand_rate": {"version": 2}}}, "metric version 1 -> 2"), ({"changes": {"hand_rate": {"extractor_digest": "e2"}}}, "extractor digest e1 -> e2"),
    ({"changes": {"hand_rate": {"unit": "percent"}}}, "unit share -> percent"), ({"changes": {"hand_rate": {"higher_is_better": False}}}, "direction True -> False"),
    ({"suite_digest": "s2"}, "suite s1 -> s2"), ({"sampling": {"guidance_scale": 5.0, "device": "cpu"}}, "sampling "), ({"seed": 999}, "set of prompts or noise ")])
def test_what_cannot_be_compared_is_another_line(change: dict, words: str, tmp_path: Path):
    before, after = lines_of(rows_of_runs(tmp_path, run_bundle(0, {"hand_rate": [0.0, 1.0]}), run_bundle(1, {"hand_rate": [1.0, 1.0]}),
                                          run_bundle(2, {"hand_rate": [1.0, 0.0]}, **change)))
    assert [row.value for row in before.rows] == [0.5, 1.0] and [row.value for row in after.rows] == [0.5]
    assert before.apart == "" and after.apart.startswith(words)


def test_a_line_goes_on_where_it_was_left(tmp_path: Path):
    """Version 1, 2, 1 again: two lines, and the newest value is on the last one."""
    rows = rows_of_runs(tmp_path, *(run_bundle(at, {"hand_rate": [0.0, 1.0]}, {"hand_rate": {"version": version}}) for at, version in enumerate((1, 2, 1))))
    assert [[row.version for row in segment.rows] for segment in lines_of(rows)] == [[2], [1, 1]]


def test_other_real_images_part_only_metrics_that_need_them(tmp_path: Path):
    sets = {"mind_efficientnet_lite0": [1.0, 2.0, 4.0], "vendi_faces_efficientnet_lite0": [1.0, 2.0, 4.0], "mind_of_somebody_else": [1.0, 2.0, 4.0]}
    rows = rows_of_runs(tmp_path, *(run_bundle(at, {"hand_rate": [0.0, 1.0, 1.0]}, sets=sets, provenance=made(at, **{"reference data": reference}))
                                    for at, reference in enumerate(("r1", "r2"))))
    assert len(lines_of(rows)) == len(lines_of(rows, "vendi_faces_efficientnet_lite0")) == 1
    assert lines_of(rows, "mind_efficientnet_lite0")[1].apart == "reference images r1 -> r2"
    assert len(lines_of(rows, "mind_of_somebody_else")) == 2  # unknown here, so that it may need them


def test_recipes_and_suites_are_series_of_their_own(tmp_path: Path):
    rows = rows_of_runs(tmp_path, run_bundle(0, {"hand_rate": [1.0]}), run_bundle(1, {"hand_rate": [1.0]}, name="other"), run_bundle(2, {"hand_rate": [1.0]}, suite="s"))
    assert [(series.name, series.suite) for series in make_history(rows).series] == [("other", "humans_test"), ("tiny", "humans_test"), ("tiny", "s")]


def test_all_runs_of_a_commit_are_shown_and_a_copy_is_not(tmp_path: Path):
    bundles = [run_bundle(at, {"hand_rate": [0.0, 1.0]}, provenance=made(at, of="a" * 40)) for at in range(3)]
    rows = rows_of_runs(tmp_path, *bundles, bundles[0])
    assert len(rows) == 4 and make_history(rows).num_results == 3
    (line,) = lines_of(rows)
    assert [row.run.rpartition("/")[2] for row in line.rows] == ["r0", "r1", "r2"]


def test_fine_tunes_from_several_seeds_are_one_run_and_all_shown(tmp_path: Path):
    for at in range(2):
        for seed in range(3):
            bundle = run_bundle(10 * at + seed, {"hand_rate": [0.0, at + 0.5 * seed]}, config={"train": {"seed": seed}})
            write_run(tmp_path / f"r{at}" / (f"seeds/{seed}" if seed else ""), bundle)
    (line,) = lines_of(collect([tmp_path]).rows)
    assert [(Path(row.run).name, row.training_seed) for row in line.rows] == [("r0", 0), ("r0", 1), ("r0", 2), ("r1", 0), ("r1", 1), ("r1", 2)]
    assert len(line.runs) == 2 and line.too_few.startswith("too few runs: 2 ")
    assert (line.previous.value, line.last.value) == (0.0, 0.5)


def test_a_folder_that_held_several_runs_shows_each(tmp_path: Path):
    """A baseline accepted anew while a table remembers what it was, and dated rows of one folder; fine-tunes stay with their own run, whatever comes first."""
    remembered = []
    for at in range(3):
        for seed in range(2):
            write_run(tmp_path / "mine" / (f"seeds/{seed}" if seed else ""), run_bundle(10 * at + seed, {"hand_rate": [0.0, at]}, config={"train": {"seed": seed}}))
        write_rows(tmp_path / f"{at}.parquet", collect([tmp_path / "mine" / "seeds", tmp_path / "mine"]).rows)
        remembered.append(tmp_path / f"{at}.parquet")
    (line,) = lines_of(collect(remembered).rows)
    assert [[row.training_seed for row in run] for run in line.runs] == [[0, 1]] * 3 and line.too_few.startswith("too few runs: 3 ")
    assert (line.previous.value, line.last.value) == (0.5, 1.0)


def test_the_guard_of_a_run_is_of_that_run(found: Collection):
    """Or lines of both suites would not be rearranged alike."""
    guard = next(row for row in found.rows if row.suite == "guard_test")
    assert {row.run_name for row in found.rows if row.run == guard.run} == {guard.run_name}


def test_the_confidence_of_intervals_is_that_of_the_run(tmp_path: Path):
    rows = rows_of_runs(tmp_path, *(run_bundle(at, {"hand_rate": [0.0, 1.0]}, config=config) for at, config in enumerate(
        ({"compare": {"confidence": 0.8}}, {}, {"compare": {"confidence": 95}}))))
    assert [row.confidence for row in rows] == [0.8, 0.95, 0.95]


def test_a_metric_without_a_value_is_counted(tmp_path: Path):
    rows = rows_of_runs(tmp_path, run_bundle(0, {"hand_rate": [None, None]}), run_bundle(1, {"hand_rate": [1.0, None]}))
    (series,) = make_history(rows).series
    assert series.num_missing == 1 and [row.value for row in series.segments[0].rows] == [1.0]


def test_the_step_is_found_in_the_files(found: Collection):
    changes = [(series.metric, change) for series in make_history(found.rows).series for segment in series.segments for change in segment.changes]
    ((metric, change),) = changes
    assert (metric, change.direction) == ("hand_plausibility", "worse")
    assert (change.before.commit, change.after.commit) == (commit(STEP_AT - 1), commit(STEP_AT))
    assert change.difference == pytest.approx(-0.15, abs=0.02) and change.p_adjusted <= 0.001


# Questions.

def answers(found: Collection, sql: str) -> list[tuple]:
    answer, problems = ask(sql, found.rows, found.scores)
    assert problems == []
    return list(answer.rows)


def test_the_history_view_has_every_row(found: Collection):
    assert answers(found, "SELECT count(*), count(DISTINCT run), min(value) FROM history") == [
        (len(found.rows), NUM_RUNS, min(row.value for row in found.rows))]
    assert answers(found, "SELECT created FROM history ORDER BY created LIMIT 1") == [("2026-01-01T00:00:00",)]


def test_times_are_utc_wherever_the_machine_is(found: Collection, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert answers(found, "SELECT min(created), min(created)::DATE::VARCHAR FROM history") == [("2026-01-01T00:00:00", "2026-01-01")]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_scores_of_all_runs_agree_with_their_results(found: Collection):
    together = answers(found, "SELECT h.value, avg(s.value), count(*) FROM scores s JOIN history h USING (run, suite, metric) GROUP BY h.run, h.suite, h.metric, h.value")
    assert len(together) == len(found.rows)
    for value, mean, _ in together:
        assert mean == pytest.approx(value, abs=1e-12)
    assert {count for _, _, count in together} == {NUM_PROMPTS, 3}


def test_scores_that_cannot_be_read_are_named(runs: Path, tmp_path: Path):
    place = shutil.copytree(runs, tmp_path / "reports")
    (place / "tiny-00" / "scores.parquet").write_bytes(b"PAR1 and no more")
    write_rows(place / "tiny-01" / "scores.parquet", collect([runs]).rows)
    again = collect([place])
    answer, problems = ask("SELECT count(DISTINCT run) FROM scores", again.rows, again.scores)
    assert answer.rows == ((NUM_RUNS - 2,),)
    assert len(problems) == 2 and "tiny-00" in problems[0] and "tiny-01" in problems[1] and "none of this version" in problems[1]


def test_values_that_json_lacks_become_text(found: Collection):
    (row,) = answers(found, "SELECT 'inf'::DOUBLE, 'nan'::DOUBLE, 1.5, [DATE '2026-01-02'], {'a': 2}, NULL, true, 'x'::BLOB")
    assert row == ("inf", "nan", 1.5, ["2026-01-02"], {"a": 2}, None, True, "b'x'")
    json.dumps(row, allow_nan=False)


@pytest.mark.parametrize("sql", [
    "SELECT nothing FROM history", "SELEC 1", "", "SELECT 1; SELECT 2", "SELECT $1", "SELECT error('no')",
    "DROP VIEW history", "CREATE TABLE t AS SELECT 1", "WITH x AS (INSERT INTO history SELECT * FROM history RETURNING value) SELECT * FROM x",
    "SET enable_external_access = true", "PRAGMA database_list", "INSTALL httpfs", "LOAD httpfs", "ATTACH '{there}/x.db'", "COPY history TO '{there}/x.csv'",
    "WITH x AS (COPY history TO '{there}/x.csv') SELECT * FROM x", "EXPORT DATABASE '{there}'", "SELECT * FROM '{there}/secret.csv'",
    "SELECT * FROM read_csv('{there}/secret.csv')", "SELECT * FROM read_text('{there}/secret.csv')", "SELECT * FROM glob('{there}/*')",
    "SELECT * FROM read_parquet('{scores}')", "COPY (SELECT 1) TO '{scores}'", "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')",
    "SELECT * FROM parquet_metadata('{scores}')", "SELECT * FROM query('COPY history TO ''{there}/x.csv''')", "SELECT * FROM local_name",
    "SELECT * FROM enable_logging(storage := 'file', storage_path := '{there}')"])
def test_a_bad_or_prying_question_is_one_error_and_leaves_everything_as_it_was(sql: str, found: Collection, tmp_path: Path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    local_name = found.rows  # noqa: F841  DuckDB would find Python's variables by name
    scores = found.scores[0].path
    before = scores.read_bytes()
    with pytest.raises(HistoryError, match="^--sql") as caught:
        ask(sql.format(there=tmp_path, scores=scores), found.rows, found.scores)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"] and scores.read_bytes() == before


def test_a_question_without_end_is_given_up(found: Collection):
    with pytest.raises(HistoryError, match=r"^--sql: no answer within 0\.2 seconds"):
        ask("SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b", found.rows, found.scores, seconds=0.2)
    assert answers(found, "SELECT 1") == [(1,)]


def test_an_answer_has_so_many_rows_at_most(found: Collection):
    assert len(answers(found, f"SELECT * FROM range({MOST_ROWS})")) == MOST_ROWS
    with pytest.raises(HistoryError, match="more than 100,000 rows"):
        ask(f"SELECT * FROM range({MOST_ROWS + 1})", found.rows, found.scores)


# The command.

def test_the_command_tells_the_change_and_writes_what_is_asked_for(runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    files = [tmp_path / "out" / name for name in ("h.html", "h.png", "h.parquet")]
    assert main(["history", str(runs), "--out", str(files[0]), "--plot", str(files[1]), "--parquet", str(files[2])]) == 0
    out, err = capfd.readouterr()
    (hands,) = [row for row in out.splitlines() if row.startswith("hand_plausibility")]
    assert "worse by 0.1" in hands and f"since {commit(STEP_AT)[:7]}," in hands and err == ""
    assert "19 results, 3 series of a metric on a suite: 1 change beyond chance" in out
    assert files[1].read_bytes().startswith(b"\x89PNG") and len(read_rows(files[2])) == 2 * NUM_RUNS + 1
    assert files[0].read_text().startswith("<!doctype html>")
    assert main(["history", str(files[2]), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    (change,) = [change for series in document["series"] for line in series["lines"] for change in line["changes"]]
    assert (change["after"], change["direction"]) == (commit(STEP_AT), "worse")
    assert document["num_results"] == 19 and document["left_out"] == []


def test_the_command_answers_a_question_in_text_and_json(runs: Path, capfd: pytest.CaptureFixture[str]):
    words = ["history", str(runs), "--sql", "SELECT metric, count(*) AS n FROM history GROUP BY metric ORDER BY metric"]
    assert main(words) == 0
    assert [row.split() for row in capfd.readouterr().out.splitlines()] == [["metric", "n"], ["face_plausibility", "18"], ["face_rate", "1"], ["hand_plausibility", "18"]]
    assert main([*words, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)[1] == {"metric": "face_rate", "n": 1}


@pytest.mark.parametrize(("words", "part"), [(["nowhere"], "there is no nowhere"), ([], "there is no reports"), ([".", "--sql", "SELECT 1"], "no result in ."),
                                             ([".", "--sql", "SELECT 1", "--plot", "x.png"], "--sql only answers"),
                                             ([".", "--seconds", "0"], "--seconds takes"), ([".", "--seconds", "nan"], "--seconds takes")])
def test_what_cannot_be_answered_has_exit_code_2(words: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    assert main(["history", *words]) == 2
    out, err = capfd.readouterr()
    assert out == "" and part in err and "Traceback" not in err


def test_without_folders_reports_and_baselines_are_read(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    write_run(tmp_path / "reports" / "a", run_bundle(0, {"hand_rate": [1.0]}))
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        assert main(["history", "--json"]) == 0
        assert json.loads(capfd.readouterr().out)["num_results"] == number
        write_run(tmp_path / "baselines" / "b", run_bundle(1, {"hand_rate": [1.0]}))


def test_names_that_are_no_utf_8_are_shown_as_far_as_they_can_be(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/run\xff"))
    write_run(place, run_bundle(0, {"hand_rate": [1.0, 0.5]}))
    (place.parent / os.fsdecode(b"\xfe")).mkdir()
    (place.parent / os.fsdecode(b"\xfe") / "result.json").write_text("{}")
    assert main(["history", str(tmp_path), "--out", str(tmp_path / "h.html"), "--plot", str(tmp_path / "h.png"), "--parquet", str(tmp_path / "h.parquet")]) == 0
    assert "/\ufffd/result.json" in capfd.readouterr().err and "\ufffd" in (tmp_path / "h.html").read_text()
    assert main(["history", str(tmp_path), "--sql", "SELECT run FROM history"]) == 0
    assert capfd.readouterr().out.rstrip().endswith("/run\ufffd")


def test_names_from_records_steer_no_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    evil = "\x1b]0;title\x07\u202e\nhand"
    write_run(tmp_path / evil.replace("\n", " "), run_bundle(0, {"hand_rate": [1.0, 0.5]}, name=evil, suite=evil, provenance=made(0, of=evil)))
    (tmp_path / "\x1b[31m").mkdir()
    (tmp_path / "\x1b[31m" / "result.json").write_text("{}")
    for words in ([], ["--sql", "SELECT name, run FROM history"]):
        assert main(["history", str(tmp_path), *words]) == 0
        out, err = capfd.readouterr()
        assert all(each.isprintable() or each == "\n" for each in out + err)
        assert "\\x1b]0;title\\x07\\u202e" in out and "\\x1b[31m" in err
    assert printable("手 é") == "手 é"


def test_hostile_names_are_text_in_the_plot_and_the_page(tmp_path: Path):
    for at in range(3):
        write_run(tmp_path / f"run{at}", run_bundle(at, {"hand_rate": [1.0, 0.5]}, {"hand_rate": {"unit": "$\\frac{$", "not_judged": HOSTILE}}, name=HOSTILE, suite=HOSTILE,
                                                    provenance=made(at, of="$_{</title>")))
    (tmp_path / "<b>").mkdir()
    (tmp_path / "<b>" / "result.json").write_text("{}")
    assert main(["history", str(tmp_path), "--out", str(tmp_path / "h.html"), "--plot", str(tmp_path / "h.png")]) == 0
    page = (tmp_path / "h.html").read_text()
    assert "<script" not in page and "<img" not in page and "</title>:" not in page and "/<b>" not in page
    assert "&lt;script&gt;" in page and "script-src &#39;none&#39;" in page
