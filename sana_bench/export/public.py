"""A report without the folders of the machine that it was made on: what is published names a file or a folder, not where it lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sana_bench.models import HUB_ID
from sana_bench.records import RegressionReport


def without_folders(report: RegressionReport, configs: Iterable[Mapping]) -> RegressionReport:
    """Every path that the settings or the baseline's name give, cut to its last part wherever it stands in the report's texts.

    Args:
        configs: the settings of both sides, which reasons quote.
    """
    paths = {report.baseline_name, *(path for config in configs for path in _paths(config))}
    short = {path: last for path in sorted(paths, key=len, reverse=True) if (last := _last_part(path)) != path}
    return RegressionReport.model_validate(_shortened(report.model_dump(), short))


def _paths(value: object, key: str = "") -> Iterator[str]:
    """Texts with a folder in them; an id of the hub is none."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _paths(each, name)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _paths(each)
    elif isinstance(value, str) and not (key == "base" and HUB_ID.fullmatch(value)):
        yield value


def _last_part(path: str) -> str:
    """The path itself where it has no folder."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2] or path


def _shortened(value: object, short: Mapping[str, str]) -> object:
    if isinstance(value, Mapping):
        return {name: _shortened(each, short) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(each, short) for each in value]
    if isinstance(value, str):
        for path, last in short.items():
            value = value.replace(path, last)
    return value
