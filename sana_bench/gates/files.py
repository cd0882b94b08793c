"""A gates.toml: the `[[gate]]` tables of a recipe in a file of their own, for a project that judges runs of many recipes."""

from __future__ import annotations

from pathlib import Path

from pydantic import model_validator

from sana_bench.config import GateSection, Section, read_toml, refuse_twins, validate
from sana_bench.errors import ConfigError


class GatesFile(Section):
    """The whole file."""

    gate: tuple[GateSection, ...]

    @model_validator(mode="after")
    def _check_gates(self) -> GatesFile:
        refuse_twins(self.gate)
        return self


def load_gates(path: Path) -> tuple[GateSection, ...]:
    """The gates of a file, at least one, in its order.

    Raises:
        ConfigError: it cannot be read, is not TOML, has no gate, or problems in it: all of them in one message.
    """
    try:
        values = read_toml(path)
    except OSError as error:
        raise ConfigError(f"cannot read the gates in {path}: {error.strerror}") from error
    if isinstance(values.get("gate"), dict):
        raise ConfigError(f"{path.name}: [gate] is a single table; write [[gate]], once for each gate")
    if not values or values.get("gate") == []:
        raise ConfigError(f'{path.name} has no [[gate]], so nothing would be asked. Add one, such as\n  [[gate]]\n  metric = "hand_rate"')
    return validate(GatesFile, values, path.name).gate
