"""DINOv2: transformers' network on the same weights, and positions interpolated as its authors do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sana_bench.features import EXTRACTORS, View, dinov2
from sana_bench.features.efficientnet import imagenet_view
from sana_bench.metrics import METRICS
from tests.pretrained import put_asset

SMALL = "vit_small_patch14_dinov2"
"""The same network with fewer and narrower layers: the large one has 1.2 GB."""


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """In the published file's format: a grid of 37 x 37 positions and a mask token; random, with layer scales that let the layers count."""
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model(SMALL, pretrained=False, img_size=518, num_classes=0)
    state = {name: 0.5 * torch.rand_like(value) if name.endswith("gamma") else value + 0.02 * torch.randn_like(value) for name, value in model.state_dict().items()}
    state["mask_token"] = torch.zeros(1, 384)
    torch.save(state, tmp_path / "dinov2_vits14_pretrain.pth")
    monkeypatch.setattr(dinov2, "ARCHITECTURE", SMALL)
    put_asset("dinov2_vit_l_14", tmp_path / "dinov2_vits14_pretrain.pth", tmp_path / "cache", monkeypatch)
    return state


def as_transformers_names_them(weights: dict, positions) -> dict:
    """Another naming of the same numbers, written down from transformers' Dinov2Model."""
    names = {"cls_token": "embeddings.cls_token", "norm.weight": "layernorm.weight", "norm.bias": "layernorm.bias",
             "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight", "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias"}
    state = {"embeddings.position_embeddings": positions, "embeddings.mask_token": weights["mask_token"]} | {own: weights[name] for name, own in names.items()}
    for name, value in weights.items():
        if not name.startswith("blocks."):
            continue
        number, part = name.removeprefix("blocks.").split(".", 1)
        layer, kind = f"encoder.layer.{number}", part.rpartition(".")[2]
        if part.startswith("attn.qkv"):
            for each, third in zip("qkv", value.chunk(3), strict=True):
                state[f"{layer}.attention.{each}_proj.{kind}"] = third
            continue
        part = part.replace("attn.proj", "attention.o_proj").replace("ls1.gamma", "layer_scale1.lambda1").replace("ls2.gamma", "layer_scale2.lambda1")
        state[f"{layer}.{part}"] = value
    return state


def test_features_are_those_of_transformers_on_the_same_weights(weights: dict) -> None:
    import torch
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, mlp_ratio=4, image_size=224, patch_size=14)
    theirs = Dinov2Model(config).eval()
    theirs.load_state_dict(as_transformers_names_them(weights, dinov2.resize_positions(weights["pos_embed"], 16)))
    pixels = np.random.default_rng(0).integers(0, 256, (300, 280, 3), np.uint8)
    view = View(pixels, "")
    extractor = EXTRACTORS.get("dinov2").make("cpu")
    found = extractor.extract(view, {})["features"]
    with torch.inference_mode():
        expected = theirs(imagenet_view(view.image)[None]).pooler_output[0].numpy()
    assert found.shape == (384,) and found.std() > 0.1
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    extractor.close()


def cubic(offset: np.ndarray) -> np.ndarray:
    """(N, 4) weights of the four places around one that lies `offset` behind the second: Keys' kernel with a = -0.75, from its formula."""
    a, distance = -0.75, np.abs(np.arange(-1, 3) - offset[:, None])
    near, far = (a + 2) * distance**3 - (a + 3) * distance**2 + 1, a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance <= 1, near, far)


def test_positions_are_interpolated_over_a_tenth_of_a_patch_more() -> None:
    """The new place i lies at (i + 1/2) * 37 / 16.1 - 1/2 of the old ones; without the offset it would be 37 / 16."""
    import torch

    old_SSD = np.random.default_rng(0).normal(size=(37, 37, 3)).astype(np.float32)
    positions = torch.from_numpy(np.concatenate([[[-5, -6, -7]], old_SSD.reshape(-1, 3)]).astype(np.float32))[None]
    found = dinov2.resize_positions(positions, 16)
    places = (np.arange(16) + 0.5) * 37 / 16.1 - 0.5
    first = np.floor(places).astype(int)
    along = np.zeros((16, 37))
    for row, weights, start in zip(along, cubic(places - first), first, strict=True):
        np.add.at(row, np.clip(np.arange(start - 1, start + 3), 0, 36), weights)
    expected = np.einsum("ys,stD->ytD", along, old_SSD)
    expected = np.einsum("xt,ytD->yxD", along, expected)
    assert found.shape == (1, 1 + 16 * 16, 3) and found[0, 0].tolist() == [-5, -6, -7]
    assert np.abs(found[0, 1:].numpy().reshape(16, 16, 3) - expected).max() < 1e-4


def test_its_distances_are_metrics() -> None:
    assert METRICS.get("fd_dinov2").extractors == METRICS.get("vendi_dinov2").extractors == ("dinov2",)
    assert not METRICS.get("fd_dinov2").always_here and "vendi_dinov2" not in METRICS.names()
