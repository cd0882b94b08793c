"""Reading and writing images safely: PNG, one decode, no decompression bombs."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from sana_bench.errors import SanaBenchError, StoreError
from sana_bench.store import write_bytes

MAX_PIXELS = 64_000_000
"""A 2K image has 4.2 million; anything beyond this is refused before it is decoded."""


def read_image(path: Path, error: type[SanaBenchError]) -> np.ndarray:
    """Decode an image to (H, W, 3) uint8 RGB, upright as its EXIF orientation says, on white where it is transparent.

    Raises:
        error: missing, truncated, no image of a known format, of more than 8 bits a channel, or larger than MAX_PIXELS.
    """
    with _opened(path, error) as image:
        return np.asarray(_as_rgb(ImageOps.exif_transpose(image)))


def image_size(path: Path, error: type[SanaBenchError]) -> tuple[int, int]:
    """(width, height) of what `read_image` would give, from the head of the file.

    Raises:
        error: as `read_image`, but for a file that is truncated.
    """
    with _opened(path, error) as image:
        lies_on_its_side = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        return image.size[::-1] if lies_on_its_side else image.size


@contextmanager
def _opened(path: Path, error: type[SanaBenchError]) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=["PNG", "JPEG", "WEBP"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise error(f"{path} has {image.width}x{image.height} pixels; at most {MAX_PIXELS:,} are read")
            if image.mode.startswith(("I", "F")):
                raise error(f"{path} has more than 8 bits a channel (mode {image.mode}); convert it to 8 bits first")
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise error(f"{path} cannot be decoded ({problem}). Replace it or take it away; what sana-bench drew itself is drawn again") from problem


def _as_rgb(image: Image.Image) -> Image.Image:
    """RGB; what is transparent becomes white, as a page would show it."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    opaque = Image.new("RGBA", image.size, "white")
    opaque.alpha_composite(image.convert("RGBA"))
    return opaque.convert("RGB")


def write_png(path: Path, pixels_HW3: np.ndarray) -> None:
    """Write an RGB PNG at compression level 1 (lossless; three times faster than the default), atomically."""
    buffer = io.BytesIO()
    Image.fromarray(pixels_HW3).save(buffer, "PNG", compress_level=1)
    write_bytes(path, buffer.getvalue())


def small_webp(picture: Image.Image, side_px: int, quality: int) -> bytes:
    """A lossy WebP of the picture for people to look at, its long side at most `side_px`."""
    small, buffer = picture.copy(), io.BytesIO()
    small.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    small.save(buffer, "WEBP", quality=quality)
    return buffer.getvalue()


def pixels_sha256(pixels_HW3: np.ndarray) -> str:
    """SHA-256 over shape and pixels; the same for any encoding of the same picture."""
    return hashlib.sha256(repr(pixels_HW3.shape).encode() + np.ascontiguousarray(pixels_HW3).tobytes()).hexdigest()


def read_unaltered(path: Path, sha256: str) -> np.ndarray:
    """Decode an image of the store to (H, W, 3) uint8 RGB.

    Raises:
        StoreError: it cannot be decoded, or its pixels are not those that were recorded.
    """
    pixels = read_image(path, StoreError)
    if pixels_sha256(pixels) != sha256:
        raise StoreError(f"{path} was altered after it was generated; delete its folder to generate it again")
    return pixels
