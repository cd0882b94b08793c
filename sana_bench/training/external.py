"""Weights that were trained elsewhere (NVlabs' train.py, diffusers' scripts, SimpleTuner, Cosmos-RL), taken in and checked, or made by a command first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

from sana_bench.config import ModelSection, RunConfig
from sana_bench.errors import ConfigError, TrainingError
from sana_bench.file_hashes import sha256_cached
from sana_bench.full_weights import CONFIG_FILE, FOLDER, check_same_config, empty_transformer, read_config, read_tensors, save_transformer, weight_files
from sana_bench.generation.sampling import check_drawable
from sana_bench.models import base_folder, check_adapter, check_stored_dtype, pipeline_class_name
from sana_bench.store import write_bytes
from sana_bench.training import TrainedWeights, TrainingContext, register_trainer
from sana_bench.training.command import run_command

WEIGHTS_FILE = "pytorch_lora_weights.safetensors"
NATIVE_SUFFIXES = (".pth", ".pt", ".bin")
INSTRUCTIONS = (".sh", ".py", ".yaml", ".yml", ".toml", ".json")
NO_WEIGHTS = {"metadata.pth"}
"""What train.py writes beside the weights of a sharded training."""
WHAT_THERE_IS = f"a LoRA ({WEIGHTS_FILE}, or another .safetensors file), a folder in diffusers layout, or a checkpoint of train.py (.pth)"


@dataclass(frozen=True)
class Found:
    """Weights on disk, and what they are."""

    kind: Literal["adapter", "folder", "native"]
    path: Path
    files: tuple[Path, ...]
    """Those that decide what they are."""


@register_trainer("external", version=1)
class ExternalTrainer:
    """Takes the weights at `train.weights` into the store: a LoRA, full weights, or a checkpoint of NVlabs' train.py; with `train.command`, makes them first."""

    def identity(self, config: RunConfig) -> object:
        settings = config.train
        if settings.command:
            return [list(settings.command), instructions_in(settings.command), settings.weights, settings.weights_ema]
        found = find_weights(_named(config), config.model)
        if found.kind == "adapter":
            return sha256_cached(found.path)
        return [settings.weights_ema, [[path.name, sha256_cached(path)] for path in found.files]]

    def train(self, context: TrainingContext) -> TrainedWeights:
        config, base = context.config, base_folder(context.config.model)
        base_config = read_config(base / FOLDER)
        check_drawable(pipeline_class_name(base), SimpleNamespace(**base_config), config.generate)
        check_stored_dtype(base / FOLDER, config.model)
        path = _made(context) if config.train.command else _named(config)
        found = find_weights(path, config.model)
        if config.train.weights_ema and found.kind != "native":
            raise ConfigError(f"train.weights_ema chooses the moving average in a checkpoint of train.py (.pth), and {found.path.name} is none: leave it out")
        if found.kind == "adapter":
            check_adapter(empty_transformer(base_config), found.path, context.base_digest)
            write_bytes(context.folder / WEIGHTS_FILE, found.path.read_bytes())
            return TrainedWeights("adapter", WEIGHTS_FILE, None)
        _take_full(found, base_config, context)
        return TrainedWeights("full", FOLDER, None)


def instructions_in(command: Sequence[str]) -> list[str]:
    """SHA-256 of the scripts and settings that a command names (`train.sh`, `--config=x.yaml`): edited ones train other weights. What these read in
    their turn, such as images, is not known."""
    paths = [Path(word.rpartition("=")[2]).expanduser() for word in command]
    return [sha256_cached(path) for path in paths if path.suffix in INSTRUCTIONS and path.is_file()]


def find_weights(path: Path, model: ModelSection) -> Found:
    """What `path` holds.

    Raises:
        ConfigError: nothing that can be evaluated.
    """
    if path.is_file():
        return Found("native" if path.suffix in NATIVE_SUFFIXES else "adapter", path, (path,))
    if (path / WEIGHTS_FILE).is_file():
        return Found("adapter", path / WEIGHTS_FILE, (path / WEIGHTS_FILE,))
    folder = path / FOLDER if (path / FOLDER / CONFIG_FILE).is_file() else path
    files = weight_files(folder, model.variant) if (folder / CONFIG_FILE).is_file() else []
    if not files:
        raise ConfigError(f'there is nothing to evaluate at "{path}": the trainer "external" takes {WHAT_THERE_IS}')
    return Found("folder", folder, (folder / CONFIG_FILE, *files))


def _named(config: RunConfig) -> Path:
    path = Path(config.train.weights).expanduser()
    if not config.train.weights or not path.exists():
        raise ConfigError(f'train.weights must name {WHAT_THERE_IS} for the trainer "external", not "{config.train.weights}"; '
                          f"or give a train.command that makes them")
    return path


def _made(context: TrainingContext) -> Path:
    """Run the command; where its weights are."""
    settings = context.config.train
    output = run_command(settings.command, context.folder)
    if not settings.weights:
        return _newest(output)
    if not (output / settings.weights).exists():
        raise TrainingError(f'the command has ended, and there is no "{settings.weights}" (train.weights) in {output}')
    return output / settings.weights


def _newest(output: Path) -> Path:
    """The weights that were written last."""
    folders = [path.parent for path in output.rglob(f"{FOLDER}/{CONFIG_FILE}")]
    files = [path for path in output.rglob("*") if path.is_file() and (path.name == WEIGHTS_FILE or path.suffix == ".pth" and path.name not in NO_WEIGHTS)]
    if not folders and not files:
        raise TrainingError(f"the command has ended and left no weights in {output}: neither {WEIGHTS_FILE}, nor a folder {FOLDER}, nor a .pth. "
                            f"Say with train.weights where they are")
    return max([*folders, *files], key=lambda path: (_written(path), str(path)))


def _written(path: Path) -> int:
    return max(each.stat().st_mtime_ns for each in ([path] if path.is_file() else path.iterdir()))


def _take_full(found: Found, base_config: dict, context: TrainingContext) -> None:
    """Write full weights into the checkpoint's folder as diffusers reads them, after checking that the base is drawn with them as they were trained."""
    from sana_bench import native

    config = context.config
    if found.kind == "native":
        stored = native.read_checkpoint(found.path, config.train.weights_ema)
        native.check_positions(stored, base_config)
        tensors = native.to_diffusers(stored)
    else:
        check_same_config(read_config(found.path), base_config)
        check_stored_dtype(found.path, config.model)
        tensors = read_tensors(found.files[1:])
    save_transformer(tensors, base_config, context.folder / FOLDER)
