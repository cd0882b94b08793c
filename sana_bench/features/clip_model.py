"""The small CLIP: open_clip over a frozen EfficientNet-lite0, with a head and a text tower of our own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.features.efficientnet import SIDE, load_pretrained
from sana_bench.shipped import PACKAGE

if TYPE_CHECKING:
    import torch
    from open_clip.model import CustomTextCLIP
    from transformers import GemmaTokenizer

FOLDER, TOKENIZER_FOLDER = (PACKAGE / "tiny" / "weights" / name for name in ("clip", "tokenizer"))
"""Where `sana-bench build-tiny` puts them."""
WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
BACKBONE = "visual.trunk."
"""Prefix of the weights that are not ours; they come from the asset `efficientnet_lite0`."""

CONTEXT_LENGTH = 64
SEED = 3


def clip_config(tokenizer) -> dict:
    """Arguments of `open_clip.model.CustomTextCLIP`."""
    vision = dict(timm_model_name="efficientnet_lite0", timm_model_pretrained=False, timm_pool="avg", timm_proj="mlp",
                  image_size=SIDE)
    text = dict(context_length=CONTEXT_LENGTH, vocab_size=len(tokenizer), width=128, heads=4, layers=3,
                pool_type="eos", eos_id=tokenizer.eos_token_id, pad_id=tokenizer.pad_token_id)
    return dict(embed_dim=128, vision_cfg=vision, text_cfg=text)


def build_clip(config: dict) -> CustomTextCLIP:
    """Our head and text tower at random (seeded), over the pretrained image tower, which is frozen and in eval mode."""
    import torch
    from open_clip.model import CustomTextCLIP

    torch.manual_seed(SEED)
    model = CustomTextCLIP(**config)
    load_pretrained(model.visual.trunk)
    model.visual.trunk.requires_grad_(False)
    return model.eval()


def save_clip(model: CustomTextCLIP, config: dict, folder: Path) -> None:
    """Write our weights in half precision, and the config."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.to(torch.float16).contiguous() for name, value in model.state_dict().items()
               if not name.startswith(BACKBONE)}
    save_file(weights, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")


def load_clip(folder: Path = FOLDER) -> CustomTextCLIP:
    """The trained model in float32 and eval mode."""
    from safetensors.torch import load_file

    model = build_clip(json.loads((folder / CONFIG_FILE).read_text()))
    weights = {name: value.float() for name, value in load_file(folder / WEIGHTS_FILE).items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.startswith(BACKBONE) for name in missing), (missing, unexpected)
    return model


def load_tokenizer(folder: Path = TOKENIZER_FOLDER) -> GemmaTokenizer:
    """The tokenizer that it shares with tiny-sana, as `SanaPipeline.from_pretrained` loads it."""
    from transformers import GemmaTokenizer

    return GemmaTokenizer.from_pretrained(folder)


def tokenize(tokenizer, texts: Sequence[str]) -> tuple[torch.Tensor, list[bool]]:
    """Lower-cased, `<bos> ... <eos>`, padded to the context's length, as open_clip's causal mask needs it.

    Returns:
        (B, CONTEXT_LENGTH) int64 ids, and for each text whether it was longer than that and was cut.
    """
    import torch

    ids = [tokenizer(text.lower().strip()).input_ids for text in texts]
    padded_BT = torch.full((len(ids), CONTEXT_LENGTH), tokenizer.pad_token_id)
    for row, padded_T in zip(ids, padded_BT, strict=True):
        kept = [*row[:CONTEXT_LENGTH - 1], tokenizer.eos_token_id]
        padded_T[:len(kept)] = torch.tensor(kept)
    return padded_BT, [len(row) + 1 > CONTEXT_LENGTH for row in ids]
