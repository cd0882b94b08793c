"""How a command line is read: what a command is, its help, and errors that name what was probably meant."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from sana_bench.errors import SanaBenchError
from sana_bench.registry import near_names

if TYPE_CHECKING:
    from sana_bench.console import Reply

Arguments = argparse.Namespace

OVERVIEW = """\
usage: sana-bench COMMAND [options]

Did this fine-tune of Sana make humans better or worse, at 2K, where, and for whom?
{commands}

Start with `sana-bench doctor`, then `sana-bench train-and-eval`. `sana-bench COMMAND --help` tells more, with examples.
Exit codes: 0 passed, 1 regressed, 2 error, 130 stopped by Ctrl-C (the same command goes on from there)."""


class UsageError(SanaBenchError):
    """The command line itself is wrong."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are SanaBenchErrors."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. See {self.prog} --help")


@dataclass(frozen=True)
class Command:
    """One command. The docstring of `run` is its help: a summary in the first line, then a paragraph that teaches."""

    name: str
    group: str
    examples: tuple[str, ...]
    add_arguments: Callable[[Parser], None]
    run: Callable[[Arguments], Reply]

    @property
    def summary(self) -> str:
        return inspect.getdoc(self.run).splitlines()[0]

    def parser(self) -> Parser:
        examples = "\n".join(f"  {example}" for example in self.examples)
        parser = Parser(prog=f"sana-bench {self.name}", description=inspect.getdoc(self.run), allow_abbrev=False,
                        epilog=f"examples:\n{examples}", formatter_class=argparse.RawDescriptionHelpFormatter)
        self.add_arguments(parser)
        parser.add_argument("--json", action="store_true",
                            help="print one JSON document on stdout, and everything else on stderr")
        return parser

    def parse(self, words: Sequence[str]) -> Arguments:
        """Read what follows the command's name.

        Raises:
            UsageError: an unknown option (with the nearest one), or a missing or malformed argument.
        """
        parser = self.parser()
        known = sorted(set(re.findall(r"(?<![\w-])--[a-z-]+", parser.format_usage() + " --help")))
        for word in words:
            option = word.partition("=")[0]
            if word.startswith("--") and option not in known:
                raise UsageError(f'unknown option "{option}".{near_names(option, known)} See {parser.prog} --help')
        return parser.parse_args(words)


def one_of(*actions: str) -> Callable[[str], str]:
    """An argument's type: one of a few words, with the nearest one in the error."""
    def check(text: str) -> str:
        if text not in actions:
            raise argparse.ArgumentTypeError(f'unknown action "{text}".{near_names(text, list(actions))} '
                                             f'Known: {", ".join(actions)}')
        return text
    return check


def overview(commands: dict[str, Command]) -> str:
    """Help of the whole program: all commands by group."""
    width, lines = max(map(len, commands)), []
    for group in dict.fromkeys(command.group for command in commands.values()):
        lines += ["", f"{group}:"]
        lines += [f"  {name:<{width}}  {command.summary}" for name, command in commands.items() if command.group == group]
    return OVERVIEW.format(commands="\n".join(lines))
