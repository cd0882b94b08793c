"""Full-rank fine-tuning of a Sana transformer, or of parts of it, by flow matching: float32 weights under bfloat16 compute where the recipe says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sana_bench.config import RunConfig
from sana_bench.errors import ConfigError
from sana_bench.full_weights import FOLDER, read_config, save_transformer
from sana_bench.models import base_folder
from sana_bench.registry import near_names
from sana_bench.train_config import TrainSection
from sana_bench.training import TrainedWeights, TrainingContext, register_trainer
from sana_bench.training.fine_tune import fine_tune, identity
from sana_bench.training.trainee import whole_by_name

if TYPE_CHECKING:
    import torch

PRESETS = {"attention": ("attn1", "attn2"), "cross_attention": ("attn2",)}
"""Last parts of the names of the modules that are trained."""


@register_trainer("full", version=1, distributed=True)
class FullTrainer:
    """Trains the parameters that `train.trainable_modules` and `train.last_blocks` name; the others stay frozen."""

    def identity(self, config: RunConfig) -> object:
        return identity(config, unused={"rank", "lora_alpha", "lora_dropout", "use_dora", "use_rslora", "target_modules"})

    def train(self, context: TrainingContext) -> TrainedWeights:
        import torch

        tuned = fine_tune(context, free_parameters, "train full rank")
        state = whole_by_name(tuned.transformer.state_dict(), keep=tuned.trainee.is_main)
        if tuned.trainee.is_main:
            dtype = getattr(torch, context.config.model.transformer_dtype)  # that it is sampled in
            save_transformer({name: value.to(dtype) for name, value in state.items()}, read_config(base_folder(context.config.model) / FOLDER),
                             context.folder / FOLDER)
        return TrainedWeights("full", FOLDER, tuned.summary)


def trainable_names(transformer: torch.nn.Module, settings: TrainSection) -> list[str]:
    """Names of the parameters that are trained.

    Raises:
        ConfigError: a name in `trainable_modules` is the end of no module's name, there are fewer blocks than asked for, or nothing is left.
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
        where = f"in the last {settings.last_blocks} blocks (train.last_blocks) " if settings.last_blocks else ""
        raise ConfigError(f"train.trainable_modules leaves no parameter to train: {', '.join(ends)} {where}has none")
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
    cast_training_params(transformer, torch.float32)
    if settings.mixed_precision == "no":
        for parameter in transformer.parameters():  # what computes without autocast must be of one dtype
            parameter.data = parameter.data.to(torch.float32)


def _ends_in(name: str, end: str) -> bool:
    return f".{name}".endswith(f".{end}")
