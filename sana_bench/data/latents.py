"""Latents of training views, made once and kept in the store one file a view: a kill loses at most one."""

from __future__ import annotations

from pathlib import Path

from sana_bench.data.manifest import Manifest, Row
from sana_bench.data.views import fit_view
from sana_bench.errors import DataError, StoreError
from sana_bench.file_hashes import sha256_cached
from sana_bench.images import read_image
from sana_bench.progress import progress
from sana_bench.store import Store, digest_of, write_bytes


def cached_latents(manifest: Manifest, vae, *, vae_identity: str, resolution: int, store: Store) -> list[Path]:
    """Encode every row at `resolution` x `resolution`; return one safetensors file a row.

    Each holds `latents` of shape (C, resolution / 32, resolution / 32), float32, times the autoencoder's scaling factor.
    `vae_identity` names the autoencoder and all that it was run with; `vae` may be None where nothing is left to encode.

    Raises:
        DataError: an image cannot be read, or something is left to encode without an autoencoder.
    """
    keys = [digest_of([vae_identity, resolution, row.fit, row.focus_y, sha256_cached(manifest.folder / row.file_name)])
            for row in manifest.rows]
    paths = [store.folder("latents", key[:2]) / f"{key}.safetensors" for key in keys]
    missing = [(row, path) for row, path in zip(manifest.rows, paths, strict=True) if not path.exists()]
    if missing and vae is None:
        raise DataError(f"{len(missing)} of {len(paths)} images are not encoded yet at {resolution} px")
    if missing:
        with progress("encode training images", len(manifest.rows), len(manifest.rows) - len(missing)) as tracker:
            for row, path in missing:
                write_bytes(path, _encode(manifest, row, vae, resolution))
                tracker.advance()
    return paths


def read_latents(path: Path):
    """(C, h, w) float32 of one file of `cached_latents`.

    Raises:
        StoreError: it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)["latents"]
    except (OSError, SafetensorError, KeyError) as error:
        raise StoreError(f"{path} is missing or damaged ({error}). Delete it to have it encoded again") from error


def _encode(manifest: Manifest, row: Row, vae, resolution: int) -> bytes:
    import torch
    from PIL import Image
    from safetensors.torch import save

    image = Image.fromarray(read_image(manifest.folder / row.file_name, DataError))
    view = fit_view(image, resolution, resolution, fit=row.fit, focus_y=row.focus_y)
    pixels = torch.from_numpy(_as_float(view)).to(vae.device, vae.dtype)
    with torch.inference_mode():
        latents = vae.encode(pixels[None]).latent[0] * vae.config.scaling_factor
    return save({"latents": latents.float().cpu().contiguous()})


def _as_float(view):
    """(3, H, W) float32 in [-1, 1]."""
    import numpy as np

    return np.asarray(view, np.float32).transpose(2, 0, 1) / 127.5 - 1
