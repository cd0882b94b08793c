"""Inception-v3 as FID means it: torch-fidelity's network with the file's weights, clean-fid's resizing, torchmetrics' value; and no weights, no value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_bench.assets.pins import ASSETS
from sana_bench.assets.sources import LocalFolder
from sana_bench.cli import main
from sana_bench.config import load_config
from sana_bench.errors import AssetError, ConfigError
from sana_bench.features import EXTRACTORS, View
from sana_bench.features.inception import SIDE, inception_view
from sana_bench.metrics import METRICS
from sana_bench.metrics.frechet_distance import frechet_distance
from sana_bench.pipeline import train_and_eval
from sana_bench.shipped import cache_folder
from tests.pretrained import put_asset

NUM_IMAGES, NUM_DIMENSIONS = 4, 2


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the pinned one's format, with random numbers that neither vanish nor explode through 94 layers."""
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = tmp_path_factory.mktemp("inception") / "pt_inception.pth"
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *args, **kwargs: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        model = FeatureExtractorInceptionV3("random", ["2048"])
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.bias, std=0.1)
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture
def extractor(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    put_asset("inception_v3_fid", weights, tmp_path, monkeypatch)
    made = EXTRACTORS.get("inception_v3").make("cpu")
    yield made
    made.close()


def images(number: int, seed: int) -> np.ndarray:
    """(number, SIDE, SIDE, 3) uint8: blobs of colour, which a random network tells apart."""
    from skimage.transform import resize

    coarse = np.random.default_rng(seed).random((number, 6, 6, 3))
    return np.stack([(255 * resize(each, (SIDE, SIDE), order=1)).astype(np.uint8) for each in coarse])


def features_of(extractor, pixels: np.ndarray) -> np.ndarray:
    return np.stack([extractor.extract(View(each, ""), {})["features"] for each in pixels])


def test_features_are_torch_fidelitys(extractor, weights: Path) -> None:
    """At 299 pixels neither side resizes, so both see the same numbers."""
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    pixels = images(2, seed=1)
    theirs = FeatureExtractorInceptionV3("theirs", ["2048"], feature_extractor_weights_path=str(weights))
    expected = theirs(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))[0].numpy()
    found = features_of(extractor, pixels)
    assert found.shape == (2, 2048) and found.dtype == np.float32 and found.std(axis=0).mean() > 0.01
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_the_distance_is_torchmetrics_fid(extractor, weights: Path) -> None:
    """On the first of the 2,048 dimensions, where its way through the eigenvalues of a product of covariances takes no minute."""
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3

    class FirstDimensions(torch.nn.Module):
        num_features = NUM_DIMENSIONS

        def __init__(self) -> None:
            super().__init__()
            self.whole = NoTrainInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.whole(pixels)[:, :NUM_DIMENSIONS]

    theirs, sets = FrechetInceptionDistance(feature=FirstDimensions()), (images(NUM_IMAGES, seed=2), images(NUM_IMAGES, seed=3) // 2)
    for pixels, real in zip(sets, (True, False), strict=True):
        theirs.update(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()), real=real)
    real_MD, generated_ND = (features_of(extractor, pixels)[:, :NUM_DIMENSIONS] for pixels in sets)
    assert frechet_distance(generated_ND, real_MD) == pytest.approx(float(theirs.compute()), rel=1e-4)


def bicubic(length: int) -> np.ndarray:
    """(SIDE, length) float64 weights of the antialiased Catmull-Rom filter, from its formula: the kernel is widened by the factor of the resizing."""
    scale = length / SIDE
    centres = (np.arange(SIDE) + 0.5) * scale
    distance = np.abs((np.arange(length) + 0.5 - centres[:, None]) / max(scale, 1))
    kernel = np.where(distance < 1, 1.5 * distance**3 - 2.5 * distance**2 + 1, np.where(distance < 2, -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2, 0))
    return kernel / kernel.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(700, 512), (130, 299)])
def test_resizing_is_bicubic_in_float_and_never_rounded(size: tuple[int, int]) -> None:
    """The steps of clean-fid: no uint8 in between, values beyond [0, 255] cut off."""
    pixels = np.random.default_rng(4).choice([0, 255, 128], size=(*size, 3)).astype(np.uint8)
    expected = (bicubic(size[0]) @ pixels.transpose(2, 0, 1).astype(float) @ bicubic(size[1]).T).clip(0, 255)
    found = inception_view(Image.fromarray(pixels)) * 128 + 128
    assert found.shape == (3, SIDE, SIDE) and np.abs(found - expected).max() < 0.01
    assert np.abs(found - found.round()).mean() > 0.1 and found.min() == 0 and found.max() == 255


def test_the_weights_are_read_as_tensors_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    import torch

    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth"
    torch.save({"fc.weight": Trap()}, path)
    put_asset("inception_v3_fid", path, tmp_path / "cache", monkeypatch)
    with pytest.raises(pickle.UnpicklingError):
        EXTRACTORS.get("inception_v3").make("cpu")
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Unpickling it makes a file."""

    def __reduce__(self):
        return (Path.touch, (Path("sprung"),))


@pytest.mark.weights
def test_fid_offline_is_one_error_that_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    for folder in cache_folder().glob("assets/*-*"):
        if not folder.name.startswith("inception"):
            (tmp_path / "cache" / "assets").mkdir(parents=True, exist_ok=True)
            (tmp_path / "cache" / "assets" / folder.name).symlink_to(folder)
    monkeypatch.setenv("SANA_BENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(AssetError, match="inception_v3_fid"):
        EXTRACTORS.get("inception_v3").make("cpu")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "images" / "a_0.png")
    (tmp_path / "images" / "metadata.jsonl").write_text('{"file_name": "a_0.png", "text": "a person"}\n')
    code = main(["score", "--images", str(tmp_path / "images"), "--set", 'score.metrics=["fid"]', "--set", f"run.store={tmp_path / 'store'}"])
    message = capfd.readouterr().err
    assert code == 2 and "Traceback" not in message
    assert "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2" in message and "`sana-bench assets pull inception_v3_fid` on a machine" in message


@pytest.mark.weights
def test_a_run_that_cannot_have_its_weights_stops_before_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asset = replace(ASSETS["inception_v3_fid"], source=LocalFolder(folder=tmp_path / "nowhere"), members={"gone.pth": "0" * 64})
    monkeypatch.setitem(ASSETS, "inception_v3_fid", asset)
    config = load_config("tiny", ('score.extra_metrics=["fid"]', f"run.store={tmp_path / 'store'}"))
    with pytest.raises(AssetError, match="inception_v3_fid .* cannot be had: folder .* has no gone.pth"):
        train_and_eval(config)
    assert not list((tmp_path / "store").rglob("*.json"))


def test_fid_is_the_only_name_of_this_distance() -> None:
    fid = METRICS.get("fid")
    assert (fid.extractors, fid.fewest_images, fid.always_here) == (("inception_v3",), 5000, False)
    with pytest.raises(ConfigError, match='what "fid" is made of'):
        METRICS.get("fd_inception_v3")
    assert METRICS.get("kid_inception_v3").extractor_digest() == fid.extractor_digest()
