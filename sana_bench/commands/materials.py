"""What runs rest on: third-party assets, prompt suites, the embedded model."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.commands import KEEP, command
from sana_bench.console import Reply, Table, megabytes
from sana_bench.shipped import cache_folder
from sana_bench.usage import Arguments, Parser, UsageError, one_of

if TYPE_CHECKING:
    from sana_bench.prompt_check import Finding
    from sana_bench.prompts import PromptSuite


def _assets_arguments(parser: Parser) -> None:
    parser.add_argument("action", metavar="list|pull|verify", type=one_of("list", "pull", "verify"))
    parser.add_argument("names", metavar="ASSET", nargs="*", help="only these (default: all; for pull all that are not optional)")


def _prompts_arguments(parser: Parser) -> None:
    parser.add_argument("action", metavar="list|check|convert", type=one_of("list", "check", "convert"))
    parser.add_argument("suites", metavar="SUITE", nargs="*", help="shipped names or TOML files (default: all shipped); for convert one table of "
                        "prompts: .parquet, .csv, .jsonl, .txt, on disk or hf://datasets/OWNER/NAME@COMMIT/FILE")
    convert = parser.add_argument_group("convert")
    convert.add_argument("--name", metavar="NAME", default="", help="of the new suite")
    convert.add_argument("--column", metavar="COLUMN", default="", help="with the prompts (default: text, prompt or caption)")
    convert.add_argument("--tag-column", metavar="COLUMN", default="", help="with a tag each, such as a category")
    convert.add_argument("--limit", metavar="N", type=int, default=0, help="first so many prompts only")
    convert.add_argument("--out", metavar="FILE", type=Path, help="where the suite goes (default: shown)")


def _build_tiny_arguments(parser: Parser) -> None:
    parser.add_argument("stages", metavar="STAGE", nargs="*", help="only these stages (default: all, in order)")
    parser.add_argument("--work", metavar="FOLDER", type=Path, default=cache_folder() / "tiny-build",
                        help="where the trainings keep their state (default: tiny-build in the cache folder)")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where the weights go (default: into the package)")
    parser.add_argument("--refine", action="store_true", help="train the finished weights in --out further, instead of new ones")
    parser.add_argument("--steps", metavar="N", type=int, help="length of the one training among the stages, instead of its own")
    parser.add_argument("--learning-rate", metavar="LR", type=float, help="its learning rate after the warm-up")


def _build_evidence_arguments(parser: Parser) -> None:
    parser.add_argument("parts", metavar="hand|face|body", nargs="*", help="only this part (default: all three)")
    parser.add_argument("--work", metavar="FOLDER", type=Path, default=cache_folder() / "evidence-build",
                        help="where the trainings keep their state (default: evidence-build in the cache folder)")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where the weights go (default: into the package)")
    parser.add_argument("--steps", metavar="N", type=int, help="length of each training, instead of the usual one")


@command("assets", KEEP, _assets_arguments, "sana-bench assets list", "sana-bench assets pull",
         "sana-bench assets pull inception_v3_fid", "sana-bench assets verify openpeople")
def run_assets(arguments: Arguments) -> Reply:
    """list, pull or verify the third-party weights and data

    Each is pinned by its sha256. After one pull nothing needs a network; SANA_BENCH_OFFLINE=1 makes sure of it. The optional ones are
    pulled by name, or when a run asks for a metric that needs them.
    """
    from sana_bench import assets

    if arguments.action == "pull":
        assets.pull(arguments.names or None)
    elif arguments.action == "verify":
        assets.verify(arguments.names or None)
    rows = assets.status(arguments.names or None)
    table = Table(("asset", "installed", "MB", "licence", "purpose", "source"),
                  [(each.name, "yes" if each.installed else "no, optional" if each.optional else "no", megabytes(each.size), each.licence, each.purpose,
                    each.source) for each in rows])
    return Reply([{**asdict(each), "path": str(each.path)} for each in rows], [table])


@command("prompts", KEEP, _prompts_arguments, "sana-bench prompts list", "sana-bench prompts check my_suite.toml",
         "sana-bench prompts convert prompts.csv --name mine --out mine.toml")
def run_prompts(arguments: Arguments) -> Reply:
    """list, check or convert prompt suites

    A suite is one TOML file: a header and [[prompt]] tables. All problems of a file are reported at once. `check` also looks at what
    the texts say: near-duplicates, words that state an attribute which `states` lacks, more faces or hands than persons, texts
    too long for CLIP without a short form, tags with too few prompts. These are hints, and no error.
    """
    from sana_bench.prompt_check import check_suite
    from sana_bench.prompts import load_suite, shipped_suites

    if arguments.action == "convert":
        return _convert(arguments)
    suites = [load_suite(name) for name in arguments.suites or shipped_suites()]
    if arguments.action == "check":
        found = {suite.name: check_suite(suite) for suite in suites}
        tables = [part for suite in suites for part in _checked(suite, found[suite.name])]
        return Reply([{"suite": suite.name, "digest": suite.digest, "findings": [asdict(each) for each in found[suite.name]]} for suite in suites], tables)
    rows = [(suite.name, str(suite.version), str(len(suite.prompt)), suite.license, suite.digest, suite.description)
            for suite in suites]
    return Reply([{**suite.model_dump(mode="json"), "digest": suite.digest} for suite in suites],
                 [Table(("suite", "version", "prompts", "licence", "digest", "description"), rows)])


def _convert(arguments: Arguments) -> Reply:
    from sana_bench.prompt_convert import convert
    from sana_bench.store import write_bytes

    if len(arguments.suites) != 1 or not arguments.name:
        raise UsageError("convert takes one table of prompts, and --name for the suite that it becomes")
    toml = convert(arguments.suites[0], arguments.name, column=arguments.column, tag_column=arguments.tag_column, limit=arguments.limit)
    if not arguments.out:
        return Reply({"suite": toml}, [toml])
    write_bytes(arguments.out, toml.encode())
    return Reply({"suite": toml, "path": str(arguments.out.resolve())}, [f"suite: {arguments.out}", f"next: sana-bench prompts check {arguments.out}"])


def _checked(suite: PromptSuite, findings: list[Finding]) -> list[str | Table]:
    counts = {name: Counter(value for prompt in suite.prompt for value in values(prompt)) for name, values in (
        ("difficulty", lambda prompt: [prompt.difficulty]), ("states", lambda prompt: prompt.states or ["nothing"]), ("tags", lambda prompt: prompt.tags))}
    text: list[str | Table] = [f"{suite.name}: {len(suite.prompt)} prompts, {len(findings)} finding(s)"]
    text += [f"  {name}: " + ", ".join(f"{value} {number}" for value, number in each.most_common()) for name, each in counts.items()]
    return [*text, *([Table(("prompt", "kind", "finding"), [(each.prompt or "(suite)", each.kind, each.message) for each in findings])] if findings else [])]


@command("build-tiny", KEEP, _build_tiny_arguments, "sana-bench build-tiny",
         "sana-bench build-tiny --work my_build --out my_weights",
         "sana-bench build-tiny transformer assemble card --refine --steps 2000")
def run_build_tiny(arguments: Arguments) -> Reply:
    """train tiny-sana, the embedded base model

    From scratch, or with --refine from the finished weights; from the training people of OpenPeople only. It takes hours on two
    cores, is seeded, and a killed build goes on from its work folder.
    """
    from sana_bench.tiny.build import build_tiny
    from sana_bench.tiny.workspace import Course

    course = Course(refine=arguments.refine, steps=arguments.steps, learning_rate=arguments.learning_rate)
    build_tiny(arguments.work, arguments.out, tuple(arguments.stages), course)
    return Reply({"work": str(arguments.work.resolve())}, [f"built in {arguments.work}"])


@command("build-evidence", KEEP, _build_evidence_arguments, "sana-bench build-evidence", "sana-bench build-evidence hand --out my_weights")
def run_build_evidence(arguments: Arguments) -> Reply:
    """train and calibrate what looks for damaged hands and faces, and measure real bodies

    From the training people of OpenPeople and the kinds of damage that it may learn. It takes about two hours on two cores, is
    seeded, and a killed build goes on from its work folder.
    """
    from sana_bench.evidence.build import build_evidence

    build_evidence(arguments.work, arguments.out, tuple(arguments.parts), arguments.steps)
    return Reply({"work": str(arguments.work.resolve())}, [f"built in {arguments.work}", "next: sana-bench selftest"])
