"""Which batch fits a card, and what makes a recipe fit that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sana_bench.config import RunConfig
from sana_bench.train_config import StageSection, TrainSection

Peak = Callable[[RunConfig, StageSection], int]
"""Bytes of tensors that a training step has at most."""
PROCESSES = (2, 4, 8)


@dataclass(frozen=True)
class Fit:
    """How a training can be run on a card with the samples that a step of its recipe has."""

    config: RunConfig
    """With the settings that make it fit."""
    changes: tuple[str, ...]
    """`section.key=value` of those that differ from the recipe's, the batch aside."""
    stages: tuple[StageSection, ...]
    """With the largest batch that fits, and as much accumulation as keeps the samples of a step."""

    @property
    def is_recipe(self) -> bool:
        """Whether nothing need be changed."""
        return not self.changes and self.stages == self.config.train.stages


def find_fit(config: RunConfig, usable: int, peak: Peak) -> Fit | None:
    """The first of `candidates` that fits, with the largest batches; None where none does."""
    for changes in candidates(config.train):
        changed = config.model_copy(update={"train": config.train.model_copy(update=changes)})
        stages = [largest_batch(changed, stage, usable, peak) for stage in _shared(config.train, changed.train)]
        if stages and all(stages):
            return Fit(changed, tuple(f"train.{name}={_as_toml(value)}" for name, value in changes.items()), tuple(stages))
    return None


def candidates(settings: TrainSection) -> Iterator[dict[str, object]]:
    """The recipe itself, then changes: what costs time first, then what changes the optimizer, then more cards. None is one that training refuses."""
    changes: dict[str, object] = {}
    yield changes
    if not settings.gradient_checkpointing:
        changes = {"gradient_checkpointing": True}
        yield changes
    is_cut = settings.num_processes > 1 and settings.strategy == "fsdp2"
    if settings.trainer == "full" and settings.optimizer != "adamw_8bit" and not is_cut:
        yield {**changes, "optimizer": "adamw_8bit"}
    if settings.optimizer != "adamw":  # the only one that works on weights that are cut among processes
        changes = {**changes, "optimizer": "adamw"}
    for number in PROCESSES:
        if number > settings.num_processes:
            yield {**changes, "num_processes": number, "strategy": "fsdp2"}


def _shared(before: TrainSection, after: TrainSection) -> list[StageSection]:
    """The stages, each step's samples shared among the processes by accumulating less; none where they do not divide."""
    stages = []
    for stage in before.stages:
        samples, left = divmod(stage.train_batch_size * stage.gradient_accumulation_steps * before.num_processes, after.num_processes)
        if left or not samples:
            return []
        stages.append(stage.model_copy(update={"train_batch_size": samples, "gradient_accumulation_steps": 1}))
    return stages


def largest_batch(config: RunConfig, stage: StageSection, usable: int, peak: Peak) -> StageSection | None:
    """The stage with the largest batch that divides the samples of a step and fits; None where not even one sample does."""
    samples = stage.train_batch_size * stage.gradient_accumulation_steps
    sizes = [stage.model_copy(update={"train_batch_size": size, "gradient_accumulation_steps": samples // size})
             for size in range(1, samples + 1) if samples % size == 0]
    best = None
    while sizes:
        middle = len(sizes) // 2
        if peak(config, sizes[middle]) <= usable:
            best, sizes = sizes[middle], sizes[middle + 1:]
        else:
            sizes = sizes[:middle]
    return best


def _as_toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
