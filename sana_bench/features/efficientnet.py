"""Image features of an ImageNet classifier that comes in a package, for Fréchet and kernel distances without a download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sana_bench.features import Features, View, register_extractor
from sana_bench.features.network import PooledNetwork

if TYPE_CHECKING:
    import torch

SIDE = 224
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@register_extractor("efficientnet_lite0", version=1, assets=("efficientnet_lite0",), pooled="features")
class EfficientNetLite0(PooledNetwork):
    """Pooled features in front of the classifier, in float32; on a processor one image at a time, so that no batch can move them.

    The whole image is resized to 224 x 224 by PIL's antialiased bicubic filter on uint8 and normalised with ImageNet's mean
    and standard deviation. A change of any of this is a new version.

    Features:
        features: (1280,) float32, not below zero.

    Source: timm's efficientnet_lite0 with the weights efficientnet-lite0-57934424.pth (Apache-2.0).
    """

    crop_px, num_features = SIDE, 1280

    def __init__(self, device: str):
        import timm

        self.device = device
        self.model = timm.create_model("efficientnet_lite0", pretrained=False)
        load_pretrained(self.model)
        self.model.eval().to(device)

    def prepare(self, view: View, known: Mapping[str, Features]) -> np.ndarray:
        return imagenet_normal(view.resized(SIDE))[None]

    def infer(self, rows_B: torch.Tensor) -> torch.Tensor:
        return self.model.forward_head(self.model.forward_features(rows_B), pre_logits=True)

    def infer_crops(self, crops_BHW3: torch.Tensor) -> torch.Tensor:
        """See `crops.Backbone`. Channels last: in the usual order sixteen crops at once take twice the time of sixteen alone."""
        mean, std = (crops_BHW3.new_tensor(each, dtype=self.model.classifier.weight.dtype) for each in (IMAGENET_MEAN, IMAGENET_STD))
        return self.infer(((crops_BHW3 / 255 - mean) / std).permute(0, 3, 1, 2))


def load_pretrained(model: torch.nn.Module) -> None:
    """Fill timm's efficientnet_lite0, with or without its classifier, with the asset's weights."""
    import torch

    from sana_bench.assets import asset_path

    weights = torch.load(asset_path("efficientnet_lite0"), map_location="cpu", weights_only=True)
    # The file names the layers as another implementation does, in the same order and shapes, and ends with the classifier.
    own = model.state_dict()
    model.load_state_dict(dict(zip(own, list(weights.values())[:len(own)], strict=True)))


def imagenet_view(image: Image.Image) -> torch.Tensor:
    """The whole image at SIDE x SIDE (PIL's antialiased bicubic), as (3, SIDE, SIDE) float32 in ImageNet's normalisation."""
    import torch

    return torch.from_numpy(imagenet_normal(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)))


def imagenet_normal(image: Image.Image) -> np.ndarray:
    """An image as it is, (3, H, W) float32 in ImageNet's normalisation."""
    scaled = np.asarray(image, np.float32) / 255
    return np.ascontiguousarray(((scaled - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)).transpose(2, 0, 1))
