"""Weights of a CLIP as transformers names them, under open_clip's names. The numbers are the same; no library converts this way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

KEY = "vision_model.embeddings.class_embedding"
"""Only weights in transformers' layout have it."""

WHOLE = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    KEY: "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}
TRANSPOSED = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
TOWERS = {"text_model.encoder.layers": "transformer.resblocks", "vision_model.encoder.layers": "visual.transformer.resblocks"}
PARTS = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj"}
BLOCK = re.compile(r"(?P<tower>\w+\.encoder\.layers)\.(?P<number>\d+)\.(?P<part>[\w.]+)\.(?P<kind>weight|bias)")


def from_transformers(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of `open_clip.model.CLIP` from that of `transformers.CLIPModel`, both with vision transformers.

    Queries, keys and values, which are three layers there, are one here; projections are transposed.
    """
    import torch

    converted = {own: weights[name] for name, own in WHOLE.items()}
    converted |= {own: weights[name].T.contiguous() for name, own in TRANSPOSED.items()}
    for name, value in weights.items():
        block = BLOCK.fullmatch(name)
        if not block:
            continue
        place = f"{TOWERS[block['tower']]}.{block['number']}"
        if block["part"] in PARTS:
            converted[f"{place}.{PARTS[block['part']]}.{block['kind']}"] = value
        elif block["part"] == "self_attn.q_proj":
            three = [weights[name.replace("q_proj", f"{each}_proj")] for each in "qkv"]
            converted[f"{place}.attn.in_proj_{block['kind']}"] = torch.cat(three)
    return converted
