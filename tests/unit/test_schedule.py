"""The schedule: exact shares whatever the sources' sizes, batches of one size, the same for one process and for several."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sana_bench.data.balance import picture_weights
from sana_bench.data.samples import People, Picture
from sana_bench.data.schedule import apportion, draw_pictures, into_batches, schedule
from sana_bench.data.training_set import TrainingSet
from sana_bench.metrics.perceived import ATTRIBUTES
from sana_bench.train_config import AugmentSection, BalanceSection, StageSection, TrainSection

SQUARE, TALL, WIDE = (2048, 2048), (1536, 2752), (2688, 1536)


def picture(name: str, source: str = "mine", size: tuple[int, int] = SQUARE, **groups: str) -> Picture:
    return Picture(source=source, path=Path(name), content=name, name=name, text=f"a photo of {name}", size=size, people=People(groups=groups))


def pictures(number: int, source: str = "mine", **fields) -> list[Picture]:
    return [picture(f"{source}{index}", source, **fields) for index in range(number)]


def even(chosen: list[Picture]) -> np.ndarray:
    return picture_weights(chosen, {each.source: 1.0 for each in chosen[:1]}, (), 0.0)


def train_settings(**fields) -> TrainSection:
    return TrainSection(**{"max_train_steps": 10, "train_batch_size": 2, **fields})


@given(weights=st.lists(st.floats(0.01, 10), min_size=1, max_size=12), count=st.integers(0, 500), seed=st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_whole_numbers_are_within_one_of_the_exact_ones_and_add_up(weights, count, seed):
    counts = apportion(np.array(weights), count, np.random.default_rng(seed))
    assert counts.sum() == count
    assert (np.abs(counts - count * np.array(weights) / np.sum(weights)) < 1).all()


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4), count=st.integers(1, 300), data=st.data())
@settings(max_examples=60, deadline=None)
def test_sources_have_their_shares_exactly_whatever_their_sizes(sizes, count, data):
    shares = np.array([data.draw(st.floats(0.05, 1)) for _ in sizes])
    shares /= shares.sum()
    kinds = [(source,) for source, size in enumerate(sizes) for _ in range(size)]
    weights = np.concatenate([np.full(size, share / size) for size, share in zip(sizes, shares, strict=True)])
    drawn = draw_pictures(kinds, weights, count, np.random.default_rng(0))
    of_source = np.bincount([kinds[index][0] for index in drawn], minlength=len(sizes))
    assert of_source.sum() == count and (np.abs(of_source - count * shares) < 1).all()
    times = np.bincount(drawn, minlength=len(kinds))
    for source in range(len(sizes)):  # within a source every image as often as any other
        own = times[[kind[0] == source for kind in kinds]]
        assert own.max() - own.min() <= 1


def test_a_source_is_spread_over_the_whole_run():
    drawn = draw_pictures([(0,), (1,)], np.array([0.75, 0.25]), 400, np.random.default_rng(1))
    for quarter in np.split(drawn, 4):
        assert 20 <= (quarter == 1).sum() <= 30  # 25 a quarter


def test_every_image_is_seen_once_before_any_is_seen_again():
    chosen = pictures(12)
    stage, = schedule(chosen, even(chosen), train_settings(max_train_steps=18), 32)  # three epochs of twelve
    for epoch in np.split(stage.pictures_MG.ravel(), 3):
        assert sorted(epoch) == list(range(12))


def test_the_same_seed_draws_the_same_and_another_another():
    chosen = pictures(30)
    first, again, other = (schedule(chosen, even(chosen), train_settings(seed=seed), 32)[0].pictures_MG for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_two_processes_see_what_one_sees_with_twice_the_batch():
    chosen = pictures(9) + pictures(9, size=TALL)
    one, = schedule(chosen, even(chosen), train_settings(train_batch_size=4, aspect_ratio_buckets=True), 32)
    two, = schedule(chosen, even(chosen), train_settings(train_batch_size=2, num_processes=2, aspect_ratio_buckets=True), 32)
    assert np.array_equal(one.pictures_MG, two.pictures_MG) and np.array_equal(one.sizes_M2, two.sizes_M2)


@given(numbers=st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any), batch=st.integers(1, 5), steps=st.integers(1, 15))
@settings(max_examples=60, deadline=None)
def test_batches_are_of_one_size_and_nothing_is_lost_or_doubled(numbers, batch, steps):
    buckets = [bucket for bucket, number in zip((SQUARE, TALL, WIDE), numbers, strict=True) for _ in range(number)]
    order = np.random.default_rng(0).integers(len(buckets), size=batch * steps)
    batches, sizes = into_batches(order, buckets, batch, np.random.default_rng(1))
    assert batches.shape == (steps, batch) and sizes.shape == (steps, 2)
    assert Counter(batches.ravel().tolist()) == Counter(order.tolist())
    foreign = sum(buckets[index] != tuple(size) for row, size in zip(batches, sizes.tolist(), strict=True) for index in row)
    assert foreign <= 2 * (batch - 1) * len(set(buckets))  # only what is left in the end shares a batch with other shapes
    assert set(map(tuple, sizes.tolist())) <= set(buckets)


def test_buckets_at_each_stage_are_those_of_its_resolution():
    chosen = pictures(6, size=TALL)
    stages = schedule(chosen, even(chosen), train_settings(aspect_ratio_buckets=True, earlier_stage=(StageSection(resolution=512, max_train_steps=3),)), 32)
    assert [set(map(tuple, stage.sizes_M2.tolist())) for stage in stages] == [{(384, 672)}, {(1536, 2688)}]  # diffusers' tables, ratio 1.75


def test_views_take_turns_from_epoch_to_epoch_and_over_stages():
    chosen = pictures(4)
    stages = schedule(chosen, even(chosen), train_settings(
        max_train_steps=4, augment=AugmentSection(num_views=3), earlier_stage=(StageSection(resolution=512, max_train_steps=4),)), 32)
    seen = {index: [] for index in range(4)}
    for stage in stages:
        for index, view in zip(stage.pictures_MG.ravel().tolist(), stage.views_MG.ravel().tolist(), strict=True):
            seen[index].append(view)
    assert all(views == [number % 3 for number in range(len(views))] for views in seen.values()) and sum(map(len, seen.values())) == 12


def test_groups_and_crops_are_exact_too():
    whole = [picture(f"f{index}", gender="feminine") for index in range(12)] + [picture(f"m{index}", gender="masculine") for index in range(3)]
    crops = [replace(each, crop=(0.0, 0.0, 9.0, 9.0), name=f"{each.name}#face0") for each in whole]
    chosen = whole + crops
    weights = picture_weights(chosen, {"mine": 1.0}, (), 0.25)
    stage, = schedule(chosen, weights, train_settings(max_train_steps=100), 32)
    drawn = [chosen[index] for index in stage.pictures_MG.ravel()]
    assert sum(each.crop is not None for each in drawn) == 50  # a quarter of 200
    assert sum(each.people.groups["gender"] == "masculine" for each in drawn) == pytest.approx(40, abs=1)  # 3 of 15


@pytest.mark.parametrize("attribute", ["gender", "age", "skin_tone"])
def test_a_group_with_a_bound_is_exact_in_a_short_run_whichever_its_attribute(attribute):
    """Beside two attributes without bounds, over whose many groups its few samples are spread."""
    generator, share = np.random.default_rng(3), 0.25
    classes = {name: each.classes for name, each in ATTRIBUTES.items()}
    chosen = [picture(str(index), **{name: str(generator.choice(each)) for name, each in classes.items()}) for index in range(400)]
    bound = BalanceSection(group=f"{attribute}={classes[attribute][-1]}", min_share=share, max_share=share)
    weights = picture_weights(chosen, {"mine": 1.0}, [bound], 0.0)
    for steps in (10, 20, 40):
        stage, = schedule(chosen, weights, train_settings(max_train_steps=steps), 32, [attribute])
        drawn = sum(chosen[index].people.groups[attribute] == classes[attribute][-1] for index in stage.pictures_MG.ravel())
        assert drawn == 2 * steps * share


def test_a_batch_says_what_each_place_shows():
    chosen = pictures(5)
    stage, = schedule(chosen, even(chosen), train_settings(), 32)
    draws = stage.batch(3)
    assert [draw.picture for draw in draws] == stage.pictures_MG[3].tolist()
    assert {(draw.width, draw.height) for draw in draws} == {(2048, 2048)}
    assert len(stage.all_draws()) == len(set(stage.all_draws())) == 5


def test_crops_are_no_images_of_their_own():
    whole = pictures(3)
    assert TrainingSet([*whole, *(replace(each, crop=(0.0, 0.0, 512.0, 512.0)) for each in whole)], [], ()).num_images == 3
