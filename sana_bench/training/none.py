"""No training: the base model itself, which is how a baseline is made."""

from __future__ import annotations

from sana_bench.config import RunConfig
from sana_bench.training import TrainedWeights, TrainingContext, register_trainer


@register_trainer("none", version=1)
class NoTrainer:
    """Leaves the base as it is."""

    def identity(self, config: RunConfig) -> object:
        return None

    def train(self, context: TrainingContext) -> TrainedWeights:
        return TrainedWeights("base", "", None)
