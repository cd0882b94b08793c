"""How baselines differ: the values and intervals of every metric, what cannot be compared and why, and what else has changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sana_bench.baseline_diff import diff, find_side, latest_change
from sana_bench.baselines import accept
from sana_bench.cli import main
from sana_bench.compare import compare
from sana_bench.config import CompareSection
from sana_bench.errors import BaselineError, StoreError
from sana_bench.results import load_bundle
from tests.bundles import SET_METRIC, make_bundle, set_metric_registered, write_result_folder

BEFORE = [0.1 * index for index in range(10)]
AFTER = [value + (0.3 if index % 2 else 0.1) for index, value in enumerate(BEFORE)]
SETTINGS = CompareSection()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANA_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "baselines"


def accepted(folder: Path, name: str, bundle, reason: str = "why") -> Path:
    run = write_result_folder(bundle, folder.parent / "runs" / f"{name}-{bundle.result.digest}")
    accept(run, name, reason, folder)
    return run


def scored(values: list[float], digest: str = "d", **more):
    return make_bundle({"hand_rate": values}, digest=digest, **more)


def test_a_baseline_against_what_it_was_shows_values_and_their_intervals(folder: Path):
    accepted(folder, "mine", scored(BEFORE, "first"))
    accepted(folder, "mine", scored(AFTER, "second"))
    found = diff(*latest_change("mine", folder), SETTINGS)
    (row,) = found.metrics
    assert (found.before, found.after, found.paired) == ("mine@1", "mine@2", False)
    assert (row.before, row.after, row.difference) == tuple(map(pytest.approx, (0.45, 0.65, 0.2)))
    assert row.before_interval == (row.before, row.before) and row.after_interval == (row.after, row.after)  # as make_bundle has them
    assert (row.low, row.high, row.outcome, row.reason) == (None, None, None, "")


def test_any_two_states_can_be_held_against_each_other(folder: Path):
    for number, values in enumerate((BEFORE, AFTER, [1.0] * 10)):
        accepted(folder, "mine", scored(values, f"d{number}"))
    found = diff(find_side("mine@3", folder), find_side("mine@1", folder), SETTINGS)
    assert found.metrics[0].difference == pytest.approx(0.45 - 1.0) and not found.paired
    assert diff(find_side("mine@3", folder), find_side("mine", folder), SETTINGS).paired, "the last state is the baseline itself"


@pytest.mark.parametrize(("changes", "fields", "said"), [
    ({"version": 2}, {}, "version was 1 in the baseline and is 2 now: score "),
    ({}, {"suite_digest": "s2"}, "the suite was humans_test version 1 (s1) in the baseline and is humans_test version 1 (s2) now: draw "),
    ({}, {"sampling": {"guidance_scale": 7.0, "device": "cpu"}}, "sampling setting guidance_scale was 4.5 in the baseline and is 7.0 now: draw "),
    ({"value": None, "num_scored": 0}, {}, "the candidate has no value on it")])
@pytest.mark.parametrize("with_scores", [True, False])
def test_what_cannot_be_compared_says_why_with_and_without_pairs(folder: Path, changes: dict, fields: dict, said: str, with_scores: bool):
    accepted(folder, "mine", scored(BEFORE, "first"))
    values = AFTER if changes.get("value", 0) is not None else [None] * 10
    run = accepted(folder, "other" if with_scores else "mine", scored(values, "second", changes={"hand_rate": changes}, **fields))
    sides = (find_side("mine", folder), find_side(str(run), folder)) if with_scores else latest_change("mine", folder)
    found = diff(*sides, SETTINGS)
    (row,) = found.metrics
    assert row.difference is None and row.reason.startswith(said) and found.paired == with_scores
    assert row.outcome == (None if not with_scores else "missing" if changes.get("value", 0) is None else "not_comparable")


def test_two_baselines_are_judged_pair_by_pair_as_a_run_is(folder: Path):
    with set_metric_registered():
        for name, values in (("a", BEFORE), ("b", AFTER)):
            accepted(folder, name, make_bundle({"hand_rate": values}, sets={SET_METRIC: values}, digest=name))
        found = diff(find_side("a", folder), find_side("b", folder), SETTINGS)
        report = compare(load_bundle(folder / "b"), load_bundle(folder / "a"), SETTINGS, "a")
        back = diff(find_side("b", folder), find_side("a", folder), SETTINGS)
    assert [(row.metric, row.difference, row.low, row.high, row.outcome) for row in found.metrics] == [
        (each.metric, each.difference, each.ci_low, each.ci_high, each.outcome) for each in report.verdicts]
    assert found.metrics[0].outcome == "improved" and back.metrics[0].outcome == "regressed"
    assert [row.difference for row in back.metrics] == [pytest.approx(-row.difference) for row in found.metrics]


@pytest.mark.parametrize("with_scores", [True, False])
def test_the_guard_is_held_against_the_guard(folder: Path, with_scores: bool):
    """The same metric on both suites, whose values must not be taken for each other."""
    for name, digest, values, guard in (("mine", "first", BEFORE, AFTER), ("other" if with_scores else "mine", "second", BEFORE, BEFORE)):
        accepted(folder, name, replace(scored(values, digest), guard=scored(guard, f"{digest} guard", suite="guard_test")))
    sides = [find_side(name, folder) for name in (("mine", "other") if with_scores else ("mine@1", "mine@2"))]
    own, guard = diff(*sides, SETTINGS).metrics
    assert (own.suite, own.before, own.difference) == ("humans_test", pytest.approx(0.45), 0.0)
    assert (guard.suite, guard.before, guard.difference) == ("guard_test", pytest.approx(0.65), pytest.approx(-0.2))
    assert guard.before_interval == (pytest.approx(0.65), pytest.approx(0.65)) and guard.after_interval == (pytest.approx(0.45), pytest.approx(0.45))


def test_settings_code_and_packages_that_changed_are_listed_and_places_are_not(folder: Path):
    config = {"name": "mine", "train": {"rank": 8, "target_modules": ["to_q"]}, "run": {"store": "here"}}
    first, second = (scored(BEFORE, digest, config=config) for digest in ("first", "second"))
    provenance = second.result.provenance.model_copy(update={"commit": "abc", "packages": {"torch": "2.2"}, "created": "2027-01-01T00:00:00+00:00"})
    changed = {**config, "train": {"rank": 16, "target_modules": ["to_q", "to_k"]}, "run": {"store": "there"}}
    accepted(folder, "mine", first)
    accepted(folder, "mine", replace(second, result=second.result.model_copy(update={"provenance": provenance, "config": changed})))
    changes = diff(*latest_change("mine", folder), SETTINGS).changes
    assert [(each.name, each.before, each.after) for each in changes] == [
        ("train.rank", 8, 16), ("train.target_modules", '["to_q"]', '["to_q", "to_k"]'),
        ("provenance.commit", "", "abc"), ("provenance.packages.torch", "not recorded", "2.2")]
    assert diff(find_side("mine", folder), find_side("mine@2", folder), SETTINGS).changes == ()


@pytest.mark.parametrize(("name", "said"), [
    ("mien", 'no baseline "mien" was accepted. Accepted: mine, tiny'), ("mine@2", r'was accepted 1 time\(s\): mine@1 to mine@1, not "mine@2"'),
    ("mine@0", 'not "mine@0"'), ("./nowhere", "it has no result.json")])
def test_a_side_that_is_not_there_is_one_error(folder: Path, name: str, said: str):
    accepted(folder, "mine", scored(BEFORE))
    with pytest.raises(BaselineError, match=said):
        find_side(name, folder)


def test_a_baseline_of_one_acceptance_and_a_run_have_nothing_before_them(folder: Path):
    run = accepted(folder, "mine", scored(BEFORE))
    with pytest.raises(BaselineError, match="was accepted once, so nothing came before"):
        latest_change("mine", folder)
    with pytest.raises(BaselineError, match="Only a baseline, by its name, has a state before"):
        latest_change(str(run), folder)
    (run / "scores.parquet").unlink()
    with pytest.raises(StoreError, match="scores.parquet is missing or damaged"):
        find_side(str(run), folder)


# The commands.

def asked(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 0
    out, err = capfd.readouterr()
    assert "error" not in err
    return out


def test_baselines_are_listed_with_what_they_are(folder: Path, capfd: pytest.CaptureFixture[str]):
    accepted(folder, "mine", scored(BEFORE, "first"), "start")
    accepted(folder, "mine", scored(AFTER, "second"), "better hands\n\x1b[31mred")
    where = ("--set", f"run.baselines={folder}")
    header, row, _ = asked(capfd, "baselines", "list", *where).splitlines()
    assert header.split()[:5] == ["baseline", "recipe", "suite", "images", "accepted"]
    assert row.startswith("mine      tiny    humans_test 1  10") and row.endswith(r"local    better hands\n\x1b[31mred")
    mine, tiny = json.loads(asked(capfd, "baselines", "list", "--json", *where))
    assert (mine["name"], mine["reason"], mine["acceptance"], mine["num_images"], mine["shipped"]) == ("mine", "better hands\n\x1b[31mred", 2, 10, False)
    assert (mine["suite"], mine["suite_version"], mine["recipe"], mine["sana_bench"]) == ("humans_test", 1, "tiny", "0.1.0")
    assert mine["num_bytes"] == sum(path.stat().st_size for path in (folder / "mine").rglob("*") if path.is_file())
    assert (tiny["name"], tiny["shipped"]) == ("tiny", True) and len(tiny["commit"]) == 40


def test_history_tells_every_acceptance(folder: Path, capfd: pytest.CaptureFixture[str]):
    accepted(folder, "mine", scored(BEFORE, "first"), "start")
    accepted(folder, "mine", scored(AFTER, "second"), "better hands")
    where = ("--set", f"run.baselines={folder}")
    _, first, second, hint = asked(capfd, "baselines", "history", "mine", *where).splitlines()
    assert first.startswith("mine@1") and first.endswith("start") and second.startswith("mine@2") and second.endswith("better hands")
    assert hint.endswith("sana-bench baselines diff mine")
    (mine,) = json.loads(asked(capfd, "baselines", "history", "mine", "--json", *where))
    assert [(each["reason"], each["result_digest"], each["metrics"][0]["value"]) for each in mine["history"]] == [
        ("start", "first", pytest.approx(0.45)), ("better hands", "second", pytest.approx(0.65))]


def test_a_diff_says_all_it_knows_and_gates_nothing(folder: Path, capfd: pytest.CaptureFixture[str]):
    """Exit code 0 where hands got worse: a gate is what a run is for."""
    accepted(folder, "mine", scored(AFTER, "first"))
    run = accepted(folder, "other", scored(BEFORE, "second"))
    where = ("--set", f"run.baselines={folder}")
    document = json.loads(asked(capfd, "baselines", "diff", "mine", str(run), "--json", *where))
    (row,) = document["metrics"]
    assert (document["paired"], row["outcome"], row["difference"]) == (True, "regressed", pytest.approx(-0.2)) and row["low"] < row["high"] < 0
    text = asked(capfd, "baselines", "diff", "mine", str(run), *where)
    assert "hand_rate" in text and "regressed" in text and "are the same" in text
    accepted(folder, "mine", scored(BEFORE, "third", changes={"hand_rate": {"version": 2}}))
    text = asked(capfd, "baselines", "diff", "mine", *where)
    assert "hand_rate: version was 1 in the baseline and is 2 now: score the baseline's variant" in text and "nothing is judged" in text


def test_an_accept_says_what_it_did(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    config = {"name": "mine", "run": {"baselines": str(folder)}}
    run = write_result_folder(scored(BEFORE, "first", config=config), tmp_path / "run")
    assert "accepted: " in asked(capfd, "accept", str(run), "--reason", "start")
    assert "what it was before: sana-bench baselines diff mine" in asked(capfd, "accept", str(run), "--reason", "again")
    document = json.loads(asked(capfd, "accept", str(run), "--reason", "thrice", "--json"))
    assert document["baseline"] == str(folder / "mine") and (document["reason"], document["acceptance"]) == ("thrice", 3)


@pytest.mark.parametrize(("words", "said"), [(("diff",), "diff takes one baseline"), (("diff", "a", "b", "c"), "diff takes one baseline"),
                                             (("lst",), 'Did you mean "list"?'), (("history", "mine"), 'no baseline "mine" was accepted')])
def test_a_wrong_call_is_one_error(folder: Path, words: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]):
    assert main(("baselines", *words, "--set", f"run.baselines={folder}")) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("sana-bench: error: ") and said in err and "Traceback" not in err


def test_states_of_other_noise_have_no_difference(folder: Path):
    """Of a past state no sample is kept, so that the setting has to tell it."""
    for digest, values, seed in (("first", BEFORE, 0), ("second", AFTER, 5)):
        accepted(folder, "mine", scored(values, digest, seed=100 + seed, config={"generate": {"seed": seed}}))
    (row,) = diff(*latest_change("mine", folder), SETTINGS).metrics
    assert row.difference is None and row.reason.startswith("generate.seed was 0 in the baseline and is 5 now: draw with --set generate.seed=0, or ")
