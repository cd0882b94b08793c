"""The benchmark of training: both sides train the same adapter on the same views, and its ratios are what they say."""

from __future__ import annotations

import pytest
import torch

from benchmarks.plain_training import PlainTraining, load_images, time_steps
from benchmarks.training import compared
from benchmarks.training_material import recipe_of, write_material
from benchmarks.training_sides import SIDES
from sana_bench.config import load_config
from sana_bench.data.latents import LatentCache
from sana_bench.data.pictures import training_pictures
from sana_bench.data.samples import Draw
from sana_bench.store import Store
from tests.micro import write_run


@pytest.fixture
def config(micro, tmp_path):
    return load_config(str(write_run(tmp_path, **micro)))


def test_the_plain_loop_keeps_the_views_that_we_encode(config):
    store, kept = Store(config.run.store), load_images(config)
    pictures = training_pictures(config, store)
    cache = LatentCache(pictures, config.train.augment, store, "")
    assert len(kept) == len(pictures) == 3
    for index, (pixels, text) in enumerate(kept):
        assert pixels.dtype == torch.float32 and torch.equal(pixels, cache._pixels(Draw(index, 0, 64, 64)).float() / 127.5 - 1) and text == pictures[index].text
    assert [text for _, text in load_images(config, 2)] == [text for _, text in kept[:2]]


def test_both_sides_train_the_same_adapter(config):
    training = PlainTraining(config, "cpu")
    before = [parameter.clone() for parameter in training._trained]
    losses = [training.step() for _ in range(4)]  # the fourth is of the second round over one batch of two
    ours = SIDES["ours"](config.model_copy(update={"name": "warmup"}), config)
    assert sum(parameter.numel() for parameter in training._trained) == ours["trainable_parameters"]
    assert all(torch.isfinite(torch.tensor(losses))) and not all(map(torch.equal, before, training._trained))
    assert ours["steps"] == 3 and 0 < ours["outside_s"] < ours["seconds"]
    assert time_steps(config, "cpu", 1, 2)["steps"] == 2


def test_synthetic_photographs_differ_and_make_a_recipe(tmp_path):
    write_material(tmp_path, "micro", "synthetic", 2, "cpu", ("train.rank=3",))
    config = recipe_of(tmp_path, "train.max_train_steps=7")
    pictures = training_pictures(config, Store(config.run.store))
    assert [each.size for each in pictures] == [(2048, 2048)] * 2 and len({each.content for each in pictures}) == len({each.text for each in pictures}) == 2
    assert (config.train.rank, config.train.max_train_steps, config.model.base) == (3, 7, str(tmp_path / "base"))


def test_ratios():
    caching = {"seconds": 30.0, "peak_rss_bytes": 60, "peak_device_bytes": 6}
    ours = {"seconds": 10.0, "steps": 5, "outside_s": 0.2, "peak_rss_bytes": 50, "peak_device_bytes": 9}
    plain = {"seconds": 28.0, "steps": 4, "peak_rss_bytes": 100, "peak_device_bytes": 10}
    # 2 s a step against 7: 3.5 times as fast; 30 s are saved in 6 steps of 5 s
    assert compared(caching, ours, plain) == {"speed_ratio": 3.5, "memory_ratio": 0.9, "outside_share": pytest.approx(0.02), "caching_paid_after_steps": 6}
    assert compared(caching, ours, {**plain, "peak_device_bytes": 0})["memory_ratio"] == 0.6
    assert compared(caching, ours, {**plain, "seconds": 4.0})["caching_paid_after_steps"] is None
