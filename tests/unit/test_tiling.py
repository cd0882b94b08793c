"""Tiles that leave out a part of an image are refused; what is told of them is what the autoencoder does."""

from __future__ import annotations

import pytest
import torch

from sana_bench.config import GenerateSection, ModelSection
from sana_bench.errors import GenerationError
from sana_bench.generation.sampling import draw, prepare_pipeline
from sana_bench.generation.tiling import check_tiling, decoded_px
from sana_bench.models import load_pipeline

SETTINGS = GenerateSection(height=256, width=256, num_inference_steps=1, guidance_scale=1.0, max_sequence_length=16, complex_human_instruction=False)


@pytest.fixture
def pipeline(micro):
    return load_pipeline(ModelSection(base=str(micro["base"])), "cpu")


@pytest.mark.parametrize("tiles", [(128, 128, 96, 96), (64, 64, 32, 64), (128, 64, 64, 128), (64, 128, 128, 64), (96, 96, 64, 128), (64, 64, 48, 48), (128, 96, 96, 80)])
@pytest.mark.parametrize("side", [224, 256])
def test_the_size_that_is_told_is_the_size_that_is_decoded(pipeline, tiles, side):
    pipeline.vae.enable_tiling(*tiles)
    with torch.inference_mode():
        decoded = pipeline.vae.decode(torch.zeros(1, 4, side // 32, side // 32)).sample.shape
    assert decoded[2:] == (decoded_px(side, tiles[0], tiles[2], 32), decoded_px(side, tiles[1], tiles[3], 32))


def test_the_half_image_of_the_training_script_is_refused(pipeline):
    """Height of the tiles and stride in width are set, the other two stay: at 2K 2048x1024 pixels came out."""
    vae = pipeline.vae
    vae.enable_tiling(tile_sample_min_height=1024, tile_sample_stride_width=1024)
    with pytest.raises(GenerationError, match="512 px in width and 1024 px apart, so of 2048 px 1024 would be decoded"):
        check_tiling(vae, 2048, 2048)
    vae.enable_tiling(1024, 1024, 896, 896)
    check_tiling(vae, 2048, 2048)
    check_tiling(vae, 1536, 2688)
    vae.enable_tiling(1024, 512, 1024, 1024)
    check_tiling(vae, 512, 1024)  # not cut into tiles
    vae.disable_tiling()
    check_tiling(vae, 2048, 2048)


@pytest.mark.parametrize("tiles", [dict(tile_sample_min_height=128, tile_sample_stride_width=128), dict(tile_sample_stride_height=600)])
def test_whatever_set_up_the_autoencoder_it_is_checked_before_anything_is_drawn(pipeline, tiles, monkeypatch):
    prepare_pipeline(pipeline, SETTINGS)
    pipeline.vae.enable_tiling(128, 128, 96, 96)
    assert draw(pipeline, SETTINGS, ["a woman"], [1])[0].shape == (256, 256, 3)
    pipeline.vae.enable_tiling(64, 64, 32, 32)
    pipeline.vae.enable_tiling(**tiles)
    monkeypatch.setattr(type(pipeline.transformer), "forward", lambda *_, **__: pytest.fail("a step was taken"))
    with pytest.raises(GenerationError, match="tiles"):
        draw(pipeline, SETTINGS, ["a woman"], [1])


def test_tiles_too_small_for_a_stride_are_refused(pipeline):
    """A tile of 32 px has no smaller stride, and the autoencoder would keep its own of 448 px."""
    settings = SETTINGS.model_copy(update={"vae_tile_size": 32})
    prepare_pipeline(pipeline, settings)
    with pytest.raises(GenerationError, match="32 px in width and 448 px apart"):
        draw(pipeline, settings, ["a woman"], [1])
