"""What commands share: --config and --set, or the settings that a run folder recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.errors import ConfigError
from sana_bench.usage import Arguments, Parser, UsageError

if TYPE_CHECKING:
    from sana_bench.config import RunConfig

DEFAULT_RECIPE = "tiny"


def config_arguments(parser: Parser) -> None:
    parser.add_argument("--config", metavar="RECIPE",
                        help=f"a shipped recipe by name, or a TOML file (default: {DEFAULT_RECIPE})")
    parser.add_argument("--set", metavar="SECTION.KEY=VALUE", action="append", default=[], dest="overrides",
                        help="change one setting of the recipe, such as train.rank=32; may be given many times")


def run_or_config_arguments(parser: Parser) -> None:
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, nargs="?", help="a run folder: its own settings are used")
    config_arguments(parser)


def gates_argument(parser: Parser) -> None:
    parser.add_argument("--gates", metavar="FILE", type=Path, help="what must hold, from a gates.toml, instead of the recipe's own gates")


def config_of(arguments: Arguments) -> RunConfig:
    from sana_bench.config import load_config

    if getattr(arguments, "run_dir", None):
        refuse_settings(arguments)
        config = recorded_config(arguments.run_dir)
    else:
        config = load_config(arguments.config or DEFAULT_RECIPE, tuple(arguments.overrides))
    return _with_gates(config, arguments.gates) if getattr(arguments, "gates", None) else config


def _with_gates(config: RunConfig, path: Path) -> RunConfig:
    from sana_bench.gates.files import load_gates

    return config.model_copy(update={"gate": load_gates(path)})


def refuse_settings(arguments: Arguments) -> None:
    if arguments.config or arguments.overrides:
        raise UsageError(f"{arguments.run_dir} has its own settings; give either a run folder, or --config and --set")


def recorded_config(run_dir: Path) -> RunConfig:
    from pydantic import ValidationError

    from sana_bench.config import RunConfig
    from sana_bench.records import BenchmarkResult
    from sana_bench.store import read_record

    try:
        return RunConfig.model_validate(read_record(run_dir / "result.json", BenchmarkResult).config)
    except ValidationError as error:
        raise ConfigError(f"the settings in {run_dir / 'result.json'} do not fit this version: {error}") from error
