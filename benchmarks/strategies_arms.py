"""The arms of the study of training strategies (strategies.py): what each changes of the reference arm, and the photographs they train on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sana_bench.config import RunConfig, load_config
from sana_bench.data.manifest import Manifest
from sana_bench.store import write_bytes

RECIPE = Path(__file__).with_name("strategies.toml")
SUITE = Path(__file__).with_name("strategies_prompts.toml")

REFERENCE = "lora"
"""The arm that the others are held against."""

SOURCES = {"portraits": ("studio_portrait", "amateur_selfie"), "bodies": ("studio_posture", "amateur_posture")}
"""Kinds of OpenPeople's photographs, those of seven people each. What is to be learned are `portraits`; `bodies` stand for the general images of a
mixed training: the base knows them, and a fine-tune on portraits alone could forget them. No package has photographs without people, and
tiny-sana, which never saw any, has nothing there that it could forget."""

MIX_SHARE = 0.5
FULL_LEARNING_RATE, FULL_MAX_GRAD_NORM = 2e-4, 0.1
FACE_WEIGHT, HAND_WEIGHT = 5, 10
CROP_SHARE = 0.3
NUM_VIEWS, ROTATION, CROP = 4, 5, 0.1


@dataclass(frozen=True)
class Arm:
    """One way to train."""

    name: str
    title: str
    """What it does, in a few words."""
    overrides: tuple[str, ...]
    """What it changes of the reference arm, as `--set` takes it."""


def common_settings(side: int, steps: int, sources: Mapping[str, Path]) -> tuple[str, ...]:
    """What the command line decides for all arms, as `--set` takes it.

    Args:
        side: of the images trained on and drawn, in pixels.
        sources: folders of `write_sources`.
    """
    training, bodies = (json.dumps(str(sources[name])) for name in ("portraits", "bodies"))
    return (f"score.suite={json.dumps(str(SUITE))}", f"data.training={training}", f"data.mix=[{{source = {bodies}, share = {MIX_SHARE}}}]",
            f"train.max_train_steps={steps}", *(f"{key}={side}" for key in ("train.resolution", "generate.width", "generate.height")))


def arms_of(reference: RunConfig) -> dict[str, Arm]:
    """All arms by name, the reference first. Each sees as many samples."""
    train = reference.train
    early, low_side = train.max_train_steps // 2, train.resolution // 2
    low_stage = (f"{{resolution = {low_side}, max_train_steps = {early}, train_batch_size = {train.train_batch_size}, "
                 f"gradient_accumulation_steps = {train.gradient_accumulation_steps}, learning_rate = {train.learning_rate}}}")
    arms = [
        Arm(REFERENCE, f"LoRA on all layers; {MIX_SHARE:.0%} of the samples are full bodies", ()),
        Arm("full", "full rank", ("train.trainer=full", f"train.learning_rate={FULL_LEARNING_RATE}", f"train.max_grad_norm={FULL_MAX_GRAD_NORM}")),
        Arm("regions", f"the loss counts {FACE_WEIGHT} times in faces and {HAND_WEIGHT} times in hands",
            (f"train.regions.face_weight={FACE_WEIGHT}", f"train.regions.hand_weight={HAND_WEIGHT}")),
        Arm("crops", f"{CROP_SHARE:.0%} of the samples are zoomed crops of faces and hands", (f"train.regions.crop_share={CROP_SHARE}",)),
        Arm("unmixed", "portraits alone, no full bodies mixed in", ("data.mix=[]",)),
        Arm("progressive", f"the first half of the steps at {low_side} px",
            (f"train.earlier_stage=[{low_stage}]", f"train.max_train_steps={train.max_train_steps - early}")),
        Arm("augmented", f"{NUM_VIEWS} views of each image: mirrored, turned by up to {ROTATION} degrees, cut by up to {CROP:.0%}",
            (f"train.augment.num_views={NUM_VIEWS}", f"train.augment.rotation={ROTATION}", f"train.augment.crop={CROP}")),
    ]
    return {arm.name: arm for arm in arms}


def config_with(*overrides: str) -> RunConfig:
    """The recipe with `--set` overrides.

    Raises:
        ConfigError: one of them cannot be used.
    """
    return load_config(str(RECIPE), overrides)


def changes(config: RunConfig, reference: RunConfig) -> dict[str, object]:
    """Settings of `config` that are others in `reference`, by `section.key`."""
    own, others = (_flat(each.model_dump(mode="json")) for each in (config, reference))
    return {key: value for key, value in own.items() if value != others[key]}


def _flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def write_sources(photographs: Manifest, folder: Path) -> dict[str, Path]:
    """An imagefolder of each of SOURCES, copied from OpenPeople's photographs; one that is there already is left alone."""
    folders = {}
    for name, kinds in SOURCES.items():
        rows = [row for row in photographs.rows if row.kind in kinds]
        folders[name] = source = folder / photographs.digest / name
        if not (source / "metadata.jsonl").exists():
            for row in rows:
                write_bytes(source / row.file_name, (photographs.folder / row.file_name).read_bytes())
            write_bytes(source / "metadata.jsonl", "".join(f"{row.model_dump_json()}\n" for row in rows).encode())
    return folders
