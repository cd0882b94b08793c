"""What every CLIP as an extractor shares: two towers, and prompts that are embedded once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sana_bench.features import Features, View
from sana_bench.features.network import Network, rows_at_once, run_rows


class ClipInput(NamedTuple):
    """What the towers take of one image and its prompt."""

    pixels_13HW: np.ndarray
    prompt: str
    ids_1T: np.ndarray
    truncated: bool
    """Whether the prompt had more tokens than the context and was cut."""


class ClipNetwork(Network):
    """Image and prompt in a common space, in float32; on a processor one at a time, so that no batch can move the numbers.

    Features:
        image: (D,) float32, unit norm.
        text: (D,) float32, unit norm.
        truncated: (1,) bool, whether the prompt was cut.
    """

    def __init__(self, model: Any, device: str):
        self.model, self.device = model.to(device), device
        self._texts: dict[str, np.ndarray] = {}

    def prepare(self, view: View, known: Mapping[str, Features]) -> ClipInput:
        ids_1T, truncated = self.tokens(view.prompt)
        return ClipInput(self.pixels(view), view.prompt, ids_1T, truncated)

    @abstractmethod
    def pixels(self, view: View) -> np.ndarray:
        """(1, 3, H, W) float32, resized and normalised as the model wants it."""

    @abstractmethod
    def tokens(self, prompt: str) -> tuple[np.ndarray, bool]:
        """(1, T) int64 with an end token, and whether the prompt was cut."""

    def forward(self, inputs: Sequence[ClipInput]) -> list[Features]:
        images = run_rows(partial(self.model.encode_image, normalize=True), [each.pixels_13HW for each in inputs], self.device, rows_at_once(self.device))
        return [{"image": image_1D[0], "text": self._text(each), "truncated": np.array([each.truncated])}
                for image_1D, each in zip(images, inputs, strict=True)]

    def _text(self, each: ClipInput) -> np.ndarray:
        """A prompt by itself, and once however many images it has."""
        if each.prompt not in self._texts:
            self._texts[each.prompt] = run_rows(partial(self.model.encode_text, normalize=True), [each.ids_1T], self.device, 1)[0][0]
        return self._texts[each.prompt]
