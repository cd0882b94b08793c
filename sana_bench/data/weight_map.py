"""How much each latent cell of a view counts in the loss: more where it shows a face or a hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sana_bench.data.samples import Box, RegionKind
from sana_bench.models import LATENT_PX
from sana_bench.train_config import RegionsSection


def region_weights(regions: Sequence[tuple[RegionKind, Box]], width: int, height: int, settings: RegionsSection) -> np.ndarray:
    """Weights w of one view for a loss sum(w e) / sum(w) over its cells, where e is a cell's squared error.

    They are not normalised: that loss does so, sample by sample, and a view that is all face counts no more than one without any.

    Args:
        regions: kinds and boxes in pixels of the view; they may reach over its border.
        width: of the view in pixels, a multiple of LATENT_PX; `height` likewise.

    Returns:
        (height / LATENT_PX, width / LATENT_PX) float32, 1 to 100: 1 where there is no region; `face_weight` or `hand_weight` in a cell that a
        region covers, and between the two by the share of the cell that it covers. Of several regions in a cell that counts which gives it the
        largest weight.
    """
    assert width % LATENT_PX == 0 and height % LATENT_PX == 0, f"a view of {width}x{height} pixels has no whole number of latent cells"
    strength = {"face": settings.face_weight, "hand": settings.hand_weight}
    weights_hw = np.ones((height // LATENT_PX, width // LATENT_PX))
    for kind, (left, top, right, bottom) in regions:
        covered_hw = np.outer(_covered(top, bottom, height), _covered(left, right, width))
        weights_hw = np.maximum(weights_hw, 1 + (strength[kind] - 1) * covered_hw)
    return weights_hw.astype(np.float32)


def _covered(low: float, high: float, length: int) -> np.ndarray:
    """Share of each cell along one axis of `length` pixels that lies between `low` and `high`."""
    edges = np.arange(0, length + 1, LATENT_PX)
    return np.diff(np.clip(edges, low, high)) / LATENT_PX
