"""Start several processes that train together, through accelerate, and wait for them.

They end with the process that started them, in whatever way that ends (supervisor.py).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from pydantic import TypeAdapter

import sana_bench.errors
from sana_bench.config import RunConfig
from sana_bench.console import NEWLINES, printable
from sana_bench.errors import ConfigError, SanaBenchError, TrainingError
from sana_bench.progress import current_part
from sana_bench.shipped import PACKAGE
from sana_bench.training import TrainedWeights, TrainingContext, supervisor
from sana_bench.training.command import last_lines
from sana_bench.workers import num_processors

WORK_FOLDER = ".processes"
"""In the checkpoint's folder: what the processes are told, and what they say."""
TASK_FILE, WEIGHTS_FILE, FAILURE_FILES, LOG_FILE = "task.json", "trained.json", "failure-{}.json", "accelerate.log"
TRAINED = TypeAdapter(TrainedWeights)
ENDED_BY_SIGNAL = re.compile(r"Signal \d+ \((?!SIGTERM)\w+\)")
"""As accelerate's log tells it. SIGTERM is how it ends the others."""


def launch(context: TrainingContext) -> TrainedWeights:
    """Train in `train.num_processes` processes.

    Raises:
        SanaBenchError: as a process raised it, the first one where several did; TrainingError where one failed in another way.
    """
    settings = context.config.train
    check_devices(context.config)
    work = context.folder / WORK_FOLDER
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / TASK_FILE).write_text(json.dumps({
        "config": context.config.model_dump(mode="json"), "store": str(context.store.root.absolute()), "digest": context.digest,
        "base_digest": context.base_digest, "part": current_part()}))
    threads = max(1, num_processors() // settings.num_processes)
    code = _run([sys.executable, "-m", __name__, str(work / LOG_FILE), "--config_file", str(config_file(settings.strategy)),
                 "--num_processes", str(settings.num_processes), "--num_cpu_threads_per_process", str(threads),
                 "-m", "sana_bench.training.worker", str(work)])
    if code:
        raise failure_of(work, code)
    weights = TRAINED.validate_json((work / WEIGHTS_FILE).read_bytes())
    shutil.rmtree(work)
    return weights


def config_file(strategy: str) -> Path:
    """What `accelerate launch --config_file` takes; for use by hand as well."""
    return PACKAGE / "training" / "accelerate" / f"{strategy}.yaml"


def check_devices(config: RunConfig) -> None:
    """Raises ConfigError where there is no device for each process."""
    import torch

    from sana_bench.models import resolve_device

    count, device = config.train.num_processes, resolve_device(config.run.device)
    if device not in ("cuda", "cpu"):
        raise ConfigError(f"train.num_processes is {count}, and all would share {device} (run.device); use --set run.device=cuda, which gives each a GPU "
                          f"of its own, or --set train.num_processes=1")
    if device == "cuda" and torch.cuda.device_count() < count:
        raise ConfigError(f"train.num_processes is {count}, and this machine has {torch.cuda.device_count()} GPU(s); each process needs one of its own. "
                          f"Use --set train.num_processes={torch.cuda.device_count()}")


def _run(words: list[str]) -> int:
    """Exit code. The processes are in a session of their own: a Ctrl-C reaches this one alone, which then stops them."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    started = subprocess.Popen([sys.executable, "-I", supervisor.__file__, *words], stdin=subprocess.PIPE, stdout=2, env=environment,
                               start_new_session=True)
    try:
        return started.wait()
    finally:
        started.stdin.close()  # its sign to stop, where it still runs
        started.wait()


def failure_of(work: Path, code: int) -> SanaBenchError:
    """What is told of processes that failed. The first to fail is the one to hear: the others lose their connection to it."""
    failures = sorted((json.loads(path.read_text()) for path in work.glob(FAILURE_FILES.format("*"))), key=lambda each: each["time_ns"])
    first = failures[0] if failures else None
    kind = getattr(sana_bench.errors, first["kind"], None) if first else None
    if kind:
        return kind(first["message"])
    log = work / LOG_FILE
    killed = ENDED_BY_SIGNAL.search(log.read_text(errors="replace")) if log.exists() else None
    if killed:
        return TrainingError(f"a training process was ended from outside ({killed[0]}), as happens where memory runs out. The last training state is kept, and "
                             f"the same command goes on from there")
    if not first:
        said = f"; accelerate's last lines:\n{last_lines(log)}" if log.exists() else ""
        return TrainingError(f"the training processes ended with exit code {code}, and none of them said why{said}")
    sys.stderr.write(printable(first["traceback"], keep=NEWLINES))
    return TrainingError(f"training process {first['process']} failed: {first['kind']}: {first['message']}. The last training state is kept")


def main(log: str, *arguments: str) -> int:
    """`accelerate launch`, what it says itself into a log: what the processes say goes past it."""
    with open(log, "w") as file, redirect_stdout(file), redirect_stderr(file):
        try:
            from accelerate.commands.launch import launch_command, launch_command_parser

            launch_command(launch_command_parser().parse_args(arguments))
        except BaseException:
            traceback.print_exc()
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
