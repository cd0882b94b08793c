"""The command line: parse, load the config, call one library function, print. No logic.

The docstring of a command is its help. Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.console import Reply, Table, megabytes, only_the_answer_on_stdout, outcome_reply, result_table, show
from sana_bench.errors import ConfigError, SanaBenchError
from sana_bench.registry import near_names
from sana_bench.shipped import cache_folder
from sana_bench.usage import Arguments, Command, Parser, UsageError, one_of, overview

if TYPE_CHECKING:
    from sana_bench.config import RunConfig

PASSED, REGRESSED, ERROR, INTERRUPTED = 0, 1, 2, 130
VERDICT_CODES = {"passed": PASSED, "regressed": REGRESSED}
MACHINE_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
"""A full or failing disk and missing rights are told in one line; any other system error is a fault of ours."""
DEFAULT_RECIPE = "tiny"
WHOLE, STAGE, KEEP, LOOK = "The whole benchmark", "One stage at a time", "Baselines and materials", "This machine"

COMMANDS: dict[str, Command] = {}


def command(name: str, group: str, add_arguments: Callable[[Parser], None], *examples: str) -> Callable:
    """Decorator: the function runs the command of that name."""
    def register(run: Callable[[Arguments], Reply]) -> Callable[[Arguments], Reply]:
        COMMANDS[name] = Command(name, group, examples, add_arguments, run)
        return run
    return register


def _config_arguments(parser: Parser) -> None:
    parser.add_argument("--config", metavar="RECIPE",
                        help=f"a shipped recipe by name, or a TOML file (default: {DEFAULT_RECIPE})")
    parser.add_argument("--set", metavar="SECTION.KEY=VALUE", action="append", default=[], dest="overrides",
                        help="change one setting of the recipe, such as train.rank=32; may be given many times")


def _run_or_config_arguments(parser: Parser) -> None:
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, nargs="?", help="a run folder: its own settings are used")
    _config_arguments(parser)


def _accept_arguments(parser: Parser) -> None:
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="the run folder whose result becomes the baseline")
    parser.add_argument("--as", metavar="NAME", dest="name", help="name of the baseline (default: the one that the run was compared with)")
    parser.add_argument("--reason", metavar="TEXT", required=True,
                        help="why this result is the one to compare with; kept beside it")


def _assets_arguments(parser: Parser) -> None:
    parser.add_argument("action", metavar="list|pull|verify", type=one_of("list", "pull", "verify"))
    parser.add_argument("names", metavar="ASSET", nargs="*", help="only these (default: all)")


def _prompts_arguments(parser: Parser) -> None:
    parser.add_argument("action", metavar="list|check", type=one_of("list", "check"))
    parser.add_argument("suites", metavar="SUITE", nargs="*", help="shipped names or TOML files (default: all shipped)")


def _build_tiny_arguments(parser: Parser) -> None:
    parser.add_argument("stages", metavar="STAGE", nargs="*", help="only these stages (default: all, in order)")
    parser.add_argument("--work", metavar="FOLDER", type=Path, default=cache_folder() / "tiny-build",
                        help="where the trainings keep their state (default: tiny-build in the cache folder)")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where the weights go (default: into the package)")


@command("train-and-eval", WHOLE, _config_arguments, "sana-bench train-and-eval",
         "sana-bench train-and-eval --set data.training=my_photos --set train.max_train_steps=200",
         "sana-bench train-and-eval --config sana_1600m_2k_lora --set model.revision=COMMIT --json > outcome.json")
def run_train_and_eval(arguments: Arguments) -> Reply:
    """train, generate, score, compare with the baseline, and report

    The whole benchmark. What is in the store already is not made again: a killed run goes on where it was, and an unchanged
    one ends in seconds. Exit code 0 passed, 1 regressed, 2 error.
    """
    from sana_bench.pipeline import train_and_eval

    outcome = train_and_eval(_config(arguments))
    return outcome_reply(outcome, VERDICT_CODES[outcome.outcome])


@command("train", STAGE, _config_arguments, "sana-bench train --set train.rank=16",
         "sana-bench train --set train.trainer=external --set train.weights=lora.safetensors")
def run_train(arguments: Arguments) -> Reply:
    """train the variant that the recipe describes

    The trained weights are kept in the store. `train.trainer=external` takes over a LoRA made elsewhere, and
    `train.trainer=none` is the base model itself.
    """
    from sana_bench.pipeline import train_stage

    checkpoint = train_stage(_config(arguments))
    return Reply(checkpoint.model_dump(mode="json"), [
        f"checkpoint {checkpoint.digest}: {checkpoint.trainer} on {checkpoint.base}",
        "next: sana-bench generate, with the same options"])


@command("generate", STAGE, _config_arguments, "sana-bench generate",
         "sana-bench generate --set generate.num_images_per_prompt=4")
def run_generate(arguments: Arguments) -> Reply:
    """draw the images of the suite with the trained variant

    The noise of an image depends on suite, prompt and index only, so that two variants draw from the same noise and are
    compared in pairs.
    """
    from sana_bench.pipeline import generate_stage
    from sana_bench.store import Store

    config = _config(arguments)
    samples = generate_stage(config)
    folder = Store(config.run.store).folder("samples", samples.digest)
    return Reply(samples.model_dump(mode="json"), [
        f"{len(samples.samples)} images of {samples.suite} version {samples.suite_version}: {folder}",
        "next: sana-bench score, with the same options"])


@command("score", STAGE, _run_or_config_arguments, "sana-bench score",
         "sana-bench score --set 'score.metrics=[\"hand_rate\", \"face_rate\"]'")
def run_score(arguments: Arguments) -> Reply:
    """measure the images

    Every metric, or those in score.metrics. An image that a metric cannot score is counted with its reason, never as zero.
    """
    from sana_bench.pipeline import score_stage
    from sana_bench.records import BenchmarkResult
    from sana_bench.store import read_record

    folder = score_stage(_config(arguments))
    result = read_record(folder / "result.json", BenchmarkResult)
    return Reply(result.model_dump(mode="json"), [
        result_table(result.results), f"result: {folder}", "next: sana-bench compare, with the same options"])


@command("compare", STAGE, _run_or_config_arguments, "sana-bench compare",
         "sana-bench compare --set compare.confidence=0.99")
def run_compare(arguments: Arguments) -> Reply:
    """compare the scores with the accepted baseline

    Pair by pair, with intervals; then the run folder and its report are written. Exit code 0 passed, 1 regressed, 2 error.
    """
    from sana_bench.pipeline import compare_run_folder, compare_stage

    config = _config(arguments)
    outcome = compare_run_folder(arguments.run_dir, config) if arguments.run_dir else compare_stage(config)
    return outcome_reply(outcome, VERDICT_CODES[outcome.outcome])


@command("report", STAGE, _run_or_config_arguments, "sana-bench report reports/RUN",
         "sana-bench report --config my_recipe.toml")
def run_report(arguments: Arguments) -> Reply:
    """write the report of a run again

    report.html and report.md are made from the records of the run; nothing is measured again.
    """
    from sana_bench.pipeline import report_stage, run_folder_report

    if arguments.run_dir:
        _refuse_settings(arguments)
        path = run_folder_report(arguments.run_dir)
    else:
        path = report_stage(_config(arguments))
    return Reply({"report": str(path.resolve())}, [f"report: {path}"])


@command("accept", KEEP, _accept_arguments, 'sana-bench accept reports/RUN --reason "first run on the new base"')
def run_accept(arguments: Arguments) -> Reply:
    """make a run the baseline of its recipe

    Copies the run's result into the baselines folder, with your reason. Nothing else ever changes a baseline.
    """
    from sana_bench.baselines import accept

    config = _recorded_config(arguments.run_dir)
    folder = accept(arguments.run_dir, arguments.name or config.compare.baseline or config.name, arguments.reason, Path(config.run.baselines))
    return Reply({"baseline": str(folder.resolve())},
                 [f"accepted: {folder}", "the next run of this recipe is compared with it"])


@command("assets", KEEP, _assets_arguments, "sana-bench assets list", "sana-bench assets pull",
         "sana-bench assets verify openpeople")
def run_assets(arguments: Arguments) -> Reply:
    """list, pull or verify the third-party weights and data

    Each is pinned by its sha256. After one pull nothing needs a network; SANA_BENCH_OFFLINE=1 makes sure of it.
    """
    from sana_bench import assets

    if arguments.action == "pull":
        assets.pull(arguments.names or None)
    elif arguments.action == "verify":
        assets.verify(arguments.names or None)
    rows = assets.status(arguments.names or None)
    table = Table(("asset", "installed", "MB", "licence", "purpose", "source"),
                  [(each.name, "yes" if each.installed else "no", megabytes(each.size), each.licence, each.purpose,
                    each.source) for each in rows])
    return Reply([{**asdict(each), "path": str(each.path)} for each in rows], [table])


@command("prompts", KEEP, _prompts_arguments, "sana-bench prompts list", "sana-bench prompts check my_suite.toml")
def run_prompts(arguments: Arguments) -> Reply:
    """list or check prompt suites

    A suite is one TOML file: a header and [[prompt]] tables. All problems of a file are reported at once.
    """
    from sana_bench.prompts import load_suite, shipped_suites

    suites = [load_suite(name) for name in arguments.suites or shipped_suites()]
    rows = [(suite.name, str(suite.version), str(len(suite.prompt)), suite.license, suite.digest, suite.description)
            for suite in suites]
    return Reply([{**suite.model_dump(mode="json"), "digest": suite.digest} for suite in suites],
                 [Table(("suite", "version", "prompts", "licence", "digest", "description"), rows)])


@command("build-tiny", KEEP, _build_tiny_arguments, "sana-bench build-tiny",
         "sana-bench build-tiny --work my_build --out my_weights")
def run_build_tiny(arguments: Arguments) -> Reply:
    """train tiny-sana, the embedded base model, from scratch

    From the training people of OpenPeople only: hours on two cores, seeded, and a killed build goes on from its work folder.
    """
    from sana_bench.tiny.build import build_tiny

    build_tiny(arguments.work, arguments.out, tuple(arguments.stages))
    return Reply({"work": str(arguments.work.resolve())}, [f"built in {arguments.work}"])


@command("doctor", LOOK, _config_arguments, "sana-bench doctor", "sana-bench doctor --config sana_1600m_2k_lora")
def run_doctor(arguments: Arguments) -> Reply:
    """say what this machine can run, what is missing, and how to get it

    Python, packages, device, memory, disk, assets, network flag and git. Exit code 0 where the recipe can run, 2 where not.
    """
    from sana_bench.doctor import examine

    diagnosis = examine(_config(arguments))
    text = [Table(("", "what", "found"), [(each.state, each.name, each.found) for each in diagnosis.checks]),
            *(f"{each.name}: {each.remedy}" for each in diagnosis.checks if each.remedy), diagnosis.verdict]
    return Reply({"ready": diagnosis.ready, "checks": [asdict(each) for each in diagnosis.checks]}, text,
                 PASSED if diagnosis.ready else ERROR)


def _config(arguments: Arguments) -> RunConfig:
    from sana_bench.config import load_config

    if getattr(arguments, "run_dir", None):
        _refuse_settings(arguments)
        return _recorded_config(arguments.run_dir)
    return load_config(arguments.config or DEFAULT_RECIPE, tuple(arguments.overrides))


def _refuse_settings(arguments: Arguments) -> None:
    if arguments.config or arguments.overrides:
        raise UsageError(f"{arguments.run_dir} has its own settings; give either a run folder, or --config and --set")


def _recorded_config(run_dir: Path) -> RunConfig:
    from pydantic import ValidationError

    from sana_bench.config import RunConfig
    from sana_bench.records import BenchmarkResult
    from sana_bench.store import read_record

    try:
        return RunConfig.model_validate(read_record(run_dir / "result.json", BenchmarkResult).config)
    except ValidationError as error:
        raise ConfigError(f"the settings in {run_dir / 'result.json'} do not fit this version: {error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        return _dispatch(*words)
    except SanaBenchError as error:
        print(f"sana-bench: error: {error}", file=sys.stderr)
        return ERROR
    except OSError as error:
        if error.errno not in MACHINE_TROUBLE:
            traceback.print_exc()
        print(f"sana-bench: error: {error}. Nothing that was finished is lost; the same command goes on from there.", file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        print("sana-bench: stopped. Everything finished is kept; the same command goes on from there.", file=sys.stderr)
        return INTERRUPTED
    except Exception:  # a fault of ours; Python itself would exit with 1, which means "regressed" here
        traceback.print_exc()
        return ERROR


def _dispatch(name: str, *words: str) -> int:
    if name in ("-h", "--help"):
        print(overview(COMMANDS))
        return PASSED
    if name == "--version":
        print(f"sana-bench {version('sana-bench')}")
        return PASSED
    if name not in COMMANDS:
        kind, known = ("option", ["--help", "--version"]) if name.startswith("-") else ("command", list(COMMANDS))
        raise UsageError(f'unknown {kind} "{name}".{near_names(name, known)} See sana-bench --help')
    arguments = COMMANDS[name].parse(words)
    with only_the_answer_on_stdout() as stream:
        reply = COMMANDS[name].run(arguments)
        try:
            show(reply, arguments.json, stream)
            stream.flush()
        except BrokenPipeError:  # the reader went away (`| head`); what was found out stays
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return reply.code
