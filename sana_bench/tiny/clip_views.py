"""What the small CLIP is trained on: changed views of the pictures, as image features, and changed captions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from sana_bench.data.views import fit_view
from sana_bench.errors import DataError
from sana_bench.features.efficientnet import imagenet_view
from sana_bench.images import read_image
from sana_bench.progress import progress
from sana_bench.store import write_bytes
from sana_bench.tiny.captions import SUBJECT

if TYPE_CHECKING:
    import torch

    from sana_bench.data.manifest import Manifest, Row

NUM_VIEWS = 12
"""Of each picture; every second one is mirrored, and the first two are not changed otherwise."""
BASE_PX = 288
OTHER_WORDS = {
    "studio portrait": ("portrait in a studio", "studio portrait photo"),
    "studio headshot": ("headshot", "close-up of the head", "studio head shot"),
    "full-body studio photo": ("full-body photo in a studio", "full-body studio picture", "full-length studio photo"),
    "casual selfie": ("selfie", "casual self-portrait"),
    "casual full-body photo": ("full-body snapshot", "casual full-length photo", "full-body candid photo"),
    "upper-body photo": ("portrait", "portrait photo", "close-up", "photo of the face"),
    "full-body photo": ("full-length photo", "full-body picture", "photo of the whole body"),
    "person": ("human", "individual"),
    "woman": ("lady", "female person"),
    "man": ("gentleman", "male person"),
    "happy expression": ("smiling", "happy face", "looking happy"),
    "sad expression": ("looking sad", "sad face"),
    "angry expression": ("looking angry", "angry face"),
    "surprised expression": ("looking surprised", "surprised face"),
    "neutral expression": ("neutral face", "calm expression"),
    "front view": ("seen from the front", "facing the camera"),
    "back view": ("seen from behind", "from the back"),
    "side view": ("seen from the side", "profile view", "face in profile", "left view", "right view"),
    "plain grey background": ("grey background", "grey studio backdrop", "plain gray background"),
    "plain white shirt": ("white shirt", "wearing a white shirt"),
    "park": ("in a park", "park in the background"),
    "garden": ("in a garden", "garden in the background"),
    "living room": ("in a living room", "at home in the living room"),
    "cafe": ("in a cafe", "sitting in a cafe"),
}
"""Phrases of the captions and other ways to say the same."""
ALWAYS_TRUE = {"photo", "person"}


def view_features(manifest: Manifest, trunk, folder: Path) -> torch.Tensor:
    """Pooled features of NUM_VIEWS views of every picture, one file a picture in `folder`: a kill loses at most one.

    Returns:
        (N, NUM_VIEWS, 1280) float32.
    """
    import torch
    from safetensors.torch import load_file, save

    paths = [folder / f"{index:05}.safetensors" for index in range(len(manifest.rows))]
    missing = [index for index, path in enumerate(paths) if not path.exists()]
    if missing:
        with progress("CLIP views", len(paths), len(paths) - len(missing)) as tracker:
            for index in missing:
                write_bytes(paths[index], save({"features": _features_of(manifest, index, trunk)}))
                tracker.advance()
    return torch.stack([load_file(path)["features"] for path in paths])


def _features_of(manifest: Manifest, index: int, trunk) -> torch.Tensor:
    import torch


    base = _square(manifest, manifest.rows[index])
    views = []
    for view in range(NUM_VIEWS):
        image = base if view < 2 else change_view(base, np.random.default_rng([index, view]))
        views.append(imagenet_view(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if view % 2 else image))
    with torch.inference_mode():
        return trunk(torch.stack(views))


def _square(manifest: Manifest, row: Row) -> Image.Image:
    picture = Image.fromarray(read_image(manifest.folder / row.file_name, DataError))
    return fit_view(picture, BASE_PX, BASE_PX, fit=row.fit, focus_y=row.focus_y)


def change_view(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """Turn, crop, recolour, and blur or coarsen, as a generator's faults would; what the caption says stays true."""
    image = image.rotate(draw.uniform(-8, 8), Image.Resampling.BICUBIC, fillcolor=image.getpixel((4, 4)))
    side = draw.uniform(0.72, 1.0) * image.width
    left, top = draw.uniform(0, image.width - side), draw.uniform(0, image.height - side)
    image = image.crop(tuple(round(edge) for edge in (left, top, left + side, top + side)))
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancer(image).enhance(draw.uniform(0.7, 1.3))
    fault = draw.uniform()
    if fault < 0.35:
        image = image.filter(ImageFilter.GaussianBlur(draw.uniform(0.5, 4.0)))
    elif fault < 0.6:
        coarse = int(draw.integers(48, 160))
        image = image.resize((coarse, coarse), Image.Resampling.BOX)
    elif fault < 0.75:
        noise = draw.normal(0, draw.uniform(4, 16), (image.height, image.width, 3))
        image = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    return image


def draw_captions(captions: Sequence[str], generator: torch.Generator) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """A changed caption for each image of a batch, and which of them fit which image.

    Returns:
        The texts; (B, B) bool [image, text], whether every word of the text is true of the image; and (B, B) bool,
        whether the two texts say the same.
    """
    import torch

    short = [shorten(caption, generator) for caption in captions]
    facts = [words_of(caption) | words_of(broad_framing(caption)) | ALWAYS_TRUE for caption in captions]
    said = [words_of(caption) for caption in short]
    fits_BB = torch.tensor([[text <= image for text in said] for image in facts])
    equal_BB = torch.tensor([[text == own for text in said] for own in said])
    return [reword(caption, generator) for caption in short], fits_BB, equal_BB


def words_of(caption: str) -> frozenset[str]:
    return frozenset(re.findall(r"[\w-]+", caption)) - {"a", "of", "and", "with", "the"}


def broad_framing(caption: str) -> str:
    return "full-body photo" if "full-body" in caption else "upper-body photo"


def shorten(caption: str, generator: torch.Generator) -> str:
    """Leave things out at random: the framing, words about the hair, the age, the sex, clauses. What is left stays true."""
    import torch

    def chance() -> float:
        return float(torch.rand((), generator=generator))

    match = SUBJECT.match(caption)
    if match is None:
        return caption
    subject = f"a {match['noun']}" if chance() < 0.65 else "a person"
    if chance() < 0.35:
        subject += f" aged {match['age']}"
    if chance() < 0.5:
        words = match["hair"].split()
        subject += " with " + " ".join(word for word in words if word in ("hair", "and", "a", "beard") or chance() < 0.75)
    framings, draw = (match["framing"], broad_framing(caption), "photo"), chance()
    framing = framings[0 if draw < 0.75 else 1 if draw < 0.9 else 2]
    kept = 0.85 if chance() < 0.7 else 0.3
    clauses = [clause for clause in caption[match.end():].split(", ") if clause and chance() < kept]
    return ", ".join([f"{framing} of {subject}", *clauses])


def reword(caption: str, generator: torch.Generator) -> str:
    """Say some phrases in other words."""
    import torch

    for phrase, others in OTHER_WORDS.items():
        pattern = rf"(?<![\w-]){phrase}(?![\w-])"
        if float(torch.rand((), generator=generator)) < 0.35:
            other = others[int(torch.randint(len(others), (), generator=generator))]
            caption = re.sub(pattern, other, caption)
    return caption
