"""The commands, a file a group: each loads the config, calls one library function and says what came of it. No logic.

The docstring of a command is its help. Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from sana_bench.usage import Arguments, Command, Parser

if TYPE_CHECKING:
    from sana_bench.console import Reply

PASSED, REGRESSED, ERROR, INTERRUPTED = 0, 1, 2, 130
WHOLE, STAGE, KEEP, LOOK = "The whole benchmark", "One stage at a time", "Baselines and materials", "This machine"

COMMANDS: dict[str, Command] = {}


def command(name: str, group: str, add_arguments: Callable[[Parser], None], *examples: str) -> Callable:
    """Decorator: the function runs the command of that name."""
    def register(run: Callable[[Arguments], Reply]) -> Callable[[Arguments], Reply]:
        COMMANDS[name] = Command(name, group, examples, add_arguments, run)
        return run
    return register


def all_commands() -> dict[str, Command]:
    """Every command of every file in this folder, by group."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    groups = (WHOLE, STAGE, KEEP, LOOK)
    return dict(sorted(COMMANDS.items(), key=lambda item: groups.index(item[1].group)))
