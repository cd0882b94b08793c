"""Latents of training views, made once and kept in the store, one file a view: a kill loses at most one, and memory does not grow with their number.

A file's name is made of the content of the image and of all that makes the view of it, so that no latents can stand for another image.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.data.augment import Augmentation, augmentation_of
from sana_bench.data.cached_tensors import read_cached
from sana_bench.data.samples import Draw, Picture
from sana_bench.data.views import make_view, view_identity
from sana_bench.errors import DataError
from sana_bench.images import read_image
from sana_bench.progress import progress
from sana_bench.store import Store, digest_of, write_bytes
from sana_bench.train_config import AugmentSection
from sana_bench.workers import ahead, num_processors

if TYPE_CHECKING:
    import torch

MAX_THREADS = 4
"""That decode and resize views while the autoencoder is at work; each holds one, and one of 2048 px takes 12.6 MB."""


class LatentCache:
    """Latents of views of `pictures`.

    Args:
        vae_identity: names the autoencoder and all that it is run with.
    """

    def __init__(self, pictures: Sequence[Picture], settings: AugmentSection, store: Store, vae_identity: str):
        self._pictures, self._settings, self._store, self._vae_identity = pictures, settings, store, vae_identity

    def path(self, draw: Draw) -> Path:
        picture = self._pictures[draw.picture]
        key = digest_of([self._vae_identity, picture.content, view_identity(picture, draw, self.augmentation(draw))])
        return self._store.folder("latents", key[:2]) / f"{key}.safetensors"

    def missing(self, draws: Sequence[Draw]) -> list[Draw]:
        """Those that are not encoded yet, each file once."""
        by_path = {self.path(draw): draw for draw in reversed(draws)}
        return [draw for path, draw in reversed(by_path.items()) if not path.exists()]

    def encode(self, draws: Sequence[Draw], vae) -> None:
        """Encode views. Worker threads decode and resize while the autoencoder is at work.

        Raises:
            DataError: an image cannot be read.
        """
        threads = min(num_processors(), MAX_THREADS)
        with progress("encode training images", len(draws)) as tracker, ThreadPoolExecutor(threads, "view") as pool:
            for draw, pixels in zip(draws, ahead(pool, self._pixels, draws, threads + 1), strict=True):
                write_bytes(self.path(draw), _encode(pixels, vae))
                tracker.advance()

    def read(self, draw: Draw) -> torch.Tensor:
        """(C, height / 32, width / 32) float32, times the autoencoder's scaling factor.

        Raises:
            StoreError: the file is missing or damaged.
        """
        return read_cached(self.path(draw), "latents")[0]

    def augmentation(self, draw: Draw) -> Augmentation:
        return augmentation_of(self._pictures[draw.picture], draw, self._settings)

    def _pixels(self, draw: Draw) -> torch.Tensor:
        """(3, H, W) uint8: in float32, those that wait would take four times the memory."""
        import numpy as np
        import torch
        from PIL import Image

        picture = self._pictures[draw.picture]
        view = make_view(Image.fromarray(read_image(picture.path, DataError)), picture, draw, self.augmentation(draw))
        return torch.from_numpy(np.array(view).transpose(2, 0, 1))


def _encode(pixels_3HW: torch.Tensor, vae) -> bytes:
    import torch
    from safetensors.torch import save

    with torch.inference_mode():
        latents = vae.encode((pixels_3HW[None].to(vae.device).float() / 127.5 - 1).to(vae.dtype)).latent[0] * vae.config.scaling_factor
    return save({"latents": latents.float().cpu().contiguous()})
