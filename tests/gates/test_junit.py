"""junit.xml and the text of a verdict: the outcome of the report and no other, with every text harmless."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sana_bench.records import RegressionReport, Verdict, WorstSample
from sana_bench.report import write_report
from sana_bench.report.junit import properties_of, render_junit
from sana_bench.report.verdict_text import MAX_WORST, one_line, verdict_label, verdict_text
from tests.report_fixture import HOSTILE, METRICS, PROVENANCE, make_run, make_suite

STEERING = "\x1b[2J\x1b]0;title\x07\r\n\u202e\x00\ud800\ufffe" + HOSTILE


def verdict(**changes) -> Verdict:
    return Verdict(**{"metric": "hand_rate", "suite": "humans_test", "outcome": "regressed", "passed": False, "baseline": 0.8, "candidate": 0.6,
                      "difference": -0.2, "ci_low": -0.3, "ci_high": -0.1, "budget": 0.05, "num_pairs": 24, "num_prompts": 12, "test": "sign flips",
                      "p_value": 0.001, "p_adjusted": 0.004, "smallest_detectable_effect": 0.14, "num_prompts_needed": None, "unit": "share",
                      "higher_is_better": True, "reason": "worse by 0.2 share", **changes})


def worst(number: int, metric: str = "hand_rate") -> tuple[WorstSample, ...]:
    return tuple(WorstSample(sample_id=f"p{index}_0", prompt_id=f"p{index}", metric=metric, baseline=0.9, candidate=0.25, difference=-0.65, harm=13.0)
                 for index in range(number))


def report(verdicts: Sequence[Verdict] = (), gates: Sequence[Verdict] = (), **changes) -> RegressionReport:
    return RegressionReport(**{"outcome": "regressed", "headline": "Regressed.", "verdicts": tuple(verdicts), "gates": tuple(gates), "worst_samples": (),
                               "baseline_name": "tiny", "baseline_digest": "b", "candidate_digest": "c", "baseline_provenance": None,
                               "candidate_provenance": PROVENANCE, "confidence": 0.95, "num_resamples": 2000, "seed": 0, **changes})


def parsed(document: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(document)


def test_a_case_for_each_metric_and_a_failure_exactly_where_it_does_not_pass() -> None:
    root = parsed(render_junit(report([verdict(), verdict(metric="face_rate", outcome="unchanged", passed=True)]), "mine"))
    (suite,) = root
    assert [root.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["2", "1", "0", "0"] == [
        suite.get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert suite.get("name") == "mine" and suite.get("timestamp") == PROVENANCE.created
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert set(cases) == {"hand_rate[humans_test]", "face_rate[humans_test]"}
    failure = cases["hand_rate[humans_test]"].find("failure")
    assert failure.get("type") == "regressed" and failure.get("message") == "hand_rate[humans_test] regressed: worse by 0.2 share"
    assert cases["face_rate[humans_test]"].find("failure") is None


def test_where_there_are_gates_only_they_are_cases() -> None:
    root = parsed(render_junit(report([verdict()], [verdict(gate="faces", metric="face_rate", outcome="inconclusive", passed=True)], outcome="passed"), "mine"))
    assert [case.get("name") for case in root.iter("testcase")] == ["faces"] and root.get("failures") == "0"


def test_the_verdict_and_not_its_outcome_says_what_fails() -> None:
    """Inconclusive is red or green as the gate says."""
    gates = [verdict(gate="a", outcome="inconclusive", passed=False), verdict(gate="b", outcome="inconclusive", passed=True)]
    failures = {case.get("name"): case.find("failure") for case in parsed(render_junit(report(gates=gates), "mine")).iter("testcase")}
    assert failures["b"] is None and failures["a"].get("message").startswith("a inconclusive: ")


def test_nothing_judged_is_not_green() -> None:
    root = parsed(render_junit(report(headline="Nothing can be compared."), "mine"))
    assert (root.get("tests"), root.get("failures")) == ("1", "1") and root.find(".//failure").get("message") == "Nothing can be compared."


def test_properties_are_the_numbers_of_the_verdict_and_what_is_unknown_is_left_out() -> None:
    known = properties_of(verdict(tag="portrait"))
    assert (known["baseline"], known["difference"], known["p_adjusted"], known["tag"], known["passed"]) == (0.8, -0.2, 0.004, "portrait", "false")
    assert not {"group", "gate", "floor", "num_prompts_needed"} & known.keys()
    lost = properties_of(verdict(outcome="missing", candidate=None, difference=None, ci_low=None, ci_high=None, p_value=None, p_adjusted=None))
    assert not {"candidate", "difference", "ci_low", "p_value"} & lost.keys() and lost["baseline"] == 0.8
    assert properties_of(verdict(difference=0.0))["difference"] == 0.0  # zero is known
    xml = parsed(render_junit(report([verdict(difference=1 / 3)]), "mine"))
    assert float(xml.find(".//testcase//property[@name='difference']").get("value")) == 1 / 3


def test_text_holds_the_table_and_the_pairs_that_lost_most() -> None:
    told = verdict(gate="hands close up", tag="portrait", ceiling=0.95, worst=worst(MAX_WORST + 2), num_training_seeds=3)
    lines = verdict_text(told, report(gates=[told]), Path("/runs/report.html")).splitlines()
    rows = dict(line.split("  ", 1) for line in lines if "  " in line)
    told = {name: value.strip() for name, value in rows.items()}
    assert lines[0] == "hands close up regressed: worse by 0.2 share" and lines[-1] == "report: /runs/report.html"
    assert told["metric"] == "hand_rate (higher is better)" and told["slice"] == "humans_test, tag portrait"
    assert (told["baseline"], told["candidate"], told["difference"], told["95 % interval"]) == ("0.800", "0.600", "−0.200 share", "−0.300 to −0.100")
    assert (told["budget"], told["ceiling"], told["pairs"], told["training seeds"]) == ("0.050 share", "0.950", "24 of 12 prompts", "3")
    assert (told["p-value"], told["p-value after Holm"]) == ("0.001, sign flips", "0.004") and "floor" not in told
    assert told["p0_0"].split() == ["p0", "0.900", "0.250", "−0.650", "13.0"]
    assert sum(line.startswith("p") and "_0 " in line for line in lines) == MAX_WORST


def test_an_inconclusive_verdict_says_how_many_prompts_more() -> None:
    text = verdict_text(verdict(outcome="inconclusive", num_prompts_needed=96), report(), None)
    assert "96, 84 more than now" in text and "0.140 share, in 80 % of such runs" in text and "report:" not in text


def test_what_was_not_compared_has_no_difference_budget_or_pairs() -> None:
    told = verdict(outcome="regressed", baseline=None, difference=None, ci_low=None, ci_high=None, p_value=None, p_adjusted=None, floor=0.9, num_pairs=0,
                   smallest_detectable_effect=None, reason="below the floor")
    assert [line.split("  ")[0] for line in verdict_text(told, report(), None).splitlines()[2:]] == ["metric", "slice", "baseline", "candidate", "floor"]


def test_without_gates_the_pairs_are_those_of_the_report_that_lost_most_on_the_metric() -> None:
    held = report([verdict()], worst_samples=(*worst(1), *worst(2, "face_rate")[1:]), guard_worst_samples=worst(3)[2:])
    assert "p0_0" in verdict_text(held.verdicts[0], held, None)
    assert not {"p1_0", "p2_0"} & set(verdict_text(held.verdicts[0], held, None).split())
    assert "p2_0" in verdict_text(verdict(suite="guard"), held, None)


def test_a_twin_of_a_text_from_a_record_cannot_steer_or_break_anything() -> None:
    hostile = verdict(metric=STEERING, suite=STEERING, tag=STEERING, gate=STEERING, unit=STEERING, reason=STEERING,
                      worst=(worst(1)[0].model_copy(update={"prompt_id": STEERING}),))
    held = report(gates=[hostile], headline=STEERING, baseline_name=STEERING)
    text = verdict_text(hostile, held, None)
    assert all(character.isprintable() or character == "\n" for character in text) and "手" in text
    root = parsed(render_junit(held, STEERING))
    assert [element.tag for element in root.iter() if element.tag not in ("properties", "property")] == ["testsuites", "testsuite", "testcase", "failure"]
    assert "<script>alert" in root.find(".//failure").text and root.find(".//testcase").get("name") == verdict_label(hostile)
    assert "::" not in verdict_label(verdict(gate="a::b"))
    assert one_line("a\n b\x1b\u202e") == "a b\\x1b\\u202e"


def test_the_report_of_a_run_has_it_beside(tmp_path: Path) -> None:
    made, candidate, baseline = make_run(tmp_path, make_suite(6), guard=True)
    write_report(tmp_path / "run", made, candidate, baseline)
    cases = [case.get("name") for case in ElementTree.parse(tmp_path / "run" / "junit.xml").iter("testcase")]
    assert cases == [f"{row[0]}[{suite}]" for suite in ("humans_test", "guard_test") for row in METRICS]


def test_a_verdict_is_found_by_metric_and_slice() -> None:
    own, guard = verdict(), verdict(suite="guard", difference=-0.1)
    slice_, gate = verdict(gate="a", tag="portrait"), verdict(gate="b", budget=0.5)
    held = report([own, guard], [slice_, gate])
    assert held.verdict("hand_rate", tag="portrait") == slice_
    assert held.verdict("hand_rate") == gate  # what decides comes first
    assert held.verdict("hand_rate", suite="guard") == guard == report([guard]).verdict("hand_rate")
    assert report([own, guard], [verdict(gate="c", suite="guard")]).verdict("hand_rate") == own
    for asked in ({"tag": "portrat"}, {"suite": "gard"}, {"group": "gender=feminine"}):
        with pytest.raises(LookupError, match="There are: hand_rate guard, hand_rate humans_test, hand_rate humans_test portrait"):
            held.verdict("hand_rate", **asked)
