"""HistoryRow: one metric on one suite of one run, and Parquet files of such rows."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

from sana_bench.errors import HistoryError
from sana_bench.store import write_bytes

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class HistoryRow:
    """One metric on one suite of one run."""

    created: datetime
    """UTC; when the suite was scored."""
    commit: str
    """Of sana-bench's own checkout, else of the repository in which it was run; empty outside of any."""
    dirty: bool
    name: str
    """Of the recipe."""
    run: str
    """The folder of the run or the baseline."""
    run_digest: str
    """Of its own result, which the results of its other training seeds and of its guard suite share: a folder holds one run after the other."""
    training_seed: int
    """Of the fine-tune; a run may have several."""
    source: str
    """`run` or `baseline`, which is a copy of a run."""
    result_digest: str
    checkpoint_digest: str
    base_digest: str
    training_digest: str
    """Of the training data."""
    samples_digest: str
    """Of the images: rows that share it have looked at the same ones."""
    suite: str
    suite_version: int
    suite_digest: str
    design_digest: str
    """Of every sample's id and noise seed."""
    sampling_digest: str
    """Of every setting that decides pixels."""
    reference_digest: str
    """Of the real images that distances compare with, whether or not this metric does."""
    compared_base_digest: str
    """Of the base whose own images distances compare with; empty where none did."""
    metric: str
    version: int
    kind: str
    extractor: str
    extractor_digest: str
    unit: str
    higher_is_better: bool
    value: float | None
    """None where nothing could be scored."""
    ci_low: float | None
    ci_high: float | None
    confidence: float
    """Of that interval."""
    num_scored: int
    num_unscored: int
    budget: float
    """The metric's own."""
    not_judged: str
    """Why it may not decide anything; empty where it may."""
    baseline_name: str
    """What the run was held against; empty where there is no such record."""
    baseline_value: float | None
    difference: float | None
    """Over the pairs scored on both sides: not the difference of the two values."""
    outcome: str
    """Of the verdict on the whole suite; empty where there is none."""

    @property
    def run_name(self) -> str:
        """Equal for rows of one run."""
        return f"{self.run} {self.run_digest}"


def by_run(rows: Iterable[HistoryRow]) -> list[tuple[HistoryRow, ...]]:
    """Rows of one metric: those of a run together, in the order of the runs' first rows. Fine-tunes from several seeds are one run."""
    groups: dict[str, list[HistoryRow]] = {}
    for row in rows:
        groups.setdefault(row.run_name, []).append(row)
    return [tuple(group) for group in groups.values()]


def schema() -> pa.Schema:
    """A column a field of HistoryRow, with the same name."""
    import pyarrow as pa

    columns = {str: pa.string(), int: pa.int64(), bool: pa.bool_(), float: pa.float64(), float | None: pa.float64(), datetime: pa.timestamp("us", tz="UTC")}
    hints = get_type_hints(HistoryRow)
    return pa.schema([(field.name, columns[hints[field.name]]) for field in fields(HistoryRow)])


def to_table(rows: Sequence[HistoryRow]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist([vars(row) for row in rows], schema=schema())


def write_rows(path: Path, rows: Sequence[HistoryRow]) -> None:
    """Write the rows as Parquet, whole or not at all."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(to_table(rows), buffer)
    write_bytes(path, buffer.getvalue())


def read_rows(path: Path) -> list[HistoryRow]:
    """Rows that `write_rows` wrote.

    Raises:
        HistoryError: the file is damaged, or of something else.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(pa.BufferReader(path.read_bytes())).read(use_threads=False)  # threads of arrow may outlive the interpreter and abort it
    except (OSError, ValueError, pa.ArrowException) as error:
        raise HistoryError(f"{path} cannot be read as Parquet ({type(error).__name__}: {str(error).strip():.120})") from error
    if not table.schema.equals(schema()):
        lacking = [name for name in schema().names if name not in table.schema.names]
        raise HistoryError(f"{path} is no history of this version{f', it lacks the column {lacking[0]}' if lacking else ''}. "
                           f"Make it with sana-bench history --parquet")
    rows = table.to_pylist()
    optional = {"value", "ci_low", "ci_high", "baseline_value", "difference"}
    if any(value is None for row in rows for name, value in row.items() if name not in optional):
        raise HistoryError(f"{path} lacks values that every row must have. Make it with sana-bench history --parquet")
    return [HistoryRow(**{**row, "created": row["created"].astimezone(UTC)}) for row in rows]
