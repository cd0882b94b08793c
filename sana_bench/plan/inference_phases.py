"""The memory of everything but training: what is encoded before it, and images that are drawn after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from sana_bench.config import GenerateSection, RunConfig
from sana_bench.generation.sampling import instruction_of, set_tiling
from sana_bench.models import COMPONENTS, LATENT_PX, check_size
from sana_bench.plan.architecture import Architecture
from sana_bench.plan.flops import FlopCounter
from sana_bench.plan.ledger import Ledger
from sana_bench.plan.weightless import materialise, on_meta, simulated

LETTERS_A_TOKEN = 4
"""Of Sana's instruction, whose tokens are only known to a tokenizer."""
LABELS = {"transformer": "transformer", "vae": "VAE", "text_encoder": "text encoder"}
CAPTIONS, PICTURES, DENOISE, DECODE = "encode captions", "encode training images", "denoise", "decode images"


@dataclass(frozen=True)
class InferenceMemory:
    """What one phase has on the device when most is alive."""

    name: str
    parts: dict[str, int]
    """Bytes by part."""
    flops: int = 0
    """Of one image and one step, where the phase has steps."""


def encoding_memory(architecture: Architecture, config: RunConfig, *, cuda: bool) -> list[InferenceMemory]:
    """Simulate what comes before training, one text and one picture at a time; the text encoder is gone when pictures are encoded."""
    with _simulated_parts(architecture, config, ("vae", "text_encoder"), cuda) as (ledger, parts):
        captions = _encode_texts(ledger, parts.pop("text_encoder"), config)
        return [InferenceMemory(CAPTIONS, captions), InferenceMemory(PICTURES, _encode_pictures(ledger, parts["vae"], config))]


def drawing_memory(architecture: Architecture, config: RunConfig, *, cuda: bool) -> list[InferenceMemory]:
    """Simulate drawing, with the whole pipeline loaded.

    Raises:
        ModelError: a size that the base cannot draw.
    """
    with _simulated_parts(architecture, config, COMPONENTS, cuda) as (ledger, parts):
        return [_denoise(ledger, parts["transformer"], config), InferenceMemory(DECODE, _decode(ledger, parts["vae"], config))]


@contextmanager
def _simulated_parts(architecture: Architecture, config: RunConfig, names: Sequence[str], cuda: bool) -> Iterator[tuple[Ledger, dict[str, torch.nn.Module]]]:
    dtypes, parts = {name: getattr(torch, getattr(config.model, f"{name}_dtype")) for name in names}, {}
    for name, dtype in dtypes.items():
        with on_meta(dtype):
            parts[name] = architecture.build(name, dtype)
    with simulated(cuda) as ledger, torch.no_grad():
        for name, module in parts.items():
            materialise(module)
            ledger.claim(LABELS[name], (*module.parameters(), *module.buffers()))
        del module
        yield ledger, parts


def num_tokens(settings: GenerateSection) -> int:
    """Of a caption with Sana's instruction in front of it, where it has one."""
    return settings.max_sequence_length + len("\n".join(instruction_of(settings) or [])) // LETTERS_A_TOKEN


def _encode_texts(ledger: Ledger, text_encoder: torch.nn.Module, config: RunConfig) -> dict[str, int]:
    moment, ids = ledger.now(), torch.zeros(1, num_tokens(config.generate), dtype=torch.int64)
    text_encoder(ids, attention_mask=torch.ones_like(ids))
    return ledger.peak_since(moment)


def _encode_pictures(ledger: Ledger, vae: torch.nn.Module, config: RunConfig) -> dict[str, int]:
    side, moment = max(stage.resolution for stage in config.train.stages), ledger.now()
    vae.encode(torch.empty(1, 3, side, side, dtype=vae.dtype))
    return ledger.peak_since(moment)


def _denoise(ledger: Ledger, transformer: torch.nn.Module, config: RunConfig) -> InferenceMemory:
    """One step of the sampler; guidance without a guidance embedding draws everything twice at once."""
    settings, has_embedding = config.generate, transformer.config.guidance_embeds
    check_size(transformer.config, settings.width, settings.height)
    number, moment = settings.batch_size * (2 if settings.guidance_scale > 1 and not has_embedding else 1), ledger.now()
    latents = _latents(transformer.config.in_channels, config, number, transformer.dtype)
    embeds = torch.empty(number, settings.max_sequence_length, transformer.config.caption_channels, dtype=transformer.dtype)
    mask = torch.empty(number, settings.max_sequence_length, dtype=torch.int64)
    with FlopCounter() as counter:
        transformer(latents, encoder_hidden_states=embeds, encoder_attention_mask=mask, timestep=torch.empty(number),
                    guidance=torch.empty(number, dtype=transformer.dtype) if has_embedding else None)
    return InferenceMemory(DENOISE, ledger.peak_since(moment), counter.total // settings.batch_size)


def _decode(ledger: Ledger, vae: torch.nn.Module, config: RunConfig) -> dict[str, int]:
    set_tiling(vae, config.generate)
    moment = ledger.now()
    vae.decode(_latents(vae.config.latent_channels, config, config.generate.batch_size, vae.dtype))
    return ledger.peak_since(moment)


def _latents(channels: int, config: RunConfig, number: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(number, channels, config.generate.height // LATENT_PX, config.generate.width // LATENT_PX, dtype=dtype)
