"""Third-party weights and data sets: pinned source, SHA-256 and licence; nothing needs a network after the first pull.

They are kept in `$SANA_BENCH_CACHE/assets` (else `~/.cache/sana-bench/assets`), each in a folder named after what it holds.
Such a folder appears by one rename when all its files are there and hash to their pins, so that a pull which fails or is
killed leaves nothing behind that could be taken for an asset. `asset_path` hashes the files again before they are used.
"""

from __future__ import annotations

import functools
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sana_bench.assets.pins import ASSETS, Asset
from sana_bench.errors import AssetError
from sana_bench.locks import locked
from sana_bench.progress import progress
from sana_bench.registry import near_names
from sana_bench.shipped import cache_folder
from sana_bench.store import digest_of, sha256_file

CACHE_VARIABLE = "SANA_BENCH_CACHE"
WORKSPACE_PREFIX = ".pull-"


@dataclass(frozen=True, kw_only=True)
class AssetStatus:
    """One row of `sana-bench assets list`."""

    name: str
    installed: bool
    optional: bool
    path: Path
    """Where it is, or will be: a file, or a folder where it has several."""
    size: int | None
    """Bytes on disk; None where it is not installed."""
    source: str
    licence: str
    purpose: str


def asset_names() -> list[str]:
    return sorted(ASSETS)


def asset_digest(name: str) -> str:
    """Name of the content that an asset must have, from its pins alone: no file is read."""
    return digest_of(sorted(_asset(name).files.items()))


def asset_path(name: str) -> Path:
    """The file of an asset, or its folder where it has several; pulled first where it is absent.

    Raises:
        AssetError: it is absent and cannot be pulled, or a file in it was altered.
    """
    if not _is_installed(name):
        pull([name])
    _check_once(name, _folder(name))
    return _path(name)


def pull_missing(names: Sequence[str]) -> None:
    """Fetch those of these that are absent, now rather than when a run has drawn its images; what is there is hashed when it is used.

    Raises:
        AssetError: as `pull`.
    """
    pull([name for name in _chosen(names) if not _is_installed(name)])


def is_optional(name: str) -> bool:
    return _asset(name).optional


def pull(names: Sequence[str] | None = None) -> list[str]:
    """Fetch what is absent and mend what was altered; the names of these.

    All or nothing an asset: where one fails, those before it are installed and what was there before is untouched.

    Args:
        names: which; all that are not optional by default.

    Raises:
        AssetError: a source is out of reach, a file does not hash to its pin, or the cache cannot be written.
    """
    chosen = _chosen(names) if names is not None else [name for name in asset_names() if not ASSETS[name].optional or _is_installed(name)]
    wanted = [name for name in chosen if not _is_installed(name) or _altered(name)]
    if not wanted:
        return []
    root = _root()
    try:
        with locked(root / ".lock", f"a pull into {root}"):
            return _pull_into(root, wanted)
    except OSError as error:
        raise AssetError(f"cannot write the cache {root}: {error.strerror or error}. Free space or choose another folder "
                         f"with {CACHE_VARIABLE}=...") from error


def verify(names: Sequence[str] | None = None) -> list[str]:
    """Hash every file of the assets again; the names of those that are intact.

    Args:
        names: which; all that are installed by default.

    Raises:
        AssetError: files are missing or altered; the message has all of them.
    """
    chosen = [name for name in _chosen(names) if names is not None or _folder(name).exists()]
    problems = [f"{name}: {', '.join(altered)}" for name in chosen if (altered := _altered(name))]
    if problems:
        raise AssetError(f"assets in {_root()} are missing files or have altered ones ({'; '.join(problems)}). "
                         f"Run `sana-bench assets pull` to mend them")
    return chosen


def status(names: Sequence[str] | None = None) -> list[AssetStatus]:
    """The given assets (all, sorted by name, where none is).

    Raises:
        AssetError: an unknown name.
    """
    return [AssetStatus(name=name, installed=_is_installed(name), optional=ASSETS[name].optional, path=_path(name), size=_size(name),
                        source=str(ASSETS[name].source), licence=ASSETS[name].licence, purpose=ASSETS[name].purpose)
            for name in _chosen(names)]


def _asset(name: str) -> Asset:
    if name not in ASSETS:
        raise AssetError(f'unknown asset "{name}".{near_names(name, asset_names())} Known: {", ".join(asset_names())}')
    return ASSETS[name]


def _chosen(names: Sequence[str] | None) -> list[str]:
    chosen = asset_names() if names is None else list(dict.fromkeys(names))
    for name in chosen:
        _asset(name)
    return chosen


def _root() -> Path:
    return cache_folder() / "assets"


def _folder(name: str) -> Path:
    """Other pins are another folder, so that versions of sana-bench with different pins share a cache."""
    return _root() / f"{name}-{asset_digest(name)}"


def _path(name: str) -> Path:
    files = list(_asset(name).files)
    return _folder(name) / files[0] if len(files) == 1 else _folder(name)


def _is_installed(name: str) -> bool:
    return all((_folder(name) / file).is_file() for file in _asset(name).files)


def _size(name: str) -> int | None:
    return sum((_folder(name) / file).stat().st_size for file in _asset(name).files) if _is_installed(name) else None


def _altered(name: str) -> list[str]:
    """Files of an asset that are missing or do not hash to their pins."""
    folder = _folder(name)
    return [file for file, sha256 in _asset(name).files.items()
            if not (folder / file).is_file() or sha256_file(folder / file) != sha256]


@functools.cache
def _check_once(name: str, folder: Path) -> None:
    """Hash an asset the first time a process uses it; `folder` is part of the key since the cache can be switched."""
    altered = _altered(name)
    if altered:
        raise AssetError(f"{name} in {folder} was altered ({', '.join(altered)}). Run `sana-bench assets pull {name}`")


def _pull_into(root: Path, wanted: list[str]) -> list[str]:
    """Fetch and install under the lock."""
    for left_over in root.glob(f"{WORKSPACE_PREFIX}*"):
        shutil.rmtree(left_over, ignore_errors=True)  # of a pull that was killed: only one runs at a time
    wanted = [name for name in wanted if _altered(name)]  # another process may have pulled them while this one waited
    workspace = root / f"{WORKSPACE_PREFIX}{uuid.uuid4().hex}"
    workspace.mkdir()
    try:
        with progress("assets", len(wanted)) as bar:
            for name in wanted:
                _install(_staged(name, workspace), _folder(name), list(_asset(name).files))
                bar.advance(name)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    return wanted


def _staged(name: str, workspace: Path) -> Path:
    """A folder in the workspace with the asset's files, each hashed."""
    asset = _asset(name)
    members = workspace / f"{name}.members"
    try:
        fetched = asset.source.fetch(list(asset.members), workspace)
    except AssetError as error:
        pins = "".join(f"; {member} with SHA-256 {pin}" for member, pin in asset.members.items()) if len(asset.members) == 1 else ""
        raise AssetError(f"{name} ({asset.purpose}{pins}) is not installed and cannot be had: {error}. Or run `sana-bench assets pull {name}` on a "
                         f"machine that has a network and copy its folder {_folder(name).name} into {_root()}") from error
    for member, path in fetched.items():
        (members / member).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, members / member)
        _check_hash(members / member, asset.members[member], f"{member} of {asset.source}")
    if asset.bundle is None:
        return members
    bundle = workspace / f"{name}.bundle" / asset.bundle.file
    bundle.parent.mkdir()
    asset.bundle.write(members, bundle)
    _check_hash(bundle, asset.bundle.sha256, f"{bundle.name} as assembled from {asset.source}")
    return bundle.parent


def _check_hash(path: Path, expected: str, what: str) -> None:
    found = sha256_file(path)
    if found != expected:
        raise AssetError(f"{what} has SHA-256 {found}, expected {expected}: it was altered on the way, or its source serves "
                         f"another file. Nothing was installed. Pull from a source that you trust")


def _install(staged: Path, folder: Path, files: list[str]) -> None:
    """Move an asset into place: by one rename, or file by file into a damaged copy, whose other files are not ours."""
    if not folder.exists():
        os.replace(staged, folder)
        return
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged / file, folder / file)
