"""generate: Checkpoint + PromptSuite -> SampleSet."""

from __future__ import annotations

from pathlib import Path

from sana_bench.config import RunConfig
from sana_bench.errors import StoreError
from sana_bench.full_weights import load_full_weights
from sana_bench.generation.sampling import SAMPLING_VERSION, draw, prepare_pipeline, sampling_record
from sana_bench.images import pixels_sha256, read_image, write_png
from sana_bench.measure import measure
from sana_bench.models import check_stored_dtype, device_in_identity, load_adapter, load_pipeline, resolve_device
from sana_bench.progress import progress
from sana_bench.prompts import PromptSuite, drawing_order, seed_of
from sana_bench.records import Checkpoint, Sample, SampleSet, StageCost
from sana_bench.store import Store, digest_of
from sana_bench.training.checkpoints import weights_digest

KIND = "samples"


def sample_set_digest(config: RunConfig, checkpoint: Checkpoint, suite: PromptSuite) -> str:
    """Digest of everything that decides the pixels; what a prompt expects to see is no part of it.

    Kernels may round differently in another batch, so which prompts share one counts where they do.
    """
    dtypes = [config.model.transformer_dtype, config.model.text_encoder_dtype, config.model.vae_dtype]
    prompts = [suite.name, suite.version, [[prompt.id, prompt.text] for prompt in suite.prompt]]
    batches = [drawing_order(suite)] if config.generate.batch_size > 1 else []
    settings = config.generate.model_dump(exclude=set() if config.generate.seed else {"seed"})  # as in sets that were drawn before there was one
    return digest_of([SAMPLING_VERSION, checkpoint.digest, prompts, settings, dtypes,
                      device_in_identity(config.run.device), *batches])


def find_sample_set(config: RunConfig, checkpoint: Checkpoint, suite: PromptSuite, store: Store, num_prompts: int | None = None) -> SampleSet | None:
    """The record of a complete set, or of a part of one; None where it was never finished, or where an image was deleted since.

    Args:
        num_prompts: as of `generate`.
    """
    digest = sample_set_digest(config, checkpoint, suite)
    return _complete(digest, suite, store, num_prompts) or _cut(_complete(digest, suite, store, None), config, suite, num_prompts)


def sample_ids(config: RunConfig, suite: PromptSuite, num_prompts: int | None = None) -> list[tuple[str, str, int]]:
    """(sample id, prompt id, sample index) of the suite or of the beginning of its drawing order, in the order of the suite's file."""
    chosen = set(drawing_order(suite)[:num_prompts])
    return [(f"{prompt.id}_{index:03}", prompt.id, index)
            for prompt in suite.prompt if prompt.id in chosen for index in range(config.generate.num_images_per_prompt)]


def generate(config: RunConfig, checkpoint: Checkpoint, suite: PromptSuite, store: Store, num_prompts: int | None = None) -> SampleSet:
    """Draw the samples of a suite, or return them if they are in the store.

    Each PNG is written whole or not at all. Batches are always cut at the same places, and one with a missing image is
    drawn again as a whole, so a killed run ends with the same bytes as an unbroken one, and one that stopped early and
    goes on later with the same as one that never stopped: all parts of a set lie in its folder, each with a record of its own.

    Args:
        num_prompts: only the first so many prompts of the drawing order; None is all.

    Raises:
        SanaBenchError: the model does not load, an image comes out wrong, or a stored image is damaged.
    """
    found = find_sample_set(config, checkpoint, suite, store, num_prompts)
    if found:
        return found
    digest = sample_set_digest(config, checkpoint, suite)
    with store.locked(KIND, digest):
        return find_sample_set(config, checkpoint, suite, store, num_prompts) or _generate(config, checkpoint, suite, store, digest, num_prompts)


def _part_digest(digest: str, suite: PromptSuite, num_prompts: int | None) -> str:
    """Of the first so many prompts of the set `digest`."""
    return digest if num_prompts is None or num_prompts >= len(suite.prompt) else digest_of([digest, num_prompts])


def _complete(digest: str, suite: PromptSuite, store: Store, num_prompts: int | None) -> SampleSet | None:
    """The record of a part of the set `digest`, where all its images are there."""
    found, folder = store.find(KIND, _part_digest(digest, suite, num_prompts), SampleSet), store.folder(KIND, digest)
    return found if found and all((folder / sample.file_name).exists() for sample in found.samples) else None


def _cut(whole: SampleSet | None, config: RunConfig, suite: PromptSuite, num_prompts: int | None) -> SampleSet | None:
    """A part of a set that was drawn whole; of its cost the same share."""
    if whole is None:
        return None
    chosen = {name for name, _, _ in sample_ids(config, suite, num_prompts)}
    share = len(chosen) / len(whole.samples)
    return whole.model_copy(update={
        "digest": _part_digest(whole.digest, suite, num_prompts), "part_of": whole.digest,
        "samples": tuple(sample for sample in whole.samples if sample.sample_id in chosen),
        "cost": whole.cost.model_copy(update={"seconds": share * whole.cost.seconds})})


def _generate(config: RunConfig, checkpoint: Checkpoint, suite: PromptSuite, store: Store, digest: str, num_prompts: int | None) -> SampleSet:
    folder = store.folder(KIND, digest)
    shorter = range(min(num_prompts or len(suite.prompt), len(suite.prompt)) - 1, 0, -1)
    before = next(filter(None, (_complete(digest, suite, store, number) for number in shorter)), None)
    known = {sample.sample_id: sample for sample in before.samples} if before else {}
    with measure() as meter:
        _draw_missing(config, checkpoint, suite, store, folder, num_prompts)
        samples = [known.get(ids[0]) or _read_sample(config, suite, folder, *ids) for ids in sample_ids(config, suite, num_prompts)]
        cost = meter.cost()
    if before:
        cost = StageCost(seconds=before.cost.seconds + cost.seconds, peak_memory_bytes=max(before.cost.peak_memory_bytes, cost.peak_memory_bytes))
    sampling, part = sampling_record(config.generate, config.model, resolve_device(config.run.device)), _part_digest(digest, suite, num_prompts)
    return store.finish(KIND, part, SampleSet(
        digest=part, checkpoint_digest=checkpoint.digest, suite=suite.name, suite_version=suite.version, sampling=sampling,
        samples=tuple(samples), part_of=digest if part != digest else "", cost=cost))


def _batches(config: RunConfig, suite: PromptSuite) -> list[list[tuple[str, str, int]]]:
    """The samples of the whole suite as they are drawn, in the drawing order."""
    place, size = {name: number for number, name in enumerate(drawing_order(suite))}, config.generate.batch_size
    ids = sorted(sample_ids(config, suite), key=lambda ids: (place[ids[1]], ids[2]))
    return [ids[start:start + size] for start in range(0, len(ids), size)]


def _draw_missing(config: RunConfig, checkpoint: Checkpoint, suite: PromptSuite, store: Store, folder: Path, num_prompts: int | None) -> None:
    wanted = set(sample_ids(config, suite, num_prompts))
    batches = [batch for batch in _batches(config, suite) if not wanted.isdisjoint(batch)]
    missing = [batch for batch in batches if not all((folder / f"{name}.png").exists() for name, _, _ in batch)]
    if not missing:
        return
    pipeline, total = _load(config, checkpoint, store), sum(map(len, batches))
    whose = "the base model's images" if checkpoint.kind == "base" else "images"
    with progress(f"generate {whose} of {suite.name}", total, total - sum(map(len, missing))) as tracker:
        for batch in missing:
            prompts = [suite.by_id(prompt_id).text for _, prompt_id, _ in batch]
            seeds = [seed_of(suite, prompt_id, index, config.generate.seed) for _, prompt_id, index in batch]
            for (name, _, _), pixels in zip(batch, draw(pipeline, config.generate, prompts, seeds), strict=True):
                write_png(folder / f"{name}.png", pixels)
                tracker.advance()


def _load(config: RunConfig, checkpoint: Checkpoint, store: Store):
    device, weights = resolve_device(config.run.device), store.folder("checkpoint", checkpoint.digest) / checkpoint.weights_file
    if checkpoint.kind != "base" and not (weights.exists() and weights_digest(weights) == checkpoint.weights_sha256):
        raise StoreError(f"{weights} is missing or altered; delete its folder to train again")
    if checkpoint.kind == "full":
        pipeline = _with_full_weights(config, weights, device)
    else:
        pipeline = load_pipeline(config.model, device)
    if checkpoint.kind == "adapter":
        load_adapter(pipeline, weights, checkpoint.base_digest)
    prepare_pipeline(pipeline, config.generate)
    return pipeline


def _with_full_weights(config: RunConfig, weights: Path, device: str):
    import torch

    check_stored_dtype(weights, config.model)
    pipeline = load_pipeline(config.model, device, without=("transformer",))
    pipeline.transformer = load_full_weights(weights, getattr(torch, config.model.transformer_dtype)).to(device)
    return pipeline


def _read_sample(config: RunConfig, suite: PromptSuite, folder: Path, name: str, prompt_id: str, index: int) -> Sample:
    path = folder / f"{name}.png"
    pixels = read_image(path, StoreError)
    height, width = pixels.shape[:2]
    if (width, height) != (config.generate.width, config.generate.height):
        raise StoreError(f"{path} is {width}x{height}, not {config.generate.width}x{config.generate.height}; delete it")
    return Sample(sample_id=name, prompt_id=prompt_id, sample_index=index, seed=seed_of(suite, prompt_id, index, config.generate.seed),
                  width=width, height=height, file_name=path.name, pixels_sha256=pixels_sha256(pixels))
