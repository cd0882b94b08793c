"""What is wrong with training images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.commands import KEEP, PASSED, REGRESSED, command
from sana_bench.commands.settings import config_arguments, config_of
from sana_bench.console import MISSING, Reply, Table, number
from sana_bench.usage import Arguments, Parser, UsageError

if TYPE_CHECKING:
    from sana_bench.audit.run import AuditOutcome

MOST_LISTED = 10


def _audit_arguments(parser: Parser) -> None:
    parser.add_argument("source", metavar="FOLDER", nargs="?", help="a folder of images, with or without metadata.jsonl, or an embedded "
                        "source such as openpeople:training (default: the recipe's data.training)")
    parser.add_argument("--resolution", metavar="PX", type=int, help="side of the square that training will see, or with the recipe's "
                        "aspect_ratio_buckets of one with their area (default: the recipe's largest, which is 2048 for the shipped ones of 2K)")
    parser.add_argument("--limits", metavar="FILE", type=Path, help="what must hold: a TOML file with tables [limit] and [fault]")
    parser.add_argument("--limit", metavar="NAME=VALUE", action="append", default=[], dest="limits_given",
                        help="one limit, such as max_blurred=0.05, or the least share of a perceived group, such as gender=feminine=0.3; may be given many "
                        "times")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where audit.json and audit.html go (default: audit-<name> in the folder of reports)")
    config_arguments(parser)


@command("audit", KEEP, _audit_arguments, "sana-bench audit my_photos", "sana-bench audit openpeople:training --limit min_share_at_resolution=0.5",
         "sana-bench audit my_photos --limits limits.toml --config sana_1600m_2k_lora --json",
         "sana-bench audit my_photos --limit max_blurred=0.02 --limit max_missing_captions=0 --limit gender=feminine=0.4")
def run_audit(arguments: Arguments) -> Reply:
    """look through training images for what would teach the wrong thing

    Finds images that cannot be read, are blank, too small for the resolution, blurred, strongly compressed or there twice; captions that are missing,
    short, repeated or beyond what the recipe's base reads (generate.max_sequence_length: 300 tokens of Sana, 64 of tiny-sana, by its own
    tokenizer where that is on this machine); hands and faces that look damaged. Shows how varied poses, expressions, angles and light are, and
    perceived groups in aggregate. The folder need not be usable yet: problems are listed, worst first, with pictures, and nothing in it is
    changed. What was looked at is kept, so a stopped audit goes on.

    Exit code 0, or 1 where a limit that you declare is broken. All limits are shares of the images, but for min_images:
      min_images, min_share_at_resolution, min_faces, min_hands, max_unreadable, max_missing_captions, max_captions_without_image,
      max_bad_lines, max_short_captions, max_long_captions, max_duplicate_captions, max_blank, max_blurred, max_compressed, max_duplicates,
      max_near_duplicates, max_implausible_faces, max_implausible_hands
    In a limits file they stand under [limit]; [[limit.group]] has a group (gender=feminine), min_share and max_share; and under [fault] stands from where on
    something is a fault: min_sharpness, max_blockiness, min_words, min_plausibility, max_differing_bits.
    """
    from sana_bench.audit.rules import load_rules
    from sana_bench.audit.run import audit

    if arguments.resolution is not None and not 0 < arguments.resolution <= 8192:
        raise UsageError(f"--resolution takes pixels from 1 to 8192, not {arguments.resolution}")
    if arguments.source == "":
        raise UsageError("the FOLDER to audit is empty, as a shell variable that is not set leaves it; leave it out for the recipe's data.training")
    config, rules = config_of(arguments), load_rules(arguments.limits, arguments.limits_given)
    resolution = arguments.resolution or max(stage.resolution for stage in config.train.stages)
    outcome = audit(arguments.source or config.data.training, config, rules, resolution, arguments.out)
    return Reply({**outcome.report.model_dump(mode="json"), "folder": str(outcome.folder.resolve())}, _text(outcome),
                 PASSED if outcome.report.passed else REGRESSED)


def _text(outcome: AuditOutcome) -> list[str | Table]:
    report, faults = outcome.report, {each.file_name: each.faults for each in outcome.report.images}
    text: list[str | Table] = [f"{report.source}: {report.num_images} image(s), {report.num_readable} can be read, {len(report.look_at)} to look at"]
    text.append(Table(("finding", "images", "share"), [(each.title, str(each.num_images), MISSING if each.share is None else f"{each.share:.1%}")
                                                       for each in report.findings]))
    if report.metadata:
        text.append(f"metadata: {len(report.metadata)} problem(s), such as {report.metadata[0].message}")
    if report.look_at:
        text.append(Table(("look at", "since"), [(name, "; ".join(fault.reason for fault in faults[name])) for name in report.look_at[:MOST_LISTED]]))
    if report.limits:
        text.append(Table(("limit", "declared", "measured", "outcome"), [(each.name, f"{each.bound} {each.limit:g}", number(each.value),
                                                                          "held" if each.held else "broken") for each in report.limits]))
    return [*text, f"note: {report.tokens}; {report.token_limit} of a caption are read, as the recipe has it (--config)",
            f"report: {outcome.folder / 'audit.html'}"]
