"""A command that trains elsewhere: run once, its output kept in a log, stopped with the run that started it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sana_bench.errors import ConfigError, StoreError, TrainingError
from sana_bench.progress import progress
from sana_bench.store import write_bytes
from sana_bench.training import supervisor

OUTPUT, LOG_FILE, DONE_FILE = "output", "command.log", "command.done"
PLACE_OF_OUTPUT = "{output}"
LAST_LINES, LAST_BYTES = 15, 8000


def run_command(command: Sequence[str], folder: Path) -> Path:
    """Run it to its end; return the folder that it wrote into. A command that has ended well in `folder` is not run again.

    One that failed or was killed starts again with what it left in its output folder, from which training scripts go on.

    Args:
        command: program and arguments, no shell; `{output}` in any of them stands for the folder to write into.
        folder: of the checkpoint.

    Raises:
        ConfigError: there is no such program, or no argument has `{output}`.
        TrainingError: it failed; the message has its last lines.
    """
    output, log = folder / OUTPUT, folder / LOG_FILE
    if (folder / DONE_FILE).exists():
        return output
    if not any(PLACE_OF_OUTPUT in word for word in command):
        raise ConfigError(f"train.command has no {PLACE_OF_OUTPUT}, which stands for the folder to write the weights into: {' '.join(command)}")
    output.mkdir(parents=True, exist_ok=True)
    code = _run([word.replace(PLACE_OF_OUTPUT, str(output)) for word in command], log)
    if code == supervisor.NOT_STARTED:
        raise ConfigError(f'train.command: "{command[0]}" could not be started: {last_lines(log)}')
    if code:
        raise TrainingError(f"train.command ended with exit code {code}; all it said is in {log}. Its last lines:\n{last_lines(log)}")
    write_bytes(folder / DONE_FILE, b"")
    return output


def _run(words: list[str], log: Path) -> int:
    """Exit code. Standard output and error are added to the log."""
    try:
        file = log.open("ab")
    except OSError as error:
        raise StoreError(f"cannot write {log}: {error.strerror}") from error
    with file, progress(f"run {Path(words[0]).name} (log: {log})", None) as tracker:
        started = subprocess.Popen([sys.executable, "-I", supervisor.__file__, *words], stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True)
        try:
            while True:
                try:
                    return started.wait(1)
                except subprocess.TimeoutExpired:
                    tracker.tick()
        finally:
            started.stdin.close()  # its sign to stop, where it still runs
            started.wait()


def last_lines(log: Path) -> str:
    """What the command said at the end."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LAST_BYTES))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-LAST_LINES:])
