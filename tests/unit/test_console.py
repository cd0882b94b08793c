"""What stands below the table of results: what a metric has to say beside its value, and why one has none."""

from __future__ import annotations

from sana_bench.console import result_notes
from sana_bench.records import MetricResult


def result(metric: str, **fields) -> MetricResult:
    usual = {"version": 1, "value": 0.5, "ci_low": None, "ci_high": None, "num_scored": 2, "num_unscored": 0, "unit": "share", "higher_is_better": True,
             "budget": 0.1, "extractor": "x", "extractor_digest": "d", "kind": "sample", "explanation": "e"}
    return MetricResult(metric=metric, **{**usual, **fields})


def test_a_note_and_the_reasons_for_no_value_are_said_and_nothing_else() -> None:
    results = (result("fd_x", note="2 images would read about 3"), result("hand_rate", unscored_reasons={"no hand expected": 1}),
               result("kid_x", value=None, num_scored=0, num_unscored=3, unscored_reasons={"no hand found": 2, "too small": 1}))
    assert result_notes(results) == ["fd_x: 2 images would read about 3", "kid_x: 2 × no hand found, 1 × too small"]
