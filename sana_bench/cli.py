"""The command line: run one command, print its answer, and turn what went wrong into one message and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version

from sana_bench.commands import ERROR, INTERRUPTED, PASSED, all_commands
from sana_bench.console import NEWLINES, only_the_answer_on_stdout, printable, show
from sana_bench.errors import SanaBenchError
from sana_bench.processes import is_main
from sana_bench.registry import near_names
from sana_bench.usage import UsageError, overview

MACHINE_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
"""A full or failing disk and missing rights are told in one line; any other system error is a fault of ours."""

COMMANDS = all_commands()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        return _dispatch(*words)
    except SanaBenchError as error:
        print(f"sana-bench: error: {printable(str(error), keep=NEWLINES)}", file=sys.stderr)
        return ERROR
    except OSError as error:
        if error.errno not in MACHINE_TROUBLE:
            traceback.print_exc()
        print(f"sana-bench: error: {error}. Nothing that was finished is lost; the same command goes on from there.", file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        print("sana-bench: stopped. Everything finished is kept; the same command goes on from there.", file=sys.stderr)
        return INTERRUPTED
    except Exception:  # a fault of ours; Python itself would exit with 1, which means "regressed" here
        traceback.print_exc()
        return ERROR


def _dispatch(name: str, *words: str) -> int:
    if name in ("-h", "--help"):
        print(overview(COMMANDS))
        return PASSED
    if name == "--version":
        print(f"sana-bench {version('sana-bench')}")
        return PASSED
    if name not in COMMANDS:
        kind, known = ("option", ["--help", "--version"]) if name.startswith("-") else ("command", list(COMMANDS))
        raise UsageError(f'unknown {kind} "{name}".{near_names(name, known)} See sana-bench --help')
    arguments = COMMANDS[name].parse(words)
    with only_the_answer_on_stdout() as stream:
        reply = COMMANDS[name].run(arguments)
        if name == "train" and not is_main():  # of several processes that train together, one answers
            return reply.code
        try:
            show(reply, arguments.json, stream)
            stream.flush()
        except BrokenPipeError:  # the reader went away (`| head`); what was found out stays
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return reply.code
