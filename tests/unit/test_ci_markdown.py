"""What a run says in a CI system: the verdict of its record, whole rows, never more bytes than allowed, and nothing that a text of it makes."""

from __future__ import annotations

import json
import re

import cmarkgfm
import pytest

from sana_bench.ci.markdown import COMMENT_BYTES, MARKER, SUMMARY_BYTES, read_run, render_comment, render_summary
from sana_bench.cli import main
from sana_bench.errors import ConfigError, StoreError
from sana_bench.records import RegressionReport
from sana_bench.store import read_record, write_record
from tests.report_fixture import HOSTILE, make_run, make_suite

LONG = f"{HOSTILE} 手🖐️" * 6


def gate(report: RegressionReport, name: str, outcome: str, passed: bool, **changes):
    own = next(each for each in report.verdicts if each.metric == "hand_rate")
    return own.model_copy(update={"gate": name, "outcome": outcome, "passed": passed, "worst": report.worst_samples[:2], **changes})


@pytest.fixture
def run(tmp_path):
    """(write a changed report, run folder)"""
    report, folder, _ = make_run(tmp_path, make_suite(6), guard=True)

    def write(**changes):
        write_record(folder / "regression.json", report.model_copy(update=changes))
        return read_run(folder)

    write()
    return write, folder, report


def rows(markdown: str) -> list[list[str]]:
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in markdown.splitlines() if line.startswith("| ")]


def test_the_summary_says_what_the_record_says(run):
    write, folder, report = run
    text = render_summary(read_run(folder))
    assert text.startswith("## ▼ Regressed: of 7 metrics, 1 got worse (hand_shape_deviation)")
    found = {row[0].split()[0]: row for row in rows(text) if len(row) == 8 and row[0] != "metric"}
    assert {name: row[6].split(" ", 1)[1] for name, row in found.items()} == {each.metric: each.outcome.replace("_", " ") for each in report.verdicts}
    assert "### Guard: guard_test" in text and text.index("### Metrics") < text.index("### Guard") < text.index("### Worst pairs")
    assert "| p0_0 | person 0 | hand_shape_deviation |" in text and "### Gates" not in text


def test_gates_come_first_and_say_whether_they_passed(run):
    write, folder, report = run
    text = render_summary(write(gates=(gate(report, "hands there", "unchanged", True), gate(report, "hands right", "improved", False, floor=0.9, reason="below the floor")),
                                outcome="regressed"))
    assert text.index("### Gates") < text.index("### Metrics")
    found = {row[0]: row for row in rows(text) if len(row) == 9}
    assert found["hands there"][1] == "✓ yes" and found["hands right"][1] == "✗ **no**"
    assert found["hands right"][7] == "at least 0.900, at most 0.050 below the baseline (share)" and found["hands right"][8] == "below the floor"
    comment = render_comment(write(gates=(gate(report, "a", "unchanged", True), gate(report, "b", "inconclusive", False))))
    assert [row[0] for row in rows(comment)[1:]] == ["b", "a"], "those that failed first, and no metric that decides nothing"


@pytest.mark.parametrize(("outcome", "symbol"), [("passed", "✓"), ("regressed", "▼")])
def test_nothing_is_decided_here(run, outcome, symbol):
    """The words follow the record's outcome, whatever its verdicts look like."""
    write, folder, report = run
    verdicts = tuple(each.model_copy(update={"outcome": "unchanged" if outcome == "regressed" else "regressed"}) for each in report.verdicts)
    for text in (render_summary(write(outcome=outcome, verdicts=verdicts)), render_comment(write(outcome=outcome, verdicts=verdicts))):
        assert f"## {symbol} " in text and f"**{outcome}**" in text


def test_without_a_baseline_it_is_said(run):
    write, folder, report = run
    assert "**nothing compared**" in render_comment(write(baseline_provenance=None, outcome="regressed")) and "no baseline" in render_summary(write(baseline_provenance=None))
    passed = render_comment(write(baseline_provenance=None, outcome="passed", gates=(gate(report, "floor", "unchanged", True),)))
    assert "**passed**" in passed, "gates on floors need no baseline"


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    """5000 gates and 500 metrics, each with long hostile texts of several bytes a character."""
    report, folder, _ = make_run(tmp_path_factory.mktemp("huge"), make_suite(6))
    gates = tuple(gate(report, f"{index} {LONG}", "regressed", index % 2 == 0, reason=LONG, unit=LONG, metric=LONG) for index in range(5000))
    verdicts = tuple(report.verdicts[0].model_copy(update={"metric": f"{index} {LONG}", "reason": LONG, "unit": LONG}) for index in range(500))
    write_record(folder / "regression.json", report.model_copy(update={"headline": LONG, "gates": gates, "verdicts": verdicts, "baseline_name": LONG}))
    records = read_run(folder)
    return records, {render: render(records, 10 ** 9) for render in (render_summary, render_comment)}


@pytest.mark.parametrize("limit", [8192, COMMENT_BYTES, SUMMARY_BYTES])
@pytest.mark.parametrize("render", [render_summary, render_comment])
def test_a_huge_hostile_report_is_cut_at_whole_rows(huge, render, limit):
    records, whole_by = huge
    whole, text = whole_by[render], render(records, limit)
    assert len(text.encode()) <= limit < len(whole.encode())
    body, note = text.rsplit("\n\n", 1)
    kept = body.rstrip("\n").splitlines()
    assert whole.splitlines()[:len(kept)] == kept, "a beginning of the whole, line by line"
    said = int(re.search(r"\*\*Cut here\*\*: ([\d,]+) more lines", note)[1].replace(",", ""))
    assert abs(said - (len(whole.splitlines()) - len(kept))) <= 2  # empty lines at the seam
    assert len(text.encode()) > limit * 0.5, "no more is left out than must be"
    page = cmarkgfm.github_flavored_markdown_to_html(text)
    shown = sum(line.startswith("| ") for line in kept)
    assert page.count("<tr>") == shown >= 1, "every row that is left is a row of a table"
    assert not re.search(r"<(script|img|a) ", page) and "@me" not in page


def test_a_table_without_a_row_is_left_out_with_its_head(run):
    write, folder, report = run
    wide = tuple(gate(report, "手" * 300, "regressed", False, reason="&" * 300, metric="x") for _ in range(3))
    records = write(headline="&" * 300, gates=wide, verdicts=())
    sizes = {limit: render_summary(records, limit) for limit in range(8192, 8193 + 4000, 250)}
    for text in sizes.values():
        assert ("| gate |" in text) == bool([row for row in rows(text) if row[0].startswith("手")])


def test_what_fits_has_no_note(run):
    write, folder, report = run
    records = write(gates=tuple(gate(report, f"{index} {HOSTILE}", "regressed", False) for index in range(50)))
    text = render_summary(records)
    size = len(text.encode())
    assert "Cut here" not in text and render_summary(records, size) == text and "Cut here" in render_summary(records, size - 1)


def test_a_limit_in_which_nothing_can_be_said_is_refused(run):
    with pytest.raises(ConfigError, match="too small to say anything: give at least 8192"):
        render_summary(read_run(run[1]), 100)


def test_the_command_prints_it_and_succeeds_whatever_the_verdict(run, capfd):
    write, folder, report = run
    assert read_record(folder / "regression.json", RegressionReport).outcome == "regressed"
    assert main(["ci", "comment", str(folder), "--link", "https://github.com/us/models/actions/runs/7"]) == 0
    text = capfd.readouterr().out
    assert text.splitlines()[0] == MARKER and "[Report, JUnit and log](https://github.com/us/models/actions/runs/7)" in text
    assert main(["ci", "summary", str(folder), "--limit", "9000", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["bytes"] == len(document["markdown"].encode()) <= 9000


@pytest.mark.parametrize("name", ["\u200b\u2060" * 200, "\U000e0041" * 400])
def test_what_the_command_prints_is_what_was_cut(run, capfdbinary, name):
    """To the byte, with gates whose names no terminal would show."""
    write, folder, report = run
    write(gates=tuple(gate(report, f"{index} {name}", "regressed", False, reason=name) for index in range(200)))
    for action in ("comment", "summary"):
        assert main(["ci", action, str(folder), "--limit", "60000"]) == 0
        out = capfdbinary.readouterr().out
        assert 30000 < len(out) <= 60000 and b"**Cut here**" in out
        assert main(["ci", action, str(folder), "--limit", "60000", "--json"]) == 0
        assert json.loads(capfdbinary.readouterr().out)["markdown"].encode() == out


def test_what_steers_a_reader_is_written_out_and_an_emoji_is_not(run, capfd):
    write, folder, report = run
    write(gates=(gate(report, "@team 👩\u200d💻 \x1b[31m \u202egpj.exe", "regressed", False),))
    assert main(["ci", "comment", str(folder)]) == 0
    text = capfd.readouterr().out
    assert "| @\u200bteam 👩\u200d💻 " in text and "\\u200" not in text
    assert not {"\x1b", "\u202e"} & set(text) and "x1b" in text and "u202egpj.exe" in text


@pytest.mark.parametrize(("words", "part"), [
    (["summary"], "takes a run folder"), (["init", "somewhere"], "init takes no run folder"), (["comment", "{run}", "--link", "javascript:alert(1)"], "--link"),
    (["comment", "{run}", "--link", "https://a.b/) [x](https://evil"], "--link"), (["summary", "{run}", "--link", "https://a.b"], "--link belongs to comment"),
    (["summary", "nowhere"], "cannot read nowhere/regression.json"), (["summary", "{run}", "--limit", "7"], "too small")])
def test_a_wrong_command_is_one_error(run, capfd, words, part):
    assert main(["ci", *(word.replace("{run}", str(run[1])) for word in words)]) == 2
    out, err = capfd.readouterr()
    assert out == "" and part in err and "Traceback" not in err


def test_a_damaged_record_is_one_error(run):
    (run[1] / "regression.json").write_text("{")
    with pytest.raises(StoreError, match="regression.json is not a valid RegressionReport"):
        read_run(run[1])
