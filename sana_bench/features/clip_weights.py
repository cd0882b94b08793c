"""Where the weights of a CLIP come from, and the model that open_clip makes of them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sana_bench.errors import AssetError

if TYPE_CHECKING:
    import torch

FOLDER_SCHEMAS = ("hf-hub:", "local-dir:")
"""Where open_clip takes architecture and weights from one place; the files have these names there."""
CONFIG_FILE, WEIGHTS_FILES = "open_clip_config.json", ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True, kw_only=True)
class ClipModel:
    """Which model, which weights, and how it reads."""

    extractor: str
    model: str
    """Architecture, of `open_clip.list_models()`; or `hf-hub:OWNER/NAME` or `local-dir:FOLDER`."""
    tag: str = ""
    """open_clip's name of released weights, which also says how images are normalised and which GELU is meant."""
    asset: str = ""
    """Weights that are a pinned asset."""
    file: str = ""
    """Weights on disk."""
    sha256: str = ""
    """What the weights must hash to, where that was declared."""
    prefix: str = ""
    """Put before every prompt."""
    resize_mode: str = ""
    """Instead of the tag's: `shortest` and crop, `longest` and pad, or `squash`."""


def load_model(spec: ClipModel) -> torch.nn.Module:
    """The model in float32 and eval mode, with its way to prepare images in `visual.preprocess_cfg`.

    Raises:
        AssetError: weights are missing, altered or of another architecture, or open_clip cannot build the model.
    """
    import open_clip

    path, *_ = files_of(spec)
    tag = open_clip.get_pretrained_cfg(spec.model, spec.tag) if spec.tag else {}
    reads = {key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in tag}
    reads |= {"resize_mode": spec.resize_mode} if spec.resize_mode else {}
    try:
        with _no_warnings():
            model = open_clip.create_model(spec.model, load_weights=False, pretrained_text=False, force_quick_gelu=tag.get("quick_gelu", False),
                                           force_preprocess_cfg=reads)
        _load_weights(model, path)
    except (RuntimeError, ValueError, KeyError, OSError, AssertionError) as error:  # other shapes, another file, or a hub out of reach
        raise AssetError(f"{spec.extractor}: open_clip cannot make {spec.model} of {path}: {str(error).strip():.300}. Check the architecture "
                         f"(`open_clip.list_models()`) and the weights") from error
    return model.float().eval()


@functools.cache
def load_tokenizer(model: str) -> Any:
    """open_clip's tokenizer of an architecture; some come from the hub.

    Raises:
        AssetError: it cannot be had.
    """
    import open_clip

    try:
        tokenizer = open_clip.get_tokenizer(model)
    except (OSError, ValueError, RuntimeError) as error:
        raise AssetError(f"the tokenizer of {model} cannot be had: {str(error).strip().partition(chr(10))[0]:.300}. Run once where the hub can be "
                         f"reached, or copy the hub's cache from a machine that has it") from error
    if getattr(tokenizer, "reduction_fn", None):
        tokenizer.reduction_fn = None  # CLIPA's tokenizers drop words at random; cutting is the same each time
    return tokenizer


@contextmanager
def _no_warnings() -> Iterator[None]:
    """open_clip warns that the weights are random until somebody loads them, which comes next."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _load_weights(model: torch.nn.Module, path: Path) -> None:
    import open_clip
    from safetensors import safe_open
    from safetensors.torch import load_file

    from sana_bench.features.clip_conversion import KEY, from_transformers

    if path.suffix == ".safetensors":
        with safe_open(path, framework="numpy") as file:
            in_transformers_layout = KEY in file.keys()
        if in_transformers_layout:
            model.load_state_dict(from_transformers(load_file(path)))
            return
    open_clip.load_checkpoint(model, str(path), weights_only=True)


def files_of(spec: ClipModel) -> tuple[Path, ...]:
    """The weights, and the config that lies beside them where there is one; fetched where they are absent, and the tokenizer with them.

    Raises:
        AssetError: out of reach, or not what was declared.
    """
    from sana_bench.assets import asset_path
    from sana_bench.file_hashes import sha256_cached

    if spec.asset:
        return (asset_path(spec.asset),)
    files = _declared_or_released(spec)
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise AssetError(f"{spec.extractor}: no file {', '.join(missing)}. Correct score.clip_model")
    if spec.sha256 and sha256_cached(files[0]) != spec.sha256:
        raise AssetError(f"{spec.extractor}: {files[0]} has SHA-256 {sha256_cached(files[0])}, and score.clip_model says {spec.sha256}")
    load_tokenizer(spec.model)
    return files


def _declared_or_released(spec: ClipModel) -> tuple[Path, ...]:
    schema = next((each for each in FOLDER_SCHEMAS if spec.model.startswith(each)), "")
    place = spec.model.removeprefix(schema)
    if schema == "local-dir:":
        folder = Path(place).expanduser()
        return (next((folder / name for name in WEIGHTS_FILES if (folder / name).is_file()), folder / WEIGHTS_FILES[0]), folder / CONFIG_FILE)
    if schema == "hf-hub:":
        return _hub_file(place, *WEIGHTS_FILES), _hub_file(place, CONFIG_FILE)
    if spec.file:
        return (Path(spec.file).expanduser(),)
    import open_clip

    repository, _, name = open_clip.get_pretrained_cfg(spec.model, spec.tag)["hf_hub"].rpartition("/")
    return (_hub_file(repository, *([name] if name else WEIGHTS_FILES)),)


def _hub_file(repository: str, *names: str) -> Path:
    """The first of these files that the hub's repository has, through the hub's own cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    from sana_bench.assets.sources import OFFLINE_VARIABLE, is_offline

    trouble = "none of them is in the hub's cache"
    tries = [(name, only_here) for only_here in ([True] if is_offline() else [True, False]) for name in names]
    for name, only_here in tries:
        try:
            return Path(hf_hub_download(repository, name, local_files_only=only_here))
        except EntryNotFoundError as error:  # so it is for a file that is not in the cache, and for a hub out of reach
            if isinstance(error, LocalEntryNotFoundError) and not only_here:
                trouble = str(error).strip().partition("\n")[0]
                break
        except Exception as error:  # the hub's other errors, and those of whichever HTTP library it uses
            trouble = str(error).strip().partition("\n")[0] or type(error).__name__
            break
    raise AssetError(f"hub {repository} could not be asked for {' or '.join(names)}: {trouble}. Check the network, HF_ENDPOINT and, for a gated "
                     f"repository, HF_TOKEN; with {OFFLINE_VARIABLE}=1 only the hub's cache is read. Or declare the weights as a file with "
                     f"[[score.clip_model]]")
