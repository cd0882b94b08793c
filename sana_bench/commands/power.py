"""How large the next run must be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.commands import LOOK, command
from sana_bench.commands.settings import config_arguments, config_of, recorded_config
from sana_bench.console import MISSING, Reply, Table, number, printable
from sana_bench.usage import Arguments, Parser

if TYPE_CHECKING:
    from sana_bench.power import Design
    from sana_bench.power_plan import MetricPlan, PowerPlan


def _power_arguments(parser: Parser) -> None:
    parser.add_argument("--suite", metavar="SUITE", default="", help="the suite to draw (default: the pilot's; the recipe's where no pilot is named)")
    parser.add_argument("--metric", metavar="METRIC", action="append", default=[], dest="metrics", help="may be given many times (default: all that may decide)")
    parser.add_argument("--effect", metavar="E", type=float, help="true loss to find, in the unit of the metric (default: twice its budget)")
    parser.add_argument("--power", metavar="SHARE", type=float, default=0.8, help="in this share of runs (default: 0.8)")
    parser.add_argument("--pilot", metavar="RUN_DIR", type=Path, help="a run folder, a result or a baseline (default: the newest run on the suite in the "
                        "reports folder that shows how two variants differ, else the accepted baseline)")
    parser.add_argument("--num-gates", metavar="M", type=int, help="verdicts that decide together (default: the recipe's gates, or all metrics that may "
                        "decide)")
    parser.add_argument("--correlation", metavar="RHO", type=float, help="of both sides' values, where the pilot is one side alone (default: 0)")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the power against the number of prompts, as .svg or .png")
    config_arguments(parser)


@command("power", LOOK, _power_arguments, "sana-bench power", "sana-bench power --suite human_core --metric hand_plausibility --effect 0.05",
         "sana-bench power --pilot reports/RUN --metric face_rate --power 0.9 --plot power.svg", "sana-bench power --config my_recipe.toml --json")
def run_power(arguments: Arguments) -> Reply:
    """say how many prompts and images the next run needs, from a pilot

    A verdict of few prompts finds large losses only. From the spread between the pairs of a run that exists, this tells for every metric the
    smallest loss that the suite would find, and the prompts that it takes to find a loss of a given size, and to exclude one beyond the
    budget where nothing changed; with two or more images of each prompt in the pilot also how many images of each are best. The
    gates and budgets are those of --config and --set where they are given, and the pilot's own otherwise.
    """
    from sana_bench.pilot import open_pilot
    from sana_bench.power_plan import PowerRequest, choose_pilot, plan_power
    from sana_bench.power_plot import check_ending, draw_power
    from sana_bench.prompts import load_suite

    if arguments.plot:
        check_ending(arguments.plot)
    request = PowerRequest(tuple(arguments.metrics), arguments.effect, arguments.power, arguments.correlation, arguments.num_gates)
    request.check()
    config, named = config_of(arguments), bool(arguments.config or arguments.overrides)
    suite = load_suite(arguments.suite or config.score.suite) if arguments.suite or not arguments.pilot else None
    folder = arguments.pilot or choose_pilot(config, suite.name, config.name if arguments.config else "")
    plan = plan_power(request, open_pilot(folder, suite.name if suite else ""), config if named else recorded_config(folder), suite)
    if arguments.plot:
        draw_power(plan, arguments.plot)
    return Reply(_document(plan, arguments.plot), _text(plan, arguments.plot, bool(arguments.metrics)))


def _text(plan: PowerPlan, plot: Path | None, in_detail: bool) -> list[str | Table]:
    """Names and reasons come from records, so nothing in them steers a terminal."""
    run, shown = plan.run, plan.metrics
    sides = "two variants in pairs" if run.before else "one side alone"
    pilot = f"{run.after.result.suite}, {run.num_prompts} prompts x {run.num_images_per_prompt}, {sides}"
    header = ("metric", "unit", "budget", "SD by prompt", "smallest loss found now", "loss to find", "found now", "prompts to find it",
              "prompts to exclude a loss")
    text = [f"pilot: {run.folder} ({pilot})", f"to draw: {plan.suite}, {plan.num_prompts} prompts; wanted: {plan.power:.0%} of runs",
            Table(header, [_row(plan, metric) for metric in shown]), *(f"{name} is left out: {reason}" for name, reason in plan.left_out.items())]
    if in_detail:
        text += [part for metric in shown for part in _detail(plan, metric)]
    elif len(shown) > 1:
        neediest = max(shown, key=lambda metric: _order(plan.cheapest(metric.find)))
        text.append(f"{neediest.result.metric} needs most, {plan.advice(neediest.find)}")
    text += [*(f"note: {note}" for note in plan.notes), *([f"plot: {plot}"] if plot else [])]
    return [printable(part) if isinstance(part, str) else Table(part.header, [tuple(map(printable, row)) for row in part.rows]) for part in text]


def _row(plan: PowerPlan, metric: MetricPlan) -> tuple[str, ...]:
    return (metric.result.metric, metric.result.unit, number(metric.rule.budget), number(metric.pilot.variance(plan.run.num_images_per_prompt) ** 0.5),
            number(metric.smallest_effect), number(metric.effect), f"{plan.chance_now(metric):.0%}", _prompts(plan.cheapest(metric.find)),
            _prompts(plan.cheapest(metric.exclude)) if metric.exclude else MISSING)


def _detail(plan: PowerPlan, metric: MetricPlan) -> list[str | Table]:
    """Every number of images a prompt that is worth while, and what to do."""
    spread, unit = metric.pilot.spread, metric.result.unit
    apart = (f"; SD between prompts {spread.by_prompt ** 0.5:.3g}, between images of a prompt {spread.by_image ** 0.5:.3g} {unit}".rstrip()
             if spread.by_image is not None else "")
    rows = [(what, str(each.num_images_per_prompt), _prompts(each), number(each.num_images), "yes" if each.fits(plan.num_prompts) else "no")
            for what, frontier in (("find", metric.find), ("exclude", metric.exclude)) for each in frontier]
    return [f"{metric.result.metric}{apart}:", Table(("to", "images a prompt", "prompts", "images a side", f"{plan.suite} has them"), rows),
            f"  to find a loss of {metric.effect:.3g} {unit}".rstrip() + f": {plan.advice(metric.find)}",
            *([f"  to exclude a loss beyond {metric.rule.budget:.3g} {unit}".rstrip() + f" where nothing changed: {plan.advice(metric.exclude)}"]
              if metric.exclude else [])]


def _prompts(design: Design) -> str:
    """`61 (38 to 120)`, and of how many images each where it is not one."""
    each = f" x {design.num_images_per_prompt}" if design.num_images_per_prompt > 1 else ""
    return f"{_count(design.num_prompts)}{each} ({_count(design.low)} to {_count(design.high)})"


def _count(number_of_prompts: int | None) -> str:
    from sana_bench.sensitivity import MAX_PROMPTS

    return f">{MAX_PROMPTS}" if number_of_prompts is None else str(number_of_prompts)


def _order(design: Design) -> float:
    return float("inf") if design.num_images is None else design.num_images


def _document(plan: PowerPlan, plot: Path | None) -> dict:
    run = plan.run
    return {"pilot": {"folder": str(run.folder.resolve()), "suite": run.after.result.suite, "paired": run.before is not None, "num_prompts": run.num_prompts,
                      "num_images_per_prompt": run.num_images_per_prompt},
            "suite": plan.suite, "num_prompts": plan.num_prompts, "power": plan.power, "num_gates": plan.num_gates,
            "metrics": [_metric_document(plan, metric) for metric in plan.metrics], "left_out": plan.left_out, "notes": plan.notes,
            "plot": str(plot.resolve()) if plot else None}


def _metric_document(plan: PowerPlan, metric: MetricPlan) -> dict:
    def frontier(designs: list[Design]) -> list[dict]:
        return [{"num_images_per_prompt": each.num_images_per_prompt, "num_prompts": each.num_prompts, "num_prompts_low": each.low,
                 "num_prompts_high": each.high, "num_images": each.num_images, "fits": each.fits(plan.num_prompts)} for each in designs]

    spread = metric.pilot.spread
    return {"metric": metric.result.metric, "unit": metric.result.unit, "budget": metric.rule.budget, "effect": metric.effect, "alpha": metric.rule.alpha,
            "confidence": metric.rule.confidence, "sd_by_prompt": metric.pilot.variance(plan.run.num_images_per_prompt) ** 0.5,
            "sd_between_prompts": spread.by_prompt ** 0.5 if metric.pilot.told_apart else None,
            "sd_between_images": None if spread.by_image is None else spread.by_image ** 0.5, "share_of_prompts": metric.pilot.share_of_prompts,
            "smallest_detectable_effect": metric.smallest_effect, "power_now": plan.chance_now(metric),
            "find": frontier(metric.find), "exclude": frontier(metric.exclude), "advice": plan.advice(metric.find)}
