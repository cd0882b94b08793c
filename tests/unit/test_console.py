"""How answers are shown: what stands below the table of results, and that nothing in a record steers a terminal."""

from __future__ import annotations

import io

from sana_bench.commands.answers import result_notes
from sana_bench.console import Reply, Table, show
from sana_bench.records import MetricResult


def result(metric: str, **fields) -> MetricResult:
    usual = {"version": 1, "value": 0.5, "ci_low": None, "ci_high": None, "num_scored": 2, "num_unscored": 0, "unit": "share", "higher_is_better": True,
             "budget": 0.1, "extractor": "x", "extractor_digest": "d", "kind": "sample", "explanation": "e"}
    return MetricResult(metric=metric, **{**usual, **fields})


def test_a_note_and_the_reasons_for_no_value_are_said_and_nothing_else() -> None:
    results = (result("fd_x", note="2 images would read about 3"), result("hand_rate", unscored_reasons={"no hand expected": 1}),
               result("kid_x", value=None, num_scored=0, num_unscored=3, unscored_reasons={"no hand found": 2, "too small": 1}))
    assert result_notes(results) == ["fd_x: 2 images would read about 3", "kid_x: 2 × no hand found, 1 × too small"]


def test_control_characters_of_records_are_written_out() -> None:
    """Escape sequences, a carriage return that hides what came before, text turned right to left; in a cell a new line too."""
    hostile, stream = "fine\x1b[2J\rgone \u202e\x07\x9b\n\tend × é 手", io.StringIO()
    show(Reply({}, [hostile, Table(("reason",), [(hostile,)])]), as_json=False, stream=stream)
    assert stream.getvalue() == ("fine\\x1b[2J\\rgone \\u202e\\x07\\x9b\n\tend × é 手\n"
                                 "reason\nfine\\x1b[2J\\rgone \\u202e\\x07\\x9b\\n\\tend × é 手\n")
