"""A data source as a list of captioned images: OpenPeople by name, or any Hugging Face imagefolder."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from sana_bench.assets import asset_digest, asset_path
from sana_bench.data import openpeople
from sana_bench.data.views import enlargement, fit_view
from sana_bench.errors import DataError
from sana_bench.file_hashes import sha256_cached
from sana_bench.images import image_size, read_image
from sana_bench.registry import near_names
from sana_bench.store import Store, digest_of

OPENPEOPLE_VERSION = 2
"""Goes up when the pictures or captions made from OpenPeople change."""

SOURCES = {"openpeople:training": ("training", False), "openpeople:training-photographs": ("training", True),
           "openpeople:reference": ("reference", False)}
"""Embedded sources: whose pictures, and whether only the full-resolution photographs."""


IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
TOO_MANY_FIELDS = "more fields than the first line names: put a text with commas into double quotes"


def _check_text(text: str) -> str:
    if "\0" in text or any("\ud800" <= each <= "\udfff" for each in text):
        raise ValueError("holds a zero byte or half a surrogate pair, which is no text")
    return text


PlainText = Annotated[str, AfterValidator(_check_text)]


class Row(BaseModel):
    """One line of `metadata.jsonl`. `file_name` and `text` are the imagefolder convention; the rest is optional."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    file_name: PlainText
    text: PlainText
    person: str = ""
    kind: str = ""
    fit: Literal["crop", "pad"] = "crop"
    focus_y: Annotated[float, Field(ge=0, le=1)] = 0.5


class Manifest(BaseModel):
    """A data source, read and checked. It holds no pixels."""

    model_config = ConfigDict(frozen=True)

    source: str
    """As it was asked for: a folder ending in a slash, or beginning with a tilde, is called so."""
    digest: str
    """Changes with the captions and with the images."""
    folder: Path
    rows: tuple[Row, ...]


class _Written(BaseModel):
    """Record of an OpenPeople imagefolder in the store."""

    num_images: int


def data_digest(source: str) -> str:
    """Digest of a source; for the embedded ones without touching any file."""
    if source in SOURCES:
        return digest_of([source, OPENPEOPLE_VERSION, asset_digest("openpeople")])
    return load_imagefolder(Path(source).expanduser()).digest


def load_manifest(source: str, store: Store) -> Manifest:
    """Read a source.

    Args:
        source: a name in SOURCES, or a folder with `metadata.jsonl` or `metadata.csv`.
        store: where OpenPeople's imagefolder is kept once it is written.

    Raises:
        DataError: no such source, no images, or problems in the metadata: all of them in one message.
    """
    if source not in SOURCES:
        return load_imagefolder(Path(source).expanduser()).model_copy(update={"source": source})
    people, only_photographs = SOURCES[source]
    digest = digest_of([people, OPENPEOPLE_VERSION, asset_digest("openpeople")])
    folder = store.folder("data", digest)
    if store.find("data", digest, _Written) is None:
        with store.locked("data", digest):
            if store.find("data", digest, _Written) is None:
                number = openpeople.write_imagefolder(asset_path("openpeople"), folder, people)
                store.finish("data", digest, _Written(num_images=number))
    rows = load_imagefolder(folder).rows
    if only_photographs:
        rows = tuple(row for row in rows if row.kind.startswith(("studio_", "amateur_")))
    return Manifest(source=source, digest=data_digest(source), folder=folder, rows=rows)


def picture_view(manifest: Manifest, row: Row, size: tuple[int, int]) -> np.ndarray:
    """(height, width, 3) uint8: a picture fitted to (width, height) as its row says.

    Raises:
        DataError: the file is missing or no image.
    """
    image = Image.fromarray(read_image(manifest.folder / row.file_name, DataError))
    return np.asarray(fit_view(image, *size, fit=row.fit, focus_y=row.focus_y))


def picture_enlargement(manifest: Manifest, row: Row, size: tuple[int, int]) -> float:
    """By which factor `picture_view` enlarges that picture to (width, height), from the head of its file.

    Raises:
        DataError: the file is missing or no image.
    """
    return enlargement(image_size(manifest.folder / row.file_name, DataError), *size, fit=row.fit)


def check_apart(training: str, reference: str) -> None:
    """Refuse to compare with people that were trained on: a distance to them rewards memory.

    Raises:
        DataError: both sources are the same, or have a `person` in common.
    """
    shared = sorted(_people(training) & _people(reference))
    if data_digest(training) == data_digest(reference) or shared:
        raise DataError(f"the source {training} of training and data.reference ({reference}) share "
                        f"{', '.join(shared[:5]) or 'all images'}: the reference must be people who are never trained on")


def _people(source: str) -> set[str]:
    if source in SOURCES:
        return set(openpeople.PEOPLE[SOURCES[source][0]])
    return {row.person for row in load_imagefolder(Path(source).expanduser()).rows if row.person}


def load_imagefolder(folder: Path) -> Manifest:
    """Read a Hugging Face imagefolder, images beside `metadata.jsonl` or `metadata.csv` with `file_name` and `text`; or a folder as NVlabs' train.py
    reads it, with the caption of each image in a text file of its name."""
    if not folder.is_dir():
        raise DataError(f'no data source "{folder}".{near_names(str(folder), list(SOURCES))} '
                        f'Embedded: {", ".join(SOURCES)}; or give a folder of images with metadata.jsonl')
    path = metadata_file(folder)
    rows = _check_rows(folder, path) if path else _check_captions_beside(folder)
    digest = digest_of([[row.model_dump() for row in rows], [sha256_cached(folder / row.file_name) for row in rows]])
    return Manifest(source=str(folder), digest=digest, folder=folder, rows=rows)


def captions_beside(folder: Path) -> dict[str, str | None]:
    """Caption by image where these lie side by side (`0001.png`, `0001.txt`); None for an image without. Empty where no image has one.

    Raises:
        DataError: a caption is no text.
    """
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith("."))
    texts = {image.name: image.with_suffix(".txt") for image in images}
    try:
        found = {name: path.read_text(encoding="utf-8-sig").strip() if path.is_file() else None for name, path in texts.items()}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"a caption in {folder} cannot be read ({error}); captions are UTF-8") from error
    return found if any(text is not None for text in found.values()) else {}


def _check_captions_beside(folder: Path) -> tuple[Row, ...]:
    rows, problems = list[Row](), list[str]()
    for name, text in captions_beside(folder).items():
        try:
            rows += [Row(file_name=name, text=text)] if text is not None else []
            problems += [f'"{name}" has no caption beside it ({Path(name).stem}.txt)'] if text is None else []
        except ValidationError as error:
            problems += [f'"{name}": {problem["msg"]}' for problem in error.errors()]
    if not rows and not problems:
        raise DataError(f"{folder} has no captions: write metadata.jsonl, one line an image, such as "
                        f'{{"file_name": "0001.png", "text": "a woman waving"}}, or a text file for each image, 0001.txt for 0001.png')
    refuse(folder, problems)
    return tuple(rows)


def refuse(what: object, problems: Sequence[str]) -> None:
    """Raises DataError where there are problems, with the first twenty."""
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:20])
        more = f"\n  ... and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise DataError(f"{what} cannot be used:\n{shown}{more}")


def metadata_file(folder: Path) -> Path | None:
    """The `metadata.jsonl` or `metadata.csv` of an imagefolder, or None where it has neither."""
    return next((folder / name for name in ("metadata.jsonl", "metadata.csv") if (folder / name).exists()), None)


def read_rows(folder: Path, path: Path) -> Iterator[tuple[int, Row | None, list[str]]]:
    """Number of each line of the metadata of a folder, its row where it is one, and all that is wrong with it.

    Raises:
        DataError: the metadata is no text.
    """
    for number, values in _read_lines(path):
        if isinstance(values, str):
            yield number, None, [values]
            continue
        try:
            row = Row.model_validate(values)
        except ValidationError as error:
            yield number, None, [f"{'.'.join(map(str, problem['loc'])) or 'row'}: {problem['msg']}" for problem in error.errors()]
            continue
        image = os.path.realpath(folder / row.file_name)  # Path's own methods raise on names that are too long, and on links in a circle
        if not Path(image).is_relative_to(os.path.realpath(folder)):
            yield number, row, [f'file_name "{row.file_name}" leaves the folder']
        else:
            yield number, row, [] if os.path.isfile(image) else [f'no image "{row.file_name:.200}"']


def _check_rows(folder: Path, path: Path) -> tuple[Row, ...]:
    lines = list(read_rows(folder, path))
    problems = [f"line {number}: {problem}" for number, _, found in lines for problem in found]
    refuse(path, problems if lines else ["it lists no images"])
    return tuple(row for _, row, _ in lines if row is not None)


def _read_lines(path: Path) -> list[tuple[int, object]]:
    """Line number and content of each non-empty line; what is wrong with a broken one comes back as text."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    lines: list[tuple[int, object]] = []
    if path.suffix == ".csv":
        try:
            for number, values in enumerate(csv.DictReader(io.StringIO(text, newline=""), strict=True), start=2):
                lines.append((number, TOO_MANY_FIELDS if None in values else values))
        except csv.Error as error:
            lines.append((len(lines) + 2, f"not CSV: {error}"))
        return lines
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines would cut at separators that JSON allows in a text
        if line.strip():
            try:
                values = json.loads(line)
                lines.append((number, values if isinstance(values, dict) else "no JSON object"))
            except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and thousands of brackets
                lines.append((number, f"not JSON: {error}"))
    return lines
