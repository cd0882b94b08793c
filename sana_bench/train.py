"""train: RunConfig -> Checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from sana_bench.config import RunConfig
from sana_bench.measure import measure
from sana_bench.models import base_digest, device_in_identity, resolve_device
from sana_bench.processes import check_processes, is_main, started_together
from sana_bench.progress import silent
from sana_bench.records import Checkpoint
from sana_bench.store import Store, digest_of
from sana_bench.training import TRAINERS, TrainedWeights, TrainingContext
from sana_bench.training.checkpoints import remove_training_state, weights_digest
from sana_bench.training.launch import launch

KIND = "checkpoint"
MakeWeights = Callable[[TrainingContext], TrainedWeights]


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
    entry = TRAINERS.get(config.train.trainer)
    if entry.distributed:
        check_processes(config.train)
        if started_together():
            return _train_together(config, store, entry.make().train)
    found = find_checkpoint(config, store)
    if found:
        return found
    digest = checkpoint_digest(config)
    with store.locked(KIND, digest):
        return find_checkpoint(config, store) or _train(
            config, store, digest, launch if entry.distributed and config.train.num_processes > 1 else entry.make().train)


def _train_together(config: RunConfig, store: Store, make_weights: MakeWeights) -> Checkpoint:
    """In each of the processes that a launcher started. The main one holds the lock and writes the record."""
    from sana_bench.training.group import join, main_says

    digest = checkpoint_digest(config)
    with store.locked(KIND, digest) if is_main() else silent():
        accelerator = join(config.train, resolve_device(config.run.device))
        if not main_says(accelerator, find_checkpoint(config, store) is not None):
            if is_main():
                _train(config, store, digest, make_weights)
            else:
                make_weights(_context(config, store, digest))
            accelerator.wait_for_everyone()
    return find_checkpoint(config, store)


def _context(config: RunConfig, store: Store, digest: str) -> TrainingContext:
    return TrainingContext(config=config, store=store, folder=store.folder(KIND, digest), digest=digest, base_digest=base_digest(config.model))


def _train(config: RunConfig, store: Store, digest: str, make_weights: MakeWeights) -> Checkpoint:
    context = _context(config, store, digest)
    folder, base = context.folder, context.base_digest
    folder.mkdir(parents=True, exist_ok=True)
    with measure() as meter:
        weights = make_weights(context)
        cost = meter.cost()
    sha256 = weights_digest(folder / weights.weights_file) if weights.weights_file else ""
    checkpoint = store.finish(KIND, digest, Checkpoint(
        digest=digest, base=config.model.base, base_digest=base, trainer=config.train.trainer, kind=weights.kind,
        weights_file=weights.weights_file, weights_sha256=sha256, summary=weights.summary, cost=cost))
    remove_training_state(folder)
    return checkpoint
