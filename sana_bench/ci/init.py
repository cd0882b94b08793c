"""Workflows and a starting gates.toml for somebody's repository, filled from the templates beside this file."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from sana_bench.ci.markdown import MARKER
from sana_bench.config import load_config, shipped_recipes
from sana_bench.errors import ConfigError, StoreError
from sana_bench.models import COMMIT, HUB_ID
from sana_bench.registry import near_names
from sana_bench.shipped import PACKAGE
from sana_bench.store import write_bytes

TEMPLATES = PACKAGE / "ci" / "templates"
WORKFLOWS = Path(".github/workflows")
PULL_REQUEST_LABEL = "gpu-benchmark"
CACHED = ("assets", "store/checkpoint", "store/data", "store/features", "store/latents", "store/results")
"""What workflows keep of the cache folder; the small recipe's images too."""
PLAIN = {"recipe": r"[\w./-]+", "gates": r"[\w./-]+\.toml", "runner_label": r"[\w.-]+", "requirement": r"[\w.@:/+\[\],=<>~! -]+",
         "revision": "([0-9a-f]{40})?"}
"""What may stand in a workflow by option: nothing that YAML, a shell or an expression of GitHub would read as more than text."""


@dataclass(frozen=True)
class WorkflowOptions:
    """What the workflows are filled with."""

    recipe: str
    """Of the GPU workflow: a shipped recipe by name, or a path in the repository."""
    gates: str
    """Path of the gates in the repository."""
    runner_label: str
    """Label of the GPU runners."""
    requirement: str
    """What pip installs: an address of git at a commit, a wheel, or `.`"""
    revision: str = ""
    """Commit of the hub base, where the recipe has none."""


@dataclass(frozen=True)
class Written:
    path: Path
    state: Literal["written", "unchanged", "kept"]
    """`kept`: it was there, and is yours."""


def init(folder: Path, options: WorkflowOptions, force: bool = False) -> list[Written]:
    """Write the two workflows, and gates where there are none; nothing where one of them could not be.

    Args:
        folder: Top of the repository.
        force: Overwrite workflows that differ. Gates are never overwritten.

    Raises:
        ConfigError: no such folder or recipe, an option that is more than a plain name, or a recipe whose base lacks its commit.
        StoreError: a workflow is there and differs, or cannot be written.
    """
    _check(folder, options)
    workflows = {folder / WORKFLOWS / f"sana-bench-{kind}.yml": render(kind, options) for kind in ("gpu", "cpu")}
    gates = folder / options.gates
    for path in (*workflows, gates):
        _check_target(path)
    states = {path: _state(path, text) for path, text in workflows.items()}
    differing = [str(path) for path, state in states.items() if state == "differs"]
    if differing and not force:
        raise StoreError(f"{' and '.join(differing)} differ(s) from what would be written, and may hold changes of yours. "
                         f"Move them away, or overwrite them with --force; nothing was written")
    if not gates.exists():
        write_bytes(gates, (TEMPLATES / "gates.toml").read_bytes())
        written = [Written(gates, "written")]
    else:
        written = [Written(gates, "kept")]
    for path, text in workflows.items():
        if states[path] != "same":
            write_bytes(path, text.encode())
    return [*(Written(path, "unchanged" if state == "same" else "written") for path, state in states.items()), *written]


def render(kind: Literal["gpu", "cpu"], options: WorkflowOptions) -> str:
    """A workflow as text. The templates' own marks are `<<name>>` and `<% %>`: GitHub's and the shell's stay as they are."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True,
                              keep_trailing_newline=True, variable_start_string="<<", variable_end_string=">>", block_start_string="<%",
                              block_end_string="%>", comment_start_string="<#", comment_end_string="#>")
    cached = CACHED if kind == "gpu" else (*CACHED, "store/samples")
    return environment.get_template(f"{kind}.yml").render(gpu=kind == "gpu", cached=cached, marker=MARKER, pull_request_label=PULL_REQUEST_LABEL, **asdict(options))


def _check(folder: Path, options: WorkflowOptions) -> None:
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder}: give the top of the repository with --folder")
    for name, pattern in PLAIN.items():
        value = getattr(options, name)
        if not re.fullmatch(pattern, value, re.ASCII):
            raise ConfigError(f'{name.replace("_", " ")} "{value}" cannot stand in a workflow: only {pattern} can')
    for name in ("recipe", "gates"):
        path = Path(getattr(options, name))
        if path.is_absolute() or ".." in path.parts:
            raise ConfigError(f"{name} {path} lies outside the repository: give a path in it")
    if options.recipe not in shipped_recipes() and not (folder / options.recipe).is_file():
        raise ConfigError(f'no recipe "{options.recipe}".{near_names(options.recipe, list(shipped_recipes()))} Shipped: {", ".join(shipped_recipes())}; '
                          f"or give a file in {folder}")
    _check_base(folder, options)


def _check_base(folder: Path, options: WorkflowOptions) -> None:
    """Refuse now a base of the hub that the first run would refuse on the GPU."""
    recipe = options.recipe if options.recipe in shipped_recipes() else str(folder / options.recipe)
    model = load_config(recipe).model
    if HUB_ID.fullmatch(model.base) and not (folder / model.base).is_dir() and not COMMIT.fullmatch(options.revision or model.revision):
        raise ConfigError(f'{options.recipe} takes its base "{model.base}" from the hub and names no commit of it, so that no run could be repeated: give it '
                          f'with --revision (40 hex digits, from "Files and versions" of the model\'s page)')


def _check_target(path: Path) -> None:
    """Refuse what could not be written: a folder, or a place below something that is none."""
    above = next(each for each in path.parents if each.exists())
    if path.is_dir():
        raise StoreError(f"{path} is a folder: move it away; nothing was written")
    if not above.is_dir():
        raise StoreError(f"{above} is no folder, so {path} cannot be written: move it away; nothing was written")
    if not os.access(above, os.W_OK | os.X_OK):
        raise StoreError(f"{above} may not be written to; nothing was written")


def _state(path: Path, text: str) -> Literal["missing", "same", "differs"]:
    if not path.exists():
        return "missing"
    return "same" if path.is_file() and path.read_bytes() == text.encode() else "differs"
