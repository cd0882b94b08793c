"""train: RunConfig -> Checkpoint."""

from __future__ import annotations

from importlib.metadata import version

from sana_bench.config import RunConfig
from sana_bench.measure import measure
from sana_bench.models import base_digest, device_in_identity
from sana_bench.records import Checkpoint
from sana_bench.store import Store, digest_of
from sana_bench.training import TRAINERS, TrainingContext
from sana_bench.training.checkpoints import weights_digest

KIND = "checkpoint"


def checkpoint_digest(config: RunConfig) -> str:
    """Digest of everything that decides the weights: base, trainer and its settings, data, device, and the libraries' versions."""
    entry = TRAINERS.get(config.train.trainer)
    dtypes = [config.model.transformer_dtype, config.model.text_encoder_dtype, config.model.vae_dtype]
    libraries = [version(name) for name in ("torch", "diffusers", "transformers", "peft")]
    return digest_of([base_digest(config.model), dtypes, entry.name, entry.version, entry.make().identity(config),
                      device_in_identity(config.run.device), libraries])


def find_checkpoint(config: RunConfig, store: Store) -> Checkpoint | None:
    return store.find(KIND, checkpoint_digest(config), Checkpoint)


def train(config: RunConfig, store: Store) -> Checkpoint:
    """Train the variant that the config describes, or return it if it is in the store.

    A killed run goes on from its last training state and gives the same weights as an unbroken one.

    Raises:
        SanaBenchError: a part of the config cannot be used, or training diverged.
    """
    found = find_checkpoint(config, store)
    if found:
        return found
    digest = checkpoint_digest(config)
    with store.locked(KIND, digest):
        return find_checkpoint(config, store) or _train(config, store, digest)


def _train(config: RunConfig, store: Store, digest: str) -> Checkpoint:
    base = base_digest(config.model)
    folder = store.folder(KIND, digest)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = TRAINERS.get(config.train.trainer).make()
    with measure() as meter:
        weights = trainer.train(TrainingContext(config=config, store=store, folder=folder, digest=digest, base_digest=base))
        cost = meter.cost()
    sha256 = weights_digest(folder / weights.weights_file) if weights.weights_file else ""
    return store.finish(KIND, digest, Checkpoint(
        digest=digest, base=config.model.base, base_digest=base, trainer=config.train.trainer, kind=weights.kind,
        weights_file=weights.weights_file, weights_sha256=sha256, summary=weights.summary, cost=cost))
