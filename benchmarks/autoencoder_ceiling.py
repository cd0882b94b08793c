"""What a base's autoencoder alone leaves of photographs, by the metrics that judge people: no training of the transformer can get beyond it.

    python -m benchmarks.autoencoder_ceiling                  # tiny-sana at 1024 px: 2 minutes on two idle cores
    python -m benchmarks.autoencoder_ceiling --side 2048

Each of OpenPeople's training photographs is fitted to the square as in training, and scored as it is and after encoding and decoding. Where a value is
low behind the autoencoder, a metric says nothing of what is trained at that size. (face_plausibility and hand_plausibility learned from these very
people, so that the first column is better than new photographs would be.)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from sana_bench.config import load_config
from sana_bench.console import Table, number, plain_table
from sana_bench.data.manifest import Manifest, Row, load_manifest, picture_view
from sana_bench.errors import SanaBenchError
from sana_bench.extract import FeatureStore, Item
from sana_bench.features import Features
from sana_bench.images import pixels_sha256
from sana_bench.metrics import METRICS, MetricContext, ScoredSample
from sana_bench.models import load_pipeline, resolve_device
from sana_bench.progress import progress
from sana_bench.prompts import Expects, Prompt, Target
from sana_bench.store import Store

METRICS_OF_PEOPLE = ("face_plausibility", "face_rate", "hand_plausibility", "hand_rate", "body_plausibility", "body_rate")
BODIES = Expects(faces=1, hands=2, full_body=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="tiny", help="recipe")
    parser.add_argument("--side", type=int, default=1024, help="pixels (%(default)s)")
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    device, store = resolve_device(config.run.device), Store(config.run.store)
    photographs = load_manifest("openpeople:training-photographs", store)
    views = [picture_view(photographs, row, (arguments.side, arguments.side)) for row in photographs.rows]
    coded = through_autoencoder(views, load_pipeline(config.model, device, without=("transformer", "text_encoder")))
    scores = [scores_of(photographs, each, store, device) for each in (views, coded)]
    rows = [(kind, metric, number(before), number(scores[1][kind, metric])) for (kind, metric), before in scores[0].items()]
    print(plain_table(Table((f"at {arguments.side} px", "metric", "photographs", "through the autoencoder"), rows)))


def through_autoencoder(views: Sequence[np.ndarray], pipeline) -> list[np.ndarray]:
    """(H, W, 3) uint8 images, encoded and decoded."""
    import torch

    coded, processor, vae = [], pipeline.image_processor, pipeline.vae
    with progress("encode and decode", len(views)) as tracker, torch.inference_mode():
        for view in views:
            pixels = processor.preprocess(Image.fromarray(view)).to(vae.device, vae.dtype)
            decoded = vae.decode(vae.encode(pixels).latent).sample
            coded.append(np.asarray(processor.postprocess(decoded)[0]))
            tracker.advance()
    return coded


def scores_of(photographs: Manifest, images: Sequence[np.ndarray], store: Store, device: str) -> dict[tuple[str, str], float]:
    """Mean by kind of photograph and metric."""
    context, entries = MetricContext(reference=(), target=Target()), [METRICS.get(name) for name in METRICS_OF_PEOPLE]
    items = [Item(pixels_sha256(image), "", lambda image=image: image) for image in images]
    with FeatureStore(store, {name for entry in entries for name in entry.extractors}, device, keep=False) as extractors:
        features = extractors.features_of(items, "look")
    scores: dict[tuple[str, str], list[float]] = {}
    for entry in entries:
        metric = entry.make(context)
        for row, found in zip(photographs.rows, features, strict=True):
            score = metric.score(sample_of(row, found))
            if isinstance(score, float):
                scores.setdefault((row.kind, entry.name), []).append(score)
    return {key: float(np.mean(values)) for key, values in scores.items()}


def sample_of(row: Row, features: Mapping[str, Features]) -> ScoredSample:
    expects = BODIES if row.kind.endswith("_posture") else Expects()
    return ScoredSample(sample_id=row.file_name, prompt=Prompt(id="photograph", text=row.text, expects=expects), features=features)


if __name__ == "__main__":
    try:
        main()
    except SanaBenchError as error:
        sys.exit(f"error: {error}")
