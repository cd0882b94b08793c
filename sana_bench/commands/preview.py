"""What training will see."""

from __future__ import annotations

from pathlib import Path

from sana_bench.commands import KEEP, command
from sana_bench.commands.answers import shares_table
from sana_bench.commands.settings import config_arguments, config_of
from sana_bench.console import Reply, Table
from sana_bench.usage import Arguments, Parser, UsageError


def _arguments(parser: Parser) -> None:
    config_arguments(parser)
    parser.add_argument("--out", metavar="FILE.html", type=Path, required=True, help="where the page goes: one file that asks for nothing outside")
    parser.add_argument("--num", metavar="N", type=int, default=24, help="show the first N samples of each stage (default: 24)")


@command("preview", KEEP, _arguments, "sana-bench preview --out preview.html",
         "sana-bench preview --set data.training=my_photos --set train.aspect_ratio_buckets=true --out preview.html",
         "sana-bench preview --set train.regions.hand_weight=4 --set train.regions.crop_share=0.2 --set train.augment.num_views=4 --num 48 --out preview.html")
def run_preview(arguments: Arguments) -> Reply:
    """show what training will see, before anything is trained

    The first samples of each stage in the order in which the trainers lora and full see them: the view at its size, how it was augmented, its
    caption and whether that is dropped, and beside it faces and hands with the weight that the loss gives them. What the recipe needs to know of
    its images (faces, hands, perceived groups) is found first and kept, so that training does not look again. Of
    perceived groups only shares of all samples are shown, and nothing of single images. Of the base only config files are fetched.
    """
    from sana_bench.config import FLOW_MATCHING_TRAINERS
    from sana_bench.data.shares import repetition_note
    from sana_bench.data.training_set import training_set
    from sana_bench.errors import ConfigError
    from sana_bench.plan.architecture import read_architecture
    from sana_bench.preview.html import render_preview
    from sana_bench.preview.tiles import preview_stages
    from sana_bench.store import Store, write_bytes
    from sana_bench.training import TRAINERS

    if arguments.num < 1:
        raise UsageError(f"--num takes a number of samples above 0, not {arguments.num}")
    config = config_of(arguments)
    if TRAINERS.get(config.train.trainer).name not in FLOW_MATCHING_TRAINERS:
        raise ConfigError(f"the trainer {config.train.trainer} sees none of these images; preview a recipe with train.trainer=lora or full")
    # Of a base on the hub only the config files are fetched: its weights are not needed to see what it would be trained on.
    images = training_set(config, Store(config.run.store), read_architecture(config.model).configs["transformer"].get("patch_size", 1))
    stages = preview_stages(images, config, arguments.num)
    write_bytes(arguments.out, render_preview(config, stages, images.shares).encode())
    rows = [(str(number), f"{width}x{height}", str(count), f"{count / stage.num_samples:.1%}")
            for number, stage in enumerate(stages, 1) for (width, height), count in stage.samples_by_size()]
    return Reply({"written": str(arguments.out.resolve()), "stages": [stage.document() for stage in stages],
                  "shares": [share.model_dump(mode="json") for share in images.shares]},
                 [Table(("stage", "size", "samples", "share"), rows), *shares_table(images.shares), *filter(None, [repetition_note(images.shares)]),
                  f"preview: {arguments.out}"])
