"""Several processes that train together: what the environment, in which accelerate or torchrun starts each of them, says about this one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sana_bench.errors import ConfigError

if TYPE_CHECKING:
    from sana_bench.train_config import TrainSection


def started_together() -> bool:
    """Whether a launcher started this process as one of several, or as the only one."""
    return "WORLD_SIZE" in os.environ


def is_main() -> bool:
    """Whether this process holds locks, writes records and shows progress; one that was started alone does."""
    return not started_together() or os.environ.get("RANK", "0") == "0"


def check_alone(command: str) -> None:
    """Raises ConfigError where this is one of several processes, each of which would do the whole of `command`."""
    started = os.environ.get("WORLD_SIZE", "1")
    if started != "1":
        raise ConfigError(f"a launcher started {started} processes (WORLD_SIZE), and `sana-bench {command}` runs in one: start it without the launcher, and it "
                          f"starts train.num_processes itself; `sana-bench train` alone can be started by accelerate or torchrun")


def check_processes(settings: TrainSection) -> None:
    """Find out, before anything is loaded, whether these processes can train together.

    Raises:
        ConfigError: as many were started as the recipe does not have, or its optimizer cannot work on weights that are cut.
    """
    started = os.environ.get("WORLD_SIZE", str(settings.num_processes))
    if started != str(settings.num_processes):
        raise ConfigError(f"the launcher started {started} process(es) (WORLD_SIZE), and train.num_processes is {settings.num_processes}: the weights depend on "
                          f"it, so that both must be the same. Use --num_processes {settings.num_processes} with accelerate, or --set train.num_processes={started}")
    if (settings.num_processes > 1 or started_together()) and settings.strategy == "fsdp2" and settings.optimizer != "adamw":
        raise ConfigError(f'train.optimizer "{settings.optimizer}" cannot work on weights that are cut among processes (train.strategy "fsdp2"); '
                          f"use --set train.optimizer=adamw, or --set train.strategy=ddp")
