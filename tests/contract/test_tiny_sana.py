"""The shipped tiny-sana: what it is made of, that its card is its own, and that its prompts decide what is drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open

from sana_bench.config import ModelSection, load_config
from sana_bench.extract import FeatureStore, Item
from sana_bench.generation.sampling import draw, prepare_pipeline
from sana_bench.images import pixels_sha256
from sana_bench.models import TINY_SANA, base_digest, base_folder, load_pipeline
from sana_bench.store import Store

MODEL = ModelSection(base=TINY_SANA)
FOLDER = base_folder(MODEL)
PARTS = {"transformer": "SanaTransformer2DModel", "vae": "AutoencoderDC", "text_encoder": "Gemma2Model"}


@pytest.fixture(scope="module")
def card() -> dict:
    return json.loads((FOLDER / "card.json").read_text())


def test_its_parts_are_the_real_classes() -> None:
    index = json.loads((FOLDER / "model_index.json").read_text())
    assert index["_class_name"] == "SanaPipeline"
    assert {name: index[name][1] for name in PARTS} == PARTS


def test_it_fits_into_45_megabytes_in_half_precision() -> None:
    weights = list(FOLDER.rglob("*.safetensors"))
    assert len(weights) == 3 and sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 45_000_000
    for path in weights:
        with safe_open(path, framework="pt") as tensors:
            assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {"F16"}, path


def test_its_card_is_of_these_weights(card: dict) -> None:
    """A card that was written for other weights would quote numbers of something else."""
    assert card["base"] == base_digest(MODEL)
    assert set(card["training"]) == {"autoencoder", "transformer"}
    assert not set(card["training_people"]) & set(card["reference_people"])
    readme = (FOLDER / "README.md").read_text()
    assert f"{card['portraits_with_face']} of 40" in readme and f"{card['psnr_db']['native_windows']} dB" in readme
    assert (FOLDER / "curves.svg").is_file() and (FOLDER / "samples.webp").is_file()


def test_its_prompts_show_people(card: dict) -> None:
    assert card["portraits_with_face"] >= 0.95 * card["portraits"] == 38
    assert card["full_body_with_pose"] >= 0.8 * card["full_body"] == 16


@pytest.mark.weights
def test_prompts_decide_what_is_drawn(tmp_path) -> None:
    """Drawn anew from the shipped weights: a portrait has a large face, a full body a pose, and tiny-clip tells them apart."""
    prompts = ["studio portrait of a woman, plain white shirt, neutral expression, plain grey background",
               "casual selfie of a man, denim jacket over a grey t-shirt, park",
               "full-body studio photo of a person, white t-shirt and shorts, standing straight, hands loose on the sides"]
    config = load_config("tiny")
    pipeline = load_pipeline(config.model, "cpu")
    prepare_pipeline(pipeline, config.generate)
    images = draw(pipeline, config.generate, prompts, seeds=[1, 2, 3])
    assert [image.shape for image in images] == [(2048, 2048, 3)] * 3
    items = [Item(pixels_sha256(image), prompt, lambda image=image: image) for image, prompt in zip(images, prompts, strict=True)]
    with FeatureStore(Store(tmp_path), ("faces", "pose", "clip_tiny"), "cpu") as features:
        found = features.features_of(items, "look at samples")
    assert len(found[0]["faces"]["keypoints"]) and len(found[1]["faces"]["keypoints"]) and len(found[2]["pose"]["keypoints"])
    images_ND, texts_ND = (np.stack([each["clip_tiny"][name] for each in found]) for name in ("image", "text"))
    assert (images_ND @ texts_ND.T).argmax(axis=1).tolist() == [0, 1, 2]
