"""Build tiny-sana and its small CLIP from OpenPeople's training people: seeded, resumable, stage by stage.

    data -> autoencoder -> latents -> tokenizer -> transformer -> assemble -> clip -> card

Every stage keeps what it needs in the work folder as it goes, so that the same command goes on after a kill. Where the work
folder is gone, `--refine` trains the finished weights further.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from sana_bench.data.latents import LatentCache
from sana_bench.data.manifest import Manifest, load_manifest
from sana_bench.data.pictures import pictures_of
from sana_bench.data.samples import Draw
from sana_bench.errors import ConfigError
from sana_bench.file_hashes import sha256_cached
from sana_bench.locks import locked
from sana_bench.registry import near_names
from sana_bench.store import digest_of, sha256_file, write_bytes
from sana_bench.train_config import AugmentSection
from sana_bench.tiny.workspace import SHIPPED_WEIGHTS, Course, Workspace, needed

AUTOENCODER_STEPS = 4000
TRANSFORMER_STEPS = 7400
CLIP_STEPS = 600
RESOLUTION = 2048


def build_tiny(work_folder: Path, out_folder: Path | None = None, stages: tuple[str, ...] = (), course: Course = Course()) -> None:
    """Run the given stages (all, in order, when none is named).

    Args:
        work_folder: training states, latents and full-precision weights; may be deleted afterwards.
        out_folder: receives `tiny-sana/`, `tokenizer/` and `clip/`; the package's own folder by default.
        course: how the one training among `stages` differs from the default.

    Raises:
        ConfigError: an unknown stage, one whose predecessor has not been run, or a course for other than one training.
    """
    unknown = [name for name in stages if name not in STAGES]
    if unknown:
        raise ConfigError(f'unknown stage "{unknown[0]}".{near_names(unknown[0], list(STAGES))} Stages: {", ".join(STAGES)}')
    if (course.steps, course.learning_rate) != (None, None) and sum(name in TRAININGS for name in stages) != 1:
        raise ConfigError(f'--steps and --learning-rate are of one training: name {" or ".join(TRAININGS)} among the stages')
    if any(value is not None and value <= 0 for value in (course.steps, course.learning_rate)):
        raise ConfigError(f"--steps ({course.steps}) and --learning-rate ({course.learning_rate}) must be above 0")
    build = Workspace(work_folder, out_folder or SHIPPED_WEIGHTS, course)
    with locked(work_folder / "build.lock", f"a build in {work_folder}"):  # two would overwrite each other's training states
        for name in stages or STAGES:
            STAGES[name](build)


def build_data(build: Workspace) -> None:
    """OpenPeople as imagefolders."""
    build.training()
    load_manifest("openpeople:reference", build.store)


def build_autoencoder(build: Workspace) -> None:
    """Train the autoencoder and give its latents unit deviation."""
    from sana_bench.tiny import autoencoder

    manifest, start = build.training(), build.tiny_sana / "vae"
    model = _load_vae(needed(start, "assemble")) if build.course.refine else autoencoder.build_autoencoder()
    steps, rate = build.course.steps or AUTOENCODER_STEPS, build.course.learning_rate or autoencoder.LEARNING_RATE
    identity = digest_of(["autoencoder", manifest.digest, steps, rate, _start(build, start), *autoencoder.IDENTITY])
    paths = [manifest.folder / row.file_name for row in manifest.rows]
    losses = autoencoder.train_autoencoder(model, paths, build.work / "autoencoder", total_steps=steps, learning_rate=rate, identity=identity)
    views = [_view(manifest, row) for row in manifest.rows if row.kind.startswith(("studio_", "amateur_"))]
    autoencoder.normalise_latents(model, views).save_pretrained(build.work / "vae")
    build.record_run("autoencoder", rate, losses)


def build_latents(build: Workspace) -> None:
    """Encode every training picture at both view sizes, in bfloat16, as the autoencoder was trained."""
    import torch

    from sana_bench.tiny.transformer import BATCH_SIZES

    cache, vae = _latents(build), _load_vae(build.vae).to(torch.bfloat16)
    for side in BATCH_SIZES:
        cache.encode(cache.missing(_draws(build, side)), vae)


def build_tokenizer(build: Workspace) -> None:
    """Train the tokenizer that Gemma and the CLIP text tower share."""
    from sana_bench.tiny.tokenizer import train_tokenizer

    train_tokenizer([row.text for row in build.training().rows], build.tokenizer_folder)


def build_transformer(build: Workspace) -> None:
    """Train transformer and text encoder on the cached latents."""
    import torch
    from safetensors.torch import save_file

    from sana_bench.tiny import transformer

    manifest, start, tokenizer, cache = build.training(), build.tiny_sana / "transformer", build.tokenizer(), _latents(build)
    if any(cache.missing(_draws(build, side)) for side in transformer.BATCH_SIZES):
        raise ConfigError("not every training picture is encoded yet; run the stage `latents` first")
    latents = {side: torch.stack([cache.read(draw) for draw in _draws(build, side)]) for side in transformer.BATCH_SIZES}
    modules = _load_modules(build) if build.course.refine else transformer.build_modules(tokenizer)
    steps, rate = build.course.steps or TRANSFORMER_STEPS, build.course.learning_rate or transformer.LEARNING_RATE
    identity = digest_of(["transformer", manifest.digest, _vae_identity(build), steps, rate, _start(build, start), *transformer.IDENTITY,
                          sha256_file(build.tokenizer_folder / "tokenizer.json")])
    losses = transformer.train_transformer(modules, latents, [row.text for row in manifest.rows], [row.kind for row in manifest.rows],
                                           tokenizer, build.work / "transformer", total_steps=steps, learning_rate=rate, identity=identity,
                                           first_part=0.0 if build.course.refine else transformer.FIRST_PART)
    save_file({name: value.contiguous() for name, value in modules.state_dict().items()}, build.work / "transformer.safetensors")
    build.record_run("transformer", rate, losses)


def assemble(build: Workspace) -> None:
    """Put the trained parts together as a SanaPipeline in half precision, with the curves of their trainings."""
    import torch
    from diffusers import SanaPipeline
    from safetensors.torch import load_file

    from sana_bench.config import GenerateSection
    from sana_bench.generation.sampling import build_scheduler
    from sana_bench.tiny import transformer

    tokenizer = build.tokenizer()
    modules = transformer.build_modules(tokenizer)
    modules.load_state_dict(load_file(needed(build.work / "transformer.safetensors", "transformer")))
    pipeline = SanaPipeline(tokenizer=tokenizer, text_encoder=modules["text_encoder"], vae=_load_vae(build.vae),
                            transformer=modules["transformer"], scheduler=build_scheduler(GenerateSection()))
    runs = {stage: build.runs(stage) for stage in TRAININGS}
    pipeline.to(torch.float16).save_pretrained(build.tiny_sana)
    for config in build.tiny_sana.glob("*/config.json"):
        _forget_origin(config)
    write_bytes(build.tiny_sana / "training.json", json.dumps(runs, indent=1).encode())


def build_clip(build: Workspace) -> None:
    """Train the small CLIP and write its card."""
    from sana_bench.tiny.clip_training import train_clip

    train_clip(build.training(), load_manifest("openpeople:reference", build.store), build.tokenizer_folder, build.work / "clip",
               build.clip, total_steps=CLIP_STEPS)


def write_card(build: Workspace) -> None:
    """Measure tiny-sana and write its model card."""
    from sana_bench.tiny.card import write_card as write

    write(build)


STAGES: dict[str, Callable[[Workspace], None]] = {
    "data": build_data, "autoencoder": build_autoencoder, "latents": build_latents, "tokenizer": build_tokenizer,
    "transformer": build_transformer, "assemble": assemble, "clip": build_clip, "card": write_card}

TRAININGS = ("autoencoder", "transformer")
"""Stages that `--refine`, `--steps` and `--learning-rate` are about."""


def _forget_origin(config: Path) -> None:
    """Drop the folder that a part was loaded from: a path of the building machine says nothing to anybody else."""
    values = json.loads(config.read_text())
    values.pop("_name_or_path", None)
    write_bytes(config, (json.dumps(values, indent=2, sort_keys=True) + "\n").encode())


def _load_vae(folder: Path):
    import torch
    from diffusers import AutoencoderDC

    return AutoencoderDC.from_pretrained(folder, dtype=torch.float32).eval()


def _load_modules(build: Workspace):
    """Transformer and text encoder of the finished weights, as they are trained."""
    import torch
    from diffusers import SanaTransformer2DModel
    from transformers import Gemma2Model

    needed(build.tiny_sana / "transformer", "assemble")
    parts = {"transformer": SanaTransformer2DModel.from_pretrained(build.tiny_sana / "transformer", dtype=torch.float32),
             "text_encoder": Gemma2Model.from_pretrained(build.tiny_sana / "text_encoder", dtype=torch.float32, attn_implementation="eager")}
    return torch.nn.ModuleDict(parts)


def _latents(build: Workspace) -> LatentCache:
    return LatentCache(pictures_of(build.training()), AugmentSection(), build.store, _vae_identity(build))


def _draws(build: Workspace, side: int) -> list[Draw]:
    """Every training picture as a square, untouched."""
    return [Draw(index, 0, side, side) for index in range(len(build.training().rows))]


def _vae_identity(build: Workspace) -> str:
    return "tiny/" + sha256_cached(build.vae / "diffusion_pytorch_model.safetensors")


def _start(build: Workspace, folder: Path) -> str:
    """What names the weights that a training starts from."""
    return sha256_cached(folder / "diffusion_pytorch_model.safetensors") if build.course.refine else "random"


def _view(manifest: Manifest, row):
    from PIL import Image

    from sana_bench.data.views import fit_view

    return fit_view(Image.open(manifest.folder / row.file_name).convert("RGB"), RESOLUTION, RESOLUTION, fit=row.fit, focus_y=row.focus_y)
