"""What a run needs beside memory: disk for caches, weights and images, and images to draw."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sana_bench.base_images import needing_base
from sana_bench.config import RunConfig
from sana_bench.data.balance import picture_weights
from sana_bench.data.pictures import training_pictures
from sana_bench.data.schedule import schedule
from sana_bench.guard import parts_of
from sana_bench.models import COMPONENTS, HUB_ID, LATENT_PX
from sana_bench.plan.architecture import Architecture
from sana_bench.plan.optimizer_state import STATE
from sana_bench.plan.weightless import num_bytes, on_meta
from sana_bench.score import chosen_metrics
from sana_bench.store import Store
from sana_bench.train_config import RegionsSection

PNG_BYTES_A_PIXEL = 1.2
"""Assumed: 2048 px photographs of people in the PNGs that are written here take 0.93 (studio, whole body) to 1.41 (outdoors) bytes a pixel, and what
tiny-sana draws 1.01."""


@dataclass(frozen=True)
class Need:
    """Files of one kind."""

    what: str
    number: int
    """Of files, or of copies."""
    size: int
    """Bytes of all."""


@dataclass(frozen=True)
class Drawn:
    """Images of one suite."""

    suite: str
    of: str
    """`variant` or `base`."""
    number: int


def images_to_draw(config: RunConfig) -> list[Drawn]:
    """Of every suite, for each training seed; and once the base's own where a metric compares with them."""
    drawn = []
    for part in parts_of(config):
        number = len(part.suite.prompt) * config.generate.num_images_per_prompt
        drawn.append(Drawn(part.suite.name, "variant", number * config.train.num_seeds))
        if needing_base(chosen_metrics(part.config)):
            drawn.append(Drawn(part.suite.name, "base", number))
    return drawn


def image_files(config: RunConfig, drawn: list[Drawn]) -> Need:
    number = sum(each.number for each in drawn)
    return Need("images (PNG)", number, round(number * config.generate.width * config.generate.height * PNG_BYTES_A_PIXEL))


def base_files(architecture: Architecture, config: RunConfig) -> list[Need]:
    """The base's weights, where they are fetched."""
    if not HUB_ID.fullmatch(config.model.base):
        return []
    return [Need("base model", 1, sum(_size(architecture, config, name) for name in COMPONENTS))]


def _size(architecture: Architecture, config: RunConfig, name: str) -> int:
    dtype = getattr(torch, getattr(config.model, f"{name}_dtype"))
    with on_meta(dtype):
        return num_bytes(architecture.build(name, dtype))


def cache_files(architecture: Architecture, config: RunConfig, store: Store) -> list[Need]:
    """Latents of every view that training sees, and text embeddings of every caption, at most.

    Zoomed crops are known once the images were looked at; until then each time that one is seen counts as a view of its own.

    Raises:
        SanaBenchError: the training data cannot be used.
    """
    settings, transformer = config.train, architecture.configs["transformer"]
    whole = config.model_copy(update={"train": settings.model_copy(update={"regions": RegionsSection()}),
                                      "data": config.data.model_copy(update={"balance": ()})})
    pictures = training_pictures(whole, store)
    weights_N = picture_weights(pictures, config.data.sources, (), 0.0)
    stages = schedule(pictures, weights_N, settings, LATENT_PX * transformer.get("patch_size", 1))
    draws = list(dict.fromkeys(draw for stage in stages for draw in stage.all_draws()))
    crops = [round(settings.regions.crop_share * stage.pictures_MG.size) for stage in stages]
    cells = sum(draw.width * draw.height for draw in draws) + sum(number * stage.stage.resolution**2 for number, stage in zip(crops, stages, strict=True))
    texts = 1 + len({pictures[draw.picture].text for draw in draws})
    return [Need("latents", len(draws) + sum(crops), cells // LATENT_PX**2 * architecture.configs["vae"]["latent_channels"] * 4),
            Need("text embeddings, at most", texts, texts * _embedding_bytes(config, transformer))]


def _embedding_bytes(config: RunConfig, transformer: dict) -> int:
    width = getattr(torch, config.model.text_encoder_dtype).itemsize
    return config.generate.max_sequence_length * (transformer["caption_channels"] * width + 8)


def training_files(transformer: torch.nn.Module, config: RunConfig) -> list[Need]:
    """The state that a killed run goes on from, which is there twice while it is written and gone in the end, and the weights of every seed."""
    settings = config.train
    trained = [parameter for parameter in transformer.parameters() if parameter.requires_grad]
    number = sum(parameter.numel() for parameter in trained)
    state = 4 * number * (2 if settings.ema_decay else 1) + STATE[settings.optimizer](trained)
    stored = getattr(torch, config.model.transformer_dtype).itemsize
    weights = 4 * number if settings.trainer == "lora" else stored * sum(parameter.numel() for parameter in transformer.parameters())
    return [Need("training state", 2, 2 * state), Need("trained weights", settings.num_seeds, settings.num_seeds * weights)]
