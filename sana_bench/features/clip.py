"""Image and prompt in the common space of the small CLIP that comes with sana-bench."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sana_bench.features import Features, View, register_extractor
from sana_bench.features import clip_model
from sana_bench.features.efficientnet import imagenet_view, one_thread


@register_extractor("clip_tiny", version=1, assets=("efficientnet_lite0",), pooled="image", text="text",
                    local_weights=(clip_model.FOLDER / clip_model.WEIGHTS_FILE, clip_model.FOLDER / clip_model.CONFIG_FILE,
                                   clip_model.TOKENIZER_FOLDER / "tokenizer.json"))
class TinyClip:
    """One image and its prompt at a time in float32, so that no batch can move the numbers.

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

    def extract(self, view: View, known: Mapping[str, Features]) -> Features:
        import torch

        ids, truncated = clip_model.tokenize(self.tokenizer, [view.prompt])
        with one_thread(), torch.inference_mode():
            image = self.model.encode_image(imagenet_view(view.image)[None].to(self.device), normalize=True)
            text = self.model.encode_text(ids.to(self.device), normalize=True)
        return {"image": image[0].cpu().numpy(), "text": text[0].cpu().numpy(), "truncated": np.array(truncated)}

    def close(self) -> None:
        """Nothing native to free."""
