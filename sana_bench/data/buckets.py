"""The size at which an image is trained on: a square, or the nearest of the sizes that Sana draws."""

from __future__ import annotations

from sana_bench.errors import ConfigError
from sana_bench.models import LATENT_PX
from sana_bench.train_config import TrainSection


def bucket_of(size: tuple[int, int], resolution: int, aspect_ratio_buckets: bool, multiple: int = LATENT_PX) -> tuple[int, int]:
    """(width, height) of the views of an image of `size` (width, height).

    With buckets it is the size of the nearest ratio of height to width in SanaPipeline's table for that resolution, chosen
    as the pipeline chooses: all of them have about the area of the square, and sides that are multiples of 32 px.

    Args:
        multiple: sizes whose sides are no multiples of so many pixels are left out: a transformer with patches of 2x2 latents takes 64.

    Raises:
        ConfigError: Sana has no table for that resolution, or none of its sizes is left.
    """
    if not aspect_ratio_buckets:
        return resolution, resolution
    from diffusers.image_processor import PixArtImageProcessor

    height, width = PixArtImageProcessor.classify_height_width_bin(size[1], size[0], ratios=_ratios(resolution, multiple))
    return width, height


def check_resolutions(settings: TrainSection) -> None:
    """Raises ConfigError where a stage that has buckets has a resolution that Sana has no table for."""
    for stage in settings.stages if settings.aspect_ratio_buckets else ():
        _ratios(stage.resolution, LATENT_PX)


def _ratios(resolution: int, multiple: int) -> dict[str, list[float]]:
    """Height and width by their ratio."""
    from diffusers.pipelines.sana import pipeline_sana

    tables = {512: pipeline_sana.ASPECT_RATIO_512_BIN, 1024: pipeline_sana.ASPECT_RATIO_1024_BIN,
              2048: pipeline_sana.ASPECT_RATIO_2048_BIN, 4096: pipeline_sana.ASPECT_RATIO_4096_BIN}
    if resolution not in tables:
        raise ConfigError(f"train.aspect_ratio_buckets: Sana has sizes of other shapes at {', '.join(map(str, tables))} px, none at {resolution}. "
                          f"Train at one of these resolutions, or with --set train.aspect_ratio_buckets=false")
    fitting = {ratio: sides for ratio, sides in tables[resolution].items() if not any(side % multiple for side in sides)}
    if not fitting:
        raise ConfigError(f"train.aspect_ratio_buckets: no size at {resolution} px has sides that are multiples of {multiple}, as this transformer needs")
    return fitting
