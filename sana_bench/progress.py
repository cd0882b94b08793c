"""Progress with time left: a bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

PLAIN_INTERVAL_S = 15.0
_part: ContextVar[str] = ContextVar("part", default="")
_is_silent: ContextVar[bool] = ContextVar("is_silent", default=False)


def current_part() -> str:
    """The label that `part_of_whole` gave."""
    return _part.get()


@contextmanager
def part_of_whole(label: str) -> Iterator[None]:
    """What goes on inside says to which part of something larger it belongs: `train LoRA (seed 2 of 3): 5/40`. Nothing where `label` is empty."""
    token = _part.set(label)
    try:
        yield
    finally:
        _part.reset(token)


@contextmanager
def silent() -> Iterator[None]:
    """What goes on inside shows no progress: another process shows the same."""
    token = _is_silent.set(True)
    try:
        yield
    finally:
        _is_silent.reset(token)


def format_seconds(seconds: float) -> str:
    """`75` -> `1:15`; `3700` -> `1:01:40`."""
    minutes, secs = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


class Progress:
    """Counts finished items of one long step, of which `total` may be unknown. Call `advance` after each item."""

    def __init__(self, description: str, total: int | None, done: int = 0):
        label = _part.get()
        self.description, self.total, self.done = f"{description} ({label})" if label else description, total, done
        self._done_before, self._start, self._last_line, self.note = done, time.monotonic(), 0.0, ""

    def advance(self, note: str = "") -> None:
        self.done, self.note = self.done + 1, note
        self._show()

    def tick(self) -> None:
        """Nothing was finished, but time has passed."""
        self._show()

    def line(self) -> str:
        elapsed, fresh = time.monotonic() - self._start, self.done - self._done_before
        if self.total is None:
            count = f"{self.done}, " if self.done else ""
            return f"{self.description}: {count}{format_seconds(elapsed)} gone"
        left = format_seconds(elapsed / fresh * (self.total - self.done)) if fresh else "?"
        note = f", {self.note}" if self.note else ""
        return f"{self.description}: {self.done}/{self.total}, {format_seconds(elapsed)} gone, {left} left{note}"

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._last_line >= PLAIN_INTERVAL_S or self.done == self.total:
            self._last_line = now
            print(self.line(), file=sys.stderr, flush=True)


class _SilentProgress(Progress):
    """Counts for itself."""

    def _show(self) -> None:
        return


class _BarProgress(Progress):
    """The same counter drawn by rich."""

    def __init__(self, description: str, total: int | None, done: int = 0):
        super().__init__(description, total, done)
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                   TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
        self.bar = Bar(*columns, console=Console(stderr=True))
        self._task = self.bar.add_task(self.description, total=total, completed=done, note="")

    def _show(self) -> None:
        self.bar.update(self._task, completed=self.done, note=self.note)


@contextmanager
def progress(description: str, total: int | None, done: int = 0) -> Iterator[Progress]:
    """Progress over `total` items, where that is known, of which `done` are there already (a resumed step)."""
    if _is_silent.get():
        yield _SilentProgress(description, total, done)
    elif sys.stderr.isatty():
        tracker = _BarProgress(description, total, done)
        with tracker.bar:
            yield tracker
    else:
        yield Progress(description, total, done)
