"""One of several processes that train together, as launch.py starts them: `python -m sana_bench.training.worker FOLDER`."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path

from sana_bench.commands import ERROR, PASSED
from sana_bench.config import RunConfig
from sana_bench.processes import is_main
from sana_bench.progress import part_of_whole
from sana_bench.store import Store, write_bytes
from sana_bench.training import TRAINERS, TrainingContext
from sana_bench.training.launch import FAILURE_FILES, TASK_FILE, TRAINED, WEIGHTS_FILE


def main(work: Path) -> int:
    """Train, and leave the answer or what went wrong in `work`; return the exit code."""
    if not is_main():
        _say_into(work / f"process-{os.environ['RANK']}.log")
    try:
        task = json.loads((work / TASK_FILE).read_text())
        config = RunConfig.model_validate(task["config"])
        context = TrainingContext(config=config, store=Store(task["store"]), folder=work.parent, digest=task["digest"], base_digest=task["base_digest"])
        with part_of_whole(task["part"]):
            weights = TRAINERS.get(config.train.trainer).make().train(context)
        if is_main():
            write_bytes(work / WEIGHTS_FILE, TRAINED.dump_json(weights))
        return PASSED
    except Exception as error:
        rank = os.environ["RANK"]
        write_bytes(work / FAILURE_FILES.format(rank), json.dumps({
            "process": rank, "time_ns": time.time_ns(), "kind": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}).encode())
        return ERROR


def _say_into(log: Path) -> None:
    """What this process and its libraries print from now on goes into a file: the main one says the same."""
    with log.open("ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stderr.flush()
    os._exit(code)  # the others may be waiting for this process, and leaving the group in good order would wait for them
