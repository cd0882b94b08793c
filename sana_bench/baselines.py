"""Baselines: accepted result folders, by name. They change only by `accept`, with a reason.

`accept` only copies a result that exists. It never compares, so a run without a baseline stays as it was judged. Scores and what set
metrics keep are copied whole, pictures as thumbnails: a comparison needs nothing else, and no image is ever drawn again for one. What
a baseline was before stays in its history.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sana_bench.errors import BaselineError, SanaBenchError, StoreError
from sana_bench.locks import locked
from sana_bench.progress import progress
from sana_bench.records import Acceptance, AcceptedState, BaselineHistory, BenchmarkResult
from sana_bench.results import GUARD_FOLDER, RESULT_FILE, ResultBundle, all_files_of, load_bundle
from sana_bench.shipped import cache_folder, shipped_folder
from sana_bench.store import copy_files, digest_of, read_record, write_bytes, write_record

ACCEPTANCE_FILE, HISTORY_FILE = "acceptance.json", "history.json"
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
ASIDE = re.compile(rf"\.({NAME.pattern})\.[0-9a-f]+\.old")
"""A folder that steps aside while another takes its place."""
THUMBNAIL_PX, THUMBNAIL_QUALITY = 640, 80
"""Long side of a baseline's pictures: photographs take 37 kB each so and 102 kB as a run keeps them, so that hundreds of them fit into version control."""


@dataclass(frozen=True)
class Baseline:
    """An accepted baseline as it is now, without its pictures and scores."""

    name: str
    folder: Path
    state: AcceptedState
    past: tuple[AcceptedState, ...]
    """What it was before, oldest first."""

    @property
    def shipped(self) -> bool:
        """Whether it comes with sana-bench."""
        return self.folder.resolve().is_relative_to(shipped_folder("baselines").resolve())

    @property
    def num_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def find_baseline(name_or_path: str, folder: Path) -> Path | None:
    """Folder of a baseline: by name in `folder`, then among the shipped ones; or a path to any result folder.

    Returns:
        The folder, or None where no baseline of that name was accepted yet.

    Raises:
        BaselineError: a path that is no result folder, or a named baseline that was never accepted.
    """
    if not NAME.fullmatch(name_or_path):
        path = Path(name_or_path).expanduser()
        if not (path / RESULT_FILE).is_file():
            raise BaselineError(f'no result to compare with at "{name_or_path}": it has no {RESULT_FILE}. Give '
                                f'compare.baseline the name of a baseline or a result folder')
        return path
    target = folder.expanduser() / name_or_path
    if not target.exists() and any(_left_aside(target)):
        with _alone(target):
            _restore(target)
    for place in (target, shipped_folder("baselines") / name_or_path):
        if (place / ACCEPTANCE_FILE).is_file():
            return place
        if place.exists():
            raise BaselineError(f"{place} holds no accepted baseline: it has no {ACCEPTANCE_FILE}. Make it with "
                                f"sana-bench accept --reason, or remove it")
    return None


def baseline_names(folder: Path) -> list[str]:
    """Names of the accepted baselines in `folder` and of the shipped ones."""
    for name in {found[1] for path in folder.expanduser().glob(".*.old") if (found := ASIDE.fullmatch(path.name))}:
        find_baseline(name, folder)  # puts back what a killed `accept` had moved aside
    return sorted({path.parent.name for place in (folder.expanduser(), shipped_folder("baselines")) for path in place.glob(f"*/{ACCEPTANCE_FILE}")
                   if NAME.fullmatch(path.parent.name)})


def read_baseline(name: str, folder: Path) -> Baseline:
    """What a baseline is now and was before.

    Raises:
        BaselineError: none of that name was accepted, or a record of it is damaged.
    """
    place = find_baseline(name, folder) if NAME.fullmatch(name) else None
    if place is None:
        raise BaselineError(f'no baseline "{name}" was accepted. Accepted: {", ".join(baseline_names(folder)) or "none"}; for a run folder give a path, '
                            f"such as ./{name}" if NAME.fullmatch(name) else f'"{name}" cannot name a baseline')
    *past, state = _states_in(place)
    return Baseline(name, place, state, tuple(past))


def accept(result_folder: Path, name: str, reason: str, folder: Path) -> Path:
    """Make a result the baseline `name` in `folder`; whatever fails, the baseline that was there stays.

    Returns:
        The baseline's folder.

    Raises:
        BaselineError: no reason, a name that is no plain name, a result of a part of its suite or without its pictures, or nowhere to write.
        StoreError: `result_folder` is no result folder, or a damaged one.
    """
    if not reason.strip():
        raise BaselineError('a baseline needs a reason, for those who read it later: --reason "why this is the new normal"')
    if not NAME.fullmatch(name):
        raise BaselineError(f'"{name}" cannot name a baseline: lower-case letters, digits, ".", "-" and "_" only')
    bundle = load_bundle(result_folder)
    files = _whole(result_folder, bundle)
    target = folder.expanduser() / name
    fresh = target.with_name(f".{name}.{uuid.uuid4().hex}")
    try:
        with _alone(target):
            _restore(target)
            past = _states_until_now(name, target)
            _copy(result_folder, files, fresh)
            write_record(fresh / ACCEPTANCE_FILE, _acceptance(reason, bundle))
            write_record(fresh / HISTORY_FILE, BaselineHistory(states=past))
            _replace(target, fresh)
    except (OSError, StoreError) as error:
        raise BaselineError(f"cannot write the baseline {target}: {error.__cause__ or error}. Free space or mend the folder's "
                            f"rights; the baseline that was there is untouched") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _whole(result_folder: Path, bundle: ResultBundle) -> list[str]:
    """Its files. Raises BaselineError where one is missing, or where the result is of a part of its suite only."""
    files = all_files_of(bundle)
    missing = [file for file in files if not (result_folder / file).is_file()]
    if missing:
        raise BaselineError(f"{result_folder} lacks {len(missing)} file(s) that reports need, first {missing[0]}. "
                            f"Score again")
    for side in filter(None, (bundle, bundle.guard)):
        if side.result.num_prompts_left:
            raise BaselineError(f"{result_folder} stopped early: {side.result.num_prompts_left} prompts of {side.result.suite} were not drawn, and a "
                                f"baseline must be whole. Run it once more with --set compare.num_looks=1, which draws only the rest, and accept that")
    return files


def _acceptance(reason: str, bundle: ResultBundle) -> Acceptance:
    provenance = bundle.result.provenance
    return Acceptance(reason=reason.strip(), accepted=datetime.now(UTC).isoformat(timespec="seconds"), result_digest=bundle.result.digest,
                      commit=provenance.commit, dirty=provenance.dirty)


def _states_until_now(name: str, target: Path) -> tuple[AcceptedState, ...]:
    """All that the name has stood for: in the folder to be replaced, or, where there is none yet, in the shipped baseline of that name.

    Raises:
        BaselineError: the folder to be replaced is something else, or damaged.
    """
    if target.exists() and not (target / RESULT_FILE).is_file():
        raise BaselineError(f"{target} is no baseline and would be lost: it has no {RESULT_FILE}. Move it away, or accept under another name (--as NAME)")
    place = target if target.exists() else shipped_folder("baselines") / name
    return _states_in(place) if (place / ACCEPTANCE_FILE).is_file() else ()


def _states_in(place: Path) -> tuple[AcceptedState, ...]:
    """All states of a baseline, the one that it is in last; one of before there was a history has that one only.

    Raises:
        BaselineError: a record is damaged.
    """
    try:
        history, guard = place / HISTORY_FILE, place / GUARD_FOLDER / RESULT_FILE
        past = read_record(history, BaselineHistory).states if history.exists() else ()
        result = read_record(place / RESULT_FILE, BenchmarkResult)
        now = AcceptedState(acceptance=read_record(place / ACCEPTANCE_FILE, Acceptance), num_images=len(result.samples), result=result,
                            guard=read_record(guard, BenchmarkResult) if guard.exists() else None)
        return tuple(state.model_copy(update={"result": _without_images(state.result), "guard": state.guard and _without_images(state.guard)})
                     for state in (*past, now))
    except SanaBenchError as error:
        raise BaselineError(f"the baseline {place} is damaged: {error}. Put it back from version control, or move it away and accept a result anew") from error


def _without_images(result: BenchmarkResult) -> BenchmarkResult:
    return _without_places(result).model_copy(update={"samples": (), "prompt_tags": {}, "compositions": (), "groups": (), "tags": ()})


def _without_places(result: BenchmarkResult) -> BenchmarkResult:
    """A baseline is published, and where its run kept files on somebody's machine is nobody's business; of that section only the device decides anything."""
    run = result.config.get("run")
    kept = {"device": run["device"]} if isinstance(run, dict) and "device" in run else {}
    return result.model_copy(update={"config": {**result.config, "run": kept}}) if run else result


def _copy(source: Path, files: list[str], target: Path) -> None:
    """Raises BaselineError where a picture cannot be decoded."""
    with progress("accept", len(files)) as tracker:
        for file in files:
            if Path(file).parent.name == "views":
                write_bytes(target / file, _thumbnail(source / file))
            elif Path(file).name == RESULT_FILE:
                write_record(target / file, _without_places(read_record(source / file, BenchmarkResult)))
            else:
                copy_files(source, target, [file])
            tracker.advance()


def _thumbnail(view: Path) -> bytes:
    """The picture in small; as it is where it is small already, so that a baseline accepted again does not fade."""
    from PIL import Image

    from sana_bench.images import read_image, small_webp

    pixels = read_image(view, BaselineError)
    return small_webp(Image.fromarray(pixels), THUMBNAIL_PX, THUMBNAIL_QUALITY) if max(pixels.shape[:2]) > THUMBNAIL_PX else view.read_bytes()


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """While held, no other process changes that baseline. The lock lies in the cache: baselines are files under version control."""
    with locked(cache_folder() / "locks" / f"{digest_of(str(target.absolute()))}.lock", "another accept of the same baseline"):
        yield


def _replace(target: Path, fresh: Path) -> None:
    """Put `fresh` in the place of `target`. A folder cannot replace a full one in one step, so the old one steps aside."""
    if not target.exists():
        os.rename(fresh, target)
        return
    aside = fresh.with_name(f"{fresh.name}.old")
    os.rename(target, aside)
    try:
        os.rename(fresh, target)
    except BaseException:  # an interrupt too
        os.rename(aside, target)
        raise
    _discard(aside)


def _discard(left: Path) -> None:
    """Remove a folder that had stepped aside. It loses that name first: half removed it must not be put back."""
    doomed = left.with_name(f".{ASIDE.fullmatch(left.name)[1]}.{uuid.uuid4().hex}")
    os.rename(left, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _left_aside(target: Path) -> list[Path]:
    """What a killed `accept` left: the old baseline that had stepped aside (`.old`), and new ones that never took its place."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]+(\.old)?")
    return sorted(path for path in target.parent.glob(".*") if pattern.fullmatch(path.name))


def _restore(target: Path) -> None:
    """Put back what a killed `accept` had moved aside, and remove what else it left."""
    for left in _left_aside(target):
        if left.suffix == ".old" and not target.exists():
            os.rename(left, target)
        elif left.suffix == ".old":
            _discard(left)
        else:
            shutil.rmtree(left, ignore_errors=True)
