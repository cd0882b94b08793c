"""Load and check Sana bases and adapters. The known traps of released checkpoints are guards here."""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path

from sana_bench.assets.sources import OFFLINE_VARIABLE, is_offline
from sana_bench.config import ModelSection
from sana_bench.errors import ModelError
from sana_bench.shipped import PACKAGE
from sana_bench.file_hashes import sha256_cached
from sana_bench.full_weights import stored_dtypes, weight_files
from sana_bench.store import digest_of

TINY_SANA = "tiny-sana"
COMPONENTS = ("transformer", "text_encoder", "vae")
PIPELINES = ("SanaPipeline", "SanaSprintPipeline")
SPRINT = "SanaSprintPipeline"
HUB_ID, COMMIT = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII), re.compile("[0-9a-f]{40}")
LATENT_PX, PX_2K = 32, 2048
POSITIONS_2K = 64
"""Along each side of the square that Sana's positional embedding spans, in latents: models of 2K have so many, those of 4K twice as many at half the distance."""
HUB_SECONDS = 10
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
                         f'"{model.revision}", so that the run can be repeated{_commit_now(model)}')
    return _fetch(model)


def _commit_now(model: ModelSection) -> str:
    """What the revision, or `main`, is at this moment, to be copied into a recipe; nothing where the hub cannot be asked."""
    from huggingface_hub import HfApi

    revision = model.revision or "main"
    if is_offline():
        return f". {OFFLINE_VARIABLE}=1 keeps the hub from being asked for the one of {revision}"
    try:
        commit = HfApi().model_info(model.base, revision=revision, timeout=HUB_SECONDS).sha or ""
    except Exception:  # the hub's own errors, and those of whichever HTTP library it uses: what must be given is said either way
        return ""
    return f". {revision} is at this commit now: --set model.revision={commit}" if COMMIT.fullmatch(commit) else ""


@functools.cache
def _fetch(model: ModelSection) -> Path:
    from diffusers import DiffusionPipeline
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(DiffusionPipeline.download(model.base, revision=model.revision, variant=model.variant or None,
                                               local_files_only=is_offline()))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(f"cannot fetch {model.base} at {model.revision[:12]}: {error}. Check the id, the network, the "
                         f"access token, and SANA_BENCH_OFFLINE") from error


def base_digest(model: ModelSection) -> str:
    """Digest of the base's files and of which variant of them is loaded."""
    folder = base_folder(model)
    index = folder / "model_index.json"
    if not index.is_file():
        remedy = "; train it with `sana-bench build-tiny`" if model.base == TINY_SANA else ""
        raise ModelError(f"{folder} is no diffusers pipeline: model_index.json is missing{remedy}")
    return _digest_of_files(model, [index, *_model_files(folder, "*")])  # a card beside the index is no part of the model


def parts_digest(model: ModelSection, *names: str) -> str:
    """Digest of parts of the base alone, such as "vae": bases that differ in another part share it."""
    return _digest_of_files(model, [path for name in names for path in _model_files(base_folder(model), name)])


def _model_files(folder: Path, part: str) -> list[Path]:
    return [path for path in folder.glob(f"{part}/**/*") if path.is_file() and path.suffix in (".json", ".safetensors", ".model")]


def _digest_of_files(model: ModelSection, files: list[Path]) -> str:
    folder = base_folder(model)
    return digest_of([model.variant, [[str(path.relative_to(folder)), sha256_cached(path)] for path in sorted(files)]])


def load_pipeline(model: ModelSection, device: str, without: tuple[str, ...] = ()):
    """The base as the pipeline of its family on `device`, each part in the dtype that the recipe says.

    Args:
        without: parts that are left out, such as `("transformer",)`.

    Raises:
        ModelError: the folder is no pipeline of Sana, or a part of it would draw garbage.
    """
    import diffusers
    import torch
    from safetensors import SafetensorError

    _quiet()
    _check_names_of_dtypes(model)
    folder = base_folder(model)
    pipeline_class = getattr(diffusers, pipeline_class_name(folder))
    dtypes = {name: getattr(torch, getattr(model, f"{name}_dtype")) for name in COMPONENTS}
    if "transformer" not in without:
        check_stored_dtype(folder / "transformer", model)
    try:
        pipeline = pipeline_class.from_pretrained(folder, dtype={**dtypes, "default": torch.float32}, variant=model.variant or None,
                                                  local_files_only=True, use_safetensors=True, **dict.fromkeys(without))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, NotImplementedError, SafetensorError) as error:
        raise ModelError(f"{folder} does not load as a {pipeline_class.__name__}: {error}") from error
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


def pipeline_class_name(folder: Path) -> str:
    """Of a base's family, as its model_index.json says: diffusers would load the folder of another pipeline as far as the names of its parts agree.

    Raises:
        ModelError: none of Sana's.
    """
    try:
        name = json.loads((folder / "model_index.json").read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} has no readable model_index.json: {error!r}") from error
    if name not in PIPELINES:
        raise ModelError(f"{folder} holds a {name}, not a {' or '.join(PIPELINES)}")
    return name


def _check_names_of_dtypes(model: ModelSection) -> None:
    """As `check_stored_dtype`, before anything is fetched, and for weights that were trained in bfloat16 and are stored in another dtype."""
    if model.transformer_dtype == "float16" and ("bf16" in model.variant.lower() or "bf16" in model.base.lower()):
        raise _overflow(model.base)


def check_stored_dtype(folder: Path, model: ModelSection) -> None:
    """Refuse a transformer that is stored in bfloat16 as float16: it overflows to noise or black.

    Args:
        folder: of the transformer.
    """
    if model.transformer_dtype == "float16" and "BF16" in stored_dtypes(weight_files(folder, model.variant)):
        raise _overflow(str(folder))


def _overflow(what: str) -> ModelError:
    return ModelError(f"{what} was trained in bfloat16; float16 overflows. Use --set model.transformer_dtype=bfloat16")


def check_size(config, width: int, height: int) -> None:
    """Refuse images that a transformer of this config cannot draw or train on.

    Raises:
        ModelError: sides that do not divide into its patches, or 2K without the positional embedding that 2K models are
            trained with, or with one of another scale (a checkpoint converted for another size lost it, loads, and draws
            garbage: diffusers PR 10340).
    """
    multiple = LATENT_PX * config.patch_size
    if width % multiple or height % multiple:
        raise ModelError(f"{width}x{height} does not divide into this transformer's patches; sides must be multiples of {multiple}")
    if not _is_2k(width, height):
        return
    if config.interpolation_scale is None:
        raise ModelError(f"the transformer has sample_size {config.sample_size} and no interpolation_scale, so for {width}x{height} it "
                         f"lacks its positional embedding; convert the checkpoint again with --image_size 2048")
    if config.sample_size != POSITIONS_2K * config.interpolation_scale:
        raise ModelError(f"the transformer's positional embedding is scaled for another size than {width}x{height}: its sample_size {config.sample_size} must be "
                         f"{POSITIONS_2K} times its interpolation_scale {config.interpolation_scale}; convert the checkpoint again with --image_size 2048")


def _is_2k(width: int, height: int) -> bool:
    """Whether it takes a model of 2K or more: a strip such as 2048x512, one of Sana's sizes at 1024, does not."""
    return max(width, height) >= PX_2K and width * height >= PX_2K**2 / 2


def load_adapter(pipeline, weights: Path, expected_base_digest: str) -> None:
    """Put a LoRA on the pipeline's transformer, after checking that it was made for this base.

    Raises:
        ModelError: not safetensors, no LoRA, a LoRA of another base (by its header or by its shapes), or one that diffusers does not take.
    """
    check_adapter(pipeline.transformer, weights, expected_base_digest)
    try:
        pipeline.load_lora_weights(weights.parent, weight_name=weights.name, adapter_name="default", local_files_only=True)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:  # whatever libraries make of a file that is not theirs
        raise ModelError(f"{weights.name} does not load as a LoRA of diffusers: {' '.join(str(error).split()):.300}") from error
    if not pipeline.get_active_adapters():
        raise ModelError(f"diffusers took nothing from {weights.name}: no layer has an adapter after loading it")
    pipeline.transformer.eval()  # peft adds layers that would go on dropping out while images are drawn


def check_adapter(transformer, weights: Path, expected_base_digest: str) -> None:
    header, shapes = _shapes(weights)
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
        if len(shape) != modules[target].ndim:
            raise ModelError(f"{weights.name} is a LoRA of another base: {name} is {shape}, and the weight of {target} {tuple(modules[target].shape)}")
        if shape[axis] != modules[target].shape[axis]:
            raise ModelError(f"{weights.name} is a LoRA of another base: {name} has {shape[axis]} channels, "
                             f"{target} of this base has {modules[target].shape[axis]}")


def _shapes(weights: Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """Header of a safetensors file, and the shape of each tensor in it."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="pt") as file:
            return file.metadata() or {}, {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{weights} is not a readable safetensors file: {error}") from error


def device_in_identity(device: str) -> str:
    """What `device` will mean here, told without importing torch (a second run must start fast)."""
    if device != "auto":
        return device
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return "cuda" if Path("/dev/nvidiactl").exists() and not hidden else "cpu or mps"


def resolve_device(device: str) -> str:
    """`auto` becomes cuda, mps or cpu, whichever is there first; of several processes that train together, each has a cuda device of its own.

    Raises:
        ModelError: a device that this machine does not have.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, usable in there.items() if usable)
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    name, _, index = device.partition(":")
    if not there[name] or (index and int(index) >= torch.cuda.device_count()):
        raise ModelError(f"there is no device {device} here (run.device); torch {torch.__version__} sees "
                         f"{', '.join(each for each, usable in there.items() if usable)}. Use --set run.device=auto")
    return device
