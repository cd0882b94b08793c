"""The first samples of each stage, as training will see them."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from sana_bench.config import RunConfig
from sana_bench.data.augment import Augmentation, augmentation_of
from sana_bench.data.samples import Box, Draw, Picture, RegionKind
from sana_bench.data.schedule import StageSchedule
from sana_bench.data.training_set import TrainingSet
from sana_bench.data.views import make_view, region_boxes, view_enlargement
from sana_bench.data.weight_map import region_weights
from sana_bench.errors import DataError
from sana_bench.images import read_image, small_webp
from sana_bench.progress import progress
from sana_bench.train_config import RegionsSection, TrainSection

SMALL_PX, WEBP_QUALITY = 360, 80
"""Long side of a picture on the page."""
HEAT = (255, 64, 0)
"""Colour of the heaviest cells; lighter ones let more of the picture through."""
HEAT_OPACITY = 0.62


@dataclass(frozen=True)
class Heat:
    """How much each latent cell counts in the loss of a view."""

    image: str
    """data: URI of a PNG with one pixel a cell."""
    largest: float
    """Weight of the heaviest cell; one without a region has 1."""
    area: float
    """Share of the view's cells that count more than 1."""
    loss: float
    """Share of the loss that these have, if all are predicted equally well."""


@dataclass(frozen=True)
class Tile:
    """One sample of a step."""

    step: int
    """Counted from 1 within the stage."""
    source: str
    name: str
    caption: str
    """As it is encoded, where it is not dropped."""
    dropped: bool
    """The sample sees the empty caption instead."""
    draw: Draw
    augmentation: Augmentation
    crop: Box | None
    enlargement: float
    """By how much pixels of the file are enlarged; below 1 they are reduced."""
    regions: tuple[tuple[RegionKind, Box], ...]
    """In pixels of the view."""
    heat: Heat | None
    """None where the loss counts every place the same."""
    image: str
    """data: URI of the view, reduced."""

    def document(self) -> dict:
        """JSON-like, without pictures."""
        return {"step": self.step, "source": self.source, "name": self.name, "caption": self.caption, "dropped": self.dropped,
                "view": self.draw.view, "width": self.draw.width, "height": self.draw.height, "augmentation": asdict(self.augmentation),
                "crop": self.crop, "enlargement": self.enlargement, "regions": self.regions,
                "weights": None if self.heat is None else {"largest": self.heat.largest, "area": self.heat.area, "loss": self.heat.loss}}


@dataclass(frozen=True)
class StagePreview:
    schedule: StageSchedule
    tiles: tuple[Tile, ...]

    @property
    def num_samples(self) -> int:
        return self.schedule.pictures_MG.size

    @property
    def num_pictures(self) -> int:
        """Different ones that are drawn."""
        return len(np.unique(self.schedule.pictures_MG))

    @property
    def num_views(self) -> int:
        """Different ones that are drawn, at all sizes."""
        return len(self.schedule.all_draws())

    def samples_by_size(self) -> list[tuple[tuple[int, int], int]]:
        """(width, height) and how many samples have it, the most frequent first."""
        batches = Counter((width, height) for width, height in self.schedule.sizes_M2.tolist())
        return [(size, count * self.schedule.pictures_MG.shape[1]) for size, count in batches.most_common()]

    def document(self) -> dict:
        """JSON-like, without pictures."""
        return {**self.schedule.stage.model_dump(mode="json"), "num_samples": self.num_samples, "num_pictures": self.num_pictures,
                "num_views": self.num_views, "sizes": [{"width": width, "height": height, "num_samples": count}
                                                       for (width, height), count in self.samples_by_size()],
                "samples": [tile.document() for tile in self.tiles]}


def preview_stages(images: TrainingSet, config: RunConfig, num_samples: int) -> list[StagePreview]:
    """The first `num_samples` samples of each stage.

    Raises:
        DataError: an image cannot be read.
    """
    total = sum(min(num_samples, stage.pictures_MG.size) for stage in images.stages)
    with progress("make views", total) as tracker:
        stages = []
        for number, stage in enumerate(images.stages):
            tiles = []
            for batch, place, draw in _first_draws(stage, num_samples):
                picture = images.pictures[draw.picture]
                dropped = _is_dropped(config.train, number, batch, place)
                tiles.append(make_tile(picture, draw, config.train, batch // stage.stage.gradient_accumulation_steps + 1, dropped))
                tracker.advance()
            stages.append(StagePreview(stage, tuple(tiles)))
    return stages


def make_tile(picture: Picture, draw: Draw, settings: TrainSection, step: int, dropped: bool) -> Tile:
    augmentation = augmentation_of(picture, draw, settings.augment)
    view = make_view(Image.fromarray(read_image(picture.path, DataError)), picture, draw, augmentation)
    regions = region_boxes(picture, draw, augmentation)
    return Tile(step=step, source=picture.source, name=picture.name, caption=picture.text.lower().strip(),  # as SanaPipeline encodes it
                dropped=dropped, draw=draw, augmentation=augmentation, crop=picture.crop,
                enlargement=view_enlargement(picture, draw, augmentation),
                regions=tuple(regions), heat=_heat(regions, draw, settings.regions),
                image=_data_uri(small_webp(view, SMALL_PX, WEBP_QUALITY), "webp"))


def _first_draws(stage: StageSchedule, number: int) -> Iterator[tuple[int, int, Draw]]:
    """Number of the batch, place in it, and draw."""
    size = stage.pictures_MG.shape[1]
    for batch in range(min(-(-number // size), len(stage.pictures_MG))):
        for place, draw in enumerate(stage.batch(batch)[:number - batch * size]):
            yield batch, place, draw


def _is_dropped(settings: TrainSection, stage: int, batch: int, place: int) -> bool:
    from sana_bench.training.batches import drops_caption
    from sana_bench.training.loop import step_generator

    return drops_caption(settings, step_generator(settings.seed, stage, batch, place))


def _heat(regions: Sequence[tuple[RegionKind, Box]], draw: Draw, settings: RegionsSection) -> Heat | None:
    largest = max(settings.face_weight, settings.hand_weight)
    if largest == 1:
        return None
    weights_hw = region_weights(regions, draw.width, draw.height, settings)
    pixels_hw4 = np.zeros((*weights_hw.shape, 4), np.uint8)
    pixels_hw4[..., :3], pixels_hw4[..., 3] = HEAT, np.round(255 * HEAT_OPACITY * (weights_hw - 1) / (largest - 1))
    buffer, heavier = io.BytesIO(), weights_hw > 1
    Image.fromarray(pixels_hw4).save(buffer, "PNG")
    return Heat(_data_uri(buffer.getvalue(), "png"), float(weights_hw.max()), float(heavier.mean()), float(weights_hw[heavier].sum() / weights_hw.sum()))


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
