"""Everything that a folder holds, usable or not: images with and without captions, captions without images, lines that are none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from sana_bench.data.manifest import IMAGE_ENDINGS, SOURCES, Row, captions_beside, load_manifest, metadata_file, read_rows
from sana_bench.errors import DataError
from sana_bench.registry import near_names
from sana_bench.store import Store

READ, OTHER = IMAGE_ENDINGS, (".jfif", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".jp2")
"""Endings of images that training reads, and of those that it does not, which an audit names instead of passing them over."""


@dataclass(frozen=True)
class Entry:
    """One image of the folder."""

    row: Row
    """Its line of the metadata; with an empty text where it has none."""
    path: Path
    listed: bool
    """Whether the metadata names it."""


@dataclass(frozen=True)
class MetadataProblem:
    """Something in the metadata that belongs to no image."""

    line: int
    """0 where it is of the whole file."""
    message: str
    caption: str = ""
    """Of a caption without an image."""
    without_image: bool = False


@dataclass(frozen=True)
class AuditFolder:
    """A source as it lies there."""

    source: str
    folder: Path
    entries: tuple[Entry, ...]
    """In the order of the metadata, then those that it does not name, by name."""
    problems: tuple[MetadataProblem, ...]


def read_folder(source: str, store: Store) -> AuditFolder:
    """Look through an embedded source (`data.manifest.SOURCES`) or any folder of images.

    Raises:
        DataError: there is no such folder, or it holds neither images nor captions.
    """
    if source in SOURCES:
        manifest = load_manifest(source, store)
        return AuditFolder(source, manifest.folder, tuple(Entry(row, manifest.folder / row.file_name, True) for row in manifest.rows), ())
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise DataError(f'no data source "{source}".{near_names(source, list(SOURCES))} Embedded: {", ".join(SOURCES)}; or give a folder of images')
    listed, problems = _listed(folder)
    named = {entry.path for entry in listed}
    unlisted = [Entry(Row(file_name=_shown_name(path.relative_to(folder)), text=""), path, False) for path in _images(folder) if path not in named]
    if not listed and not unlisted and not any(problem.line for problem in problems):
        raise DataError(f"{folder} holds no images ({', '.join(each[1:] for each in READ)}) and no captions: give the folder that they lie in")
    return AuditFolder(source, folder, (*listed, *unlisted), tuple(problems))


def _listed(folder: Path) -> tuple[list[Entry], list[MetadataProblem]]:
    """Images that the metadata names, each once, and what is wrong with the metadata."""
    path = metadata_file(folder)
    if path is None:
        return _with_captions_beside(folder)
    entries, problems = dict[Path, Entry](), list[MetadataProblem]()
    try:
        for line, row, messages in read_rows(folder, path):
            if row is None or messages:
                problems.append(MetadataProblem(line, "; ".join(messages), row.text if row else "", without_image=row is not None))
            elif (image := folder / os.path.normpath(row.file_name)) in entries:
                problems.append(MetadataProblem(line, f'"{row.file_name}" has a line before this one', row.text))
            else:
                entries[image] = Entry(row, image, True)
    except DataError as error:
        problems.append(MetadataProblem(0, str(error).replace(str(path), path.name)))
    return list(entries.values()), problems


def _with_captions_beside(folder: Path) -> tuple[list[Entry], list[MetadataProblem]]:
    try:
        found = captions_beside(folder)
        entries = [Entry(Row(file_name=name, text=text), folder / name, True) for name, text in found.items() if text is not None]
    except (DataError, ValidationError) as error:
        return [], [MetadataProblem(0, str(error))]
    nowhere = "there is no metadata.jsonl or metadata.csv, and no text file beside an image: training reads captions from these"
    return entries, [] if found else [MetadataProblem(0, nowhere)]


def _shown_name(path: Path) -> str:
    """Its name as text, with bytes that are none written out."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _images(folder: Path) -> Iterator[Path]:
    """Files with the ending of an image, by name; none that is hidden, or that a link takes from elsewhere."""
    root = os.path.realpath(folder)
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(where) / name
            if path.suffix.lower() in READ + OTHER and not name.startswith(".") and Path(os.path.realpath(path)).is_relative_to(root):
                yield path
