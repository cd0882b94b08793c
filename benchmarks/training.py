"""Steps a second and memory of our LoRA training, beside a plain loop in the manner of the existing script for Sana.

    python -m benchmarks.training [--images 8] [--steps 6]
    python -m benchmarks.training --device cuda --model sana_1600m_2k --photographs synthetic

The plain loop (plain_training.py) keeps every image in memory as float32 and runs autoencoder and text encoder in every step. Both sides train the same
adapter on the same model, photographs of 2048x2048 px, batch, optimizer and precision, each in a process of its own. What our caches cost once, in a
process of its own too, is told apart, with the number of steps after which it has paid for itself. `sana_1600m_2k` is the whole
architecture of that model (and of Gemma-2-2b) with random weights, which change neither speed nor memory.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path

from benchmarks.training_processes import material, side

GIB, TARGET_SPEED, TARGET_OUTSIDE = 2**30, 2.0, 0.05


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        found = run(arguments, Path(folder))
    print(json.dumps(found, indent=1) if arguments.json else text_of(found))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("tiny-sana", "sana_1600m_2k"), default="tiny-sana")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--photographs", choices=("openpeople", "synthetic"), default="openpeople", help="synthetic ones need no asset")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=2, help="steps before those that are timed")
    parser.add_argument("--steps", type=int, default=6, help="timed steps (on a GPU, give 50)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="further settings of the recipe, for both sides")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    arguments = parser.parse_args()
    if arguments.images < arguments.batch:
        parser.error(f"--images {arguments.images} do not fill a batch of {arguments.batch}")
    return arguments


def run(arguments: argparse.Namespace, folder: Path) -> dict:
    """What was found, as printed with --json."""
    overrides = (f"train.train_batch_size={arguments.batch}", "train.gradient_accumulation_steps=1", "train.lr_warmup_steps=0", *arguments.set)
    material(folder, arguments.model, arguments.photographs, arguments.images, arguments.device, overrides)
    caching = side("caching", folder, 1, math.ceil(arguments.images / arguments.batch))
    ours, plain = (side(name, folder, arguments.warmup, arguments.steps) for name in ("ours", "plain"))
    return {"model": arguments.model, "device": arguments.device, "photographs": arguments.photographs, "images": arguments.images, "batch": arguments.batch,
            "caching": caching, "ours": ours, "plain": plain, **compared(caching, ours, plain)}


def compared(caching: dict, ours: dict, plain: dict) -> dict[str, float | None]:
    """Ratios of two sides: speed of steps, and peak memory on the card where they ran on one, else resident; and from when on caching has paid for itself."""
    memory = "peak_device_bytes" if plain["peak_device_bytes"] else "peak_rss_bytes"
    ours_s, plain_s = (each["seconds"] / each["steps"] for each in (ours, plain))
    return {"speed_ratio": plain_s / ours_s, "memory_ratio": max(caching[memory], ours[memory]) / plain[memory], "outside_share": ours["outside_s"] / ours["seconds"],
            "caching_paid_after_steps": math.ceil(caching["seconds"] / (plain_s - ours_s)) if plain_s > ours_s else None}


def text_of(found: dict) -> str:
    caching, ours, plain = found["caching"], found["ours"], found["plain"]
    paid = found["caching_paid_after_steps"]
    rows = [f"{found['model']} on {found['device']}, 2048x2048 px, batch {found['batch']}, {found['images']} {found['photographs']} photographs"]
    rows += [f"{name}: {each['steps'] / each['seconds']:.3f} steps/s over {each['steps']} steps, start {each['startup_s']:.1f} s, {memory_of(each)}"
             for name, each in (("ours", ours), ("plain loop", plain))]
    rows += [f"our caches, once: {caching['images']} images in {caching['seconds']:.1f} s, {caching['bytes'] / 2**20:.1f} MiB on disk, {memory_of(caching)}; "
             + (f"paid for after {paid} steps" if paid else "never paid for"),
             f"speed: {found['speed_ratio']:.2f} times the plain loop's (target {TARGET_SPEED:g})",
             f"memory: {found['memory_ratio']:.2f} of the plain loop's, caching included (target below 1)",
             f"outside of forward, backward and optimizer: {found['outside_share']:.2%} of our time (target below {TARGET_OUTSIDE:.0%})"]
    return "\n".join(rows)


def memory_of(side: dict) -> str:
    on_device = f", {side['peak_device_bytes'] / GIB:.2f} GiB on the card" if side["peak_device_bytes"] else ""
    return f"peak {side['peak_rss_bytes'] / GIB:.2f} GiB resident{on_device}"


if __name__ == "__main__":
    main()
