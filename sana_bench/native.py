"""Sana's weights as NVlabs' own train.py keeps them, and as diffusers does: the same tensors under other names.

In NVlabs' layout the queries, keys and values of a layer are one tensor, stacked in this order, and the positional embedding is a buffer of its
own, where diffusers computes it from the sizes in its config.

Source: `diffusion/model/nets/sana_multi_scale.py` and `diffusion/utils/checkpoint.py` of NVlabs/Sana, and
`scripts/convert_sana_to_diffusers.py` of diffusers.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.errors import ModelError

if TYPE_CHECKING:
    import torch

PLAIN_KEY, EMA_KEY = "state_dict", "state_dict_ema"
POSITIONS = "pos_embed"
NOT_CONVERTED = {POSITIONS, "y_embedder.y_embedding", "logvar_linear.weight", "logvar_linear.bias"}
"""Known and without a counterpart: computed in diffusers, the embedding of the empty caption, and a head that only Sprint's training has."""
GUIDANCE = "cfg_embedder."
"""Keys of the guidance embedding begin so: Sprint has one."""

OUTER = {
    "x_embedder.proj": ("patch_embed.proj",),
    "y_embedder.y_proj.fc1": ("caption_projection.linear_1",),
    "y_embedder.y_proj.fc2": ("caption_projection.linear_2",),
    "attention_y_norm": ("caption_norm",),
    "t_block.1": ("time_embed.linear",),
    "final_layer.linear": ("proj_out",),
    "final_layer.scale_shift_table": ("scale_shift_table",),
}
TIME = {"t_embedder.mlp.0": ("time_embed.emb.timestep_embedder.linear_1",), "t_embedder.mlp.2": ("time_embed.emb.timestep_embedder.linear_2",)}
TIME_AND_GUIDANCE = {
    "t_embedder.mlp.0": ("time_embed.timestep_embedder.linear_1",), "t_embedder.mlp.2": ("time_embed.timestep_embedder.linear_2",),
    "cfg_embedder.mlp.0": ("time_embed.guidance_embedder.linear_1",), "cfg_embedder.mlp.2": ("time_embed.guidance_embedder.linear_2",),
}
BLOCK = {
    "scale_shift_table": ("scale_shift_table",),
    "attn.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "attn.q_norm": ("attn1.norm_q",),
    "attn.k_norm": ("attn1.norm_k",),
    "attn.proj": ("attn1.to_out.0",),
    "cross_attn.q_linear": ("attn2.to_q",),
    "cross_attn.kv_linear": ("attn2.to_k", "attn2.to_v"),
    "cross_attn.q_norm": ("attn2.norm_q",),
    "cross_attn.k_norm": ("attn2.norm_k",),
    "cross_attn.proj": ("attn2.to_out.0",),
    "mlp.inverted_conv.conv": ("ff.conv_inverted",),
    "mlp.depth_conv.conv": ("ff.conv_depth",),
    "mlp.point_conv.conv": ("ff.conv_point",),
}
LEAVES = ("weight", "bias")


def read_checkpoint(path: Path, ema: bool = False) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint of train.py, mapped from the disk where its format allows that.

    Nothing in the file is executed: beside tensors and plain values only the numpy classes are taken that the random state in it needs.

    Args:
        path: a .pth with `state_dict` (DDP: also `state_dict_ema`, optimizer, random state; FSDP: nothing else), or the weights alone.
        ema: take the moving average instead of the weights themselves.

    Raises:
        ModelError: no checkpoint, no moving average in it, or a file that wants code to be run.
    """
    content = _load(path)
    if not isinstance(content, Mapping):
        raise ModelError(f"{path.name} holds a {type(content).__name__}, no weights by name")
    if ema and EMA_KEY not in content:
        raise ModelError(f"{path.name} holds no moving average ({EMA_KEY}), since train.py keeps one only with train.ema_update=true: "
                         f"leave out train.weights_ema")
    weights = content[EMA_KEY] if ema else content.get(PLAIN_KEY, content)
    return _only_tensors(path, weights)


def _only_tensors(path: Path, weights: object) -> dict[str, torch.Tensor]:
    import torch

    if not isinstance(weights, Mapping) or not weights:
        raise ModelError(f"{path.name} holds no weights by name")
    wrong = [str(name) for name, value in weights.items() if not isinstance(value, torch.Tensor) or not isinstance(name, str)]
    if wrong:
        raise ModelError(f'{path.name} is no checkpoint of train.py: it has no "{PLAIN_KEY}", and {_some(wrong)} in it is no tensor')
    return dict(weights)


def _load(path: Path) -> object:
    import pickle

    import torch

    try:
        with torch.serialization.safe_globals(_random_state_classes()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path.name} is not loaded: {_wanted(path)}. A checkpoint holds tensors and plain values; this one is damaged or would run code") from error
    except (OSError, RuntimeError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ModelError(f"{path} is not a readable checkpoint: {str(error).partition(chr(10))[0]}") from error


def _wanted(path: Path) -> str:
    """What a refused file asks for beyond tensors and plain values."""
    import torch

    try:
        with torch.serialization.safe_globals(_random_state_classes()):
            names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # of whatever a damaged file makes it raise, the refusal itself is told already
        names = []
    return f"it asks for {_some(names)}" if names else "its pickle cannot be read safely"


def _random_state_classes() -> list:
    """What numpy.random.get_state() is pickled with, by numpy 1 and 2."""
    import numpy as np

    reconstruct = np._core.multiarray._reconstruct
    return [(reconstruct, "numpy._core.multiarray._reconstruct"), (reconstruct, "numpy.core.multiarray._reconstruct"),
            np.ndarray, np.dtype, np.dtypes.UInt32DType]


def to_diffusers(native: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under the names that SanaTransformer2DModel has, stacked ones cut apart. No values are copied but those that are cut.

    Raises:
        ModelError: a key that is none of Sana's, or a stack that cannot be cut; all of them in one message.
    """
    places = _places(_num_blocks(native), any(name.startswith(GUIDANCE) for name in native))
    tensors: dict[str, torch.Tensor] = {}
    unknown = []
    for name, tensor in native.items():
        if name in NOT_CONVERTED:
            continue
        names = places.get(name, ())
        if not names or tensor.dim() == 0 or tensor.shape[0] % len(names):
            unknown.append(name)
        elif len(names) == 1:
            tensors[names[0]] = tensor
        else:  # shards are written from tensors that share no memory
            tensors |= {part: cut.clone() for part, cut in zip(names, tensor.chunk(len(names)), strict=True)}
    if unknown:
        raise ModelError(f"the checkpoint is no Sana that diffusers has, with linear attention and a convolutional feed-forward: {_some(unknown)}")
    return tensors


def from_diffusers(tensors: Mapping[str, torch.Tensor], config: Mapping) -> dict[str, torch.Tensor]:
    """The inverse of `to_diffusers`, with the positional embedding that `config` describes (zeros where it has none), as train.py loads it.

    The embedding of the empty caption is not in diffusers' layout; train.py takes it from the file that it computes anyway.

    Raises:
        ModelError: a tensor has no place in NVlabs' layout, or one is missing beside others that are there.
    """
    import torch

    places = _places(config["num_layers"], config["guidance_embeds"])
    left, native = dict(tensors), {}
    for name, names in places.items():
        there = [each for each in names if each in left]
        if there and len(there) != len(names):
            raise ModelError(f"{_some(sorted(set(names) - set(there)))} is missing beside {there[0]}")
        if there:
            parts = [left.pop(each) for each in names]
            native[name] = torch.cat(parts) if len(parts) > 1 else parts[0]
    if left:
        raise ModelError(f"these have no place in NVlabs' layout: {_some(sorted(left))}")
    return native | {POSITIONS: positional_embedding(config)}


def _places(num_blocks: int, guidance: bool) -> dict[str, tuple[str, ...]]:
    """Full names of parameters: one in NVlabs' layout -> those in diffusers' that it is the stack of."""
    modules = OUTER | (TIME_AND_GUIDANCE if guidance else TIME)
    for number in range(num_blocks):
        modules |= {f"blocks.{number}.{name}": tuple(f"transformer_blocks.{number}.{each}" for each in names) for name, names in BLOCK.items()}
    places = {}
    for name, names in modules.items():
        leaves = ("",) if name.endswith("scale_shift_table") else tuple(f".{leaf}" for leaf in LEAVES)
        places |= {name + leaf: tuple(each + leaf for each in names) for leaf in leaves}
    return places


def _num_blocks(native: Mapping[str, torch.Tensor]) -> int:
    """How many are numbered, whatever the numbers: one that is out of the row is then no place."""
    return len({name.split(".")[1] for name in native if name.startswith("blocks.")})


def positional_embedding(config: Mapping) -> torch.Tensor:
    """(1, positions, channels) float32, as a transformer of this config computes it; zeros where it has none, as NVlabs' models keep it."""
    import torch
    from diffusers.models.embeddings import get_2d_sincos_pos_embed

    side, channels = config["sample_size"] // config["patch_size"], config["num_attention_heads"] * config["attention_head_dim"]
    if config["interpolation_scale"] is None:
        return torch.zeros(1, side * side, channels)
    return get_2d_sincos_pos_embed(channels, side, base_size=side, interpolation_scale=config["interpolation_scale"], output_type="pt").float()[None]


def check_positions(native: Mapping[str, torch.Tensor], config: Mapping) -> None:
    """Refuse a checkpoint that was trained with another positional embedding than a transformer of this config computes.

    Raises:
        ModelError: one of both has none, or they differ in their number of positions or in their values.
    """
    stored = native.get(POSITIONS)
    has_one, needs_one = stored is not None and bool(stored.any()), config["interpolation_scale"] is not None
    if has_one != needs_one:
        sides = ("has a positional embedding, and the base has none: name the base that it was trained from, such as the one of 2K" if has_one
                 else "has no positional embedding, and the base has one, as every model of 2K: it was trained with use_pe=false")
        raise ModelError(f"the checkpoint {sides}")
    if not has_one:
        return
    expected = positional_embedding(config)
    if stored.shape != expected.shape:
        old, new = (math.isqrt(each.shape[1]) if each.dim() == 3 else 0 for each in (stored, expected))
        raise ModelError(f"the checkpoint's positional embedding is of {old}x{old} positions ({tuple(stored.shape)}), the base's of {new}x{new} "
                         f"({tuple(expected.shape)}): train.py was run with another image_size than the base is made for")
    furthest = (stored.float() - expected).abs().max().item()
    if not furthest < 0.02:  # values are in [-1, 1], and stored in bfloat16 they are off by up to 0.004
        raise ModelError(f"the checkpoint's positional embedding is another one than the base computes (they are up to {furthest:.2g} apart): "
                         f"pe_interpolation of train.py must be the base's interpolation_scale {config['interpolation_scale']}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
