"""Progress: true counts, time left that adds up, and stdout left alone."""

from __future__ import annotations

import pytest

from sana_bench import progress as module
from sana_bench.progress import Progress, format_seconds, progress


class Clock:
    """Time that moves only when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "0:00"), (9.6, "0:10"), (59.5, "1:00"), (75, "1:15"), (3599.4, "59:59"), (3700, "1:01:40")])
def test_seconds_read_as_a_clock(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_of_an_unknown_number_what_was_done_and_how_long_it_took_is_told(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    counter = Progress("answers", total=None)
    for _ in range(4):
        clock.now += 10
        counter.advance()
    assert capsys.readouterr().err == "answers: 1, 0:10 gone\nanswers: 3, 0:30 gone\n"


def test_time_left_comes_from_what_was_done_now(clock: Clock) -> None:
    """4 of 10 were there before. 2 more in 60 s make 30 s an item, and 4 are left: 2 minutes."""
    counter = Progress("draw", total=10, done=4)
    assert counter.line() == "draw: 4/10, 0:00 gone, ? left"
    clock.now += 60
    counter.advance()
    counter.advance("loss 0.5")
    assert counter.line() == "draw: 6/10, 1:00 gone, 2:00 left, loss 0.5"


def test_plain_lines_are_few_and_the_last_one_always_comes(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """100 items, one a second, a line every 15 s: at most 1 + 100 / 15 lines and the last."""
    with progress("draw", total=100) as counter:
        for _ in range(100):
            clock.now += 1
            counter.advance()
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert 2 <= len(lines) <= 8
    assert lines[-1] == "draw: 100/100, 1:40 gone, 0:00 left"


def test_a_terminal_gets_a_bar_with_the_same_counts(monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress("draw", total=3, done=1) as counter:
        counter.advance()
        counter.advance("loss 0.5")
    out, err = capsys.readouterr()
    assert out == ""
    assert "draw" in err and "3/3" in err and "loss 0.5" in err


def test_a_part_of_a_whole_says_which(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with module.part_of_whole("seed 2 of 3"), progress("train LoRA", 1) as tracker:
        tracker.advance()
    with progress("train LoRA", 1) as tracker, module.part_of_whole(""):
        tracker.advance()
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == ["train LoRA (seed 2 of 3)", "train LoRA"]
