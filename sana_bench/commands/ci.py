"""Continuous integration: its workflows, and what a run says in them."""

from __future__ import annotations

import re
from pathlib import Path

from sana_bench.commands import KEEP, command
from sana_bench.console import Markdown, Reply
from sana_bench.usage import Arguments, Parser, UsageError, one_of

LINK = re.compile(r"https?://[\w.:/?=&%#@+~-]{1,1000}", re.ASCII)


def _arguments(parser: Parser) -> None:
    parser.add_argument("action", metavar="init|summary|comment", type=one_of("init", "summary", "comment"))
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, nargs="?", help="for summary and comment: the run folder")
    parser.add_argument("--limit", metavar="BYTES", type=int, help="longest text, cut at whole rows (default: 1,000,000 for summary, 60,000 for comment)")
    parser.add_argument("--link", metavar="URL", default="", help="for comment: where the whole report is")
    init = parser.add_argument_group("init")
    init.add_argument("--folder", metavar="FOLDER", type=Path, default=Path("."), help="top of the repository (default: here)")
    init.add_argument("--recipe", metavar="RECIPE", default="sana_1600m_2k_lora", help="what the GPU workflow runs: a shipped recipe, or a file in the "
                      "repository (default: sana_1600m_2k_lora)")
    init.add_argument("--gates", metavar="FILE", default="gates.toml", help="gates in the repository, written where there are none (default: gates.toml)")
    init.add_argument("--runner-label", metavar="LABEL", default="gpu", help="label of the GPU runners (default: gpu)")
    init.add_argument("--install", metavar="REQUIREMENT", default="", help="what pip installs, must be given: an address of git at a commit, a wheel, or . "
                      "where the repository is sana-bench itself or asks for it")
    init.add_argument("--revision", metavar="COMMIT", default="", help="commit of the base on the hub, where the recipe names none: sana_1600m_2k_lora does not")
    init.add_argument("--force", action="store_true", help="overwrite workflows that differ; gates never are")


@command("ci", KEEP, _arguments, "sana-bench ci init --install git+https://github.com/OWNER/NAME@COMMIT --revision COMMIT_OF_THE_BASE --runner-label my-gpus",
         "sana-bench ci init --recipe recipes/mine.toml --install .",
         "sana-bench ci summary reports/RUN", "sana-bench ci comment reports/RUN --link https://github.com/OWNER/NAME/actions/runs/1")
def run_ci(arguments: Arguments) -> Reply:
    """write GitHub workflows that run the benchmark, or a run's verdict as Markdown for them

    `init` writes two workflows and a starting gates.toml. One runs on GPU runners: where a label is put on a pull request of the repository's
    own branches, in the merge queue, on a schedule and by hand, and never on the code of a stranger. The other runs the embedded model on a
    plain runner, by the gates of its own recipe, and is safe on anybody's pull request.

    `summary` prints the verdict, gates, metrics and worst pairs for $GITHUB_STEP_SUMMARY; `comment` the verdict table for a pull request.
    Both only render the record of the run, and cut it at whole rows where it does not fit. They succeed whatever the verdict is.
    """
    if arguments.action == "init":
        if arguments.run_dir or arguments.link or arguments.limit:
            raise UsageError("init takes no run folder, --limit or --link: these belong to summary and comment")
        return _init(arguments)
    if not arguments.run_dir:
        raise UsageError(f"{arguments.action} takes a run folder: sana-bench ci {arguments.action} reports/RUN")
    return _say(arguments)


def _init(arguments: Arguments) -> Reply:
    from sana_bench.ci.init import PULL_REQUEST_LABEL, WorkflowOptions, init

    if not arguments.install:
        raise UsageError("init needs --install, what the workflows give pip beside your secrets: sana-bench's own address of git at a commit "
                         "(git+https://...@COMMIT), a wheel in the repository, or . where the repository is sana-bench or asks for it")
    options = WorkflowOptions(recipe=arguments.recipe, gates=arguments.gates, runner_label=arguments.runner_label,
                              requirement=arguments.install, revision=arguments.revision)
    written = init(arguments.folder, options, arguments.force)
    return Reply({"files": [{"path": str(each.path.resolve()), "state": each.state} for each in written]}, [
        *(f"{each.state}: {each.path}" for each in written), "next:",
        f'  1. give your GPU runners the label "{options.runner_label}", and make the label "{PULL_REQUEST_LABEL}" for pull requests',
        "  2. make the environment sana-bench-gpu (Settings, Environments), with reviewers if you like; a base that asks for it needs HF_TOKEN in it",
        "  3. on a public repository, let outside contributors' workflows wait for approval (Settings, Actions, General)",
        "  4. run it by hand once, then accept its run folder as the baseline and commit that: sana-bench accept RUN_DIR --reason ...; before, gates "
        "that compare fail as missing",
        f"  5. read {options.gates}, and set what must hold"])


def _say(arguments: Arguments) -> Reply:
    from sana_bench.ci.markdown import COMMENT_BYTES, SUMMARY_BYTES, read_run, render_comment, render_summary

    if arguments.link and (arguments.action != "comment" or not LINK.fullmatch(arguments.link)):
        raise UsageError(f'--link belongs to comment and is a plain http(s) address, not "{arguments.link}"')
    run = read_run(arguments.run_dir)
    if arguments.action == "summary":
        text = render_summary(run, SUMMARY_BYTES if arguments.limit is None else arguments.limit)
    else:
        text = render_comment(run, COMMENT_BYTES if arguments.limit is None else arguments.limit, arguments.link)
    return Reply({"markdown": text, "bytes": len(text.encode())}, [Markdown(text)])
