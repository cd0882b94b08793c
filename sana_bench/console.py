"""What a command answers, and how it is shown: one JSON document for programs, or lines and tables for people."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

MISSING = "-"
NEWLINES = "\n\t"
JOINERS = "\u200c\u200d"
"""Format characters that emoji and some scripts are written with; they neither hide nor turn what stands beside them."""


@dataclass(frozen=True)
class Table:
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True)
class Markdown:
    """Written to the byte as it is: whoever made it has escaped what stands in records."""

    text: str


@dataclass(frozen=True)
class Reply:
    """A command's answer."""

    document: object
    """JSON-like."""
    text: list[str | Table | Markdown] = field(default_factory=list)
    code: int = 0
    """Exit code."""


def show(reply: Reply, as_json: bool, stream: TextIO) -> None:
    """Write the answer: exactly one JSON document, or its text."""
    if as_json:
        print(json.dumps(reply.document, indent=1), file=stream)
        return
    for part in reply.text:
        if isinstance(part, str):
            print(printable(part, keep=NEWLINES), file=stream)
        elif isinstance(part, Markdown):
            stream.write(part.text)
        elif stream.isatty():
            _show_drawn(part, stream)
        else:
            print(plain_table(part), file=stream)


def plain_table(table: Table) -> str:
    """Columns padded to the same width, two spaces apart; the same on every machine."""
    rows = [tuple(map(printable, row)) for row in (table.header, *table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _show_drawn(table: Table, stream: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(*table.header)
    for row in table.rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    Console(file=stream).print(drawn)


def printable(text: str, keep: str = "") -> str:
    """The text with control and format characters written out (`\\x1b`), but for those to keep: what stands in a record cannot steer a terminal."""
    return "".join(each if each.isprintable() or each in keep else each.encode("unicode_escape").decode() for each in text)


@contextlib.contextmanager
def only_the_answer_on_stdout() -> Iterator[TextIO]:
    """Give stdout to the answer alone: what libraries and child processes print meanwhile goes to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr), open(kept, "w", encoding="utf-8", closefd=False) as stream:
            yield stream
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4g}"


def megabytes(size: int | None) -> str:
    return MISSING if size is None else f"{size / 1e6:.1f}"


def interval(low: float | None, high: float | None) -> str:
    return MISSING if low is None or high is None else f"[{low:.3g}, {high:.3g}]"
