"""Questions of one's own, in DuckDB's SQL, to two views: `history` (rows of HistoryRow) and `scores` (values of single images).

A question may come from somebody else, so it reaches no file, no network, no extension and no setting, and there is nothing to change but views of a
database in memory: DuckDB is shut off from the outside, and the scores are handed in from here, file by file as they are read, never all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from threading import Timer
from typing import TYPE_CHECKING, NamedTuple

from sana_bench.errors import HistoryError
from sana_bench.history.collect import ScoresFile
from sana_bench.history.rows import HistoryRow, to_table

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    import pyarrow.dataset as ds

MEMORY, SECONDS, MOST_ROWS = "1GB", 60.0, 100_000
"""What one question may take: of memory, of time unless told otherwise, and how many rows its answer may have."""
SHUT = {"autoinstall_known_extensions": False, "autoload_known_extensions": False, "temp_directory": "", "memory_limit": MEMORY}
"""How DuckDB starts; then external access is switched off and all settings are locked."""


class Answer(NamedTuple):
    columns: tuple[str, ...]
    rows: tuple[tuple, ...]
    """JSON-like values: times in ISO 8601, and text for what JSON does not have."""


def ask(sql: str, rows: Sequence[HistoryRow], scores: Sequence[ScoresFile], seconds: float = SECONDS) -> tuple[Answer, list[str]]:
    """Answer one SELECT.

    Args:
        seconds: After which the question is given up.

    Returns:
        (the answer, scores that could not be read and are left out)

    Raises:
        HistoryError: it is not one SELECT, DuckDB refuses it, or it takes too long or answers with too many rows.
    """
    import duckdb

    connection = duckdb.connect(":memory:", config=SHUT)
    try:
        connection.register("history", _in_utc(to_table(rows)))
        dataset, problems = _scores_dataset(scores)
        connection.register("scores", dataset)
        for setting in ("enable_external_access = false", "lock_configuration = true"):
            connection.execute(f"SET {setting}")
        _check_one_select(connection, sql)
        with _given_up_after(connection, seconds):
            connection.execute(sql)
            columns, found = tuple(column[0] for column in connection.description), connection.fetchmany(MOST_ROWS + 1)
        if len(found) > MOST_ROWS:
            raise HistoryError(f"--sql: the answer has more than {MOST_ROWS:,} rows. Ask for less: aggregate, or add LIMIT")
        return Answer(columns, tuple(tuple(map(_json_like, row)) for row in found)), problems
    except duckdb.InterruptException as error:
        raise HistoryError(f"--sql: no answer within {seconds:g} seconds. Ask for less, or give it more time (--seconds)") from error
    except (duckdb.Error, OSError) as error:
        raise HistoryError(f"--sql: {_one_line(error)}. Ask one SELECT of the views history and scores; "
                           f'"DESCRIBE history" names the columns') from error
    finally:
        connection.close()


@contextmanager
def _given_up_after(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    timer = Timer(seconds, connection.interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # or it could interrupt a connection that is closed by then


def _in_utc(table: pa.Table) -> pa.Table:
    """`created` without a zone, or DuckDB would show it in that of the machine."""
    import pyarrow as pa

    return table.set_column(0, "created", table["created"].cast(pa.timestamp("us")))


def _check_one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    import duckdb

    kinds = [statement.type for statement in connection.extract_statements(sql)]
    if kinds != [duckdb.StatementType.SELECT]:
        raise HistoryError(f"--sql takes one SELECT, not {' and '.join(kind.name for kind in kinds) or 'nothing'}")


def _scores_dataset(files: Sequence[ScoresFile]) -> tuple[ds.Dataset, list[str]]:
    """All scores files as one table that is read as it is asked for; whose they are is known of each file without a look into it."""
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq
    from pyarrow import fs

    own = [("sample_id", pa.string()), ("prompt_id", pa.string()), ("sample_index", pa.int64()), ("metric", pa.string()), ("value", pa.float64()),
           ("reason", pa.string())]
    of_file = ("run", "result_digest", "suite")
    fragments, problems = [], []
    for file in files:
        whose = [ds.field(name) == getattr(file, name) for name in of_file]
        try:
            found = pq.read_schema(file.path)
            fragment = ds.ParquetFileFormat().make_fragment(str(file.path), fs.LocalFileSystem(), whose[0] & whose[1] & whose[2])
        except (OSError, UnicodeEncodeError, pa.ArrowException) as error:
            problems.append(f"scores of {file.suite} in {file.run} cannot be read as Parquet ({_one_line(error):.120})")
            continue
        if any(name not in found.names or found.field(name).type != kind for name, kind in own):
            problems.append(f"scores of {file.suite} in {file.run} are none of this version")
            continue
        fragments.append(fragment)
    schema = pa.schema([*((name, pa.string()) for name in of_file), *own])
    return ds.FileSystemDataset(fragments, schema, ds.ParquetFileFormat()), problems


def _json_like(value: object) -> object:
    value = float(value) if isinstance(value, Decimal) else value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # JSON has neither infinity nor NaN
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): _json_like(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_json_like(each) for each in value]
    return str(value)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400].rstrip(". ")
