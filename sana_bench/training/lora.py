"""LoRA on a Sana transformer by flow matching: peft adapters, trained in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sana_bench.config import RunConfig
from sana_bench.errors import ConfigError, StoreError
from sana_bench.models import BASE_DIGEST_KEY
from sana_bench.registry import near_names
from sana_bench.train_config import TrainSection
from sana_bench.training import TrainedWeights, TrainingContext, register_trainer
from sana_bench.training.checkpoints import save_weights
from sana_bench.training.fine_tune import fine_tune, identity
from sana_bench.training.trainee import whole_by_name

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE = "pytorch_lora_weights.safetensors"
ATTENTION = ("to_q", "to_k", "to_v")
PRESETS = {"attention": ATTENTION, "attention_out": (*ATTENTION, "to_out.0"),
           "all": (*ATTENTION, "to_out.0", "conv_inverted", "conv_point")}
"""Last parts of the names of what gets an adapter."""


@register_trainer("lora", version=2, distributed=True)
class LoraTrainer:
    """Trains adapters on the layers that `train.target_modules` names; everything else stays frozen."""

    def identity(self, config: RunConfig) -> object:
        return identity(config, unused={"trainable_modules", "last_blocks"})

    def train(self, context: TrainingContext) -> TrainedWeights:
        tuned = fine_tune(context, add_adapter, "train LoRA")
        weights = whole_by_name(tuned.trainee.weights, keep=tuned.trainee.is_main)
        if tuned.trainee.is_main:
            _save(tuned.transformer, weights, context)
        return TrainedWeights("adapter", WEIGHTS_FILE, tuned.summary)


def targets_of(settings: TrainSection) -> tuple[str, ...]:
    """Last parts of the names of the layers that get an adapter."""
    return PRESETS[settings.target_modules] if isinstance(settings.target_modules, str) else settings.target_modules


def check_targets(transformer: torch.nn.Module, targets: tuple[str, ...]) -> None:
    """Raises ConfigError where a target is the end of no layer's name that can have an adapter, or of another's too, by whole parts as peft matches."""
    import torch

    layers = {name: isinstance(module, torch.nn.Linear) or (isinstance(module, torch.nn.Conv2d) and module.groups == 1)
              for name, module in transformer.named_modules()}
    for target in targets:
        hit = [can_have_one for name, can_have_one in layers.items() if f".{name}".endswith(f".{target}")]
        if not (hit and all(hit)):
            ends = sorted({".".join(name.split(".")[-2 if name.endswith(".0") else -1:]) for name, can_have_one in layers.items() if can_have_one})
            what = "not only layers that can have an adapter end" if any(hit) else "no layer that can have an adapter ends"
            raise ConfigError(f'train.target_modules: {what} in "{target}".{near_names(target, ends)} Layers: {", ".join(ends)}')


def add_adapter(transformer: torch.nn.Module, settings: TrainSection) -> None:
    """Freeze the transformer and add adapters in float32 (bfloat16 ones would lose small updates).

    Raises:
        ConfigError: a target names no layer.
    """
    import torch
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig

    targets = targets_of(settings)
    check_targets(transformer, targets)
    transformer.requires_grad_(False)
    torch.manual_seed(settings.seed)
    transformer.add_adapter(LoraConfig(
        r=settings.rank, lora_alpha=settings.lora_alpha, lora_dropout=settings.lora_dropout, use_dora=settings.use_dora,
        use_rslora=settings.use_rslora, init_lora_weights="gaussian", target_modules=list(targets)))
    cast_training_params(transformer, torch.float32)


def _save(transformer: torch.nn.Module, weights: dict[str, torch.Tensor], context: TrainingContext) -> None:
    """Write the adapter as `SanaPipeline.load_lora_weights` reads it, with the base's digest in its header."""
    from diffusers import SanaPipeline
    from diffusers.training_utils import _collate_lora_metadata
    from peft.utils import get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    adapter = transformer.peft_config["default"]
    adapter.target_modules = sorted(targets_of(context.config.train))  # peft holds a set
    adapter.lora_dropout = 0.0  # diffusers builds adapters by this header, in training mode: a pipeline would go on dropping out
    temporary = context.folder / ".unsigned"
    try:
        SanaPipeline.save_lora_weights(temporary, transformer_lora_layers=get_peft_model_state_dict(transformer, weights),
                                       weight_name=WEIGHTS_FILE, **_collate_lora_metadata({"transformer": transformer}))
    except SafetensorError as error:  # how the library says that the disk is full
        raise StoreError(f"cannot write the adapter into {temporary}: {error}. The training state is kept") from error
    with safe_open(temporary / WEIGHTS_FILE, framework="pt") as file:
        header = {**(file.metadata() or {}), BASE_DIGEST_KEY: context.base_digest}
        save_weights(context.folder / WEIGHTS_FILE, {name: file.get_tensor(name) for name in file.keys()}, header)
    (temporary / WEIGHTS_FILE).unlink()
    temporary.rmdir()
