"""Everything that a recipe trains on: its pictures, and which of them every step sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sana_bench.config import RunConfig
from sana_bench.data.balance import bounded_attributes, picture_weights
from sana_bench.data.pictures import training_pictures
from sana_bench.data.samples import Draw, Picture
from sana_bench.data.schedule import StageSchedule, schedule
from sana_bench.data.shares import shares_of
from sana_bench.models import LATENT_PX, transformer_config
from sana_bench.records import ShareOfSamples
from sana_bench.store import Store


@dataclass(frozen=True)
class TrainingSet:
    """Pictures without pixels, and a schedule of them."""

    pictures: list[Picture]
    stages: list[StageSchedule]
    shares: tuple[ShareOfSamples, ...]

    @property
    def num_images(self) -> int:
        """Without the crops that are cut out of them."""
        return sum(picture.crop is None for picture in self.pictures)

    def all_draws(self) -> list[Draw]:
        """Each view that training sees, once, in the order in which it first does."""
        return list(dict.fromkeys(draw for stage in self.stages for draw in stage.all_draws()))

    def texts(self) -> list[str]:
        """Each caption that training sees, and the empty one."""
        return list(dict.fromkeys(["", *(self.pictures[draw.picture].text for draw in self.all_draws())]))


def training_set(config: RunConfig, store: Store, patch_size: int | None = None) -> TrainingSet:
    """Read the sources, look at their images where the recipe needs it, and draw up the schedule.

    Args:
        patch_size: of the transformer, in latents; None asks the base, which is fetched for it.

    Raises:
        SanaBenchError: a source or an image cannot be used, or the shares that the recipe asks for cannot hold.
    """
    pictures = training_pictures(config, store)
    weights_N = picture_weights(pictures, config.data.sources, config.data.balance, config.train.regions.crop_share)
    stages = schedule(pictures, weights_N, config.train, LATENT_PX * (patch_size or transformer_config(config.model).patch_size),
                      bounded_attributes(config.data.balance))
    times_drawn_N = sum(np.bincount(stage.pictures_MG.ravel(), minlength=len(pictures)) for stage in stages)
    return TrainingSet(pictures, stages, shares_of(pictures, times_drawn_N))
