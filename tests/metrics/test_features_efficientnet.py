"""EfficientNet-lite0 features: the weights are in their places, and no other image moves them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sana_bench.assets import asset_path
from sana_bench.data.openpeople import find_people
from sana_bench.features import View
from sana_bench.features.efficientnet import IMAGENET_MEAN, IMAGENET_STD, EfficientNetLite0
from sana_bench.features.network import one_thread

pytestmark = pytest.mark.weights

JEAN, BOOKCASE = 608, 453
"""Classes of ImageNet."""


@pytest.fixture(scope="module")
def extractor() -> EfficientNetLite0:
    return EfficientNetLite0("cpu")


def photograph(person: str, kind: str) -> View:
    folder = next(folder for folder in find_people(asset_path("openpeople")) if folder.name == person)
    return View(np.asarray(Image.open(folder / "assets" / f"{kind}.jpg").convert("RGB")), "")


def features(extractor: EfficientNetLite0, view: View) -> np.ndarray:
    return extractor.extract(view, {})["features"]


def classes(extractor: EfficientNetLite0, features_ND: np.ndarray) -> list[int]:
    import torch

    with one_thread(), torch.inference_mode():
        return extractor.model.classifier(torch.from_numpy(features_ND)).topk(5).indices.tolist()


def test_the_classifier_behind_the_features_names_what_is_shown(extractor: EfficientNetLite0) -> None:
    """The file's tensors are matched by order, and only the right order names jeans in a park."""
    assert JEAN in classes(extractor, features(extractor, photograph("P004", "amateur_posture")))


def test_an_image_has_the_same_features_alone_and_after_another(extractor: EfficientNetLite0) -> None:
    view = photograph("P001", "studio_portrait")
    alone = features(extractor, view)
    other = features(extractor, photograph("P008", "studio_portrait"))
    np.testing.assert_array_equal(alone, features(extractor, view))
    np.testing.assert_array_equal(alone, features(EfficientNetLite0("cpu"), view))
    assert (alone.shape, alone.dtype) == ((1280,), np.float32)
    assert alone.min() >= 0 and np.linalg.norm(alone - other) > 0.1 * np.linalg.norm(alone)


def test_pooling_by_hand_gives_the_same_features(extractor: EfficientNetLite0) -> None:
    """timm's own forward pass in double precision, up to the classifier's input, on the resized and normalised image."""
    import copy

    import torch

    view = photograph("P001", "studio_portrait")
    small = np.asarray(view.image.resize((224, 224), Image.Resampling.BICUBIC), np.float64) / 255
    normal = torch.from_numpy((small - IMAGENET_MEAN) / IMAGENET_STD).permute(2, 0, 1)[None]
    seen: list[torch.Tensor] = []
    model = copy.deepcopy(extractor.model).double()
    model.classifier.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with one_thread(), torch.inference_mode():
        model(normal)
    np.testing.assert_allclose(features(extractor, view), seen[0][0].numpy(), atol=1e-4)


def test_a_worse_image_lies_further_off(extractor: EfficientNetLite0) -> None:
    view = photograph("P001", "studio_portrait")
    clean = features(extractor, view)
    distances = []
    for side in (512, 64, 24):
        coarse = view.image.resize((side, side), Image.Resampling.BOX).resize((2048, 2048), Image.Resampling.BICUBIC)
        distances.append(float(np.linalg.norm(features(extractor, View(np.asarray(coarse), "")) - clean)))
    assert distances == sorted(distances) and distances[0] < 0.2 * distances[-1]
