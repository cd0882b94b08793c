"""The architecture of the released Sana 1.6B at 2K with random weights, in diffusers layout: what memory and time depend on, without a download.

Transformer and autoencoder have the released configs; the text encoder is one small layer of Gemma 2 with the released width of its output.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from sana_bench.shipped import PACKAGE

TRANSFORMER_PARAMETERS = 1_604_462_752
"""Of the released transformer."""
HIDDEN_SIZE = 2304
"""Of Gemma-2-2B, which the caption projection is made for."""

TRANSFORMER = dict(
    in_channels=32, out_channels=32, num_layers=20, num_attention_heads=70, attention_head_dim=32, num_cross_attention_heads=20, cross_attention_head_dim=112,
    cross_attention_dim=2240, caption_channels=HIDDEN_SIZE, mlp_ratio=2.5, attention_bias=False, sample_size=64, patch_size=1, norm_elementwise_affine=False,
    norm_eps=1e-6, interpolation_scale=1.0)
BLOCKS = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
CHANNELS = (128, 256, 512, 512, 1024, 1024)
SCALES = ((), (), (), (5,), (5,), (5,))
AUTOENCODER = dict(
    in_channels=3, latent_channels=32, attention_head_dim=32, encoder_block_types=BLOCKS, decoder_block_types=BLOCKS, encoder_block_out_channels=CHANNELS,
    decoder_block_out_channels=CHANNELS, encoder_layers_per_block=(2, 2, 2, 3, 3, 3), decoder_layers_per_block=(3, 3, 3, 3, 3, 3),
    encoder_qkv_multiscales=SCALES, decoder_qkv_multiscales=SCALES, upsample_block_type="interpolate", downsample_block_type="conv",
    decoder_norm_types="rms_norm", decoder_act_fns="silu", scaling_factor=0.41407)


def build_random_base(folder: Path, seed: int = 0, **transformer: object) -> Path:
    """Write the base, 4.5 GB: the transformer in bfloat16, the rest in float32. `transformer` replaces settings of its config."""
    from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel
    from transformers import AutoTokenizer, Gemma2Config, Gemma2Model

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(PACKAGE / "tiny" / "weights" / "tokenizer")
    text_encoder = Gemma2Model(Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=HIDDEN_SIZE, intermediate_size=HIDDEN_SIZE, num_hidden_layers=1, num_attention_heads=8, num_key_value_heads=4,
        head_dim=256, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id))
    with default_dtype(torch.bfloat16):
        model = SanaTransformer2DModel(**TRANSFORMER | transformer)
    scheduler = DPMSolverMultistepScheduler(flow_shift=3.0, use_flow_sigmas=True, prediction_type="flow_prediction")
    SanaPipeline(tokenizer=tokenizer, text_encoder=text_encoder, vae=AutoencoderDC(**AUTOENCODER), transformer=model,
                 scheduler=scheduler).save_pretrained(folder)
    return folder


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """New parameters are of that dtype: a model of 6 GB in float32 is never made."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
