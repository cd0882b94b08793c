"""Load and check Sana bases and adapters. The known traps of released checkpoints are guards here."""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path

from sana_bench.config import ModelSection
from sana_bench.errors import ModelError
from sana_bench.shipped import PACKAGE
from sana_bench.file_hashes import sha256_cached
from sana_bench.store import digest_of

TINY_SANA = "tiny-sana"
COMPONENTS = ("transformer", "text_encoder", "vae")
HUB_ID, COMMIT = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII), re.compile("[0-9a-f]{40}")
LATENT_PX, PX_2K = 32, 2048
ADAPTER_PREFIX = "transformer."
BASE_DIGEST_KEY = "sana_bench_base_digest"
"""Key in an adapter's safetensors header that names the base it was trained on."""


def base_folder(model: ModelSection) -> Path:
    """Folder of the base in diffusers layout; a hub id is fetched at its pinned commit first.

    Raises:
        ModelError: no such base, or a hub id without a commit.
    """
    if model.base == TINY_SANA:
        return PACKAGE / "tiny" / "weights" / "tiny-sana"
    if Path(model.base).expanduser().is_dir():
        return Path(model.base).expanduser()
    if not HUB_ID.fullmatch(model.base):
        raise ModelError(f'no base model "{model.base}": it is neither {TINY_SANA}, nor a folder, nor a hub id (owner/name)')
    if not COMMIT.fullmatch(model.revision):
        raise ModelError(f'model.revision of the hub base "{model.base}" must be a commit (40 hex digits), not '
                         f'"{model.revision}", so that the run can be repeated')
    return _fetch(model)


@functools.cache
def _fetch(model: ModelSection) -> Path:
    from diffusers import SanaPipeline
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    offline = os.environ.get("SANA_BENCH_OFFLINE") == "1"
    try:
        return Path(SanaPipeline.download(model.base, revision=model.revision, variant=model.variant or None,
                                          local_files_only=offline))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(f"cannot fetch {model.base} at {model.revision[:12]}: {error}. Check the id, the network, the "
                         f"access token, and SANA_BENCH_OFFLINE") from error


def base_digest(model: ModelSection) -> str:
    """Digest of the base's files and of which variant of them is loaded."""
    folder = base_folder(model)
    index = folder / "model_index.json"
    parts = [path for path in folder.glob("*/**/*") if path.is_file() and path.suffix in (".json", ".safetensors", ".model")]
    files = sorted([index, *parts])  # a card beside the index is no part of the model
    if not index.is_file():
        remedy = "; train it with `sana-bench build-tiny`" if model.base == TINY_SANA else ""
        raise ModelError(f"{folder} is no diffusers pipeline: model_index.json is missing{remedy}")
    return digest_of([model.variant, [[str(path.relative_to(folder)), sha256_cached(path)] for path in files]])


def load_pipeline(model: ModelSection, device: str, without: tuple[str, ...] = ()):
    """The base as a SanaPipeline on `device`, each part in the dtype that the recipe says.

    Args:
        without: parts that are left out, such as `("transformer",)`.

    Raises:
        ModelError: the folder is no Sana pipeline, or a part of it would draw garbage.
    """
    import torch
    from diffusers import SanaPipeline
    from safetensors import SafetensorError

    _quiet()
    _check_dtypes(model)
    folder = base_folder(model)
    _check_pipeline_class(folder)
    dtypes = {name: getattr(torch, getattr(model, f"{name}_dtype")) for name in COMPONENTS}
    try:
        pipeline = SanaPipeline.from_pretrained(folder, dtype={**dtypes, "default": torch.float32},
                                                variant=model.variant or None, local_files_only=True, use_safetensors=True,
                                                **dict.fromkeys(without))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, NotImplementedError, SafetensorError) as error:
        raise ModelError(f"{folder} does not load as a SanaPipeline: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def load_transformer(model: ModelSection, device: str):
    """The base's SanaTransformer2DModel alone, on `device`, in the dtype that the recipe says.

    Raises:
        ModelError: as `load_pipeline`.
    """
    return load_pipeline(model, device, without=("vae", "text_encoder", "tokenizer", "scheduler")).transformer


def transformer_config(model: ModelSection):
    """The transformer's config, without its weights.

    Raises:
        ModelError: it is missing or unreadable.
    """
    from diffusers import SanaTransformer2DModel
    from diffusers.configuration_utils import FrozenDict

    folder = base_folder(model)
    try:
        return FrozenDict(SanaTransformer2DModel.load_config(folder, subfolder="transformer", local_files_only=True))
    except OSError as error:
        raise ModelError(f"{folder} has no transformer of a SanaPipeline: {error}") from error


def _quiet() -> None:
    """Loading bars of the libraries would stand between our own progress lines."""
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def _check_pipeline_class(folder: Path) -> None:
    """diffusers loads the folder of another pipeline as far as the names of its parts agree."""
    try:
        name = json.loads((folder / "model_index.json").read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} has no readable model_index.json: {error!r}") from error
    if name != "SanaPipeline":
        raise ModelError(f"{folder} holds a {name}, not a SanaPipeline")


def _check_dtypes(model: ModelSection) -> None:
    """Refuse a checkpoint trained in bfloat16 as float16: it overflows to noise or black."""
    if model.transformer_dtype == "float16" and ("bf16" in model.variant.lower() or "bf16" in model.base.lower()):
        raise ModelError(f"{model.base} was trained in bfloat16; float16 overflows. Use --set model.transformer_dtype=bfloat16")


def check_size(config, width: int, height: int) -> None:
    """Refuse images that a transformer of this config cannot draw or train on.

    Raises:
        ModelError: sides that do not divide into its patches, or 2K without the positional embedding that 2K models are
            trained with (a checkpoint converted for another size lost it, loads, and draws garbage: diffusers PR 10340).
    """
    multiple = LATENT_PX * config.patch_size
    if width % multiple or height % multiple:
        raise ModelError(f"{width}x{height} does not divide into this transformer's patches; sides must be multiples of {multiple}")
    if max(width, height) >= PX_2K and config.interpolation_scale is None:
        raise ModelError(f"the transformer has sample_size {config.sample_size} and no interpolation_scale, so for {width}x{height} it "
                         f"lacks its positional embedding; convert the checkpoint again with --image_size 2048")


def load_adapter(pipeline, weights: Path, expected_base_digest: str) -> None:
    """Put a LoRA on the pipeline's transformer, after checking that it was made for this base.

    Raises:
        ModelError: not safetensors, no LoRA, or a LoRA of another base (by its header or by its shapes).
    """
    check_adapter(pipeline.transformer, weights, expected_base_digest)
    pipeline.load_lora_weights(weights.parent, weight_name=weights.name, adapter_name="default", local_files_only=True)
    if not pipeline.get_active_adapters():
        raise ModelError(f"diffusers took nothing from {weights.name}: no layer has an adapter after loading it")


def check_adapter(transformer, weights: Path, expected_base_digest: str) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="pt") as file:
            header = file.metadata() or {}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{weights} is not a readable safetensors file: {error}") from error
    trained_on = header.get(BASE_DIGEST_KEY, expected_base_digest)
    if trained_on != expected_base_digest:
        raise ModelError(f"{weights.name} is a LoRA of another base ({trained_on}; this run's base is {expected_base_digest})")
    modules = {name: module.weight for name, module in transformer.named_modules() if hasattr(module, "weight")}
    adapters = {name: shape for name, shape in shapes.items() if name.endswith((".lora_A.weight", ".lora_B.weight"))}
    if not adapters:
        raise ModelError(f"{weights.name} holds no LoRA weights (keys ending in lora_A.weight and lora_B.weight)")
    for name, shape in adapters.items():
        if not name.startswith(ADAPTER_PREFIX):
            raise ModelError(f'{weights.name} is not in diffusers\' format: its keys must start with "{ADAPTER_PREFIX}", as '
                             f"save_lora_weights writes them, and {name} does not; diffusers would ignore it without a word")
        target, _, side = name.removesuffix(".weight").removeprefix(ADAPTER_PREFIX).rpartition(".")
        axis = 1 if side == "lora_A" else 0
        if target not in modules:
            raise ModelError(f"{weights.name} is a LoRA of another base: this one has no layer {target}")
        if shape[axis] != modules[target].shape[axis]:
            raise ModelError(f"{weights.name} is a LoRA of another base: {name} has {shape[axis]} channels, "
                             f"{target} of this base has {modules[target].shape[axis]}")


def device_in_identity(device: str) -> str:
    """What `device` will mean here, told without importing torch (a second run must start fast)."""
    if device != "auto":
        return device
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return "cuda" if Path("/dev/nvidiactl").exists() and not hidden else "cpu or mps"


def resolve_device(device: str) -> str:
    """`auto` becomes cuda, mps or cpu, whichever is there first.

    Raises:
        ModelError: a device that this machine does not have.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, usable in there.items() if usable)
    name, _, index = device.partition(":")
    if not there[name] or (index and int(index) >= torch.cuda.device_count()):
        raise ModelError(f"there is no device {device} here (run.device); torch {torch.__version__} sees "
                         f"{', '.join(each for each, usable in there.items() if usable)}. Use --set run.device=auto")
    return device
