"""Hashes of large files are of the whole file, and are remembered only while the file stays what it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sana_bench import file_hashes
from sana_bench.file_hashes import FEW_BYTES, sha256_cached
from sana_bench.store import sha256_file


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SANA_BENCH_CACHE", str(tmp_path / "cache"))
    file_hashes._known.cache_clear()
    return tmp_path / "cache"


def test_a_change_in_the_middle_is_seen(tmp_path: Path) -> None:
    path, content = tmp_path / "weights", bytearray(3 * FEW_BYTES)
    path.write_bytes(content)
    before = sha256_cached(path)
    content[len(content) // 2] = 1
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    assert sha256_cached(path) == sha256_file(path) != before


def test_a_hash_is_remembered_across_processes(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    path.write_bytes(bytes(2 * FEW_BYTES))
    known = sha256_cached(path)
    file_hashes._known.cache_clear()  # as a new process starts
    monkeypatch.setattr(file_hashes, "sha256_file", lambda path: pytest.fail("hashed again"))
    assert sha256_cached(path) == known
    assert len((cache / "sha256.tsv").read_text().splitlines()) == 1


def test_a_damaged_memory_and_one_that_cannot_be_written_cost_only_time(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(bytes(2 * FEW_BYTES))
    cache.mkdir()
    (cache / "sha256.tsv").write_text("half a li")
    assert sha256_cached(path) == sha256_file(path)
    (cache / "sha256.tsv").unlink()
    (cache / "sha256.tsv").mkdir()
    file_hashes._known.cache_clear()
    assert sha256_cached(path) == sha256_file(path)


def test_small_files_are_not_remembered(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}")
    assert sha256_cached(path) == sha256_file(path)
    assert not cache.exists()


def test_any_name_that_a_file_can_have_is_remembered_as_its_own(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are no text, and line breaks behind which a name puts a line of its own into the memory."""
    honest = tmp_path / "weights"
    honest.write_bytes(bytes(2 * FEW_BYTES))
    facts, forged = honest.stat(), f"x\n{'0' * 64}\t"
    key = f"{honest.resolve()}|{facts.st_size}|{facts.st_mtime_ns}|{facts.st_ino}\n"
    folder = tmp_path / f"{forged}{key}".lstrip("/")
    folder.parent.mkdir(parents=True)
    paths = [folder, Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")), tmp_path / "女\u2028.png"]
    for path in paths:
        path.write_bytes(os.urandom(2 * FEW_BYTES))
    known = [sha256_cached(path) for path in paths]
    file_hashes._known.cache_clear()
    assert sha256_cached(honest) == sha256_file(honest)
    monkeypatch.setattr(file_hashes, "sha256_file", lambda path: pytest.fail("hashed again"))
    assert [sha256_cached(path) for path in paths] == known
