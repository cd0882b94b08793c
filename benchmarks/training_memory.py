"""Memory of training does not grow with the number of images: 1,000 photographs of 2048x2048 px are encoded, and a LoRA sees each of them once.

    python -m benchmarks.training_memory [--images 1000] [--model micro] [--folder FOLDER]
    python -m benchmarks.training_memory --images 50 --model tiny-sana

The photographs are OpenPeople's, mirrored and moved so that all files differ, at full size as JPEG. `micro` has the least autoencoder and transformer
that are a Sana (training_material.py), so that what is measured are the images; tiny-sana takes some ten processor-seconds for each. Resident memory is
read from outside while one process encodes and another trains. In the manner of the existing script each image stays in memory as float32: its growth is
measured between 2 and 10 images, and only multiplied up to all. With --folder, a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.training_processes import material, side

MIB, TARGET_GB, BATCH, MOST_KEPT = 2**20, 1.5, 2, 10


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        found = run(arguments, Path(arguments.folder or folder))
    print(json.dumps(found, indent=1) if arguments.json else text_of(found))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--model", choices=("micro", "tiny-sana"), default="micro")
    parser.add_argument("--folder", default="", help="keep images and caches here (default: a temporary folder)")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    arguments = parser.parse_args()
    if arguments.images < MOST_KEPT:
        parser.error(f"--images must be at least {MOST_KEPT}, so that growth can be told")
    return arguments


class Watch:
    """Resident memory of a process after so many encoded images."""

    def __init__(self, store: Path, milestones: list[int]):
        self._latents, self._milestones, self.resident_bytes = store / "latents", milestones, dict[int, int]()

    def __call__(self, pid: int) -> None:
        number, resident = sum(1 for _ in self._latents.glob("*/*.safetensors")), psutil.Process(pid).memory_info().rss
        reached = [each for each in self._milestones if each <= number and each not in self.resident_bytes]
        for milestone in reached if resident else ():  # a process that has just ended has none
            self.resident_bytes[milestone] = resident
            print(f"{time.strftime('%H:%M:%S')}, {milestone} images encoded: {resident / MIB:.0f} MiB resident", file=sys.stderr, flush=True)


def run(arguments: argparse.Namespace, folder: Path) -> dict:
    """What was found, as printed with --json."""
    folder.mkdir(parents=True, exist_ok=True)
    material(folder, arguments.model, "openpeople", arguments.images, "cpu", (f"train.train_batch_size={BATCH}",))
    steps, milestones = -(-arguments.images // BATCH), [arguments.images // 10, arguments.images // 2, arguments.images]
    watch = Watch(folder / "store", milestones)
    caching, training, kept = side("caching", folder, 1, steps, watch), side("ours", folder, 1, steps), side("images", folder, 1, steps)
    return {"model": arguments.model, "images": caching["images"], "resident_bytes_after_images": watch.resident_bytes, "caching": caching, "training": training,
            "kept_in_memory": kept, "kept_all_bytes": kept["bytes_an_image"] * arguments.images}


def text_of(found: dict) -> str:
    caching, training, kept, number = found["caching"], found["training"], found["kept_in_memory"], found["images"]
    resident = found["resident_bytes_after_images"]
    peak = max(caching["peak_rss_bytes"], training["peak_rss_bytes"]) / 1e9
    return "\n".join([
        f"{found['model']}, {number} photographs of 2048x2048 px",
        *(f"after {each} encoded images: {there / MIB:.0f} MiB resident" for each, there in resident.items()),
        f"encoding {caching['encoded']} of them: peak {caching['peak_rss_bytes'] / MIB:.0f} MiB, {caching['seconds']:.0f} s; {caching['bytes'] / MIB:.1f} MiB on disk",
        f"a LoRA that sees each once ({training['steps']} steps): peak {training['peak_rss_bytes'] / MIB:.0f} MiB",
        f"peak of both: {peak:.2f} GB (target {TARGET_GB:g})",
        f"images kept as float32, as the existing script does: {kept['bytes_an_image'] / 1e6:.1f} MB each, so {found['kept_all_bytes'] / 1e9:.1f} GB"])


if __name__ == "__main__":
    main()
