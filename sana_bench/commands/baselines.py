"""What runs are held against: accepting a result, and what the accepted ones are, were, and how they differ."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.commands import KEEP, command
from sana_bench.commands.settings import config_arguments, config_of, recorded_config
from sana_bench.console import MISSING, Reply, Table, interval, megabytes, number
from sana_bench.usage import Arguments, Parser, UsageError, one_of

if TYPE_CHECKING:
    from sana_bench.baseline_diff import Diff
    from sana_bench.baselines import Baseline
    from sana_bench.records import AcceptedState, Provenance


def _accept_arguments(parser: Parser) -> None:
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="the run folder whose result becomes the baseline")
    parser.add_argument("--as", metavar="NAME", dest="name", help="name of the baseline (default: the one that the run was compared with)")
    parser.add_argument("--reason", metavar="TEXT", required=True,
                        help="why this result is the one to compare with; kept beside it")


def _baselines_arguments(parser: Parser) -> None:
    parser.add_argument("action", metavar="list|history|diff", type=one_of("list", "history", "diff"))
    parser.add_argument("names", metavar="BASELINE", nargs="*", help="only these (default: all); for diff one or two of: NAME, NAME@N (what its Nth "
                        "acceptance made it), a run folder as a path such as reports/RUN")
    config_arguments(parser)


@command("accept", KEEP, _accept_arguments, 'sana-bench accept reports/RUN --reason "first run on the new base"')
def run_accept(arguments: Arguments) -> Reply:
    """make a run the baseline of its recipe

    Copies the run's result into the baselines folder, with your reason: scores and features whole, pictures as thumbnails. What the
    baseline was before stays in its history. Nothing else ever changes a baseline.
    """
    from sana_bench.baselines import accept, read_baseline

    config = recorded_config(arguments.run_dir)
    name, place = arguments.name or config.compare.baseline or config.name, Path(config.run.baselines)
    folder = accept(arguments.run_dir, name, arguments.reason, place)
    accepted = read_baseline(name, place)
    provenance = accepted.state.result.provenance
    text = [f"accepted: {folder} ({megabytes(accepted.num_bytes)} MB" + (f", scored at commit {_commit(provenance)})" if provenance.commit else ")"),
            f"what it was before: sana-bench baselines diff {name}" if accepted.past else "",
            "the next run of this recipe is compared with it"]
    return Reply({"baseline": str(folder.resolve()), **_document(accepted)}, list(filter(None, text)))


@command("baselines", KEEP, _baselines_arguments, "sana-bench baselines list", "sana-bench baselines history tiny",
         "sana-bench baselines diff tiny", "sana-bench baselines diff tiny@1 tiny@3", "sana-bench baselines diff tiny reports/RUN --json")
def run_baselines(arguments: Arguments) -> Reply:
    """list the accepted baselines, show their history, or how two differ

    history shows every acceptance: when, why, and the commit that it was scored at. diff takes two baselines, or a baseline and a run, and judges their
    metrics pair by pair; or one baseline, which is held against what it was before its last acceptance: of that the values are kept, so
    that their differences have no intervals. What cannot be compared says why, and what else has changed is listed. A diff is no gate: its
    exit code is 0 whatever it shows.
    """
    from sana_bench.baselines import baseline_names, read_baseline

    config = config_of(arguments)
    folder = Path(config.run.baselines)
    if arguments.action == "diff":
        return _diff(arguments.names, folder, config)
    found = [read_baseline(name, folder) for name in arguments.names or baseline_names(folder)]
    if arguments.action == "list":
        return Reply([_document(each) for each in found], [_list(found)])
    return Reply([{**_document(each), "history": [_state(number, state) for number, state in enumerate((*each.past, each.state), 1)]} for each in found],
                 [part for each in found for part in _history(each)])


def _list(found: list[Baseline]) -> Table:
    header = ("baseline", "recipe", "suite", "images", "accepted", "times", "commit", "MB", "from", "reason")
    return Table(header, [(each.name, each.state.result.name, f"{each.state.result.suite} {each.state.result.suite_version}", str(each.state.num_images),
                           each.state.acceptance.accepted, str(len(each.past) + 1), _commit(each.state.result.provenance), megabytes(each.num_bytes),
                           "shipped" if each.shipped else "local", each.state.acceptance.reason) for each in found])


def _history(baseline: Baseline) -> list[str | Table]:
    rows = [(f"{baseline.name}@{number}", state.acceptance.accepted, state.result.digest, f"{state.result.suite} {state.result.suite_version}",
             str(state.num_images), _commit(state.result.provenance), state.acceptance.reason)
            for number, state in enumerate((*baseline.past, baseline.state), 1)]
    hint = [f"how the last two differ: sana-bench baselines diff {baseline.name}"] if baseline.past else []
    return [Table(("state", "accepted", "result", "suite", "images", "commit", "reason"), rows), *hint]


def _diff(names: list[str], folder: Path, config) -> Reply:
    from sana_bench.baseline_diff import diff, find_side, latest_change
    from sana_bench.features.open_clip_models import declare

    if len(names) not in (1, 2):
        raise UsageError("diff takes one baseline (held against what it was before) or two: baselines, states such as tiny@1, or run folders")
    declare(config.score.clip_model)
    sides = latest_change(names[0], folder) if len(names) == 1 else tuple(find_side(name, folder) for name in names)
    found = diff(*sides, config.compare)
    return Reply(asdict(found), _diff_text(found))


def _diff_text(found: Diff) -> list[str | Table]:
    rows = [(each.suite, each.metric, number(each.before), interval(*each.before_interval), number(each.after), interval(*each.after_interval),
             number(each.difference), *((interval(each.low, each.high), each.outcome) if found.paired else ()), each.unit) for each in found.metrics]
    header = ("suite", "metric", "before", "interval", "after", "interval", "difference", *(("interval", "outcome") if found.paired else ()), "unit")
    reasons = {}
    for each in found.metrics:
        if each.difference is None:
            reasons.setdefault(each.reason, []).append(each.metric)
    moved = [(each.name, str(each.before), str(each.after)) for each in found.changes]
    return [f"before: {found.before}; after: {found.after}", Table(header, rows),
            *([] if found.paired else ["of a past state the values alone are kept: differences have no intervals, and nothing is judged"]),
            *(f"{', '.join(metrics)}: {reason}" for reason, metrics in reasons.items()),
            *([Table(("what else has changed", "before", "after"), moved)] if moved else ["settings, code, packages, machine and data are the same"])]


def _commit(provenance: Provenance) -> str:
    """`81ca74d8fe30 with changes`"""
    return (provenance.commit[:12] or MISSING) + (" with changes" if provenance.dirty else "")


def _document(baseline: Baseline) -> dict:
    state = _state(len(baseline.past) + 1, baseline.state)
    return {"name": baseline.name, "folder": str(baseline.folder.resolve()), "shipped": baseline.shipped, "num_bytes": baseline.num_bytes, **state}


def _state(number: int, state: AcceptedState) -> dict:
    result = state.result
    return {**state.acceptance.model_dump(mode="json", exclude={"schema_version"}), "acceptance": number, "recipe": result.name, "suite": result.suite,
            "suite_version": result.suite_version, "suite_digest": result.suite_digest, "num_images": state.num_images, "commit": result.provenance.commit,
            "dirty": result.provenance.dirty, "sana_bench": result.provenance.sana_bench,
            "metrics": [{"suite": side.suite, **row.model_dump(mode="json", include={"metric", "version", "value", "ci_low", "ci_high", "unit", "num_scored"})}
                        for side in (result, state.guard) if side for row in side.results]}
