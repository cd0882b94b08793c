"""Runs a command that ends with whoever started it: a program of its own, without anything of sana-bench.

    python -I supervisor.py PROGRAM ARGUMENT ...

Its standard input is a pipe that the starter holds open. Once that is closed, which the system does for a process that was killed in whatever way,
all that the command started is stopped: asked first, so that it can save its state, and killed after GRACE_SECONDS. The exit code is the command's.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys

GRACE_SECONDS = 30
POLL_SECONDS = 0.2
NOT_STARTED = 127


def supervise(words: list[str]) -> int:
    """Run the command in a process group of its own; return its exit code."""
    try:
        command = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{words[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return NOT_STARTED
    while command.poll() is None:
        if select.select([sys.stdin], [], [], POLL_SECONDS)[0] and not os.read(sys.stdin.fileno(), 4096):
            _stop(command)
    _signal_group(command, signal.SIGKILL)  # what it left running works for nobody
    return command.returncode if command.returncode >= 0 else 128 - command.returncode


def _stop(command: subprocess.Popen) -> None:
    """Stop the command and its descendants, also those that went into groups of their own, as the workers of torchrun do."""
    import psutil

    try:
        descendants = psutil.Process(command.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        descendants = []
    _signal_group(command, signal.SIGTERM)
    try:
        command.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        command.kill()
        command.wait()
    for process in psutil.wait_procs(descendants, timeout=1)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _signal_group(command: subprocess.Popen, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(command.pid, number)


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1:]))
