"""The fine-tunes of one recipe that differ in their training seed alone: a single one is one draw of what the recipe makes.

Each has its own checkpoint, images and result in the store, so that one more seed costs that seed and no other.
"""

from __future__ import annotations

from dataclasses import dataclass

from sana_bench.config import RunConfig
from sana_bench.errors import ConfigError
from sana_bench.training import TRAINERS


@dataclass(frozen=True)
class FineTune:
    """One of them."""

    config: RunConfig
    """The settings of a run that has this seed alone."""
    label: str
    """`seed 2 of 3`, beside what it is busy with; empty for the only one."""
    prefix: str
    """Of the names of its stages; empty for the first one."""


def fine_tunes_of(config: RunConfig) -> list[FineTune]:
    """One for each training seed, `train.seed` first.

    Raises:
        ConfigError: several are asked of a trainer that makes the same weights from every seed.
    """
    seeds = range(config.train.seed, config.train.seed + config.train.num_seeds)
    configs = [config.model_copy(update={"train": config.train.model_copy(update={"seed": seed, "num_seeds": 1})}) for seed in seeds]
    trainer = TRAINERS.get(config.train.trainer)
    if len(seeds) == 1:
        return [FineTune(configs[0], "", "")]
    if trainer.make().identity(configs[0]) == trainer.make().identity(configs[1]):
        raise ConfigError(f'train.num_seeds is {len(seeds)}, but the trainer "{trainer.name}" makes the same weights from every seed: there is no training '
                          f"noise to see. Leave train.num_seeds at 1, or let sana-bench train (train.trainer=lora)")
    return [FineTune(each, f"seed {number} of {len(seeds)}", seed_prefix(each.train.seed) if number > 1 else "") for number, each in enumerate(configs, 1)]


def seed_prefix(seed: int) -> str:
    """Of the names of stages of a fine-tune that is not the first."""
    return f"seed {seed} "
