"""A table of prompts as a suite: Parquet, CSV, JSON lines or plain text, from disk or from a Hugging Face data set (`hf://datasets/...`)."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from sana_bench.errors import PromptSuiteError
from sana_bench.external_images import caption_id
from sana_bench.registry import near_names

if TYPE_CHECKING:
    import pyarrow

COLUMNS = ("text", "prompt", "Prompt", "caption", "prompt_en")
"""Where prompts are looked for where no column is named."""


def convert(source: str, name: str, *, column: str = "", tag_column: str = "", limit: int = 0) -> str:
    """TOML of a suite with the distinct prompts of a table, in its order.

    Args:
        source: a path or an `hf://datasets/OWNER/NAME@COMMIT/FILE` address, ending in .parquet, .csv, .jsonl, .json or .txt (a prompt a line).
        name: of the suite.
        column: with the prompts; one of COLUMNS by default.
        tag_column: with a tag each, such as a category.
        limit: first so many prompts; 0 is all.

    Raises:
        PromptSuiteError: the source cannot be read, or has no such column or no prompt.
    """
    table = _read(source)
    chosen = column or next((each for each in COLUMNS if each in table.column_names), "")
    for wanted in filter(None, (chosen or "text", tag_column)):
        if wanted not in table.column_names:
            raise PromptSuiteError(f'{source} has no column "{wanted}".{near_names(wanted, table.column_names)} Columns: {", ".join(table.column_names)}')
    texts = [str(value or "").strip() for value in table.column(chosen).to_pylist()]
    tags = [_tag(value) for value in table.column(tag_column).to_pylist()] if tag_column else ["converted"] * len(texts)
    rows: dict[str, str] = {}
    for text, tag in zip(texts, tags, strict=True):
        if text:
            rows.setdefault(text, tag)
    if not rows:
        raise PromptSuiteError(f'{source} has no prompt in column "{chosen}"')
    return _toml(name, source, list(rows.items())[:limit or None])


def _read(source: str) -> pyarrow.Table:
    import fsspec
    import pyarrow
    from pyarrow import csv, parquet
    from pyarrow import json as arrow_json

    try:
        with fsspec.open(source, "rb") as file:
            data = file.read()
        match PurePosixPath(source).suffix:
            case ".parquet":
                return parquet.read_table(io.BytesIO(data))
            case ".csv":
                return csv.read_csv(io.BytesIO(data))
            case ".jsonl" | ".json":
                return arrow_json.read_json(io.BytesIO(data))
            case ".txt":
                return pyarrow.table({"text": data.decode().splitlines()})
    except (OSError, ValueError, ImportError, pyarrow.ArrowInvalid) as error:
        raise PromptSuiteError(f"{source} cannot be read: {error}") from error
    raise PromptSuiteError(f"{source}: prompts are read from .parquet, .csv, .jsonl, .json and .txt")


def _tag(value: object) -> str:
    word = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in str(value or "none").lower()).strip("_")
    return word if word[:1].isalpha() else f"tag_{word}"


def _toml(name: str, source: str, rows: Sequence[tuple[str, str]]) -> str:
    def quoted(text: str) -> str:
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

    header = [f"# Converted from {source}. One person with one face is expected of each prompt: say in `expects` what a right picture shows,",
              "# and in `states` which of gender, age and skin_tone the text gives away; then run sana-bench prompts check.",
              f"name = {quoted(name)}", "version = 1", f"description = {quoted(f'{len(rows)} prompts of {source}')}", f"source = {quoted(source)}",
              'license = "see the source"']
    prompts = [f"\n[[prompt]]\nid = {quoted(caption_id(text))}\ntext = {quoted(text)}\ntags = [{quoted(tag)}]" for text, tag in rows]
    return "\n".join([*header, *prompts]) + "\n"
