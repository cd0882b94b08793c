"""Trainers: how a base becomes a variant. One file a trainer; adding a file adds one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from sana_bench.config import RunConfig
from sana_bench.records import TrainingSummary
from sana_bench.registry import Registry
from sana_bench.store import Store


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """What a trainer works with."""

    config: RunConfig
    store: Store
    folder: Path
    """The checkpoint's folder: weights and training state go here."""
    digest: str
    """The checkpoint's digest; a training state of another one is refused."""
    base_digest: str


@dataclass(frozen=True)
class TrainedWeights:
    """What a trainer hands back."""

    kind: Literal["base", "adapter", "full"]
    weights_file: str
    """Name in the context's folder: of a safetensors file of an adapter, of a folder in diffusers layout of full weights; empty for the untouched base."""
    summary: TrainingSummary | None


class Trainer(Protocol):
    def identity(self, config: RunConfig) -> object:
        """Everything beside the base that decides the weights, as a JSON-like value; cheap, without heavy imports."""

    def train(self, context: TrainingContext) -> TrainedWeights:
        """Train, going on from a state in the context's folder if there is one."""


@dataclass(frozen=True, kw_only=True)
class TrainerEntry:
    name: str
    version: int
    """Goes up when the same settings give other weights."""
    make: Callable[[], Trainer]
    distributed: bool = False
    """It trains in `train.num_processes` processes; each of them calls `train`, and the main one's answer counts."""


TRAINERS: Registry[TrainerEntry] = Registry("trainer", "sana_bench.training")


def register_trainer(name: str, *, version: int, distributed: bool = False) -> Callable[[type], type]:
    """Class decorator; the class is called without arguments and is then a Trainer."""
    return TRAINERS.decorator(name, lambda cls: TrainerEntry(name=name, version=version, make=cls, distributed=distributed))
