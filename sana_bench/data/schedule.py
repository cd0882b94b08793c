"""Which pictures every step of training sees, in which view, at which size: decided by the seed before anything is trained.

What is drawn is exact: of N samples a source with the share s has N s (to the nearest whole sample), however few images it has, and so on
down to the single picture, whose draws are spread over the whole run. A batch is of one size; nothing is drawn again or left out for that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from sana_bench.data.buckets import bucket_of
from sana_bench.data.samples import Draw, Picture
from sana_bench.metrics.perceived import ATTRIBUTES
from sana_bench.train_config import StageSection, TrainSection


@dataclass(frozen=True)
class StageSchedule:
    """All samples of one stage. M batches, one for each step and accumulation; G samples in each, over all processes."""

    stage: StageSection
    pictures_MG: np.ndarray
    """int64, index of the picture."""
    views_MG: np.ndarray
    """int64, which of its views; 0 is the untouched one."""
    sizes_M2: np.ndarray
    """int64, width and height in pixels."""

    def batch(self, number: int) -> list[Draw]:
        """The samples of one batch, in their order over the processes."""
        width, height = self.sizes_M2[number].tolist()
        return [Draw(picture, view, width, height)
                for picture, view in zip(self.pictures_MG[number].tolist(), self.views_MG[number].tolist(), strict=True)]

    def all_draws(self) -> list[Draw]:
        """Each draw that occurs, once, in the order in which it is first needed."""
        return list(dict.fromkeys(draw for number in range(len(self.pictures_MG)) for draw in self.batch(number)))


def schedule(pictures: Sequence[Picture], weights_N: np.ndarray, settings: TrainSection, multiple: int,
             bounded: Sequence[str] = ()) -> list[StageSchedule]:
    """The samples of all stages.

    Args:
        weights_N: share of each picture among all samples, adding up to 1 (data/balance.py).
        multiple: what the sides of views must be multiples of, in pixels.
        bounded: attributes on whose groups there are bounds. Their numbers of draws are made whole before those of others, within which each group's
            number is rounded anew: in a short run that would cost a group a sample or two.
    """
    order_of_attributes = [*bounded, *(attribute for attribute in ATTRIBUTES if attribute not in bounded)]
    times_drawn_N, stages = np.zeros(len(pictures), np.int64), []
    for number, stage in enumerate(settings.stages):
        generator = np.random.default_rng(_seed(settings.seed, number))
        batch_size = stage.train_batch_size * settings.num_processes
        order = draw_pictures([_kinds_of(each, order_of_attributes) for each in pictures], weights_N,
                              stage.max_train_steps * stage.gradient_accumulation_steps * batch_size, generator)
        buckets = [bucket_of(each.size, stage.resolution, settings.aspect_ratio_buckets, multiple) for each in pictures]
        batches, sizes = into_batches(order, buckets, batch_size, generator)
        views = np.empty_like(batches)
        for place, picture in np.ndenumerate(batches):
            views[place] = times_drawn_N[picture] % settings.augment.num_views
            times_drawn_N[picture] += 1
        stages.append(StageSchedule(stage, batches, views, sizes))
    return stages


def draw_pictures(kinds: Sequence[tuple[Hashable, ...]], weights_N: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """`count` indices of pictures, (count,) int64.

    Args:
        kinds: for each picture what it is, from coarse to fine, all of one length. Pictures that agree up to some place are one group, whose
            number of draws is exact within the group around it.
        weights_N: adds up to 1.
    """
    return _draw(np.arange(len(kinds)), kinds, 0, weights_N, count, generator)


def _draw(members: np.ndarray, kinds: Sequence[tuple[Hashable, ...]], depth: int, weights_N: np.ndarray, count: int,
          generator: np.random.Generator) -> np.ndarray:
    if depth == len(kinds[0]):
        return members[_spread(apportion(weights_N[members], count, generator), generator)]
    groups: dict[Hashable, list[int]] = {}
    for member in members.tolist():
        groups.setdefault(kinds[member][depth], []).append(member)
    counts = apportion(np.array([weights_N[group].sum() for group in groups.values()]), count, generator)
    order, drawn = _spread(counts, generator), np.empty(count, np.int64)
    for number, (group, size) in enumerate(zip(groups.values(), counts.tolist(), strict=True)):
        if size:
            drawn[order == number] = _draw(np.array(group), kinds, depth + 1, weights_N, size, generator)
    return drawn


def apportion(weights_K: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Whole numbers in proportion to the weights that add up to `count`, (K,) int64: by largest remainders, and by lot where these are equal."""
    exact_K = count * weights_K / weights_K.sum()
    counts_K = np.floor(exact_K + 1e-9).astype(np.int64)
    missing = count - int(counts_K.sum())
    by_remainder_K = np.lexsort((generator.random(len(weights_K)), -np.round(exact_K - counts_K, 9)))
    counts_K[by_remainder_K[:missing]] += 1
    return counts_K


def _spread(counts_K: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Each index k so many times, its occurrences spread over the sequence: one, at random, in each of its counts_K[k] equal parts."""
    indices = np.repeat(np.arange(len(counts_K)), counts_K)
    numbers = np.concatenate([np.arange(count) for count in counts_K]) if len(counts_K) else np.empty(0)
    return indices[np.argsort((numbers + generator.random(len(indices))) / counts_K[indices], kind="stable")]


def into_batches(order: np.ndarray, buckets: Sequence[tuple[int, int]], batch_size: int,
                 generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cut a sequence of draws into batches of one size each: (M, batch_size) int64, and their (M, 2) widths and heights.

    What is left in the end, less than a batch of each size, goes by shape into batches whose size is that of the one in the middle.
    """
    waiting: dict[tuple[int, int], list[int]] = {}
    batches, sizes = list[list[int]](), list[tuple[int, int]]()
    for picture in order.tolist():
        batch = waiting.setdefault(buckets[picture], [])
        batch.append(picture)
        if len(batch) == batch_size:
            batches.append(waiting.pop(buckets[picture]))
            sizes.append(buckets[picture])
    left = sorted((picture for batch in waiting.values() for picture in batch), key=lambda picture: buckets[picture][0] / buckets[picture][1])
    for start in range(0, len(left), batch_size):
        batch, place = left[start:start + batch_size], int(generator.integers(len(batches) + 1))
        batches.insert(place, batch)
        sizes.insert(place, buckets[batch[len(batch) // 2]])
    return np.array(batches, np.int64).reshape(-1, batch_size), np.array(sizes, np.int64).reshape(-1, 2)


def _kinds_of(picture: Picture, attributes: Sequence[str]) -> tuple[Hashable, ...]:
    return picture.source, picture.crop is not None, *map(picture.people.groups.get, attributes)


def _seed(seed: int, stage: int) -> int:
    return int.from_bytes(hashlib.sha256(f"schedule/{seed}/{stage}".encode()).digest()[:8], "big")
