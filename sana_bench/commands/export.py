"""What a run gives to other places."""

from __future__ import annotations

from pathlib import Path

from sana_bench.commands import KEEP, command
from sana_bench.console import Reply
from sana_bench.usage import Arguments, Parser, UsageError, one_of


def _arguments(parser: Parser) -> None:
    parser.add_argument("action", metavar="card", type=one_of("card"))
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="the run folder of a LoRA")
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="where the card goes")
    parser.add_argument("--license", metavar="ID", default="", help="of the LoRA, as the hub calls it (default: none is stated)")
    parser.add_argument("--base-model", metavar="OWNER/NAME", default="", help="hub id of the base (default: the recipe's, where it is one)")
    parser.add_argument("--dataset", metavar="OWNER/NAME", default="", help="hub id of the data set that holds the suite (default: sana-bench/SUITE, a "
                        "name of ours: the hub shows these results where the data set is a registered benchmark)")
    parser.add_argument("--pictures", metavar="N", type=int, default=0, help="show N of the pairs that lost most and N median ones (default: none)")
    parser.add_argument("--with-weights", action="store_true", help="copy the LoRA beside the card")
    parser.add_argument("--force", action="store_true", help="overwrite a card that is there")
    parser.add_argument("--push", metavar="OWNER/NAME", default="", help="and upload it all to this repository of the hub; nothing is sent without")
    parser.add_argument("--public", action="store_true", help="with --push: a new repository is public (default: private)")


@command("export", KEEP, _arguments, "sana-bench export card reports/RUN --out card",
         "sana-bench export card reports/RUN --out card --license apache-2.0 --with-weights --pictures 2",
         "sana-bench export card reports/RUN --out card --with-weights --push ME/MY_LORA")
def run_export(arguments: Arguments) -> Reply:
    """write a LoRA's model card for the hub, with its results

    README.md with the verdict table, how it was measured and what it does not say; its front matter has the results in the hub's legacy
    format (model-index), and .eval_results/sana-bench.yaml in the current one. Made from the records of the run folder; nothing is
    measured, and nothing leaves this machine unless --push names a repository, which is private unless you say --public.
    """
    from sana_bench.export.card import CARD_FILE, CardOptions, check_push, export_card, push

    if arguments.public and not arguments.push:
        raise UsageError("--public belongs to --push")
    if arguments.pictures < 0:
        raise UsageError(f"--pictures takes a number of pairs, not {arguments.pictures}")
    if arguments.push:
        check_push(arguments.push)
    files = export_card(arguments.run_dir, arguments.out, CardOptions(
        license=arguments.license, base_model=arguments.base_model, dataset=arguments.dataset, with_weights=arguments.with_weights,
        pictures=arguments.pictures, force=arguments.force))
    pushed = push(arguments.out, files, arguments.push, arguments.public) if arguments.push else ""
    hints = [*([] if arguments.license else ["no licence is stated: --license"]),
             *([] if arguments.dataset else [".eval_results names a data set that the hub does not have: --dataset, once the suite is there as a benchmark"])]
    return Reply({"card": str((arguments.out / CARD_FILE).resolve()), "files": files, "pushed": pushed},
                 [f"card: {arguments.out / CARD_FILE}", *(f"  {name}" for name in files if name != CARD_FILE), *hints,
                  f"pushed: {pushed}" if pushed else "nothing was sent; --push OWNER/NAME uploads it"])
