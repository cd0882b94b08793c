"""Baselines: accepted result folders, by name. They change only by `accept`, with a reason.

`accept` only copies a result that exists. It never compares, so a run without a baseline stays as it was judged.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path

from sana_bench.errors import BaselineError, StoreError
from sana_bench.records import Acceptance
from sana_bench.results import RESULT_FILE, all_files_of, load_bundle
from sana_bench.shipped import shipped_folder
from sana_bench.store import write_record

ACCEPTANCE_FILE = "acceptance.json"
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


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
    _restore(folder.expanduser() / name_or_path)
    for place in (folder.expanduser() / name_or_path, shipped_folder("baselines") / name_or_path):
        if (place / ACCEPTANCE_FILE).is_file():
            return place
        if place.exists():
            raise BaselineError(f"{place} holds no accepted baseline: it has no {ACCEPTANCE_FILE}. Make it with "
                                f"sana-bench accept --reason, or remove it")
    return None


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
    files = all_files_of(bundle)
    missing = [file for file in files if not (result_folder / file).is_file()]
    if missing:
        raise BaselineError(f"{result_folder} lacks {len(missing)} file(s) that reports need, first {missing[0]}. "
                            f"Score again")
    for side in filter(None, (bundle, bundle.guard)):
        if side.result.num_prompts_left:
            raise BaselineError(f"{result_folder} stopped early: {side.result.num_prompts_left} prompts of {side.result.suite} were not drawn, and a "
                                f"baseline must be whole. Run it once more with --set compare.num_looks=1, which draws only the rest, and accept that")
    acceptance = Acceptance(reason=reason.strip(), accepted=datetime.now(UTC).isoformat(timespec="seconds"),
                            result_digest=bundle.result.digest)
    target = folder.expanduser() / name
    fresh = target.with_name(f".{name}.{uuid.uuid4().hex}")
    try:
        _restore(target)
        _copy(result_folder, files, fresh)
        write_record(fresh / ACCEPTANCE_FILE, acceptance)
        _replace(target, fresh)
    except (OSError, StoreError) as error:
        raise BaselineError(f"cannot write the baseline {target}: {error}. Free space or mend the folder's "
                            f"rights; the baseline that was there is untouched") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _copy(source: Path, files: list[str], target: Path) -> None:
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, target / file)


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
    shutil.rmtree(aside, ignore_errors=True)


def _restore(target: Path) -> None:
    """Put back what a killed `accept` had moved aside."""
    if not target.exists():
        for aside in sorted(target.parent.glob(f".{target.name}.*.old")):
            os.rename(aside, target)
            return
