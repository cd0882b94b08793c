"""A command that trains: its output is kept, its failure shown, and nothing of it outlives the run that started it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sana_bench.errors import ConfigError, TrainingError
from sana_bench.shipped import PACKAGE
from sana_bench.training.command import DONE_FILE, LOG_FILE, run_command

WAIT_SECONDS = 60


def test_the_output_folder_takes_the_place_of_the_braces_and_no_shell_reads_the_words(tmp_path):
    code = "import sys, pathlib; pathlib.Path(sys.argv[1], 'said').write_text(repr(sys.argv[2:])); print('out'); print('err', file=sys.stderr)"
    output = run_command([sys.executable, "-c", code, "{output}", "--to={output}/x", "$HOME; exit 3", "{other}"], tmp_path)
    assert output == tmp_path / "output"
    assert (output / "said").read_text() == repr([f"--to={output}/x", "$HOME; exit 3", "{other}"])
    assert sorted((tmp_path / LOG_FILE).read_text().split()) == ["err", "out"]


def test_a_failure_shows_the_exit_code_and_the_last_lines(tmp_path):
    code = "print('\\n'.join(f'line {i}' for i in range(100))); raise SystemExit(3)  # {output}"
    with pytest.raises(TrainingError, match="exit code 3") as raised:
        run_command([sys.executable, "-c", code], tmp_path)
    assert "line 99" in str(raised.value) and "line 85" in str(raised.value) and "line 84" not in str(raised.value)
    assert not (tmp_path / DONE_FILE).exists()


def test_a_failed_command_goes_on_with_what_it_left(tmp_path):
    code = "import pathlib, sys; path = pathlib.Path(sys.argv[1], 'state'); path.exists() or (path.touch(), sys.exit(1))"
    command = [sys.executable, "-c", code, "{output}"]
    with pytest.raises(TrainingError):
        run_command(command, tmp_path)
    assert (run_command(command, tmp_path) / "state").exists()


@pytest.mark.parametrize(("command", "message"), [(["no-such-program", "{output}"], "no-such-program"), (["true"], "has no {output}")])
def test_a_command_that_cannot_be_run_is_one_clear_error(tmp_path, command, message):
    with pytest.raises(ConfigError, match=message):
        run_command(command, tmp_path)


NEST = """
import os, pathlib, signal, subprocess, sys
sleeper = [sys.executable, "-c", "import signal; signal.pause()"]
mine, apart = subprocess.Popen(sleeper), subprocess.Popen(sleeper, start_new_session=True)
temporary = pathlib.Path(sys.argv[1], "unfinished")
temporary.write_text(" ".join(str(each) for each in (os.getpid(), mine.pid, apart.pid)))
temporary.rename(temporary.with_name("pids"))
signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_run_however_it_ends(tmp_path, number):
    code = f"from pathlib import Path; from sana_bench.training.command import run_command; run_command([{sys.executable!r}, '-c', {NEST!r}, '{{output}}'], Path({str(tmp_path)!r}))"
    run = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, cwd=PACKAGE.parent)
    pids = tmp_path / "output" / "pids"
    while not pids.exists():
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(timeout=0.02)
    processes = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
    assert len(processes) == 3 and all(process.is_running() for process in processes)
    run.send_signal(number)
    run.communicate()
    assert psutil.wait_procs(processes, timeout=WAIT_SECONDS)[1] == []
    assert not Path(tmp_path, DONE_FILE).exists()


def test_what_a_command_leaves_running_is_stopped_when_it_ends(tmp_path):
    code = "import pathlib, subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']); pathlib.Path(sys.argv[1], 'pid').write_text(str(child.pid))"
    pid = int((run_command([sys.executable, "-c", code, "{output}"], tmp_path) / "pid").read_text())
    try:
        psutil.Process(pid).wait(timeout=WAIT_SECONDS)
    except psutil.NoSuchProcess:
        pass
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
