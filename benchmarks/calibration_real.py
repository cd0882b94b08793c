"""Calibration on real images: what differs in its noise alone must pass, and what was damaged on purpose must be caught.

    python -m benchmarks.calibration_real [--recipe tiny] [--only base,lora] [--set generate.num_images_per_prompt=2]

The base model and the recipe's LoRA are drawn twice, from two disjoint sets of noise, and each is held against itself, image by image (A/A). The
base with Gaussian noise added to its transformer's weights, by a share of each tensor's standard deviation, and the LoRA made some times too
strong are held against what they were made of, drawn from the same noise. Everything goes through train, generate, score and compare as a run
does, and what is in the store is not made again, so that a killed run goes on. What decides are three gates (SETTINGS): texture at native
resolution, the prompt, and the distance to the base's own image of the same noise, which tells a LoRA that is too strong when people still look
like people. `--set` is that of the command line: other gates (`--set 'gate=[]'` is none), size, images a prompt. The exit code is 1 where a case does not come out as it must.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sana_bench.base_images import BaseImages, as_base, needing_base
from sana_bench.compare import compare
from sana_bench.config import RunConfig, load_config
from sana_bench.errors import SanaBenchError
from sana_bench.generate import generate
from sana_bench.metrics import METRICS
from sana_bench.models import base_folder
from sana_bench.pipeline import score_images
from sana_bench.prompts import load_suite
from sana_bench.records import Checkpoint, RegressionReport, SampleSet
from sana_bench.results import ResultBundle, load_bundle
from sana_bench.score import chosen_metrics, score
from sana_bench.shipped import cache_folder
from sana_bench.store import Store
from sana_bench.train import train

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
WEIGHT_NOISE = (0.1, 0.2)
"""Standard deviation of what is added to a weight, over that of its tensor."""
LORA_SCALES = (3, 8)
SETTINGS = ('score.extra_metrics=["drift_efficientnet_lite0"]',
            'gate=[{metric="drift_efficientnet_lite0", budget=0.05, on_inconclusive="pass"}, {metric="kid_patches_efficientnet_lite0", on_inconclusive="pass"}, '
            '{metric="clip_score_tiny_clip", on_inconclusive="pass"}]')


@dataclass(frozen=True)
class Case:
    name: str
    candidate: RunConfig
    baseline: RunConfig
    damaged: bool

    def as_it_must(self, report: RegressionReport) -> bool:
        return any(verdict.outcome == "regressed" for verdict in report.deciding) == self.damaged


def main() -> int:
    arguments = parse()
    config, folder = load_config(arguments.recipe, (*SETTINGS, *arguments.set)), Path(arguments.folder)
    wrong = 0
    print("| candidate | against | run | regressed, with the adjusted p-value | as it must |\n|---|---|---|---|---|", flush=True)
    for case in cases(config, folder):
        if any(word in case.name for word in arguments.only.split(",")):
            report = held_against(case)
            wrong += not case.as_it_must(report)
            print(row(case, report), flush=True)
    return int(wrong > 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--only", default="", help="cases whose name holds one of these words, separated by commas")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--folder", default=str(cache_folder() / "calibration"), help="where damaged weights are put")
    return parser.parse_args()


def cases(config: RunConfig, folder: Path) -> Iterator[Case]:
    """Lazily: what a case is drawn with is made when its turn comes."""
    base, tuned = with_trainer(config, "none"), config
    for name, each in (("base", base), ("lora", tuned)):
        each = without_base(each)
        yield Case(f"{name}, another noise", another_noise(each), each, False)
    for level in WEIGHT_NOISE:
        yield Case(f"base, weights + {100 * level:g} % noise", with_base(base, noisy_base(base, level, folder)), base, True)
    for factor in LORA_SCALES:
        yield Case(f"lora x {factor:g}", with_weights(tuned, stronger_lora(tuned, factor, folder)), tuned, True)


def held_against(case: Case) -> RegressionReport:
    """Images of the same noise as pairs as they are; of another noise as two folders of images, which are pairs by their names."""
    bundle_of = scored if case.candidate.generate.seed == case.baseline.generate.seed else scored_as_images
    candidate, baseline = (bundle_of(config) for config in (case.candidate, case.baseline))
    return compare(candidate, baseline, case.candidate.compare, case.baseline.name, case.candidate.gate)


def scored(config: RunConfig) -> ResultBundle:
    suite, store = load_suite(config.score.suite, config.score.prompt_form), Store(config.run.store)
    checkpoint, sample_set = drawn(config)
    base = BaseImages(*drawn(as_base(config))) if needing_base(chosen_metrics(config)) else None
    return load_bundle(score(config, checkpoint, sample_set, suite, store, base))


def scored_as_images(config: RunConfig) -> ResultBundle:
    _, sample_set = drawn(config)
    return load_bundle(score_images(config, Store(config.run.store).folder("samples", sample_set.digest), config.score.suite))


def drawn(config: RunConfig) -> tuple[Checkpoint, SampleSet]:
    store = Store(config.run.store)
    checkpoint = train(config, store)
    return checkpoint, generate(config, checkpoint, load_suite(config.score.suite, config.score.prompt_form), store)


def with_trainer(config: RunConfig, trainer: str, weights: str = "") -> RunConfig:
    return config.model_copy(update={"train": config.train.model_copy(update={"trainer": trainer, "weights": weights})})


def with_weights(config: RunConfig, weights: Path) -> RunConfig:
    return with_trainer(config, "external", str(weights))


def with_base(config: RunConfig, base: Path) -> RunConfig:
    return config.model_copy(update={"model": config.model.model_copy(update={"base": str(base)})})


def without_base(config: RunConfig) -> RunConfig:
    """Without the metrics that hold an image against the base's of the same noise, and their gates."""
    def stands(name: str) -> bool:
        return name not in METRICS or not METRICS.get(name).needs_base

    score = config.score.model_copy(update={field: tuple(filter(stands, getattr(config.score, field))) for field in ("metrics", "extra_metrics")})
    return config.model_copy(update={"score": score, "gate": tuple(gate for gate in config.gate if stands(gate.metric))})


def another_noise(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"generate": config.generate.model_copy(update={"seed": config.generate.seed + 1})})


def noisy_base(config: RunConfig, level: float, folder: Path) -> Path:
    """A copy of the base, in diffusers layout, with Gaussian noise on every tensor of its transformer."""
    import torch
    from safetensors.torch import load_file, save_file

    target = folder / f"base_noise_{level:g}"
    if (target / "model_index.json").exists():
        return target
    source, random = base_folder(config.model), torch.Generator().manual_seed(0)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("model_index.json"), dirs_exist_ok=True)
    tensors = load_file(source / "transformer" / WEIGHTS_FILE)
    noisy = {name: (value.float() + level * value.float().std(correction=0) * torch.randn(value.shape, generator=random)).to(value.dtype)
             for name, value in sorted(tensors.items())}
    save_file(noisy, target / "transformer" / WEIGHTS_FILE, {"format": "pt"})
    shutil.copyfile(source / "model_index.json", target / "model_index.json")  # last: a folder that has one is whole
    return target


def stronger_lora(config: RunConfig, factor: float, folder: Path) -> Path:
    """The trained LoRA with its effect on the weights so many times as large."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    checkpoint = train(config, Store(config.run.store))
    target = folder / f"lora_{checkpoint.digest}_x{factor:g}.safetensors"
    if not target.exists():
        source = Store(config.run.store).folder("checkpoint", checkpoint.digest) / checkpoint.weights_file
        with safe_open(source, "pt") as file:
            metadata = file.metadata()
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value * factor if ".lora_B." in name else value for name, value in load_file(source).items()}, target, metadata)
    return target


def row(case: Case, report: RegressionReport) -> str:
    caught = [f"{verdict.gate or verdict.metric} ({verdict.p_adjusted:.2g})" for verdict in report.deciding if verdict.outcome == "regressed"]
    return (f"| {case.name} | {'itself' if not case.damaged else 'what it was made of'} | {report.outcome} | {', '.join(caught) or 'nothing'} | "
            f"{'yes' if case.as_it_must(report) else '**no**'} |")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SanaBenchError as error:
        sys.exit(f"error: {error}")
