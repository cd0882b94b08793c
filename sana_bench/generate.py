"""generate: Checkpoint + PromptSuite -> SampleSet."""

from __future__ import annotations

from pathlib import Path

from sana_bench.config import RunConfig
from sana_bench.errors import ModelError, StoreError
from sana_bench.generation.sampling import SAMPLING_VERSION, draw, prepare_pipeline, sampling_record
from sana_bench.images import pixels_sha256, read_image, write_png
from sana_bench.measure import measure
from sana_bench.models import device_in_identity, load_adapter, load_pipeline, resolve_device
from sana_bench.progress import progress
from sana_bench.prompts import PromptSuite, seed_of
from sana_bench.records import Checkpoint, Sample, SampleSet
from sana_bench.store import Store, digest_of, sha256_file

KIND = "samples"


def sample_set_digest(config: RunConfig, checkpoint: Checkpoint, suite: PromptSuite) -> str:
    """Digest of everything that decides the pixels; what a prompt expects to see is no part of it."""
    dtypes = [config.model.transformer_dtype, config.model.text_encoder_dtype, config.model.vae_dtype]
    prompts = [suite.name, suite.version, [[prompt.id, prompt.text] for prompt in suite.prompt]]
    settings = config.generate.model_dump(exclude=set() if config.generate.seed else {"seed"})  # as in sets that were drawn before there was one
    return digest_of([SAMPLING_VERSION, checkpoint.digest, prompts, settings, dtypes,
                      device_in_identity(config.run.device)])


def find_sample_set(config: RunConfig, checkpoint: Checkpoint, suite: PromptSuite, store: Store) -> SampleSet | None:
    """The record of a complete set; None where it was never finished, or where an image was deleted since."""
    digest = sample_set_digest(config, checkpoint, suite)
    found, folder = store.find(KIND, digest, SampleSet), store.folder(KIND, digest)
    return found if found and all((folder / sample.file_name).exists() for sample in found.samples) else None


def sample_ids(config: RunConfig, suite: PromptSuite) -> list[tuple[str, str, int]]:
    """(sample id, prompt id, sample index) of the whole suite, in the order in which they are drawn."""
    return [(f"{prompt.id}_{index:03}", prompt.id, index)
            for prompt in suite.prompt for index in range(config.generate.num_images_per_prompt)]


def generate(config: RunConfig, checkpoint: Checkpoint, suite: PromptSuite, store: Store) -> SampleSet:
    """Draw all samples of a suite, or return them if they are in the store.

    Each PNG is written whole or not at all. Batches are always cut at the same places, and one with a missing image is
    drawn again as a whole, so a killed run ends with the same bytes as an unbroken one.

    Raises:
        SanaBenchError: the model does not load, an image comes out wrong, or a stored image is damaged.
    """
    found = find_sample_set(config, checkpoint, suite, store)
    if found:
        return found
    digest = sample_set_digest(config, checkpoint, suite)
    with store.locked(KIND, digest):
        return find_sample_set(config, checkpoint, suite, store) or _generate(config, checkpoint, suite, store, digest)


def _generate(config: RunConfig, checkpoint: Checkpoint, suite: PromptSuite, store: Store, digest: str) -> SampleSet:
    folder = store.folder(KIND, digest)
    with measure() as meter:
        _draw_missing(config, checkpoint, suite, store, folder)
        samples = [_read_sample(config, suite, folder, *ids) for ids in sample_ids(config, suite)]
        cost = meter.cost()
    sampling = sampling_record(config.generate, config.model, resolve_device(config.run.device))
    return store.finish(KIND, digest, SampleSet(
        digest=digest, checkpoint_digest=checkpoint.digest, suite=suite.name, suite_version=suite.version,
        sampling=sampling, samples=tuple(samples), cost=cost))


def _draw_missing(config: RunConfig, checkpoint: Checkpoint, suite: PromptSuite, store: Store, folder: Path) -> None:
    ids, size = sample_ids(config, suite), config.generate.batch_size
    batches = [ids[start:start + size] for start in range(0, len(ids), size)]
    missing = [batch for batch in batches if not all((folder / f"{name}.png").exists() for name, _, _ in batch)]
    if not missing:
        return
    pipeline = _load(config, checkpoint, store)
    whose = "the base model's images" if checkpoint.kind == "base" else "images"
    with progress(f"generate {whose} of {suite.name}", len(ids), len(ids) - sum(map(len, missing))) as tracker:
        for batch in missing:
            prompts = [suite.by_id(prompt_id).text for _, prompt_id, _ in batch]
            seeds = [seed_of(suite, prompt_id, index, config.generate.seed) for _, prompt_id, index in batch]
            for (name, _, _), pixels in zip(batch, draw(pipeline, config.generate, prompts, seeds), strict=True):
                write_png(folder / f"{name}.png", pixels)
                tracker.advance()


def _load(config: RunConfig, checkpoint: Checkpoint, store: Store):
    pipeline = load_pipeline(config.model, resolve_device(config.run.device))
    if checkpoint.kind == "adapter":
        weights = store.folder("checkpoint", checkpoint.digest) / checkpoint.weights_file
        if not weights.is_file() or sha256_file(weights) != checkpoint.weights_sha256:
            raise StoreError(f"{weights} is missing or altered; delete its folder to train again")
        load_adapter(pipeline, weights, checkpoint.base_digest)
    elif checkpoint.kind != "base":
        raise ModelError(f'checkpoints of kind "{checkpoint.kind}" cannot be sampled yet')
    prepare_pipeline(pipeline, config.generate)
    return pipeline


def _read_sample(config: RunConfig, suite: PromptSuite, folder: Path, name: str, prompt_id: str, index: int) -> Sample:
    path = folder / f"{name}.png"
    pixels = read_image(path, StoreError)
    height, width = pixels.shape[:2]
    if (width, height) != (config.generate.width, config.generate.height):
        raise StoreError(f"{path} is {width}x{height}, not {config.generate.width}x{config.generate.height}; delete it")
    return Sample(sample_id=name, prompt_id=prompt_id, sample_index=index, seed=seed_of(suite, prompt_id, index, config.generate.seed),
                  width=width, height=height, file_name=path.name, pixels_sha256=pixels_sha256(pixels))
