"""LoRA on a Sana transformer by flow matching: peft adapters in float32, latents and text embeddings cached."""

from __future__ import annotations

from pathlib import Path

from sana_bench.config import RunConfig, TrainSection
from sana_bench.data.latents import cached_latents, read_latents
from sana_bench.data.manifest import data_digest, load_manifest
from sana_bench.errors import ConfigError, StoreError
from sana_bench.models import BASE_DIGEST_KEY, check_size, load_pipeline, resolve_device
from sana_bench.progress import progress
from sana_bench.provenance import package_versions
from sana_bench.records import TrainingSummary
from sana_bench.registry import near_names
from sana_bench.store import digest_of
from sana_bench.training import TrainedWeights, TrainingContext, register_trainer

WEIGHTS_FILE = "pytorch_lora_weights.safetensors"
NOT_IN_IDENTITY = {"weights", "checkpointing_steps", "num_seeds"}
"""Settings that do not change the weights this trainer makes."""


@register_trainer("lora", version=1)
class LoraTrainer:
    """Trains adapters on the linear layers that `train.target_modules` names; everything else stays frozen."""

    def identity(self, config: RunConfig) -> object:
        instruction = [config.generate.complex_human_instruction, config.generate.max_sequence_length]
        return [config.train.model_dump(exclude=NOT_IN_IDENTITY), instruction, data_digest(config.data.training)]

    def train(self, context: TrainingContext) -> TrainedWeights:
        config, settings = context.config, context.config.train
        manifest, device = load_manifest(config.data.training, context.store), resolve_device(config.run.device)
        pipeline = load_pipeline(config.model, device)
        check_size(pipeline.transformer.config, settings.resolution, settings.resolution)
        _check_targets(pipeline.transformer, settings)
        made_with = [context.base_digest, config.model.vae_dtype, device.partition(":")[0], package_versions()]
        latents = cached_latents(manifest, pipeline.vae, resolution=settings.resolution, store=context.store,
                                 vae_identity=digest_of(made_with))
        embeddings = _encode_captions(pipeline, sorted({row.text for row in manifest.rows} | {""}), config)
        pipeline.vae = pipeline.text_encoder = None
        _add_adapter(pipeline.transformer, settings)
        captions = [row.text for row in manifest.rows]
        losses = _fit(pipeline.transformer, latents, captions, embeddings, context)
        _save(pipeline.transformer, context)
        trainable = sum(p.numel() for p in pipeline.transformer.parameters() if p.requires_grad)
        summary = TrainingSummary(steps=len(losses), losses=tuple(losses), num_images=len(captions),
                                  data_digest=manifest.digest, trainable_parameters=trainable)
        return TrainedWeights("adapter", WEIGHTS_FILE, summary)


def _encode_captions(pipeline, texts: list[str], config: RunConfig) -> dict:
    """Text -> (embedding (T, D), mask (T,)), through the pipeline's own encoding, so that training sees what sampling sees."""
    import torch

    from sana_bench.generation.sampling import instruction_of

    embeddings = {}
    with progress("encode captions", len(texts)) as tracker, torch.inference_mode():
        for text in texts:
            embeds, mask, _, _ = pipeline.encode_prompt(
                text, do_classifier_free_guidance=False, max_sequence_length=config.generate.max_sequence_length,
                complex_human_instruction=instruction_of(config.generate) if text else None)
            embeddings[text] = (embeds[0].clone().cpu(), mask[0].clone().cpu())  # ten thousand captions do not fit beside a model
            tracker.advance()
    return embeddings


def _check_targets(transformer, settings: TrainSection) -> None:
    """Raises ConfigError where a name in `target_modules` is the end of no linear layer's name, by whole parts as peft matches."""
    import torch

    layers = [name for name, module in transformer.named_modules() if isinstance(module, torch.nn.Linear)]
    for target in settings.target_modules:
        if not any(f".{name}".endswith(f".{target}") for name in layers):
            ends = sorted({".".join(name.split(".")[-2 if name.endswith(".0") else -1:]) for name in layers})
            raise ConfigError(f'train.target_modules: no linear layer ends in "{target}".{near_names(target, ends)} '
                              f'Layers: {", ".join(ends)}')


def _add_adapter(transformer, settings: TrainSection) -> None:
    """Freeze the transformer and add fp32 adapters (bf16 ones would lose small updates)."""
    import torch
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig

    transformer.requires_grad_(False)
    torch.manual_seed(settings.seed)
    transformer.add_adapter(LoraConfig(r=settings.rank, lora_alpha=settings.lora_alpha, lora_dropout=settings.lora_dropout,
                                       init_lora_weights="gaussian", target_modules=list(settings.target_modules)))
    cast_training_params(transformer, torch.float32)


def _fit(transformer, latent_files: list[Path], captions: list[str], embeddings: dict, context: TrainingContext) -> list[float]:
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    from sana_bench.training.flow_matching import draw_sigmas, flow_matching_loss
    from sana_bench.training.loop import LoopSettings, run_loop

    settings = context.config.train
    device = resolve_device(context.config.run.device)
    if device.startswith("cuda"):
        torch.cuda.set_device(device)  # accelerate trains on the current device, not on the one it is told
    AcceleratorState._reset_state(reset_partial_state=True)  # a process may train again, with other settings
    accelerator = Accelerator(mixed_precision=settings.mixed_precision, cpu=device == "cpu")
    weights = {name: p for name, p in transformer.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(weights.values(), lr=settings.learning_rate, weight_decay=1e-4)
    model, prepared = accelerator.prepare(transformer.train(), optimizer)

    def compute_loss(step: int, generator: torch.Generator) -> torch.Tensor:
        rows = torch.randint(len(captions), (settings.train_batch_size,), generator=generator).tolist()
        dropped = torch.rand(settings.train_batch_size, generator=generator) < settings.caption_dropout
        texts = ["" if drop else captions[row] for row, drop in zip(rows, dropped.tolist(), strict=True)]
        latents = torch.stack([read_latents(latent_files[row]) for row in rows])
        noise = torch.randn(latents.shape, generator=generator)
        sigmas = draw_sigmas(len(rows), generator, flow_shift=settings.flow_shift, weighting_scheme=settings.weighting_scheme,
                             logit_mean=settings.logit_mean, logit_std=settings.logit_std)
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))  # dropout draws from the global generator
        dtype = transformer.dtype if settings.mixed_precision == "no" else torch.float32
        embeds, masks = (torch.stack(parts).to(device) for parts in zip(*(embeddings[text] for text in texts), strict=True))
        with accelerator.autocast():
            return flow_matching_loss(model, latents.to(device, dtype), noise.to(device, dtype), sigmas, embeds.to(dtype), masks)

    loop = LoopSettings(seed=settings.seed, total_steps=settings.max_train_steps, learning_rate=settings.learning_rate,
                        warmup_steps=settings.lr_warmup_steps, schedule=settings.lr_scheduler,
                        max_grad_norm=settings.max_grad_norm, checkpoint_every=settings.checkpointing_steps,
                        gradient_accumulation_steps=settings.gradient_accumulation_steps, description="train LoRA")
    return run_loop(loop, weights=weights, optimizer=prepared, compute_loss=compute_loss, folder=context.folder,
                    identity=context.digest, backward=accelerator.backward)


def _save(transformer, context: TrainingContext) -> None:
    """Write the adapter as `SanaPipeline.load_lora_weights` reads it, and add the base's digest to its header."""
    from diffusers import SanaPipeline
    from diffusers.training_utils import _collate_lora_metadata
    from peft.utils import get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    from sana_bench.training.checkpoints import save_weights

    transformer.peft_config["default"].target_modules = sorted(context.config.train.target_modules)  # peft holds a set
    temporary = context.folder / ".unsigned"
    try:
        SanaPipeline.save_lora_weights(temporary, transformer_lora_layers=get_peft_model_state_dict(transformer),
                                       weight_name=WEIGHTS_FILE, **_collate_lora_metadata({"transformer": transformer}))
    except SafetensorError as error:  # how the library says that the disk is full
        raise StoreError(f"cannot write the adapter into {temporary}: {error}. The training state is kept") from error
    with safe_open(temporary / WEIGHTS_FILE, framework="pt") as file:
        header = {**(file.metadata() or {}), BASE_DIGEST_KEY: context.base_digest}
        save_weights(context.folder / WEIGHTS_FILE, {name: file.get_tensor(name) for name in file.keys()}, header)
    (temporary / WEIGHTS_FILE).unlink()
    temporary.rmdir()
