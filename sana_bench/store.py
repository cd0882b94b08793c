"""Content-addressed, atomic, crash-safe artifact store on a file system.

An artifact is a folder `<root>/<kind>/<digest>/`. Its record (`record.json`) is written last, by one rename: an
artifact with a record is complete, one without is work in progress that the next run goes on with.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from sana_bench.errors import StoreError
from sana_bench.locks import locked

RECORD_FILE = "record.json"
R = TypeVar("R", bound=BaseModel)


def digest_of(value: object) -> str:
    """Name of a JSON-like value: 16 hex digits of the SHA-256 of its canonical JSON."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A file that is there whole or not at all, even after a power cut: write it at the path that this gives.

    Raises:
        StoreError: the folder cannot be written or the disk is full; what was there before is untouched.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}. Free space or choose another folder (--set run.store=... "
                         f"or run.reports=...); nothing that was there is lost") from error
    finally:
        _remove_quietly(temporary)


def remove_unfinished(path: Path) -> None:
    """Remove what `written_whole` left of a file where the process was killed while it wrote. Only for who alone writes that file."""
    for each in path.parent.glob(f".{glob.escape(path.name)}.*"):
        _remove_quietly(each)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file as `written_whole` does."""
    with written_whole(path) as temporary:
        temporary.write_bytes(data)


def copy_files(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy files of a folder, given relative to it, each whole or not at all.

    Raises:
        StoreError: a file is missing, the target cannot be written, or the disk is full.
    """
    for name in names:
        try:
            data = (source / name).read_bytes()
        except OSError as error:
            raise StoreError(f"cannot read {source / name}: {error.strerror}") from error
        write_bytes(target / name, data)


def _remove_quietly(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # the folder itself cannot be written, which the caller is already reporting
        return


def write_record(path: Path, record: BaseModel) -> None:
    write_bytes(path, (record.model_dump_json(indent=1) + "\n").encode())


def read_record(path: Path, kind: type[R]) -> R:
    """Read and check a record.

    Raises:
        StoreError: the file is missing, is no such record, or has another schema version.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StoreError(f"{path} is not a valid {kind.__name__} ({where}: {first['msg']}). Delete it to make it anew") from error


class Store:
    """Artifacts by kind ("checkpoint", "samples", "features", "latents", ...) and digest."""

    def __init__(self, root: str | Path):
        self.root = Path(root).expanduser()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the store {self.root}: {error.strerror}. Choose another with "
                             f"--set run.store=...") from error
        if not os.access(self.root, os.W_OK):
            raise StoreError(f"the store {self.root} is not writable. Choose another with --set run.store=...")

    def folder(self, kind: str, digest: str) -> Path:
        """Where that artifact is or will be."""
        return self.root / kind / digest

    def find(self, kind: str, digest: str, record: type[R]) -> R | None:
        """The record of a complete artifact, or None where there is none yet."""
        path = self.folder(kind, digest) / RECORD_FILE
        return read_record(path, record) if path.exists() else None

    def locked(self, kind: str, digest: str) -> AbstractContextManager[None]:
        """While held, no other process makes that artifact."""
        return locked(self.root / kind / f".{digest}.lock", f"the same {kind}")

    def finish(self, kind: str, digest: str, record: R) -> R:
        """Declare an artifact complete by writing its record."""
        write_record(self.folder(kind, digest) / RECORD_FILE, record)
        return record
