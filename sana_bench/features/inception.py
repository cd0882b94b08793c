"""The Inception-v3 that FID is defined on, behind the resizing that clean-fid showed to matter."""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sana_bench.features import Features, View, register_extractor
from sana_bench.features.network import PooledNetwork

if TYPE_CHECKING:
    import torch

SIDE = 299


@register_extractor("inception_v3", version=1, assets=("inception_v3_fid",), pooled="features", made_with=(f"torch-fidelity {version('torch-fidelity')}",))
class InceptionV3(PooledNetwork):
    """Pooled features of FID's own Inception-v3 (2015-12-05), in float32; on a processor one image at a time, so that no batch can move them.

    The network is torch-fidelity's, whose pooling and padding follow the TensorFlow original; torchvision's Inception is another.

    Features:
        features: (2048,) float32, not below zero.

    Source: Heusel et al. 2017 (arXiv 1706.08500); resizing of Parmar et al. 2022 (arXiv 2104.11222).
    """

    def __init__(self, device: str):
        self.device = device
        self.layers = load_inception().to(device)

    def prepare(self, view: View, known: Mapping[str, Features]) -> np.ndarray:
        return inception_view(view.image)[None]

    def infer(self, rows_B: torch.Tensor) -> torch.Tensor:
        import torch

        return self.layers(rows_B.to(memory_format=torch.channels_last))[:, :, 0, 0]  # a quarter faster on a processor


def inception_view(image: Image.Image) -> np.ndarray:
    """(3, SIDE, SIDE) float32 in about [-1, 1]: each channel resized in float32 by PIL's antialiased bicubic filter, cut to [0, 255], never rounded."""
    channels = [np.asarray(channel.convert("F").resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for channel in image.split()]
    return (np.stack(channels).clip(0, 255) - 128) / 128


def load_inception() -> torch.nn.Sequential:
    """The layers from a (B, 3, SIDE, SIDE) view to (B, 2048, 1, 1) features, with the asset's weights, in eval mode."""
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    from sana_bench.assets import asset_path

    # torch-fidelity would unpickle whatever the file holds; it gets a copy that was read as tensors only.
    tensors = io.BytesIO()
    torch.save(torch.load(asset_path("inception_v3_fid"), map_location="cpu", weights_only=True), tensors)
    tensors.seek(0)
    model = FeatureExtractorInceptionV3("inception_v3", ["2048"], feature_extractor_weights_path=tensors)
    # Its own forward takes uint8 and resizes with TensorFlow's bilinear filter; the layers stand in their order.
    return torch.nn.Sequential(*(layer for name, layer in model.named_children() if name != "fc")).eval().to(memory_format=torch.channels_last)
