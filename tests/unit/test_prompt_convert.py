"""Tables of prompts become suites that load; every mistake is one clear error."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import csv, parquet

from sana_bench.cli import main
from sana_bench.errors import PromptSuiteError
from sana_bench.prompt_convert import convert
from sana_bench.prompts import PromptSuite, load_suite

TEXTS = ["A man waves", 'Quotes "and" \\ slashes', "Zwei Hände halten eine Tasse", "", "A man waves"]
TABLE = pyarrow.table({"Prompt": TEXTS, "Category": ["People", "3 D", "People", "x", "Other"], "n": [1, 2, 3, 4, 5]})


def write(folder: Path, suffix: str) -> str:
    path = folder / f"prompts{suffix}"
    if suffix == ".parquet":
        parquet.write_table(TABLE, path)
    elif suffix == ".csv":
        csv.write_csv(TABLE, path)
    elif suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in TABLE.to_pylist()))
    else:
        path.write_text("\n".join(TEXTS))
    return str(path)


def suite_of(folder: Path, toml: str) -> PromptSuite:
    (folder / "made.toml").write_text(toml)
    return load_suite(str(folder / "made.toml"))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl", ".txt"])
def test_every_format_gives_the_same_distinct_prompts(tmp_path: Path, suffix: str) -> None:
    suite = suite_of(tmp_path, convert(write(tmp_path, suffix), "mine"))
    assert [prompt.text for prompt in suite.prompt] == TEXTS[:3]
    assert suite.name == "mine" and suite.prompt[0].expects.faces == 1


def test_tags_come_from_a_column_and_a_limit_keeps_the_first(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, convert(write(tmp_path, ".csv"), "mine", tag_column="Category", limit=2))
    assert [prompt.tags for prompt in suite.prompt] == [("people",), ("tag_3_d",)]


@pytest.mark.parametrize(("suffix", "options", "message"), [
    (".csv", {"column": "Promt"}, 'no column "Promt". Did you mean "Prompt"'), (".csv", {"tag_column": "category"}, 'Did you mean "Category"'),
    (".xml", {}, "are read from .parquet")])
def test_mistakes(tmp_path: Path, suffix: str, options: dict, message: str) -> None:
    with pytest.raises(PromptSuiteError, match=message.replace(".", r"\.")):
        convert(write(tmp_path, suffix), "mine", **options)


def test_what_is_not_there_or_broken(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    for source in (str(tmp_path / "none.csv"), str(tmp_path / "a.parquet")):
        with pytest.raises(PromptSuiteError, match="cannot be read"):
            convert(source, "mine")


def test_the_command_writes_a_suite_that_check_reads(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine.toml"
    assert main(["prompts", "convert", write(tmp_path, ".csv"), "--name", "mine", "--out", str(out)]) == 0
    assert main(["prompts", "check", str(out)]) == 0
    assert "mine: 3 prompts" in capfd.readouterr().out
    assert main(["prompts", "convert", write(tmp_path, ".csv")]) == 2
    assert "--name" in capfd.readouterr().err
