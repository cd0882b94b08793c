"""A LoRA that was trained elsewhere (diffusers' scripts, SimpleTuner, Cosmos-RL), taken in and checked."""

from __future__ import annotations

from pathlib import Path

from sana_bench.config import RunConfig
from sana_bench.errors import ConfigError
from sana_bench.file_hashes import sha256_cached
from sana_bench.models import check_adapter, load_pipeline
from sana_bench.store import write_bytes
from sana_bench.training import TrainedWeights, TrainingContext, register_trainer

WEIGHTS_FILE = "pytorch_lora_weights.safetensors"


@register_trainer("external", version=1)
class ExternalTrainer:
    """Copies the LoRA at `train.weights` into the store."""

    def identity(self, config: RunConfig) -> object:
        return sha256_cached(_weights(config))

    def train(self, context: TrainingContext) -> TrainedWeights:
        weights = _weights(context.config)
        check_adapter(load_pipeline(context.config.model, "cpu").transformer, weights, context.base_digest)
        write_bytes(context.folder / WEIGHTS_FILE, weights.read_bytes())
        return TrainedWeights("adapter", WEIGHTS_FILE, None)


def _weights(config: RunConfig) -> Path:
    path = Path(config.train.weights).expanduser()
    if not config.train.weights or not path.is_file():
        raise ConfigError(f'train.weights must be a LoRA file for the trainer "external", not "{config.train.weights}"')
    return path
