"""Pooled features of crops of an image instead of the image in small: of native patches on one plan, of its hands and of its faces.

Legend: K crops, S pixels of a crop's side, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sana_bench.features import Features, View, register_extractor
from sana_bench.features.efficientnet import EfficientNetLite0
from sana_bench.features.network import Network, rows_at_once, run_rows
from sana_bench.features.upright_view import FACE, HAND, Part, cut_view, view_matrix

if TYPE_CHECKING:
    import torch


class Backbone(Protocol):
    """A network that sums up crops. Another one is another class below, of three lines."""

    crop_px: int
    """S: it takes crops of this side as they are."""
    num_features: int

    device: str

    def __init__(self, device: str) -> None: ...

    def infer_crops(self, crops_BSS3: torch.Tensor) -> torch.Tensor:
        """(B, S, S, 3) uint8 on the device -> (B, D) float32."""


GRID = 3
NUM_PATCHES = GRID**2
"""Of a 2048 px image a tenth is looked at. Each costs 0.02 s on one core with EfficientNet-lite0."""


def patch_corners(height: int, width: int, side: int) -> list[tuple[int, int]]:
    """Top and left of the NUM_PATCHES patches of an image of that size: the crop plan, which is the same for every image of a size.

    A grid of GRID x GRID that is sheared both ways: each ninth of the image has one, and no two share a row or a column, so that no
    regular pattern (the tiles of a VAE, a frame) is always or never hit. In an image smaller than NUM_PATCHES patches they overlap.

    Source: a (0, 2, 2)-net in base GRID (Niederreiter 1992), stretched so that the first and the last patch touch the corners.
    """
    places = [((GRID * row + column) / (NUM_PATCHES - 1), (GRID * column + row) / (NUM_PATCHES - 1)) for row in range(GRID) for column in range(GRID)]
    return [(round(down * max(height - side, 0)), round(across * max(width - side, 0))) for down, across in places]


def native_patches(pixels_HW3: np.ndarray, side: int) -> np.ndarray:
    """(NUM_PATCHES, side, side, 3) uint8, pixels as they are, never resized; an image smaller than a patch is continued by mirroring."""
    missing = [max(side - size, 0) for size in pixels_HW3.shape[:2]]
    if any(missing):
        pixels_HW3 = np.pad(pixels_HW3, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")
    return np.stack([pixels_HW3[top:top + side, left:left + side] for top, left in patch_corners(*pixels_HW3.shape[:2], side)])


class _Patches(Network):
    """Features of `native_patches`, in float32; on a processor in one batch an image."""

    backbone: type[Backbone]

    def __init__(self, device: str):
        self.network = self.backbone(device)

    def prepare(self, view: View, known: Mapping[str, Features]) -> np.ndarray:
        return native_patches(view.pixels_HW3, self.network.crop_px)

    def forward(self, inputs: Sequence[np.ndarray]) -> list[Features]:
        batch_size = NUM_PATCHES if self.network.device == "cpu" else rows_at_once(self.network.device)
        return [{"features": rows_KD} for rows_KD in run_rows(self.network.infer_crops, inputs, self.network.device, batch_size)]


class _PartCrops(Network):
    """Features of the upright views of one kind of part (upright_view.py); on a processor one part at a time, so that none can move another's."""

    backbone: type[Backbone]
    part: Part
    found_by: str
    """The extractor that finds them."""

    def __init__(self, device: str):
        self.network = self.backbone(device)

    def prepare(self, view: View, known: Mapping[str, Features]) -> np.ndarray:
        """(F, S, S, 3) uint8."""
        found, side = known[self.found_by], self.network.crop_px
        crops = [cut_view(view.pixels_HW3, view_matrix(self.part, points.astype(np.float64), bool(mirrored)))
                 for points, mirrored in zip(found["keypoints"], self.mirrored(found), strict=True)]
        return np.array(crops, np.uint8).reshape(-1, side, side, 3)

    def forward(self, inputs: Sequence[np.ndarray]) -> list[Features]:
        device = self.network.device
        return [{"features": rows_FD.reshape(-1, self.network.num_features)}
                for rows_FD in run_rows(self.network.infer_crops, inputs, device, rows_at_once(device))]

    @staticmethod
    def mirrored(found: Features) -> Sequence[bool]:
        return [False] * len(found["keypoints"])


@register_extractor("patches_efficientnet_lite0", version=2, assets=("efficientnet_lite0",), pooled="features", rows="patch", native=True)
class EfficientNetPatches(_Patches):
    """EfficientNet-lite0's pooled features of nine native patches of 224 px.

    Features:
        features: (9, 1280) float32, not below zero.

    Source: see efficientnet.py; patches of one plan at native scale as in AnyRes-GAN's pFID (arXiv 2204.07156).
    """

    backbone = EfficientNetLite0


@register_extractor("hand_crops_efficientnet_lite0", version=1, needs=("hands",), assets=("efficientnet_lite0",), pooled="features", rows="hand")
class EfficientNetHandCrops(_PartCrops):
    """EfficientNet-lite0's pooled features of every hand found, cut out upright at 224 px; left ones mirrored, black beyond the image.

    Features:
        features: (H, 1280) float32, not below zero, one row a hand of `hands`.

    Source: see efficientnet.py; crops of hands as in Hand1000's FID-H (arXiv 2408.15461).
    """

    backbone, part, found_by = EfficientNetLite0, HAND, "hands"

    @staticmethod
    def mirrored(found: Features) -> Sequence[bool]:
        return found["side"] == 0


@register_extractor("face_crops_efficientnet_lite0", version=1, needs=("faces",), assets=("efficientnet_lite0",), kept=False, pooled="features", rows="face")
class EfficientNetFaceCrops(_PartCrops):
    """EfficientNet-lite0's pooled features of every face found, cut out upright at 224 px. As those of `face_features` they are in no file.

    Features:
        features: (F, 1280) float32, not below zero, one row a face of `faces`.

    Source: see efficientnet.py.
    """

    backbone, part, found_by = EfficientNetLite0, FACE, "faces"
