"""What a run needs, before a GPU is rented for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.commands import LOOK, command
from sana_bench.commands.settings import config_arguments, config_of
from sana_bench.console import Reply, Table
from sana_bench.usage import Arguments, Parser, UsageError

if TYPE_CHECKING:
    from sana_bench.plan.fit import Fit
    from sana_bench.plan.plan import Phase, Plan

BAR = 30
"""Characters of a bar as long as the card's memory."""


def _plan_arguments(parser: Parser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", help="the same as --config RECIPE")
    config_arguments(parser)
    parser.add_argument("--card", metavar="CARD", help="h200, h100, a100-80, a100-40, l40s, 4090, ... (default: h100)")
    parser.add_argument("--memory", metavar="SIZE", help="of a card that is not known, such as 24GiB or 80GB")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the memory of all phases, as .svg or .png")


@command("plan", LOOK, _plan_arguments, "sana-bench plan", "sana-bench plan sana_1600m_2k_lora --card l40s",
         "sana-bench plan sana_1600m_2k_lora --memory 24GiB --set train.trainer=full --plot plan.svg", "sana-bench plan my_recipe.toml --json")
def run_plan(arguments: Arguments) -> Reply:
    """say what memory, disk and images a run needs, before a GPU is rented for it

    The real modules run without weights, on any machine in a minute or a few, and every byte is counted: memory by part for each phase on one card, the
    largest batch that fits with the accumulation that keeps the samples of a step, and settings that make a recipe fit. Of the base only config
    files are fetched. Beside the tensors a gibibyte and 5 % are set aside for CUDA itself.
    """
    from sana_bench.plan.cards import DEFAULT_CARD, card_of_memory, find_card
    from sana_bench.plan.plan import make_plan
    from sana_bench.plan.plot import draw_plan
    from sana_bench.power_plot import check_ending

    if arguments.recipe and arguments.config:
        raise UsageError(f"give the recipe once, as {arguments.recipe} or with --config")
    arguments.config = arguments.recipe or arguments.config
    if arguments.plot:
        check_ending(arguments.plot)
    if arguments.card and arguments.memory:
        raise UsageError("give either --card or --memory")
    card = card_of_memory(arguments.memory) if arguments.memory else find_card(arguments.card or DEFAULT_CARD)
    plan = make_plan(config_of(arguments), card)
    if arguments.plot:
        draw_plan(plan, arguments.plot)
    return Reply(_document(plan) | {"plot": str(arguments.plot.resolve()) if arguments.plot else None},
                 [*_text(plan), *([f"plot: {arguments.plot}"] if arguments.plot else [])])


def _text(plan: Plan) -> list[str | Table]:
    trained = f"; trained: {plan.trained:,} ({plan.trained / plan.parameters:.2%})" if plan.trained else "; nothing is trained here"
    return [f"base: {plan.base}", f"transformer: {plan.parameters:,} parameters{trained}",
            Table(("phase", "part", "GiB", f"of {plan.card.name}, {_gib(plan.card.memory)} GiB"), [row for phase in plan.phases for row in _rows(plan, phase)]),
            f"most memory: {plan.largest.name}, {_gib(plan.largest.peak + plan.card.margin(plan.largest.peak))} GiB", *_advice(plan),
            Table(("disk", "files", "GB"), [(need.what, f"{need.number:,}", f"{need.size / 1e9:.3g}") for need in plan.disk]),
            f"disk in all: {sum(need.size for need in plan.disk) / 1e9:.3g} GB",
            Table(("images to draw", "of", "number"), [(each.suite, each.of, f"{each.number:,}") for each in plan.images]), *_duration(plan)]


def _rows(plan: Plan, phase: Phase) -> list[tuple[str, ...]]:
    """A bar for each part, shifted by those before it."""
    from sana_bench.plan.plot import MARGIN

    rows, before = [], 0
    for part, size in [*phase.parts.items(), (MARGIN, plan.card.margin(phase.peak))]:
        start, end = round(BAR * before / plan.card.memory), round(BAR * (before + size) / plan.card.memory)
        rows.append(("" if rows else phase.name, part, _gib(size), " " * start + "█" * (end - start)))
        before += size
    verdict = "fits" if plan.fits(phase) else "DOES NOT FIT"
    return [*rows, ("", "together", _gib(before), verdict)]


def _advice(plan: Plan) -> list[str]:
    lines = []
    if plan.fit:
        lines = [f"training fits {'as it is' if plan.fit.is_recipe else f'with {_settings(plan.fit)}'}; no larger batch that keeps the samples of a step does"]
    if plan.trained and not plan.fit:
        lines = [f"no known setting makes this training fit {plan.card.name}: take a card with more memory, a lower resolution or fewer trained parameters"]
    return [*lines, *(f"try --set {remedy} for what does not fit" for remedy in plan.remedies)]


def _settings(fit: Fit) -> str:
    """As options of the command line; settings of earlier stages can only be written into the recipe."""
    *earlier, last = fit.stages
    batch = [f"train.train_batch_size={last.train_batch_size}", f"train.gradient_accumulation_steps={last.gradient_accumulation_steps}"]
    options = " ".join(f"--set {each}" for each in (*fit.changes, *batch))
    stages = [f"; in [[train.earlier_stage]] {number} train_batch_size = {stage.train_batch_size}, gradient_accumulation_steps = "
              f"{stage.gradient_accumulation_steps}" for number, stage in enumerate(earlier, 1)]
    return options + "".join(stages)


def _duration(plan: Plan) -> list[str]:
    from sana_bench.plan.plan import UTILISATION

    if plan.draw_hours is None:
        return []
    training = f"training {_about(plan.train_hours)}, " if plan.train_hours is not None else ""
    return [f"estimate, not measured, at {UTILISATION:.0%} of the card's bfloat16 speed: {training}denoising {_about(plan.draw_hours)}; encoding, decoding "
            f"and scoring are not in it"]


def _about(hours: float) -> str:
    return f"{hours:.2g} h" if hours >= 0.1 else "under 0.1 h"


def _gib(size: int) -> str:
    from sana_bench.plan.cards import GIB

    return f"{size / GIB:.2f}"


def _document(plan: Plan) -> dict:
    from dataclasses import asdict

    fit = plan.fit
    return {"base": plan.base, "card": {"name": plan.card.name, "memory": plan.card.memory, "usable": plan.card.usable}, "parameters": plan.parameters,
            "trained_parameters": plan.trained,
            "phases": [{"name": phase.name, "parts": phase.parts, "peak": phase.peak, "margin": plan.card.margin(phase.peak), "fits": plan.fits(phase)}
                       for phase in plan.phases],
            "largest_phase": plan.largest.name,
            "fit": {"settings": list(fit.changes), "stages": [stage.model_dump() for stage in fit.stages]} if fit else None,
            "remedies": plan.remedies, "disk": [asdict(need) for need in plan.disk], "images": [asdict(each) for each in plan.images],
            "train_hours_estimate": plan.train_hours, "draw_hours_estimate": plan.draw_hours}
