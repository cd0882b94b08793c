"""One side of a benchmark of training, in a process of its own so that its peak memory is its own. The last line on stdout is a JSON document.

    python -m benchmarks.training_sides caching|ours|plain|images FOLDER WARMUP STEPS
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.plain_training import load_images, time_steps
from benchmarks.training_material import recipe_of
from sana_bench.config import RunConfig
from sana_bench.models import base_digest, resolve_device
from sana_bench.store import Store

FEW_IMAGES, MORE_IMAGES = 2, 10
"""Between which the growth of memory with the number of images is measured."""


def main() -> None:
    side, folder, warmup, steps = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    runs = [recipe_of(folder, f"train.max_train_steps={number}", f"name={name}") for name, number in (("warmup", warmup), ("measured", steps))]
    found = SIDES[side](*runs)
    print(json.dumps({**found, **peaks(resolve_device(runs[0].run.device))}))


def caching(_, measured: RunConfig) -> dict[str, float]:
    """All that training sees is encoded, but for what was before: every image, where the steps are as many as one pass over them."""
    from sana_bench.data.training_set import training_set
    from sana_bench.training import TrainingContext
    from sana_bench.training.fine_tune import encode_all
    from sana_bench.training.group import join

    start, store = time.perf_counter(), Store(measured.run.store)
    images, before = training_set(measured, store), len(files_of(store, "latents"))
    context = TrainingContext(config=measured, store=store, folder=store.root, digest="", base_digest=base_digest(measured.model))
    encode_all(context, images, join(measured.train, resolve_device(measured.run.device)))
    seconds = time.perf_counter() - start
    latents, embeddings = files_of(store, "latents"), files_of(store, "embeddings")
    return {"seconds": seconds, "images": len(images.all_draws()), "encoded": len(latents) - before,
            "bytes": sum(path.stat().st_size for path in latents + embeddings)}


def files_of(store: Store, kind: str) -> list[Path]:
    return list(store.root.glob(f"{kind}/*/*.safetensors"))


def ours(warmup: RunConfig, measured: RunConfig) -> dict[str, float]:
    """The trainer as `sana-bench train` runs it, checkpoints and all; once before, so that libraries and device are warm."""
    from sana_bench.train import KIND, train

    store = Store(measured.run.store)
    shutil.rmtree(store.root / KIND, ignore_errors=True)  # what is trained already would not be trained again
    train(warmup, store)
    start = time.perf_counter()
    summary = train(measured, store).summary
    inside, outside = summary.seconds_inside, summary.seconds_outside
    return {"startup_s": time.perf_counter() - start - inside - outside, "steps": summary.steps, "seconds": inside + outside, "outside_s": outside,
            "trainable_parameters": summary.trainable_parameters}


def plain(warmup: RunConfig, measured: RunConfig) -> dict[str, float]:
    return time_steps(measured, resolve_device(measured.run.device), warmup.train.max_train_steps, measured.train.max_train_steps)


def images(_, measured: RunConfig) -> dict[str, float]:
    """How much memory each image takes in the manner of the existing script."""
    kept, resident = load_images(measured, FEW_IMAGES), psutil.Process().memory_info().rss
    kept += load_images(measured, MORE_IMAGES)
    return {"bytes_an_image": (psutil.Process().memory_info().rss - resident) / (len(kept) - FEW_IMAGES)}


def peaks(device: str) -> dict[str, int]:
    """Highest resident memory of this process, and what its tensors took on the card."""
    import torch

    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"peak_rss_bytes": rss, "peak_device_bytes": torch.cuda.max_memory_allocated() if device.startswith("cuda") else 0}


SIDES: dict[str, Callable[[RunConfig, RunConfig], dict[str, float]]] = {"caching": caching, "ours": ours, "plain": plain, "images": images}

if __name__ == "__main__":
    main()
