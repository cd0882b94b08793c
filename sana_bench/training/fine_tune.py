"""What the trainers share: images and captions become latents and embeddings on disk, then the transformer is trained stage by stage.

The autoencoder and the text encoder are loaded only where something is left to encode, and are gone from the device before training begins.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sana_bench.config import RunConfig
from sana_bench.data.embeddings import EmbeddingCache
from sana_bench.data.latents import LatentCache
from sana_bench.data.pictures import pictures_identity
from sana_bench.data.training_set import TrainingSet, training_set
from sana_bench.generation.sampling import check_drawable
from sana_bench.models import base_folder, check_size, load_pipeline, load_transformer, parts_digest, pipeline_class_name, resolve_device, transformer_config
from sana_bench.provenance import package_versions
from sana_bench.records import TrainingSummary
from sana_bench.store import digest_of
from sana_bench.train_config import TrainSection
from sana_bench.training import TrainingContext
from sana_bench.training.batches import Batch, BatchReader
from sana_bench.training.flow_matching import flow_matching_loss
from sana_bench.training.group import cut, join
from sana_bench.training.loop import LoopSettings, run_loop, step_generator
from sana_bench.training.trainee import Trainee

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

NOT_IN_IDENTITY = {"weights", "weights_ema", "command", "checkpointing_steps", "num_seeds"}
"""Settings that do not change the weights that a trainer here makes."""

LATENTS_MADE_WITH, EMBEDDINGS_MADE_WITH = ("torch", "diffusers", "numpy", "pillow"), ("torch", "diffusers", "transformers")
"""Packages that a cache depends on; another version of any other encodes nothing again."""


def identity(config: RunConfig, unused: Set[str]) -> object:
    """Everything beside the base that decides the weights. What sources are called does not: their content and their shares do.

    Args:
        unused: settings that mean nothing to the trainer.
    """
    ignored = NOT_IN_IDENTITY | unused | ({"strategy"} if config.train.num_processes == 1 else set())
    instruction = [config.generate.complex_human_instruction, config.generate.max_sequence_length]
    shares = [[each.share for each in config.data.mix], config.data.model_dump(mode="json", include={"balance"})]
    return [config.train.model_dump(mode="json", exclude=ignored), instruction, shares, pictures_identity(config)]


@dataclass
class FineTuned:
    """A trained transformer."""

    transformer: torch.nn.Module
    trainee: Trainee
    summary: TrainingSummary


def fine_tune(context: TrainingContext, prepare: Callable[[torch.nn.Module, TrainSection], None], description: str) -> FineTuned:
    """Train what `prepare` leaves trainable of the base's transformer.

    Args:
        prepare: (transformer, settings) -> None, freezes the transformer but for what is trained, which is float32 then.

    Raises:
        SanaBenchError: data or model cannot be used, or training diverged.
    """
    config = context.config
    device = resolve_device(config.run.device)
    accelerator = join(config.train, device)
    with accelerator.main_process_first():  # the others then find what it has looked at
        images = training_set(config, context.store)
    check_early(config, images, prepare)
    caches = encode_all(context, images, accelerator)
    transformer = load_transformer(config.model, device)
    prepare(transformer, config.train)
    trainee = make_trainee(transformer, config.train, accelerator)
    reader = BatchReader(images, *caches, config.train, accelerator.process_index)
    losses: list[float] = []
    for number, stage in enumerate(images.stages):
        losses = _run_stage(context, reader, trainee, number, first_step=sum(each.stage.max_train_steps for each in images.stages[:number]),
                            description=description)
    summary = TrainingSummary(
        steps=len(losses), losses=tuple(losses), num_images=images.num_images, data_digest=digest_of(pictures_identity(config)),
        trainable_parameters=sum(parameter.numel() for parameter in trainee.weights.values()), shares=images.shares,
        seconds_inside=trainee.watch.inside, seconds_outside=trainee.watch.total - trainee.watch.inside)
    if trainee.ema:
        trainee.ema.copy_to(trainee.weights.values())
    return FineTuned(transformer, trainee, summary)


def check_early(config: RunConfig, images: TrainingSet, prepare: Callable[[torch.nn.Module, TrainSection], None]) -> None:
    """Find out, before anything is encoded, what cannot be trained, or drawn with later: a size, a family, or a name that the transformer does not have."""
    import torch
    from diffusers import SanaTransformer2DModel

    described = transformer_config(config.model)
    check_drawable(pipeline_class_name(base_folder(config.model)), described, config.generate)
    for width, height in {(draw.width, draw.height) for draw in images.all_draws()}:
        check_size(described, width, height)
    with torch.device("meta"):
        prepare(SanaTransformer2DModel.from_config(described), config.train)


def encode_all(context: TrainingContext, images: TrainingSet, accelerator: Accelerator) -> tuple[LatentCache, EmbeddingCache]:
    """Caches in which everything that training sees is encoded, by all processes: each sees to every num_processes-th view and text."""
    import torch

    device, share = str(accelerator.device), slice(accelerator.process_index, None, accelerator.num_processes)
    config, kind = context.config, device.partition(":")[0]
    latents = LatentCache(images.pictures, config.train.augment, context.store, digest_of([
        parts_digest(config.model, "vae"), config.model.vae_dtype, kind, package_versions(LATENTS_MADE_WITH)]))
    embeddings = EmbeddingCache(config.generate, context.store, digest_of([
        parts_digest(config.model, "text_encoder", "tokenizer"), pipeline_class_name(base_folder(config.model)), config.model.text_encoder_dtype, kind,
        package_versions(EMBEDDINGS_MADE_WITH)]))
    draws, texts = latents.missing(images.all_draws()[share]), embeddings.missing(images.texts()[share])
    if draws or texts:
        unneeded = ("transformer", *([] if draws else ["vae"]), *([] if texts else ["text_encoder"]))
        pipeline = load_pipeline(config.model, device, without=unneeded)
        embeddings.encode(texts, pipeline)
        pipeline.text_encoder = None
        latents.encode(draws, pipeline.vae)
        del pipeline
    gc.collect()  # what was trained before in this process, too, which holds on to itself in circles
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    accelerator.wait_for_everyone()
    return latents, embeddings


def make_trainee(transformer: torch.nn.Module, settings: TrainSection, accelerator: Accelerator) -> Trainee:
    """The trainable parameters with their optimizer, under accelerate."""
    import torch
    from diffusers.training_utils import EMAModel

    from sana_bench.training.optimizers import build_optimizer

    if settings.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
    if settings.compile:
        for block in transformer.transformer_blocks:
            block.compile()
    transformer.train()
    if settings.strategy == "fsdp2" and torch.distributed.is_initialized():
        cut(transformer, accelerator)
        model = transformer
    else:
        model = accelerator.prepare(transformer)
    weights = {name: parameter for name, parameter in transformer.named_parameters() if parameter.requires_grad}
    optimizer = accelerator.prepare(build_optimizer(settings, weights.values()))
    ema = EMAModel(weights.values(), decay=settings.ema_decay) if settings.ema_decay else None
    return Trainee(weights, optimizer, ema, accelerator, model)


def _run_stage(context: TrainingContext, reader: BatchReader, trainee: Trainee, number: int, first_step: int, description: str) -> list[float]:
    """Train one stage; the losses of all steps so far."""
    settings, stages = context.config.train, context.config.train.stages
    stage = stages[number]
    place = f" ({stage.resolution} px, stage {number + 1} of {len(stages)})" if len(stages) > 1 else ""
    loop = LoopSettings(
        total_steps=stage.max_train_steps, first_step=first_step, learning_rate=stage.learning_rate, warmup_steps=settings.lr_warmup_steps,
        schedule=settings.lr_scheduler, max_grad_norm=settings.max_grad_norm, gradient_accumulation_steps=stage.gradient_accumulation_steps,
        checkpoint_every=settings.checkpointing_steps, description=f"{description}{place}")
    with reader.stage(number) as take:
        def compute_loss(step: int, micro: int) -> torch.Tensor:
            batch = step * stage.gradient_accumulation_steps + micro
            return _loss(trainee, settings, take(batch), step_generator(settings.seed, number, batch))

        return run_loop(loop, trainee, compute_loss, context.folder, context.digest)


def _loss(trainee: Trainee, settings: TrainSection, batch: Batch, generator: torch.Generator) -> torch.Tensor:
    import torch

    accelerator = trainee.accelerator
    dtype = torch.float32 if settings.mixed_precision != "no" else accelerator.unwrap_model(trainee.model).dtype
    torch.manual_seed(int(torch.randint(2**31, (), generator=generator)) + accelerator.process_index)  # dropout draws from the global generator
    moved = batch.to(accelerator.device, dtype)
    with trainee.watch.measure("inside"), accelerator.autocast():
        return flow_matching_loss(trainee.model, moved.latents, moved.noise, moved.sigmas, moved.prompt_embeds, moved.prompt_attention_mask, moved.weights)
