"""Build tiny-sana and its small CLIP from OpenPeople's training people: seeded, resumable, stage by stage.

    data -> autoencoder -> latents -> tokenizer -> transformer -> assemble -> clip -> card

Every stage keeps what it needs in the work folder as it goes, so that the same command goes on after a kill. On two CPU
cores without AMX the autoencoder takes about an hour and a half and the transformer six and a half hours.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from sana_bench.data.manifest import Manifest, load_manifest
from sana_bench.errors import ConfigError
from sana_bench.file_hashes import sha256_cached
from sana_bench.locks import locked
from sana_bench.registry import near_names
from sana_bench.store import digest_of, sha256_file, write_bytes
from sana_bench.tiny.workspace import SHIPPED_WEIGHTS, Workspace, needed

AUTOENCODER_STEPS = 4000
TRANSFORMER_STEPS = 7400
CLIP_STEPS = 600
RESOLUTION = 2048


def build_tiny(work_folder: Path, out_folder: Path | None = None, stages: tuple[str, ...] = ()) -> None:
    """Run the given stages (all, in order, when none is named).

    Args:
        work_folder: training states, latents and full-precision weights; may be deleted afterwards.
        out_folder: receives `tiny-sana/`, `tokenizer/` and `clip/`; the package's own folder by default.

    Raises:
        ConfigError: an unknown stage, or one whose predecessor has not been run.
    """
    unknown = [name for name in stages if name not in STAGES]
    if unknown:
        raise ConfigError(f'unknown stage "{unknown[0]}".{near_names(unknown[0], list(STAGES))} Stages: {", ".join(STAGES)}')
    build = Workspace(work_folder, out_folder or SHIPPED_WEIGHTS)
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

    manifest = build.training()
    paths = [manifest.folder / row.file_name for row in manifest.rows]
    identity = digest_of(["autoencoder", manifest.digest, AUTOENCODER_STEPS, *autoencoder.IDENTITY])
    model, losses = autoencoder.train_autoencoder(paths, build.work / "autoencoder", total_steps=AUTOENCODER_STEPS, identity=identity)
    views = [_view(manifest, row) for row in manifest.rows if row.kind.startswith(("studio_", "amateur_"))]
    autoencoder.normalise_latents(model, views).save_pretrained(build.work / "vae")
    _write_losses(build, "autoencoder", losses)


def build_latents(build: Workspace) -> None:
    """Encode every training picture at both view sizes, in bfloat16, as the autoencoder was trained."""
    import torch

    from sana_bench.data.latents import cached_latents
    from sana_bench.tiny.transformer import BATCH_SIZES

    vae = _load_vae(build).to(torch.bfloat16)
    for side in BATCH_SIZES:
        cached_latents(build.training(), vae, vae_identity=_vae_identity(build), resolution=side, store=build.store)


def build_tokenizer(build: Workspace) -> None:
    """Train the tokenizer that Gemma and the CLIP text tower share."""
    from sana_bench.tiny.tokenizer import train_tokenizer

    train_tokenizer([row.text for row in build.training().rows], build.tokenizer_folder)


def build_transformer(build: Workspace) -> None:
    """Train transformer and text encoder on the cached latents."""
    import torch
    from safetensors.torch import save_file

    from sana_bench.data.latents import cached_latents, read_latents
    from sana_bench.tiny import transformer

    manifest = build.training()
    latents = {}
    for side in transformer.BATCH_SIZES:
        files = cached_latents(manifest, None, vae_identity=_vae_identity(build), resolution=side, store=build.store)
        latents[side] = torch.stack([read_latents(path) for path in files])
    identity = digest_of(["transformer", manifest.digest, _vae_identity(build), TRANSFORMER_STEPS, *transformer.IDENTITY,
                          sha256_file(build.tokenizer_folder / "tokenizer.json")])
    modules, losses = transformer.train_transformer(latents, [row.text for row in manifest.rows], [row.kind for row in manifest.rows],
                                                    build.tokenizer(), build.work / "transformer", total_steps=TRANSFORMER_STEPS,
                                                    identity=identity)
    save_file({name: value.contiguous() for name, value in modules.state_dict().items()}, build.work / "transformer.safetensors")
    _write_losses(build, "transformer", losses)


def assemble(build: Workspace) -> None:
    """Put the trained parts together as a SanaPipeline in half precision."""
    import torch
    from diffusers import SanaPipeline
    from safetensors.torch import load_file

    from sana_bench.config import GenerateSection
    from sana_bench.generation.sampling import build_scheduler
    from sana_bench.tiny import transformer

    tokenizer = build.tokenizer()
    modules = transformer.build_modules(tokenizer)
    modules.load_state_dict(load_file(needed(build.work / "transformer.safetensors", "transformer")))
    pipeline = SanaPipeline(tokenizer=tokenizer, text_encoder=modules["text_encoder"], vae=_load_vae(build),
                            transformer=modules["transformer"], scheduler=build_scheduler(GenerateSection()))
    pipeline.to(torch.float16).save_pretrained(build.tiny_sana)
    for config in build.tiny_sana.glob("*/config.json"):
        _forget_origin(config)


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


def _forget_origin(config: Path) -> None:
    """Drop the folder that a part was loaded from: a path of the building machine says nothing to anybody else."""
    values = json.loads(config.read_text())
    values.pop("_name_or_path", None)
    write_bytes(config, (json.dumps(values, indent=2, sort_keys=True) + "\n").encode())


def _load_vae(build: Workspace):
    from diffusers import AutoencoderDC

    return AutoencoderDC.from_pretrained(needed(build.work / "vae", "autoencoder")).eval()


def _vae_identity(build: Workspace) -> str:
    return "tiny/" + sha256_cached(needed(build.work / "vae" / "diffusion_pytorch_model.safetensors", "autoencoder"))


def _view(manifest: Manifest, row):
    from PIL import Image

    from sana_bench.data.views import fit_view

    return fit_view(Image.open(manifest.folder / row.file_name).convert("RGB"), RESOLUTION, RESOLUTION, fit=row.fit, focus_y=row.focus_y)


def _write_losses(build: Workspace, name: str, losses: list[float]) -> None:
    write_bytes(build.work / f"{name}_losses.json", json.dumps([round(loss, 5) for loss in losses]).encode())
