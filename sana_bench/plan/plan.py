"""A recipe and a card -> what the run needs, and which settings make it fit."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from sana_bench.config import RunConfig
from sana_bench.plan.architecture import Architecture, read_architecture
from sana_bench.plan.cards import Card
from sana_bench.plan.fit import Fit, find_fit
from sana_bench.plan.inference_phases import CAPTIONS, DECODE, DENOISE, PICTURES, InferenceMemory, drawing_memory, encoding_memory
from sana_bench.plan.needs import Drawn, Need, base_files, cache_files, image_files, images_to_draw, training_files
from sana_bench.plan.trainee import PREPARE, build_trainee
from sana_bench.plan.training_phase import StepMemory, step_memory
from sana_bench.processes import check_processes
from sana_bench.progress import progress
from sana_bench.store import Store
from sana_bench.train_config import StageSection
from sana_bench.training import TRAINERS

UTILISATION = 0.17
"""Share of a card's dense bfloat16 speed that a rough duration assumes. One H100 did 16 % in LoRA steps of Sana 1.6B at 2048 px, batch 1 (0.138 s), and 18 % over
whole images of 20 steps with guidance, text and decoding among them (2.5 s). Larger batches and compiled blocks do more; other cards were not measured."""
REMEDIES = {CAPTIONS: ("model.text_encoder_dtype=bfloat16",), PICTURES: ("model.vae_dtype=bfloat16",), DENOISE: ("generate.batch_size=1",),
            DECODE: ("generate.batch_size=1", "generate.vae_tile_size=1024")}
"""What takes less in a phase that does not fit."""


@dataclass(frozen=True)
class Phase:
    """A part of the run, and what is on the device when most is."""

    name: str
    parts: dict[str, int]
    """Bytes by part."""

    @property
    def peak(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Plan:
    """What a run needs."""

    base: str
    """The base, and where its configs are from."""
    card: Card
    parameters: int
    """Of the base's transformer."""
    trained: int
    phases: list[Phase]
    fit: Fit | None
    """How its training fits the card; None where nothing is trained here, or where no setting that is known makes it fit."""
    remedies: list[str]
    """What to try for other phases that do not fit."""
    disk: list[Need]
    images: list[Drawn]
    train_hours: float | None
    """On one card, of the fitted settings; None where the card's speed is not known."""
    draw_hours: float | None

    @property
    def largest(self) -> Phase:
        return max(self.phases, key=lambda phase: phase.peak)

    def fits(self, phase: Phase) -> bool:
        return phase.peak <= self.card.usable


def make_plan(config: RunConfig, card: Card) -> Plan:
    """Simulate all phases of a run on a card.

    Raises:
        SanaBenchError: base, data or suite cannot be used, or the recipe asks for what the base cannot do.
    """
    drawn, is_trained = images_to_draw(config), TRAINERS.get(config.train.trainer).name in PREPARE
    if is_trained:
        check_processes(config.train)
    architecture, store = read_architecture(config.model), Store(config.run.store)
    transformer = build_trainee(architecture, config) if is_trained else None
    disk = _disk(architecture, config, store, transformer, drawn)  # before what takes long: it finds out whether the data can be used
    step = functools.cache(lambda settings, stage: step_memory(architecture, settings, stage, cuda=True))
    with progress("simulate the run without weights", 3) as tracker:
        drawing = drawing_memory(architecture, config, cuda=True)
        tracker.advance("drawing")
        encoding = encoding_memory(architecture, config, cuda=True) if is_trained else []
        tracker.advance("encoding")
        training = [Phase(_stage_name(config, stage), step(config, stage).parts) for stage in config.train.stages] if is_trained else []
        fit = find_fit(config, card.usable, lambda settings, stage: step(settings, stage).peak) if is_trained else None
        tracker.advance("training")
    phases = [*(Phase(each.name, each.parts) for each in encoding), *training, *(Phase(each.name, each.parts) for each in drawing)]
    return Plan(
        base=architecture.origin, card=card, parameters=_num_parameters(architecture, config), phases=phases, fit=fit,
        trained=sum(each.numel() for each in transformer.parameters() if each.requires_grad) if transformer else 0,
        remedies=[remedy for phase in phases if phase.peak > card.usable for remedy in REMEDIES.get(phase.name, ()) if not _is_set(config, remedy)],
        disk=disk, images=drawn,
        train_hours=_hours(card, _training_flops(fit, step)) if fit else None, draw_hours=_hours(card, _drawing_flops(config, drawing, drawn)))


def _stage_name(config: RunConfig, stage: StageSection) -> str:
    checkpointed = ", gradient checkpointing" if config.train.gradient_checkpointing else ""
    return f"train at {stage.resolution} px, batch {stage.train_batch_size}{checkpointed}"


def _num_parameters(architecture: Architecture, config: RunConfig) -> int:
    import torch

    from sana_bench.plan.weightless import on_meta

    with on_meta(torch.float32):
        return sum(parameter.numel() for parameter in architecture.build("transformer", torch.float32).parameters())


def _disk(architecture: Architecture, config: RunConfig, store: Store, transformer, drawn: list[Drawn]) -> list[Need]:
    training = [*cache_files(architecture, config, store), *training_files(transformer, config)] if transformer else []
    return [*base_files(architecture, config), *training, image_files(config, drawn)]


def _is_set(config: RunConfig, setting: str) -> bool:
    key, _, value = setting.partition("=")
    section, _, name = key.partition(".")
    return str(getattr(getattr(config, section), name)) == value


def _training_flops(fit: Fit, step) -> int:
    """Of one process, over all seeds."""
    memories: list[tuple[StageSection, StepMemory]] = [(stage, step(fit.config, stage)) for stage in fit.stages]
    return fit.config.train.num_seeds * sum(memory.flops * stage.gradient_accumulation_steps * stage.max_train_steps for stage, memory in memories)


def _drawing_flops(config: RunConfig, drawing: list[InferenceMemory], drawn: list[Drawn]) -> int:
    return sum(each.flops for each in drawing) * config.generate.num_inference_steps * sum(each.number for each in drawn)


def _hours(card: Card, flops: int) -> float | None:
    return flops / (card.tflops * 1e12 * UTILISATION) / 3600 if card.tflops else None
