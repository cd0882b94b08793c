"""junit.xml: what the outcome rests on as test cases, for CI services that read no other report."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from sana_bench.records import RegressionReport, Verdict
from sana_bench.report.verdict_text import verdict_label, verdict_line, verdict_text

_ILLEGAL = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 does not allow, which no escape can bring in, or discourages."""


def render_junit(report: RegressionReport, name: str, page: Path | None = None) -> bytes:
    """One `<testcase>` for each gate, or for each metric where there is no gate; a failure exactly where the verdict does not pass.

    The outcome of the whole report stands in the properties of the suite. Where nothing was judged, since neither side was measured, one test
    case fails and says so.

    Args:
        name: of the run, for the `<testsuite>`.
        page: report.html, as failures name it.

    Returns:
        UTF-8.
    """
    cases = [_case(verdict, report, page) for verdict in report.deciding] or [_nothing_judged(report)]
    failures = sum(case.find("failure") is not None for case in cases)
    counts = {"tests": str(len(cases)), "failures": str(failures), "errors": "0", "skipped": "0"}
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": _legal(name), "timestamp": _legal(report.candidate_provenance.created), **counts})
    _add_properties(suite, {"outcome": report.outcome, "headline": report.headline, "baseline_name": report.baseline_name,
                            "baseline_digest": report.baseline_digest, "candidate_digest": report.candidate_digest, "confidence": report.confidence})
    suite.extend(cases)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def properties_of(verdict: Verdict) -> dict[str, str | float]:
    """What programs read of a verdict; what is not known, or was not asked, is left out."""
    values = {"metric": verdict.metric, "suite": verdict.suite, "tag": verdict.tag, "group": verdict.group, "gate": verdict.gate,
              "outcome": verdict.outcome, "passed": str(verdict.passed).lower(), "baseline": verdict.baseline, "candidate": verdict.candidate,
              "difference": verdict.difference, "ci_low": verdict.ci_low, "ci_high": verdict.ci_high, "budget": verdict.budget, "floor": verdict.floor,
              "ceiling": verdict.ceiling, "unit": verdict.unit, "p_value": verdict.p_value, "p_adjusted": verdict.p_adjusted,
              "num_pairs": verdict.num_pairs, "num_prompts": verdict.num_prompts, "num_training_seeds": verdict.num_training_seeds,
              "num_prompts_needed": verdict.num_prompts_needed, "reason": verdict.reason}
    return {name: value for name, value in values.items() if value not in (None, "")}


def _case(verdict: Verdict, report: RegressionReport, page: Path | None) -> ElementTree.Element:
    case = ElementTree.Element("testcase", {"classname": _legal(verdict.suite), "name": _legal(verdict_label(verdict))})
    _add_properties(case, properties_of(verdict))
    text = _legal(verdict_text(verdict, report, page))
    if verdict.passed:
        ElementTree.SubElement(case, "system-out").text = text
    else:
        ElementTree.SubElement(case, "failure", {"type": verdict.outcome, "message": _legal(verdict_line(verdict))}).text = text
    return case


def _nothing_judged(report: RegressionReport) -> ElementTree.Element:
    case = ElementTree.Element("testcase", {"classname": "sana-bench", "name": "nothing judged"})
    ElementTree.SubElement(case, "failure", {"type": "missing", "message": _legal(report.headline)})
    return case


def _add_properties(element: ElementTree.Element, values: dict[str, str | float]) -> None:
    properties = ElementTree.SubElement(element, "properties")
    for name, value in values.items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": _legal(str(value))})


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)
