"""SHA-256 of large files, computed once: a second run must tell in seconds that gigabytes of weights are the same."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from sana_bench.shipped import cache_folder
from sana_bench.store import sha256_file

FEW_BYTES = 1 << 16
"""A file this small is hashed faster than looked up."""


def sha256_cached(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits; of a large file it is remembered while path, size, time and inode stay."""
    facts = path.stat()
    if facts.st_size < FEW_BYTES:
        return sha256_file(path)
    key = _printed(f"{path.resolve()}|{facts.st_size}|{facts.st_mtime_ns}|{facts.st_ino}")
    known = _known(cache_folder() / "sha256.tsv")
    if key not in known:
        known[key] = sha256_file(path)
        _remember(cache_folder() / "sha256.tsv", key, known[key])
    return known[key]


def _printed(key: str) -> str:
    """ASCII on one line, whatever stands in the path: line breaks would end the line, and bytes that are no text could not be written."""
    return key.encode("unicode_escape").decode("ascii")


@functools.cache
def _known(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return {}
    return {key: sha256 for sha256, _, key in (line.partition("\t") for line in lines) if len(sha256) == 64}


def _remember(path: Path, key: str, sha256: str) -> None:
    """One line at the end, written in one call, so that processes do not disturb each other. Losing it costs time only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(handle, f"{sha256}\t{key}\n".encode())
        finally:
            os.close(handle)
    except OSError:
        return
