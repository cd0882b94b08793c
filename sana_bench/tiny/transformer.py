"""tiny-sana's transformer and text encoder, trained together by flow matching on latents of the training people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from sana_bench.tiny.captions import caption_variant
from sana_bench.tiny.muon import MuonAdamW, split_parameters
from sana_bench.training.flow_matching import draw_sigmas, flow_matching_loss
from sana_bench.training.loop import LoopSettings, run_loop, step_generator
from sana_bench.training.trainee import Trainee

TRANSFORMER_CONFIG = dict(
    in_channels=32, out_channels=32, num_layers=8, num_attention_heads=9, attention_head_dim=32,
    num_cross_attention_heads=9, cross_attention_head_dim=32, cross_attention_dim=288, caption_channels=192,
    mlp_ratio=2.5, sample_size=64, patch_size=2, interpolation_scale=1,
)
"""Patches of 2x2 latents (the released models use 1x1): 1,024 tokens at 2048 px, a quarter of the cost on a CPU."""

TEXT_CONFIG = dict(hidden_size=192, intermediate_size=384, num_hidden_layers=2, num_attention_heads=4,
                   num_key_value_heads=2, head_dim=48, sliding_window=512, max_position_embeddings=512)

MAX_SEQUENCE_LENGTH = 64
BATCH_SIZES = {1024: 16, 2048: 4}
"""Batch size by view size in pixels; both take the same time a step."""

LARGE_SHARE = (0.25, 1.0)
"""Share of steps on 2048 px views, in the first and in the last part of training: small views teach composition fast."""

FIRST_PART = 0.35
CAPTION_DROPOUT = 0.1
FLOW_SHIFT = 3.0
LEARNING_RATE = 1.6e-3
SEED = 1
SETTINGS = dict(warmup_steps=100, schedule="linear", checkpoint_every=25)

BLOCKS = ("transformer_blocks", "layers")
"""Submodules whose matrices are trained by Muon: the repeated blocks of the transformer and of the text encoder."""

KIND_WEIGHTS = {"studio_portrait": 6.0, "studio_posture": 5.0, "amateur_selfie": 6.0, "amateur_posture": 5.0,
                "emotion": 0.7, "head": 1.0, "body": 1.0}
"""How often a picture is drawn: the four photographs of a person as often together as the 24 small cells."""

IDENTITY = (TRANSFORMER_CONFIG, TEXT_CONFIG, MAX_SEQUENCE_LENGTH, BATCH_SIZES, LARGE_SHARE, FIRST_PART, CAPTION_DROPOUT, FLOW_SHIFT,
            SEED, SETTINGS, BLOCKS, KIND_WEIGHTS)
"""All that decides the weights beside the data, the autoencoder, the tokenizer, the start, the number of steps and the learning rate."""


def build_transformer():
    from diffusers import SanaTransformer2DModel

    torch.manual_seed(1)
    return SanaTransformer2DModel(**TRANSFORMER_CONFIG)


def build_text_encoder(tokenizer):
    from transformers import Gemma2Config, Gemma2Model

    torch.manual_seed(2)
    ids = dict(pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    return Gemma2Model(Gemma2Config(vocab_size=len(tokenizer), attn_implementation="eager", **TEXT_CONFIG, **ids))


def build_modules(tokenizer) -> torch.nn.ModuleDict:
    """Transformer and text encoder, as they are trained and saved together."""
    return torch.nn.ModuleDict({"transformer": build_transformer(), "text_encoder": build_text_encoder(tokenizer)})


def encode_captions(tokenizer, text_encoder, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """As SanaPipeline does without an instruction: lower case, padded on the right. ((B, T, D) embeddings, (B, T) mask)."""
    tokens = tokenizer([caption.lower().strip() for caption in captions], padding="max_length", truncation=True,
                       max_length=MAX_SEQUENCE_LENGTH, return_tensors="pt")
    return text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask)[0], tokens.attention_mask


def train_transformer(modules: torch.nn.ModuleDict, latents: Mapping[int, torch.Tensor], captions: Sequence[str],
                      kinds: Sequence[str], tokenizer, folder: Path, *, total_steps: int, learning_rate: float, identity: str,
                      first_part: float = FIRST_PART, after_step: Callable[[int], None] = lambda step: None) -> list[float]:
    """Train `modules` on latents of unit deviation, (N, 32, side / 32, side / 32) by view size; return the losses.

    Resumes from `folder`. `first_part` is the share of the steps in which most views are small.
    """
    modules.train()
    shares = torch.tensor([KIND_WEIGHTS[kind] for kind in kinds])
    optimizer = MuonAdamW(*split_parameters(modules, BLOCKS), lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)

    def compute_loss(step: int, number: int) -> torch.Tensor:
        generator = step_generator(SEED, step)
        large_share = LARGE_SHARE[step >= first_part * total_steps]
        side = 2048 if float(torch.rand((), generator=generator)) < large_share else 1024
        rows = torch.multinomial(shares, BATCH_SIZES[side], replacement=True, generator=generator)
        dropped = torch.rand(len(rows), generator=generator) < CAPTION_DROPOUT
        texts = ["" if drop else caption_variant(captions[row], generator)
                 for row, drop in zip(rows.tolist(), dropped.tolist(), strict=True)]
        clean = latents[side][rows].float()
        noise = torch.randn(clean.shape, generator=generator)
        sigmas = draw_sigmas(len(rows), generator, flow_shift=FLOW_SHIFT)
        with torch.autocast("cpu", torch.bfloat16):
            prompt_embeds, mask = encode_captions(tokenizer, modules["text_encoder"], texts)
            longest = int(mask.sum(dim=1).max())  # what is padding in every row only costs time
            return flow_matching_loss(modules["transformer"], clean, noise, sigmas, prompt_embeds[:, :longest], mask[:, :longest])

    settings = LoopSettings(**SETTINGS, learning_rate=learning_rate, total_steps=total_steps, description="transformer")
    losses = run_loop(settings, Trainee(dict(modules.named_parameters()), optimizer), compute_loss, folder, identity, after_step)
    modules.eval()
    return losses
