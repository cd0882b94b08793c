"""Whether an autoencoder's tiles cover an image: a wrong stride drops pixels between them without a word, and halves the image."""

from __future__ import annotations

from sana_bench.errors import GenerationError


def check_tiling(vae, width: int, height: int) -> None:
    """Refuse to decode an image of that size in tiles that leave out a part of it.

    diffusers' example script for LoRA sets `tile_sample_min_height` and `tile_sample_stride_width` alone: tiles 512 px wide are then set 1024 px
    apart, and a 2048x2048 image is decoded to 2048x1024.

    Args:
        vae: an AutoencoderDC as it is used, whatever set it up.

    Raises:
        GenerationError: the tiles lose pixels in width or height.
    """
    scale = vae.spatial_compression_ratio
    if not vae.use_tiling or (width // scale <= vae.tile_latent_min_width and height // scale <= vae.tile_latent_min_height):
        return
    for side, size, tile, stride in (("width", width, vae.tile_sample_min_width, vae.tile_sample_stride_width),
                                     ("height", height, vae.tile_sample_min_height, vae.tile_sample_stride_height)):
        decoded = decoded_px(size, tile, stride, scale)
        if stride > tile or decoded != size:
            raise GenerationError(f"the autoencoder's tiles are {tile} px in {side} and {stride} px apart, so of {size} px {decoded} would be decoded: set "
                                  f"generate.vae_tile_size and vae_tile_stride, the stride at most the size, both multiples of {scale} and at least {2 * scale}")


def decoded_px(size: int, tile: int, stride: int, scale: int) -> int:
    """How many pixels AutoencoderDC.tiled_decode makes of `size` along one side: each tile gives its first `stride`, the last one what it has."""
    latents, latents_a_tile, step = size // scale, tile // scale, int(stride) // scale
    if step < 1:
        return 0
    return sum(min(int(stride), min(latents_a_tile, latents - start) * scale) for start in range(0, latents, step))
