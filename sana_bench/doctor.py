"""What this machine can run, what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal, NamedTuple

from sana_bench.assets.sources import is_offline
from sana_bench.config import RunConfig
from sana_bench.errors import SanaBenchError

GIB = 1 << 30
MEMORY_NEEDED_GIB = 6.0
"""What the embedded default is held to; a larger base needs more, and how much depends on its recipe."""
DISK_NEEDED_GIB = 2.0
"""OpenPeople as PNG, latents, features and the images of a few runs of the embedded default."""


class Finding(NamedTuple):
    """What a check found."""

    state: Literal["ok", "note", "missing"]
    """`missing` keeps the recipe from running; `note` does not."""
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Check:
    name: str
    state: str
    found: str
    remedy: str


@dataclass(frozen=True)
class Diagnosis:
    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        return all(check.state != "missing" for check in self.checks)

    @property
    def verdict(self) -> str:
        missing = [check.name for check in self.checks if check.state == "missing"]
        return f"this recipe cannot run here yet; missing: {', '.join(missing)}" if missing else "this recipe can run here"


def examine(config: RunConfig) -> Diagnosis:
    """Check everything that a run of `config` needs. Nothing is changed and nothing is fetched."""
    return Diagnosis(tuple(Check(name, *_finding(check, config)) for name, check in CHECKS.items()))


def _finding(check: Callable[[RunConfig], Finding], config: RunConfig) -> Finding:
    try:
        return check(config)
    except SanaBenchError as error:  # it says how to mend it
        return Finding("missing", str(error))


def check_python(config: RunConfig) -> Finding:
    return Finding("ok", f"{platform.python_version()} on {platform.platform()}")


def check_packages(config: RunConfig) -> Finding:
    from packaging.requirements import Requirement

    asked = [Requirement(text) for text in requires("sana-bench") or []]
    wanted = [each for each in asked if each.marker is None or each.marker.evaluate({"extra": ""})]
    problems = []
    for requirement in wanted:
        try:
            if not requirement.specifier.contains(version(requirement.name), prereleases=True):
                problems.append(f"{requirement} (have {version(requirement.name)})")
        except PackageNotFoundError:
            problems.append(str(requirement))
    if problems:
        names = " ".join(repr(each.split(" (")[0]) for each in problems)
        return Finding("missing", ", ".join(problems), f"pip install {names}")
    return Finding("ok", f"all {len(wanted)} that sana-bench asks for")


def check_native_libraries(config: RunConfig) -> Finding:
    try:
        import cv2  # noqa: F401
        import mediapipe  # noqa: F401
    except (ImportError, OSError) as error:
        return Finding("missing", str(error), "on Debian or Ubuntu: apt-get install libgl1 libegl1 libgles2 libglib2.0-0")
    return Finding("ok", "mediapipe and OpenCV load")


def check_device(config: RunConfig) -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("missing", f"torch does not load: {error}", "pip install torch torchvision")
    from sana_bench.models import resolve_device

    device = resolve_device(config.run.device)
    if device.startswith("cuda"):
        card = torch.cuda.get_device_properties(device)
        return Finding("ok", f"{device}: {card.name}, {card.total_memory / GIB:.0f} GiB (torch {torch.__version__})")
    return Finding("ok", f"{device}, {os.cpu_count()} cores (torch {torch.__version__})")


def check_memory(config: RunConfig) -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / GIB:.1f} GiB free of {memory.total / GIB:.1f} GiB"
    if memory.total < MEMORY_NEEDED_GIB * GIB:
        return Finding("missing", found, f"the embedded default needs {MEMORY_NEEDED_GIB:.0f} GiB")
    if memory.available < MEMORY_NEEDED_GIB * GIB:
        return Finding("note", found, f"the embedded default needs {MEMORY_NEEDED_GIB:.0f} GiB: end what else is running")
    return Finding("ok", found)


def check_store(config: RunConfig) -> Finding:
    folder = Path(config.run.store).expanduser()
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(existing).free / GIB
    found = f"{free:.1f} GiB free for {folder}"
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return Finding("missing", f"{existing} is no folder that can be written into", "choose another folder with --set run.store=FOLDER")
    if free < DISK_NEEDED_GIB:
        return Finding("missing", found, f"{DISK_NEEDED_GIB:.0f} GiB are needed: free some, or --set run.store=FOLDER")
    return Finding("ok", found)


def check_network(config: RunConfig) -> Finding:
    if is_offline():
        return Finding("note", "SANA_BENCH_OFFLINE=1: nothing is fetched")
    return Finding("ok", "may be used to fetch what is missing (SANA_BENCH_OFFLINE=1 forbids it)")


def check_assets(config: RunConfig) -> Finding:
    from sana_bench import assets
    from sana_bench.guard import parts_of
    from sana_bench.score import assets_of

    asked_for = {name for part in parts_of(config) for name in assets_of(part.config)}
    needed = [each for each in assets.status() if not each.optional or each.name in asked_for]
    absent = [each.name for each in needed if not each.installed]
    if not absent:
        return Finding("ok", f"all {len(needed)} are installed")
    by_name = [each.name for each in needed if each.optional and not each.installed]
    remedy = " ".join(["sana-bench assets pull", *(absent if by_name else [])]) + (" with SANA_BENCH_OFFLINE unset" if is_offline() else "")
    return Finding("missing" if is_offline() else "note", f"not installed: {', '.join(absent)}", remedy)


def check_base(config: RunConfig) -> Finding:
    from sana_bench.models import TINY_SANA, base_folder

    base, revision = config.model.base, config.model.revision
    if base == TINY_SANA or Path(base).is_dir():
        folder = base_folder(config.model)
        if (folder / "model_index.json").is_file():
            return Finding("ok", f"{base} in {folder}")
        return Finding("missing", f"no model_index.json in {folder}",
                     "sana-bench build-tiny" if base == TINY_SANA else "give a folder in diffusers layout, or a hub id")
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        return Finding("missing", f"{base} without a commit", "--set model.revision=COMMIT, 40 hex digits from its hub page")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Finding("ok", f"{base} in {snapshot_download(base, revision=revision, local_files_only=True)}")
    except LocalEntryNotFoundError:
        return Finding("missing" if is_offline() else "note", f"{base} is not fetched yet", "the first run fetches it")


def check_data(config: RunConfig) -> Finding:
    from sana_bench.data.manifest import check_apart, data_digest

    data_digest(config.data.reference)
    for source in config.data.sources:
        data_digest(source)
        check_apart(source, config.data.reference)
    return Finding("ok", f"{', '.join(config.data.sources)} for training, {config.data.reference} as reference")


def check_training(config: RunConfig) -> Finding:
    from sana_bench.config import FLOW_MATCHING_TRAINERS
    from sana_bench.data.pictures import check_settings
    from sana_bench.processes import check_processes
    from sana_bench.training import TRAINERS
    from sana_bench.training.launch import check_devices
    from sana_bench.training.optimizers import PACKAGES

    settings = config.train
    if settings.trainer not in FLOW_MATCHING_TRAINERS:
        TRAINERS.get(settings.trainer).make().identity(config)  # of weights that it takes over, their content
        if settings.trainer == "external" and settings.command and shutil.which(settings.command[0]) is None:
            return Finding("missing", f"no program {settings.command[0]} for train.command", "install it, or give its path")
        return Finding("ok", f"nothing is trained here with train.trainer={settings.trainer}")
    check_settings(config)
    check_processes(settings)
    if settings.num_processes > 1:
        check_devices(config)
    package = PACKAGES.get(settings.optimizer)
    if package and not _is_installed(package):
        return Finding("missing", f"the optimizer {settings.optimizer} without the package {package}", f"pip install {package}, or --set train.optimizer=adamw")
    return Finding("ok", f"{settings.optimizer} in {settings.num_processes} process(es); sana-bench plan tells the memory that it needs")


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def check_suite(config: RunConfig) -> Finding:
    from sana_bench.guard import parts_of

    return Finding("ok", "; ".join(f"{part.prefix}{part.suite.name} version {part.suite.version}, {len(part.suite.prompt)} prompts"
                                   for part in parts_of(config)))


def check_registered(config: RunConfig) -> Finding:
    from sana_bench.compare import check_budgets
    from sana_bench.guard import parts_of
    from sana_bench.score import chosen_metrics
    from sana_bench.training_seeds import fine_tunes_of

    number, numbers = len(fine_tunes_of(config)), [f"{len(chosen_metrics(part.config))} {part.prefix}metrics" for part in parts_of(config)]
    check_budgets(config.compare)
    return Finding("ok", f"trainer {config.train.trainer}{f', {number} training seeds' if number > 1 else ''}, {', '.join(numbers)}")


def check_baseline(config: RunConfig) -> Finding:
    from sana_bench.baselines import find_baseline

    name = config.compare.baseline or config.name
    found = find_baseline(name, Path(config.run.baselines))
    if found is None:
        return Finding("note", f"none accepted as {name}", 'after a run you trust: sana-bench accept RUN_DIR --reason "..."')
    return Finding("ok", str(found))


def check_git(config: RunConfig) -> Finding:
    if shutil.which("git") is None:
        return Finding("note", "not found", "install git, so that a result can name the commit it was made with")
    return Finding("ok", shutil.which("git") or "")


CHECKS: dict[str, Callable[[RunConfig], Finding]] = {
    "python": check_python, "packages": check_packages, "native libraries": check_native_libraries, "device": check_device,
    "memory": check_memory, "store": check_store, "network": check_network, "assets": check_assets, "base model": check_base,
    "data": check_data, "training": check_training, "suite": check_suite, "trainer and metrics": check_registered, "baseline": check_baseline, "git": check_git}
