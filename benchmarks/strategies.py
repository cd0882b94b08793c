"""Which training strategies make tiny-sana draw people better: arms that differ in one thing each, judged by sana-bench's own verdicts.

    python -m benchmarks.strategies                              # 7 arms, 3 training seeds each, 1024 px: some 75 minutes on two idle cores
    python -m benchmarks.strategies --arms full,crops --seeds 4  # and the reference arm; one more seed costs that seed
    python -m benchmarks.strategies --side 128 --steps 12 --seeds 2 --set generate.num_inference_steps=2    # does it run? It says nothing of strategies

Each arm (strategies_arms.py) is trained from several seeds, drawn and scored as a run does it, and compared with the reference arm, a LoRA, and with
the base. What is in the store is not made again: a killed run goes on, and seeds come one after the other for all arms, so that a run that is
stopped has whole ones. All arms see as many samples, since then one thing alone differs; what that costs in seconds stands beside it, and an arm
that is no worse in fewer seconds shows there. strategies.md, .json and .png go into --out. The exit code is 0 whatever comes out.

The design, from what was known before any arm was trained (the base's images, and photographs through the autoencoder alone):

- 1024 px, where tiny-sana, which is best at 2048, is bad enough that training can help: kid_efficientnet_lite0 206 instead of 104.
- 40 prompts with one image each (strategies_prompts.toml): the variance of a mean over P prompts with K images each is
  tau^2 / P + s^2 / (P K), so that of as many images more prompts always tell more.
- Few things decide, since Holm shares the chance of error among them, and only what can move. Of 28 photographs at 1024 px that went through the
  autoencoder, with no transformer at all (autoencoder_ceiling.py), portraits and selfies keep a face_plausibility of 0.59 of 0.83, so that the base's
  0.07 has room; but the hands of bodies keep a hand_plausibility of 0.13 of 0.86, and MediaPipe finds a fifth of them: hands are too small here for any
  training to show in them, and decide nothing. They need 2048 px, where every image costs five times as much.
- A learning rate that falls to 0 along a cosine: what the last batches were shows less, so that seeds lie closer together.
- Mixing is on in all arms but `unmixed`: portraits and selfies are what is to be learned, full bodies are what the base knew and could forget.

Learning rates, weights and steps stand in strategies.toml and strategies_arms.py as they were declared before a result of any arm was seen. One fine-tune
of the reference arm was then drawn to see what it costs, and one thing was changed after it: body_plausibility no longer decides, because its values
are mostly tied, which makes its interval on 16 prompts at least 0.17 wide to each side, and prompts of portraits decide in its place.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.strategies_arms import REFERENCE, Arm, arms_of, changes, common_settings, config_with, write_sources
from benchmarks.strategies_report import BASE, ArmRecord, Comparison, Study, render_markdown, write_study
from benchmarks.training_seeds import made
from sana_bench.base_images import as_base
from sana_bench.compare import compare
from sana_bench.config import RunConfig
from sana_bench.data.manifest import load_manifest
from sana_bench.errors import ConfigError, SanaBenchError
from sana_bench.guard import parts_of
from sana_bench.models import check_size, resolve_device, transformer_config
from sana_bench.pipeline import check_inputs, train_stage
from sana_bench.provenance import collect_provenance
from sana_bench.registry import near_names
from sana_bench.results import ResultBundle
from sana_bench.shipped import cache_folder
from sana_bench.store import Store


@dataclass(frozen=True)
class Trained:
    """One arm with all its training seeds."""

    arm: Arm
    config: RunConfig
    bundle: ResultBundle


def main() -> None:
    arguments = parse()
    photographs = load_manifest("openpeople:training-photographs", Store(config_with(*arguments.overrides).run.store))
    sources = write_sources(photographs, cache_folder() / "strategies")
    common = (*common_settings(arguments.side, arguments.steps, sources), *arguments.overrides, f"train.num_seeds={arguments.seeds}")
    arms = chosen_arms(arms_of(config_with(*common)), arguments.arms)
    configs = [config_with(*common, *arm.overrides) for arm in arms]
    for config in configs:
        check(config)
    base = made(as_base(configs[0]))
    bundles = all_made(arms, configs, arguments.seeds)
    study = study_of([Trained(*each) for each in zip(arms, configs, bundles, strict=True)], base)
    print(render_markdown(study))
    print("\n".join(map(str, write_study(study, arguments.out))))


def parse() -> argparse.Namespace:
    train = config_with().train
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=lambda text: tuple(text.split(",")), default=(), metavar="A,B", help="beside the reference arm (all)")
    parser.add_argument("--seeds", type=int, default=3, help="training seeds of each arm (%(default)s)")
    parser.add_argument("--side", type=int, default=train.resolution, help="pixels, for training and drawing (%(default)s)")
    parser.add_argument("--steps", type=int, default=train.max_train_steps, help="of each fine-tune (%(default)s)")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="SECTION.KEY=VALUE", help="in all arms")
    parser.add_argument("--out", type=Path, default=Path("reports/strategies"), metavar="FOLDER", help="(%(default)s)")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds: one fine-tune has no spread")
    return arguments


def check(config: RunConfig) -> None:
    """Find now what would otherwise stop the study after an hour.

    Raises:
        SanaBenchError: what a run would refuse, or a stage's resolution that the transformer cannot be trained at.
    """
    check_inputs(config, parts_of(config))
    for stage in config.train.stages:
        check_size(transformer_config(config.model), stage.resolution, stage.resolution)


def chosen_arms(arms: Mapping[str, Arm], names: Sequence[str]) -> list[Arm]:
    """The reference arm, and those of these names; all where there are none.

    Raises:
        ConfigError: there is no such arm.
    """
    for name in names:
        if name not in arms:
            raise ConfigError(f'no arm "{name}".{near_names(name, list(arms))} Arms: {", ".join(arms)}')
    return [arm for name, arm in arms.items() if not names or name in (REFERENCE, *names)]


def with_seeds(config: RunConfig, number: int) -> RunConfig:
    return config.model_copy(update={"train": config.train.model_copy(update={"num_seeds": number})})


def all_made(arms: Sequence[Arm], configs: Sequence[RunConfig], num_seeds: int) -> list[ResultBundle]:
    """Every arm with all its seeds, made in turns: a seed of all arms before the next one of any."""
    for number in range(1, num_seeds + 1):
        for arm, config in zip(arms, configs, strict=True):
            print(f"seed {number} of {num_seeds}, arm {arm.name}: {arm.title}", file=sys.stderr, flush=True)
            made(with_seeds(config, number))
    return [made(config) for config in configs]


def study_of(trained: Sequence[Trained], base: ResultBundle) -> Study:
    """Everything judged. The reference arm stands first."""
    reference, config = trained[0], trained[0].config
    comparisons = [compared(each, reference.bundle, reference.arm.name) for each in trained[1:]] + [compared(each, base, BASE) for each in trained]
    result = reference.bundle.result
    digests = {"base": result.provenance.digests.get("base", ""), "suite": result.suite_digest}
    return Study(reference=reference.arm.name, side=config.train.resolution, steps=config.train.max_train_steps, num_seeds=config.train.num_seeds,
                 suite=result.suite, num_prompts=len({sample.prompt_id for sample in result.samples}), confidence=config.compare.confidence,
                 arms=tuple(arm_record(each, config) for each in trained), comparisons=tuple(comparisons),
                 provenance=collect_provenance(resolve_device(config.run.device), digests))


def compared(trained: Trained, baseline: ResultBundle, name: str) -> Comparison:
    report = compare(trained.bundle, baseline, trained.config.compare, name, trained.config.gate)
    return Comparison(arm=trained.arm.name, against=name, verdicts=report.gates, shown=report.verdicts)


def arm_record(trained: Trained, reference: RunConfig) -> ArmRecord:
    """What the store has of its fine-tunes."""
    config, checkpoints = trained.config, train_stage(trained.config)
    num_samples = sum(stage.max_train_steps * stage.train_batch_size * stage.gradient_accumulation_steps for stage in config.train.stages)
    return ArmRecord(name=trained.arm.name, title=trained.arm.title, changes=changes(config, reference), num_samples=num_samples,
                     trainable_parameters=checkpoints[0].summary.trainable_parameters, train_seconds=tuple(each.cost.seconds for each in checkpoints))


if __name__ == "__main__":
    try:
        main()
    except SanaBenchError as error:
        sys.exit(f"error: {error}")
