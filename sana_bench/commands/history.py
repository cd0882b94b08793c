"""Many results at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.commands import KEEP, command
from sana_bench.console import Reply, printable
from sana_bench.usage import Arguments, Parser, UsageError

if TYPE_CHECKING:
    from sana_bench.history.series import History

USUAL = ("reports", "baselines")
MOST_SECONDS = 86_400


def _history_arguments(parser: Parser) -> None:
    parser.add_argument("places", metavar="FOLDER", nargs="*", type=Path, help="folders with runs or baselines somewhere below them, or Parquet files "
                        f"made with --parquet (default: {' and '.join(USUAL)}, where they exist)")
    parser.add_argument("--sql", metavar="SELECT", default="", help="answer this question instead: a SELECT of the views history and scores")
    parser.add_argument("--seconds", metavar="N", type=float, default=60.0, help="give up a question of --sql after so long (default: 60)")
    parser.add_argument("--out", metavar="FILE.html", type=Path, help="write all charts as one HTML file that asks for nothing outside")
    parser.add_argument("--plot", metavar="FILE.png", type=Path, help="write all charts as a picture")
    parser.add_argument("--parquet", metavar="FILE.parquet", type=Path, help="write all results as one table, which can be given back as FOLDER")


@command("history", KEEP, _history_arguments, "sana-bench history", "sana-bench history reports --out history.html",
         "sana-bench history history.parquet reports --parquet history.parquet",
         "sana-bench history --sql \"SELECT commit, avg(value) FROM history WHERE metric = 'hand_rate' GROUP BY commit\"",
         "sana-bench history --sql \"SELECT prompt_id, avg(value) FROM scores WHERE metric = 'hand_plausibility' GROUP BY ALL ORDER BY 2 LIMIT 10\"")
def run_history(arguments: Arguments) -> Reply:
    """each metric by commit, over many results, and where it changed

    Reads all runs and baselines below the folders. A line joins only values that were measured in the same way, on the same prompts and noise:
    another metric version, extractor, suite, sampling or reference is another line. A change is a step of the mean beyond chance, over all metrics
    together (5 %), that lasts at least three runs; it needs eight runs with images of their own. Runs of one commit are all shown. What cannot be read
    is named on stderr and left out.

    --sql has two views: history, a row a run, suite and metric, and scores, a row an image and metric (run, result_digest, suite, sample_id, prompt_id,
    sample_index, metric, value, reason); "DESCRIBE history" names the columns of the first. It reads nothing else and writes nothing; an answer
    has 100,000 rows at most.
    """
    from sana_bench.history.collect import collect
    from sana_bench.history.query import ask
    from sana_bench.history.series import make_history
    from sana_bench.history.text import answer_document, answer_table, history_document, history_text

    if arguments.sql and (arguments.out or arguments.plot or arguments.parquet):
        raise UsageError("--sql only answers its question: leave out --out, --plot and --parquet")
    if not 0 < arguments.seconds <= MOST_SECONDS:
        raise UsageError(f"--seconds takes a number above 0 and at most {MOST_SECONDS}, not {arguments.seconds:g}")
    found = collect(arguments.places or [Path(name) for name in USUAL if Path(name).is_dir()] or [Path(USUAL[0])])
    if arguments.sql:
        answer, unread = ask(arguments.sql, found.rows, found.scores, arguments.seconds)
        _tell([*found.problems, *unread])
        return Reply(answer_document(answer), [answer_table(answer)])
    _tell(found.problems)
    history = make_history(found.rows, found.problems)
    written = _write(history, arguments)
    return Reply({**history_document(history), "written": [str(path.resolve()) for path in written]},
                 [*history_text(history), *(f"written: {path}" for path in written)])


def _tell(left_out: Sequence[str]) -> None:
    if left_out:
        print(f"left out, since it cannot be read ({len(left_out)}):", *(f"  {printable(problem)}" for problem in left_out), sep="\n", file=sys.stderr)


def _write(history: History, arguments: Arguments) -> list[Path]:
    """Write the files that were asked for."""
    from sana_bench.history.html import render_history
    from sana_bench.history.plot import write_plot
    from sana_bench.history.rows import write_rows
    from sana_bench.store import write_bytes

    if arguments.parquet:
        write_rows(arguments.parquet, history.rows)
    if arguments.out:
        write_bytes(arguments.out, render_history(history).encode())
    if arguments.plot:
        write_plot(arguments.plot, history)
    return [path for path in (arguments.parquet, arguments.out, arguments.plot) if path]
