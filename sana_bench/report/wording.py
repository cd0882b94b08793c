"""How outcomes, numbers and settings are put into words."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sana_bench.console import JOINERS, printable


@dataclass(frozen=True)
class OutcomeWords:
    """An outcome in words and a symbol, so that colour is never the only sign."""

    label: str
    symbol: str
    tone: str
    """Colour class: good | bad | warn | plain."""


OUTCOMES = {
    "regressed": OutcomeWords("regressed", "▼", "bad"),
    "not_comparable": OutcomeWords("not comparable", "≠", "bad"),
    "missing": OutcomeWords("missing", "∅", "bad"),
    "inconclusive": OutcomeWords("inconclusive", "?", "warn"),
    "improved": OutcomeWords("improved", "▲", "good"),
    "unchanged": OutcomeWords("unchanged", "=", "plain"),
    "passed": OutcomeWords("passed", "✓", "good"),
}
"""By outcome, in the order in which a reader should see them."""

NOT_COMPARED = OutcomeWords("nothing compared", "∅", "warn")
"""Stands for the outcome of a report without a baseline, which gates treat as regressed."""

NOTHING = "–"
MAX_TEXT = 300
"""Characters of one text from a record, where room is short."""

TESTS = {"sign flips": "flipping the sign of prompts", "label permutation": "exchanging the sides of prompts", "t": "Student's test", "": ""}
"""By the test that a p-value is of."""


def one_line(text: str) -> str:
    """All of a text on one line, with control and format characters written out: they could turn around what stands beside them."""
    return printable(" ".join(text.split()), keep=JOINERS)


def clipped(text: str) -> str:
    """One line of printable characters, and no longer than anybody reads."""
    text = one_line(text)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT - 1]}…"


def number(value: float | None) -> str:
    """`0.1234` -> `0.123`; None -> `–`."""
    if value is None:
        return NOTHING
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.01 or size == 0 else 5
    return f"{value:,.{digits}f}".replace("-", "−")


def signed(value: float | None) -> str:
    """`0.1234` -> `+0.123`."""
    text = number(value)
    return f"+{text}" if value is not None and value > 0 else text


def interval(low: float | None, high: float | None) -> str:
    return NOTHING if low is None or high is None else f"{signed(low)} to {signed(high)}"


def limits(low: float | None, high: float | None) -> str:
    """An interval of a value, not of a difference: no sign where there is none to tell."""
    return NOTHING if low is None or high is None else f"{number(low)} to {number(high)}"


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.3g} %"


def probability(p_value: float) -> str:
    """`0.04321` -> `0.043`; no digits that were not measured."""
    return f"{p_value:.2g}" if p_value >= 0.001 else "less than 0.001"


def mebibytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f} MiB"


def as_toml(config: dict) -> str:
    """A recorded config as the recipe that would make it."""
    plain = [f"{key} = {_toml_value(value)}" for key, value in config.items() if not isinstance(value, dict)]
    tables = [f"\n[{key}]\n" + "\n".join(f"{name} = {_toml_value(value)}" for name, value in table.items())
              for key, table in config.items() if isinstance(table, dict)]
    return "\n".join(plain + tables)


def _toml_value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(each) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)
