"""Image and prompt in the common space of the small CLIP that comes with sana-bench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sana_bench.features import Features, View, register_extractor
from sana_bench.features import clip_model
from sana_bench.features.efficientnet import SIDE, imagenet_normal
from sana_bench.features.network import Network, rows_at_once, run_rows

if TYPE_CHECKING:
    import torch


@register_extractor("clip_tiny", version=1, assets=("efficientnet_lite0",), pooled="image",
                    local_weights=(clip_model.FOLDER / clip_model.WEIGHTS_FILE, clip_model.FOLDER / clip_model.CONFIG_FILE,
                                   clip_model.TOKENIZER_FOLDER / "tokenizer.json"))
class TinyClip(Network):
    """Image and prompt in float32; on a processor one at a time, so that no batch can move the numbers.

    It has seen seven people. On others it tells framing, view and setting well, expressions fairly, and a woman from a man
    no better than by always saying the same; the numbers stand in its card.

    Features:
        image: (D,) float32, unit norm; the whole image at 224 x 224.
        text: (D,) float32, unit norm; the lower-cased prompt.
        truncated: (1,) bool, whether the prompt had more tokens than the context and was cut.
    """

    def __init__(self, device: str):
        self.device = device
        self.model = clip_model.load_clip().to(device)
        self.tokenizer = clip_model.load_tokenizer()

    def prepare(self, view: View, known: Mapping[str, Features]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(1, 3, SIDE, SIDE) float32 pixels, (1, T) int64 token ids, and whether the prompt was cut."""
        ids_1T, truncated = clip_model.tokenize(self.tokenizer, [view.prompt])
        return imagenet_normal(view.resized(SIDE))[None], ids_1T.numpy(), np.array(truncated)

    def forward(self, inputs: Sequence[Any]) -> list[Features]:
        pixels, ids, truncated = zip(*inputs, strict=True)
        images, texts = (run_rows(tower, rows, self.device, rows_at_once(self.device))
                         for tower, rows in ((self._encode_image, pixels), (self._encode_text, ids)))
        return [{"image": image_1D[0], "text": text_1D[0], "truncated": cut} for image_1D, text_1D, cut in zip(images, texts, truncated, strict=True)]

    def _encode_image(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        return self.model.encode_image(images_B3HW, normalize=True)

    def _encode_text(self, ids_BT: torch.Tensor) -> torch.Tensor:
        return self.model.encode_text(ids_BT, normalize=True)
