"""What the numbers are: the metrics, their cards, and the test that holds them to what they claim."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.commands import LOOK, command
from sana_bench.commands.settings import config_arguments, config_of
from sana_bench.console import Reply, Table
from sana_bench.usage import Arguments, Parser, one_of

if TYPE_CHECKING:
    from sana_bench.cards import MetricCard
    from sana_bench.selftest.response import Response
    from sana_bench.selftest.results import MetricSelfTest


def _metrics_arguments(parser: Parser) -> None:
    parser.add_argument("action", metavar="list|show", type=one_of("list", "show"))
    parser.add_argument("names", metavar="METRIC", nargs="*", help="only these (default: all that are registered)")


def _selftest_arguments(parser: Parser) -> None:
    parser.add_argument("names", metavar="METRIC", nargs="*", help="only these (default: all whose weights need not be pulled by name)")
    parser.add_argument("--out", metavar="FILE", type=Path, help="where the results go (default: selftest.json in the cache folder)")
    config_arguments(parser)


@command("metrics", LOOK, _metrics_arguments, "sana-bench metrics list", "sana-bench metrics show hand_plausibility",
         "sana-bench metrics show fd_efficientnet_lite0 --json", "sana-bench metrics show kid_inception_v3")
def run_metrics(arguments: Arguments) -> Reply:
    """list the metrics, or show their cards

    A card says what a metric measures and how, with its formula and source, what it did in its self-test, what it is blind to, what it
    costs, and what it must not be used for. A metric that has no passed self-test decides nothing. The usual ones are measured where
    a run names none; score.metrics and score.extra_metrics name others.

    Distances between sets and CLIP scores are metrics on any extractor, whether or not they are listed: kid_inception_v3,
    fd_clip_vit_b_32_laion2b_s34b_b79k, clip_score_vit_b_32_openai. Any CLIP that open_clip can build is one, by architecture and tag, or a
    model of your own that the recipe declares with [[score.clip_model]].
    """
    from sana_bench.cards import cards
    from sana_bench.metrics import METRICS
    from sana_bench.metrics.learned_rewards import LEFT_OUT

    found = cards(tuple(arguments.names))
    document = [card.model_dump(mode="json") for card in found]
    if arguments.action == "list":
        rows = [(card.name, str(card.version), "higher" if card.higher_is_better else "lower", card.unit, card.extractor,
                 "yes" if card.judges else "no", "yes" if card.usual else "", card.explanation) for card in found]
        families = [f"{prefix}_...: {family.explanation}" for prefix, family in METRICS.families().items()]
        left_out = [f"{name} is left out: {reason}" for name, reason in LEFT_OUT.items()]
        return Reply(document, [Table(("metric", "version", "better", "unit", "extractor", "judges", "usual", "what it measures"), rows),
                                *([] if arguments.names else ["", "and on any extractor:", *families, "", *left_out])])
    return Reply(document, [part for card in found for part in _card_text(card)])


@command("selftest", LOOK, _selftest_arguments, "sana-bench selftest", "sana-bench selftest hand_plausibility face_plausibility",
         "sana-bench selftest --json > selftest.json")
def run_selftest(arguments: Arguments) -> Reply:
    """feed every metric graded damage of real photographs

    Does it move, the right way, from dose to dose, from which dose on, how well does it tell damaged from whole (AUC, 0.5 is
    chance), and what is it blind to? Kinds of damage that a metric has learned from are not in it, nor are the people, but where groups
    of people are compared, whose rows say so. The first time it takes about half an hour; what was looked at is kept, but for features
    of faces, and later it takes a quarter of an hour.

    A metric that asks a service, such as vlm_preference_hands, is tested only where it is named: it sends the photographs and their damaged
    copies, of synthetic people all, to the endpoint that you have set, some hundreds of times.
    """
    from sana_bench.features.open_clip_models import declare
    from sana_bench.models import resolve_device
    from sana_bench.selftest.facts import measure_facts
    from sana_bench.selftest.results import own_file, read_selftest, save_selftest
    from sana_bench.selftest.run import run_selftest
    from sana_bench.store import Store

    config = config_of(arguments)
    declare(config.score.clip_model)
    store, path = Store(config.run.store), arguments.out or own_file()
    found = run_selftest(arguments.names, store, resolve_device(config.run.device))
    found = found.model_copy(update={"facts": measure_facts(found.metrics, store, resolve_device(config.run.device))})
    save_selftest(found, path)
    failed = [name for name, test in found.metrics.items() if not test.passed]
    return Reply(found.model_dump(mode="json"), [
        *(part for name, test in found.metrics.items() for part in _selftest_text(name, test)), *_faults_text(read_selftest(path).metrics),
        f"results: {path}", f"{len(found.metrics) - len(failed)} of {len(found.metrics)} metrics passed"
        + (f"; these decide nothing: {', '.join(failed)}" if failed else "")])


def _card_text(card: MetricCard) -> list[str | Table]:
    better = "higher is better" if card.higher_is_better else "lower is better"
    cost = f"{card.seconds_per_image:.3f} s an image on one core" if card.seconds_per_image is not None else "cost not measured"
    facts = [("formula", card.formula), ("source", card.source), ("unit", f"{card.unit}, {better}, budget {card.budget:g}"),
             ("made of", " -> ".join(card.extractors) + f"; {cost}"), ("limits", card.limits), ("use", card.responsible_use),
             ("trained on", ", ".join(card.trained_on)), ("decides", "yes" if card.judges else f"no: {card.why_not}")]
    text: list[str | Table] = [f"{card.name} (version {card.version}): {card.explanation}", *filter(None, [card.about])]
    text += [f"  {name}: {value}" for name, value in facts if value]
    for table in card.tables:
        text += [f"  {table.title}:", Table(table.header, list(table.rows))]
    return [*text, *(_selftest_text(card.name, card.self_test) if card.self_test else []), ""]


def _selftest_text(name: str, test: MetricSelfTest) -> list[str | Table]:
    """The dose-response table of one metric."""
    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.3g}"

    def interval(response: Response) -> str:
        return shown(response.auc) + (f" ({response.auc_low:.2f} to {response.auc_high:.2f})" if response.auc_low is not None else "")

    rows = [(response.damage, "yes" if response.claimed else "", interval(response), " ".join(map(shown, response.auc_by_dose)),
             " ".join(map(shown, response.values)), "yes" if response.monotone else "no",
             "-" if response.sees_from is None else f"{response.sees_from:g} {response.unit}", response.units)
            for response in sorted(test.responses, key=lambda each: (not each.claimed, each.damage))]
    header = ("damage", "claimed", "AUC (interval over photographs)", "AUC by dose", "mean whole, then by dose", "monotone", "seen from", "units")
    verdict = "passed" if test.passed else f"failed: {test.why}"
    small = [f"{response.damage} {response.auc_small_faces:.2f}" for response in test.responses if response.claimed and response.auc_small_faces is not None]
    of_small = [f"  AUC of small faces in full bodies: {', '.join(small)}"] if small else []
    blind = f"  blind to: {', '.join(test.blind_to)}" if test.blind_to else "  blind to none of these"
    controls = [f"  control: {each.name} in {each.share:.0%} of {each.number} cases, {each.least:.0%} needed" for each in test.controls]
    return [f"{name}: {verdict}", Table(header, rows), *of_small, *controls, blind]


def _faults_text(tests: Mapping[str, MetricSelfTest]) -> list[str | Table]:
    """Who sees the faults of 2K pictures, of all metrics that the file of results has."""
    from sana_bench.selftest.native_faults import FAULTS, IN_SMALL, native_faults

    rows = [(f"{fault} {FAULTS[fault]:g}", ", ".join(f"{name} {auc:.2f}" for name, auc in aucs.items() if name not in IN_SMALL),
             ", ".join(f"{name} {auc:.2f}" for name, auc in aucs.items() if name in IN_SMALL)) for fault, aucs in native_faults(tests).items() if aucs]
    return ["faults of 2K pictures, AUC:", Table(("fault and dose", "seen at native resolution", "of the image in small"), rows)] if rows else []
