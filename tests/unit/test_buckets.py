"""Sizes of training views: squares, or what SanaPipeline would draw for images of that shape."""

from __future__ import annotations

import pytest

from sana_bench.config import load_config
from sana_bench.data import pictures
from sana_bench.data.buckets import bucket_of
from sana_bench.errors import ConfigError
from sana_bench.store import Store
from tests.micro import write_run

SIZES = [(2048, 2048), (2048, 1536), (1536, 2048), (2048, 1152), (1152, 2048), (1536, 2752), (1, 9), (9, 1), (640, 481), (300, 299)]


def test_without_buckets_every_image_becomes_a_square():
    assert {bucket_of(size, 96, False) for size in SIZES} == {(96, 96)}


@pytest.mark.parametrize(("size", "expected"), [((2048, 1536), (2304, 1664)), ((1536, 2048), (1792, 2304)), ((2048, 1152), (2688, 1536)), ((7, 7), (2048, 2048))])
def test_sizes_at_2048_are_those_known_of_the_pipeline(size, expected):
    assert bucket_of(size, 2048, True) == expected


def test_buckets_are_what_the_pipeline_itself_draws(micro):
    """Latents of one step of a micro Sana that takes itself for a 512 px model, asked for each size with binning on."""
    import torch
    from diffusers import SanaPipeline, SanaTransformer2DModel

    pipeline = SanaPipeline.from_pretrained(micro["base"])
    pipeline.transformer = SanaTransformer2DModel.from_config({**pipeline.transformer.config, "sample_size": 16})
    pipeline.set_progress_bar_config(disable=True)
    embeds, mask = torch.zeros(1, 1, 16), torch.ones(1, 1)
    for width, height in SIZES:
        latents = pipeline(prompt=None, negative_prompt=None, prompt_embeds=embeds, prompt_attention_mask=mask, guidance_scale=1.0, num_inference_steps=1,
                           width=width * 32, height=height * 32, use_resolution_binning=True, output_type="latent").images
        assert bucket_of((width, height), 512, True) == (latents.shape[3] * 32, latents.shape[2] * 32)


@pytest.mark.parametrize("resolution", [512, 1024, 2048, 4096])
def test_a_bucket_has_the_area_of_the_square_whole_latents_and_the_way_up_of_its_image(resolution):
    for size in SIZES:
        width, height = bucket_of(size, resolution, True)
        assert width % 32 == height % 32 == 0
        assert width * height == pytest.approx(resolution ** 2, rel=0.12)
        assert (width > height) - (width < height) == (size[0] > size[1] * 1.03) - (size[1] > size[0] * 1.03)
        assert bucket_of((width, height), resolution, True) == (width, height)


def test_sizes_that_the_patches_of_a_transformer_do_not_divide_are_left_out():
    """At 512 px 672x384 is nearest to 16:9, and 672 is no multiple of 64."""
    assert bucket_of((1920, 1080), 512, True) == (672, 384)
    assert bucket_of((1920, 1080), 512, True, multiple=64) == (640, 384)
    with pytest.raises(ConfigError, match="multiples of 1024"):
        bucket_of((3, 4), 512, True, multiple=1024)


def test_a_resolution_without_sizes_is_one_error_that_names_those_with():
    with pytest.raises(ConfigError, match="512, 1024, 2048, 4096 px, none at 768"):
        bucket_of((3, 4), 768, True)


def test_a_resolution_without_sizes_is_told_before_anything_is_looked_at(micro, tmp_path, monkeypatch):
    """Detectors need hours for a large folder."""
    config = load_config(str(write_run(tmp_path, **micro)), ("train.aspect_ratio_buckets=true", "train.resolution=768", "train.regions.hand_weight=2"))
    monkeypatch.setattr(pictures, "find_people", lambda *arguments: pytest.fail("looked at images"))
    with pytest.raises(ConfigError, match="none at 768"):
        pictures.training_pictures(config, Store(tmp_path / "store"))
