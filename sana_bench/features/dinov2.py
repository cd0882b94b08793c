"""DINOv2 ViT-L/14, whose Fréchet distance follows human judgement better than Inception's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sana_bench.features import Features, View, register_extractor
from sana_bench.features.efficientnet import SIDE, imagenet_normal
from sana_bench.features.network import PooledNetwork

if TYPE_CHECKING:
    import torch

ARCHITECTURE = "vit_large_patch14_dinov2"
"""timm's name."""
OFFSET = 0.1
"""DINOv2's own code scales its grid of positions to a tenth of a patch more than it needs. It moves features, so it stays."""


@register_extractor("dinov2", version=1, assets=("dinov2_vit_l_14",), pooled="features")
class DinoV2(PooledNetwork):
    """The class token behind the last norm, in float32; on a processor one image at a time, so that no batch can move it.

    The whole image is resized to 224 x 224 by PIL's antialiased bicubic filter on uint8 and normalised with ImageNet's mean and standard
    deviation, as for FD-DINOv2.

    Features:
        features: (1024,) float32.

    Source: Oquab et al. 2023 (arXiv 2304.07193), as used by Stein et al. 2023 (arXiv 2306.04675).
    """

    def __init__(self, device: str):
        self.device = device
        self.model = load_dinov2().to(device)

    def prepare(self, view: View, known: Mapping[str, Features]) -> np.ndarray:
        return imagenet_normal(view.resized(SIDE))[None]

    def infer(self, rows_B: torch.Tensor) -> torch.Tensor:
        return self.model(rows_B)


def load_dinov2() -> torch.nn.Module:
    """(B, 3, SIDE, SIDE) -> (B, 1024), with the asset's weights, in eval mode."""
    import timm
    import torch

    from sana_bench.assets import asset_path

    model = timm.create_model(ARCHITECTURE, pretrained=False, img_size=SIDE, num_classes=0, global_pool="token").eval()
    weights = torch.load(asset_path("dinov2_vit_l_14"), map_location="cpu", weights_only=True)
    weights.pop("mask_token")  # of its training
    weights["pos_embed"] = resize_positions(weights["pos_embed"], model.patch_embed.grid_size[0])
    model.load_state_dict(weights)
    return model


def resize_positions(positions_1PD: torch.Tensor, side: int) -> torch.Tensor:
    """Embeddings of positions on another square grid, as DINOv2's code interpolates them; the class token's comes first and stays.

    Args:
        positions_1PD: (1, 1 + S * S, D).
        side: patches along the new grid.
    """
    import torch
    from torch.nn.functional import interpolate

    class_token, grid = positions_1PD[:, :1], positions_1PD[:, 1:]
    old = round(grid.shape[1]**0.5)
    square_1DSS = grid.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    scaled_1DSS = interpolate(square_1DSS, scale_factor=(side + OFFSET) / old, mode="bicubic", antialias=False)
    return torch.cat([class_token, scaled_1DSS.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
