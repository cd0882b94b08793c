"""Full-rank fine-tuning of a Sana transformer, or of parts of it, by flow matching: float32 weights under bfloat16 compute where the recipe says so."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from sana_bench.config import RunConfig
from sana_bench.errors import ConfigError, StoreError
from sana_bench.registry import near_names
from sana_bench.train_config import TrainSection
from sana_bench.training import TrainedWeights, TrainingContext, register_trainer
from sana_bench.training.checkpoints import whole
from sana_bench.training.fine_tune import fine_tune, identity

if TYPE_CHECKING:
    import torch

WEIGHTS_FOLDER = "transformer"
PRESETS = {"attention": ("attn1", "attn2"), "cross_attention": ("attn2",)}
"""Last parts of the names of the modules that are trained."""
LARGEST_SHARD = "5GB"


@register_trainer("full", version=1)
class FullTrainer:
    """Trains the parameters that `train.trainable_modules` and `train.last_blocks` name; the others stay frozen."""

    def identity(self, config: RunConfig) -> object:
        return identity(config)

    def train(self, context: TrainingContext) -> TrainedWeights:
        tuned = fine_tune(context, free_parameters, "train full rank")
        state = {name: whole(value) for name, value in tuned.transformer.state_dict().items()}
        if tuned.trainee.is_main:
            _save(tuned.transformer, state, context)
        return TrainedWeights("full", WEIGHTS_FOLDER, tuned.summary)


def trainable_names(transformer: torch.nn.Module, settings: TrainSection) -> list[str]:
    """Names of the parameters that are trained.

    Raises:
        ConfigError: a name in `trainable_modules` is the end of no module's name, or there are fewer blocks than asked for.
    """
    chosen, blocks = settings.trainable_modules, len(transformer.transformer_blocks)
    if settings.last_blocks > blocks:
        raise ConfigError(f"train.last_blocks is {settings.last_blocks}; this transformer has {blocks} blocks")
    ends = () if chosen == "all" else PRESETS[chosen] if isinstance(chosen, str) else chosen
    modules = [name for name, _ in transformer.named_modules() if name]
    for end in ends:
        if not any(_ends_in(name, end) for name in modules):
            known = sorted({name.rpartition(".")[2] for name in modules if not name.rpartition(".")[2].isdigit()})
            raise ConfigError(f'train.trainable_modules: no module ends in "{end}".{near_names(end, known)} Modules: {", ".join(known)}')
    roots = [f"{name}." for name in modules if any(_ends_in(name, end) for end in ends)] if ends else [""]
    within = tuple(f"transformer_blocks.{index}." for index in range(blocks - settings.last_blocks, blocks)) if settings.last_blocks else ("",)
    names = [name for name, _ in transformer.named_parameters() if name.startswith(tuple(roots)) and name.startswith(within)]
    if not names:
        raise ConfigError(f"train.trainable_modules and train.last_blocks leave no parameter to train: {ends or 'all'} is not in the last "
                          f"{settings.last_blocks} blocks")
    return names


def free_parameters(transformer: torch.nn.Module, settings: TrainSection) -> None:
    """Freeze the transformer but for what is trained, which becomes float32.

    Raises:
        ConfigError: as `trainable_names`.
    """
    import torch
    from diffusers.training_utils import cast_training_params

    names = set(trainable_names(transformer, settings))
    for name, parameter in transformer.named_parameters():
        parameter.requires_grad_(name in names)
    if settings.mixed_precision == "no":
        transformer.to(torch.float32)  # what computes in one dtype must be of one
    cast_training_params(transformer, torch.float32)


def _ends_in(name: str, end: str) -> bool:
    return f".{name}".endswith(f".{end}")


def _save(transformer: torch.nn.Module, state: dict[str, torch.Tensor], context: TrainingContext) -> None:
    """Write the transformer, in the dtype that it is sampled in, as `SanaTransformer2DModel.from_pretrained` reads it."""
    import torch
    from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
    from huggingface_hub import save_torch_state_dict
    from safetensors import SafetensorError

    folder, unfinished = context.folder / WEIGHTS_FOLDER, context.folder / ".transformer"
    dtype = getattr(torch, context.config.model.transformer_dtype)
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        save_torch_state_dict({name: value.to(dtype) for name, value in state.items()}, unfinished, max_shard_size=LARGEST_SHARD,
                              filename_pattern=SAFETENSORS_WEIGHTS_NAME.replace(".safetensors", "{suffix}.safetensors"))
        transformer.save_config(unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"cannot write the transformer into {folder}: {error}. The training state is kept") from error
