"""Pictures of the sources of a recipe: whole images, what is seen in them where the recipe needs it, and zoomed crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sana_bench.config import RunConfig
from sana_bench.data.balance import check_balance
from sana_bench.data.buckets import check_resolutions
from sana_bench.data.manifest import Manifest, Row, data_digest, load_manifest, refuse
from sana_bench.data.people import find_people, people_identity
from sana_bench.data.samples import Picture
from sana_bench.data.zoom import check_crop_caption, zoomed_crops
from sana_bench.errors import DataError
from sana_bench.file_hashes import sha256_cached
from sana_bench.images import image_size
from sana_bench.models import resolve_device
from sana_bench.store import Store
from sana_bench.train_config import RegionsSection


def pictures_of(manifest: Manifest) -> list[Picture]:
    """One for each row, nothing of which was looked at.

    Raises:
        DataError: files that are no images, or none that can be read, by their heads: all of them in one message.
    """
    pictures, problems = [], []
    for row in manifest.rows:
        try:
            pictures.append(_picture_of(manifest, row))
        except DataError as error:
            problems.append(str(error))
    refuse(f"{len(problems)} image(s) of {manifest.source}", problems)
    return pictures


def _picture_of(manifest: Manifest, row: Row) -> Picture:
    path = manifest.folder / row.file_name
    return Picture(source=manifest.source, path=path, content=sha256_cached(path), name=row.file_name, text=row.text, size=image_size(path, DataError),
                   fit=row.fit, focus_y=row.focus_y)


def training_pictures(config: RunConfig, store: Store) -> list[Picture]:
    """All that the recipe may draw: whole images of all sources, and zoomed crops of them where it wants some.

    Raises:
        SanaBenchError: a source or an image cannot be used, or a group, a caption or a resolution in the recipe, which is found
            out before anything is looked at.
    """
    check_settings(config)
    pictures = [picture for source in config.data.sources for picture in pictures_of(load_manifest(source, store))]
    if looks_at_people(config):
        pictures = _looked_at(pictures, config, store)
        _check_found(pictures, config.train.regions)
    if config.train.regions.crop_share:
        side = max(stage.resolution for stage in config.train.stages)
        pictures += [crop for picture in pictures for crop in zoomed_crops(picture, side, config.train.regions)]
    return pictures


def _check_found(pictures: Sequence[Picture], settings: RegionsSection) -> None:
    """Raises DataError where the loss is to count more in faces or hands, and no image has one."""
    found = {region.kind for picture in pictures for region in picture.people.regions}
    for kind, weight in (("face", settings.face_weight), ("hand", settings.hand_weight)):
        if weight > 1 and kind not in found:
            raise DataError(f"train.regions.{kind}_weight is {weight:g} and would do nothing: no {kind} was found in the {len(pictures)} training images. "
                            f"--set train.regions.{kind}_weight=1 trains without it")


def check_settings(config: RunConfig) -> None:
    """Raises ConfigError: a group, a caption of crops or a resolution of buckets that does not exist."""
    check_balance(config.data.balance)
    check_crop_caption(config.train.regions.crop_caption)
    check_resolutions(config.train)


def looks_at_people(config: RunConfig) -> bool:
    """Whether faces, hands and perceived groups of the training images are needed."""
    return config.train.regions.needs_people or bool(config.data.balance)


def pictures_identity(config: RunConfig) -> object:
    """Everything that decides the pictures beside the settings, without looking at an image."""
    return [data_digest(source) for source in config.data.sources], people_identity() if looks_at_people(config) else ""


def _looked_at(pictures: Sequence[Picture], config: RunConfig, store: Store) -> list[Picture]:
    seen = find_people([picture.path for picture in pictures], [picture.content for picture in pictures], store,
                       resolve_device(config.run.device), config.run.num_workers)
    return [replace(picture, people=people) for picture, people in zip(pictures, seen, strict=True)]
