"""The whole benchmark, and each of its stages alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.commands import PASSED, REGRESSED, STAGE, WHOLE, command
from sana_bench.commands.answers import outcome_reply, result_notes, result_table, training_answer
from sana_bench.commands.settings import config_arguments, config_of, gates_argument, refuse_settings, run_or_config_arguments
from sana_bench.console import Reply
from sana_bench.usage import Arguments, Parser, UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

VERDICT_CODES = {"passed": PASSED, "regressed": REGRESSED}


def _whole_arguments(parser: Parser) -> None:
    config_arguments(parser)
    gates_argument(parser)


@command("train-and-eval", WHOLE, _whole_arguments, "sana-bench train-and-eval", "sana-bench train-and-eval --gates gates.toml",
         "sana-bench train-and-eval --set data.training=my_photos --set train.max_train_steps=200",
         "sana-bench train-and-eval --config sana_1600m_2k_lora --set model.revision=COMMIT --json > outcome.json")
def run_train_and_eval(arguments: Arguments) -> Reply:
    """train, generate, score, compare with the baseline, and report

    The whole benchmark. What is in the store already is not made again: a killed run goes on where it was, and an unchanged
    one ends in seconds. With compare.num_looks images are drawn in so many blocks of prompts, and no more once every gate is decided.
    Exit code 0 passed, 1 regressed, 2 error.
    """
    from sana_bench.pipeline import train_and_eval

    outcome = train_and_eval(config_of(arguments))
    return outcome_reply(outcome, VERDICT_CODES[outcome.outcome])


@command("train", STAGE, config_arguments, "sana-bench train --set train.rank=16",
         "sana-bench train --set train.num_processes=8 --set train.strategy=fsdp2",
         "sana-bench train --set train.trainer=external --set train.weights=lora.safetensors",
         "sana-bench train --config my_2k.toml --set train.trainer=external --set train.weights=output/checkpoints/epoch_5_step_900.pth")
def run_train(arguments: Arguments) -> Reply:
    """train the variant that the recipe describes

    The trained weights are kept in the store, and a killed training goes on where it was. `train.trainer=full` trains the weights themselves
    instead of a LoRA. `external` takes over what was trained elsewhere: a LoRA, a folder in diffusers layout, or a checkpoint (.pth) of
    NVlabs' train.py; with `train.command` it runs a training program first and takes what that leaves. `none` is the base model itself.
    With `train.num_seeds` so many fine-tunes are made, which differ in their seed alone.

    With `train.num_processes` so many processes train together, one a GPU, each with a copy of the model (`train.strategy=ddp`) or with a part
    of it (`fsdp2`). They are started through accelerate, which can also be done by hand:
    accelerate launch --config_file FILE --num_processes 8 -m sana_bench train --config RECIPE
    where FILE is what python -c "from sana_bench.training.launch import config_file; print(config_file('fsdp2'))" prints.
    """
    from sana_bench.pipeline import train_stage

    checkpoints = train_stage(config_of(arguments))
    return Reply(_with_replicates([checkpoint.model_dump(mode="json") for checkpoint in checkpoints]), [
        *(part for checkpoint in checkpoints for part in training_answer(checkpoint)),
        "next: sana-bench generate, with the same options"])


@command("generate", STAGE, config_arguments, "sana-bench generate",
         "sana-bench generate --set generate.num_images_per_prompt=4")
def run_generate(arguments: Arguments) -> Reply:
    """draw the images of the suite with the trained variant

    The noise of an image depends on suite, prompt and index only, so that two variants draw from the same noise and are
    compared in pairs. With score.guard_suite the images of that suite are drawn too, and where a metric needs them the base model's own.
    """
    from sana_bench.pipeline import generate_stage
    from sana_bench.store import Store

    config = config_of(arguments)
    drawn, store = generate_stage(config), Store(config.run.store)
    return Reply(_with_replicates([_with_guard(parts) for parts in drawn]), [
        *(f"{len(samples.samples)} images of {samples.suite} version {samples.suite_version}: {store.folder('samples', samples.digest)}"
          for parts in drawn for samples in parts),
        "next: sana-bench score, with the same options"])


def _score_arguments(parser: Parser) -> None:
    run_or_config_arguments(parser)
    parser.add_argument("--images", metavar="FOLDER", type=Path, help="score the images of this folder instead, made by whatever model")
    parser.add_argument("--suite", metavar="SUITE", default="", help="the suite that they were drawn from (default: their own captions in metadata.jsonl)")
    parser.add_argument("--against", metavar="FOLDER", type=Path, help="and compare them with those of this folder, pair by pair")


@command("score", STAGE, _score_arguments, "sana-bench score",
         "sana-bench score --set 'score.metrics=[\"hand_rate\", \"face_rate\"]'",
         "sana-bench score --images mine --against theirs --suite human_core")
def run_score(arguments: Arguments) -> Reply:
    """measure the images

    The usual metrics, or those in score.metrics. An image that a metric cannot score is counted with its reason, never as zero. With
    score.guard_suite that suite is measured too, on score.guard_metrics; with train.num_seeds every fine-tune is.

    --images takes a folder of PNG, JPEG or WebP files named after their prompts (<prompt id>_<index>.png), or with a metadata.jsonl that
    says file_name and prompt_id, or file_name and text. With --against a second folder is the baseline, and stands for the base model's own
    images where a metric needs these: a report is written, and the exit code is 0 passed, 1 regressed, 2 error.
    """
    from sana_bench.pipeline import compare_images, score_images, score_stage
    from sana_bench.records import BenchmarkResult
    from sana_bench.store import read_record

    config = config_of(arguments)
    if (arguments.suite or arguments.against) and not arguments.images:
        raise UsageError("--suite and --against belong to --images")
    if arguments.images and arguments.against:
        outcome = compare_images(config, arguments.images, arguments.against, arguments.suite)
        return outcome_reply(outcome, VERDICT_CODES[outcome.outcome])
    by_seed = [[score_images(config, arguments.images, arguments.suite)]] if arguments.images else score_stage(config)
    results = [[read_record(folder / "result.json", BenchmarkResult) for folder in folders] for folders in by_seed]
    tables = [part for parts, folders in zip(results, by_seed, strict=True) for result, folder in zip(parts, folders, strict=True)
              for part in (result_table(result.results), *result_notes(result.results), f"result on {result.suite}: {folder}")]
    return Reply(_with_replicates([_with_guard(parts) for parts in results]), [
        *tables, "next: sana-bench compare, with the same options" if not arguments.images else
        "next: --against FOLDER, to compare them with other images of the same prompts"])


def _with_guard(parts: Sequence[BaseModel]) -> dict:
    """The suite's record as a document, that of the guard suite in it."""
    own, *guard = [part.model_dump(mode="json") for part in parts]
    return {**own, **({"guard": guard[0]} if guard else {})}


def _with_replicates(documents: Sequence[dict]) -> dict:
    """The document of the first training seed, those of the others in it."""
    first, *others = documents
    return {**first, **({"replicates": others} if others else {})}


def _compare_arguments(parser: Parser) -> None:
    run_or_config_arguments(parser)
    gates_argument(parser)


@command("compare", STAGE, _compare_arguments, "sana-bench compare", "sana-bench compare reports/RUN --gates gates.toml",
         "sana-bench compare --set compare.confidence=0.99")
def run_compare(arguments: Arguments) -> Reply:
    """compare the scores with the accepted baseline

    Pair by pair, with intervals; then the run folder and its report are written. Exit code 0 passed, 1 regressed, 2 error.
    """
    from sana_bench.pipeline import compare_run_folder, compare_stage

    config = config_of(arguments)
    outcome = compare_run_folder(arguments.run_dir, config) if arguments.run_dir else compare_stage(config)
    return outcome_reply(outcome, VERDICT_CODES[outcome.outcome])


@command("report", STAGE, run_or_config_arguments, "sana-bench report reports/RUN",
         "sana-bench report --config my_recipe.toml")
def run_report(arguments: Arguments) -> Reply:
    """write the report of a run again

    report.html, report.md and junit.xml are made from the records of the run; nothing is measured again.
    """
    from sana_bench.pipeline import report_stage, run_folder_report

    if arguments.run_dir:
        refuse_settings(arguments)
        path = run_folder_report(arguments.run_dir)
    else:
        path = report_stage(config_of(arguments))
    return Reply({"report": str(path.resolve())}, [f"report: {path}"])
