"""Image and prompt in the common space of the small CLIP that comes with sana-bench."""

from __future__ import annotations

import numpy as np

from sana_bench.features import View, register_extractor
from sana_bench.features import clip_model
from sana_bench.features.clip_network import ClipNetwork
from sana_bench.features.efficientnet import SIDE, imagenet_normal


@register_extractor("clip_tiny", version=1, assets=("efficientnet_lite0",), pooled="image", text="text",
                    local_weights=(clip_model.FOLDER / clip_model.WEIGHTS_FILE, clip_model.FOLDER / clip_model.CONFIG_FILE,
                                   clip_model.TOKENIZER_FOLDER / "tokenizer.json"))
class TinyClip(ClipNetwork):
    """The whole image at 224 x 224, and the lower-cased prompt.

    It has seen seven people. On others it tells framing, view and setting well, expressions fairly, and a woman from a man
    no better than by always saying the same; the numbers stand in its card.

    Features: see ClipNetwork.
    """

    def __init__(self, device: str):
        super().__init__(clip_model.load_clip(), device)
        self.tokenizer = clip_model.load_tokenizer()

    def pixels(self, view: View) -> np.ndarray:
        return imagenet_normal(view.resized(SIDE))[None]

    def tokens(self, prompt: str) -> tuple[np.ndarray, bool]:
        ids_1T, (truncated,) = clip_model.tokenize(self.tokenizer, [prompt])
        return ids_1T.numpy(), truncated
