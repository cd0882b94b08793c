"""What the small CLIP can do, measured on the reference people, whom it has never seen: the numbers in its card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sana_bench.data.openpeople import EMOTIONS
from sana_bench.data.views import fit_view
from sana_bench.errors import DataError
from sana_bench.features.clip_model import BACKBONE, WEIGHTS_FILE, load_clip, tokenize
from sana_bench.features.efficientnet import imagenet_view
from sana_bench.images import read_image
from sana_bench.tiny.captions import SUBJECT

if TYPE_CHECKING:
    from open_clip.model import CustomTextCLIP

    from sana_bench.data.manifest import Manifest

VIEW_PX = 2048
"""Reference pictures are shown as generated ones are, at this size."""

ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    "framing": {"studio portrait of": "studio portrait of a person", "studio headshot of": "studio headshot of a person",
                "full-body studio photo of": "full-body studio photo of a person",
                "casual selfie of": "casual selfie of a person",
                "casual full-body photo of": "casual full-body photo of a person"},
    "framing_head_or_body": {"portrait of|headshot of|selfie of": "portrait of a person",
                             "full-body": "full-body photo of a person"},
    "side": {f"{side} view": f"a person, {side} view" for side in ("front", "side", "back")},
    "setting": {"plain grey background": "a person, plain grey background", "living room": "a person, living room",
                "park|garden": "a person, park"},
    "presentation": {"a woman": "a woman", "a man": "a man"},
    "expression": {f"{emotion} expression": f"studio headshot of a person, {emotion} expression" for emotion in EMOTIONS},
}
"""Attribute -> what a caption says (alternatives by `|`) -> the prompt that stands for it."""


def measure(model: CustomTextCLIP, tokenizer, manifest: Manifest) -> dict:
    """`measure_matches` on the pictures of `manifest`."""
    return measure_matches(model, tokenizer, embed_images(model, manifest), [row.text for row in manifest.rows])


def measure_matches(model: CustomTextCLIP, tokenizer, images_ND: np.ndarray, captions: Sequence[str]) -> dict:
    """Retrieval and zero-shot accuracy of images and their captions; every number with the chance level beside it.

    Args:
        images_ND: (N, D) float32, unit norm.
        captions: N, one an image.
    """
    plain = [without_person(caption) for caption in captions]
    return {
        "num_pictures": len(captions),
        "retrieval": {"caption": _retrieval(model, tokenizer, images_ND, captions),
                      "caption_without_person": _retrieval(model, tokenizer, images_ND, plain)},
        "attributes": {name: found for name, choices in ATTRIBUTES.items()
                       if (found := _accuracy(model, tokenizer, images_ND, captions, choices))},
        "matching": _matching(model, tokenizer, images_ND, captions),
    }


def embed_images(model: CustomTextCLIP, manifest: Manifest) -> np.ndarray:
    """(N, D) float32, unit norm."""
    import torch

    embeddings = []
    for row in manifest.rows:
        picture = Image.fromarray(read_image(manifest.folder / row.file_name, DataError))
        view = fit_view(picture, VIEW_PX, VIEW_PX, fit=row.fit, focus_y=row.focus_y)
        with torch.inference_mode():
            embeddings.append(model.encode_image(imagenet_view(view)[None], normalize=True)[0].numpy())
    return np.stack(embeddings)


def embed_texts(model: CustomTextCLIP, tokenizer, texts: Sequence[str]) -> np.ndarray:
    """(N, D) float32, unit norm."""
    import torch

    with torch.inference_mode():
        return model.encode_text(tokenize(tokenizer, texts)[0], normalize=True).numpy()


def without_person(caption: str) -> str:
    """The caption with "a person" in place of who it is."""
    return SUBJECT.sub(lambda match: f"{match['framing']} of a person", caption)


def _retrieval(model, tokenizer, images_ND: np.ndarray, captions: Sequence[str]) -> dict:
    """How often the own caption is the best, or among the best five, of all distinct ones."""
    distinct = sorted(set(captions))
    similarity_NT = images_ND @ embed_texts(model, tokenizer, distinct).T
    own = np.array([distinct.index(caption) for caption in captions])
    rank = (similarity_NT > similarity_NT[np.arange(len(own)), own][:, None]).sum(axis=1)
    return {"num_captions": len(distinct), "top1": _share(rank < 1), "top1_chance": round(1 / len(distinct), 4),
            "top5": _share(rank < 5), "top5_chance": round(min(1.0, 5 / len(distinct)), 4)}


def _accuracy(model, tokenizer, images_ND: np.ndarray, captions: Sequence[str], choices: Mapping[str, str]) -> dict:
    """Share of the pictures whose caption names one of `choices` for which the prompt of that choice is the nearest.

    Beside it stand the mean over the choices (balanced), chance, and what always naming the most frequent choice would give.
    Empty where no caption names one.
    """
    said = [[index for index, words in enumerate(choices) if any(word in caption for word in words.split("|"))]
            for caption in captions]
    rows = [row for row, found in enumerate(said) if len(found) == 1]
    if not rows:
        return {}
    right = np.array([said[row][0] for row in rows])
    nearest = (images_ND[rows] @ embed_texts(model, tokenizer, list(choices.values())).T).argmax(axis=1)
    per_choice = [_share(nearest[right == index] == index) for index in sorted(set(right.tolist()))]
    return {"num_pictures": len(rows), "num_choices": len(choices), "accuracy": _share(nearest == right),
            "balanced_accuracy": round(float(np.mean(per_choice)), 4), "chance": round(1 / len(choices), 4),
            "most_frequent_choice": round(np.bincount(right).max() / len(right), 4)}


def _matching(model, tokenizer, images_ND: np.ndarray, captions: Sequence[str]) -> dict:
    """Mean cosine with the own caption, and with all others; and how often the own one wins against one drawn evenly."""
    similarity_NN = images_ND @ embed_texts(model, tokenizer, captions).T
    own, other = np.diag(similarity_NN), ~np.eye(len(captions), dtype=bool)
    return {"mean_own": round(float(own.mean()), 4), "mean_other": round(float(similarity_NN[other].mean()), 4),
            "own_above_other": _share((own[:, None] > similarity_NN)[other])}


def _share(hits: np.ndarray) -> float:
    return round(float(np.mean(hits)), 4)


def write_card(folder: Path, tokenizer, reference: Manifest, *, losses: Sequence[float],
               training: Mapping[str, object]) -> dict:
    """Measure the weights saved in `folder`, write `folder/card.json`, return what is in it.

    Args:
        reference: pictures of the reference people.
        training: what only the training knows: seed, seconds, number of pictures.
    """
    model = load_clip(folder)
    own = sum(value.numel() for name, value in model.named_parameters() if not name.startswith(BACKBONE))
    every = max(1, len(losses) // 100)
    curve = [round(float(np.mean(losses[at:at + every])), 4) for at in range(0, len(losses), every)]
    card = {"what": "open_clip CustomTextCLIP: frozen EfficientNet-lite0 image tower, own head and text tower",
            "parameters": own, "bytes": (folder / WEIGHTS_FILE).stat().st_size,
            "training": {"steps": len(losses), **training, "loss_curve": curve},
            "reference_people": measure(model, tokenizer, reference)}
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    return card
