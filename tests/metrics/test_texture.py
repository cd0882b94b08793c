"""Texture at native resolution: closed forms, each fault seen by its own measure, and nothing at 224 pixels."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.corruptions import corrupt
from sana_bench.features import View
from sana_bench.features.texture import LEVELS, Texture, blockiness, compression_ratio, glcm_entropy, luminance, native_tiles, seam, sharpness

NOWHERE = np.empty((0, 2))


def scene(side: int = 768, seed: int = 0) -> np.ndarray:
    """(side, side, 3) uint8 whose power falls evenly with frequency, as that of photographs does."""
    draw = np.random.default_rng(seed)
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    spectrum = np.fft.rfft2(draw.normal(size=(side, side))) / np.maximum(radius, 1 / side)
    picture = np.fft.irfft2(spectrum, (side, side))
    grey = 128 + 40 * (picture - picture.mean()) / picture.std()
    return np.clip(np.round(grey[..., None] + draw.normal(size=3) * 10), 0, 255).astype(np.uint8)


def read(pixels: np.ndarray) -> dict[str, float]:
    return {name: float(value[0]) for name, value in Texture("cpu").extract(View(pixels, ""), {}).items()}


def test_tiles_are_native_pixels_on_one_plan() -> None:
    picture = scene(1024)
    tiles = native_tiles(picture)
    assert len(tiles) == 16 and all(tile.shape == (256, 256, 3) for tile in tiles)
    assert np.array_equal(tiles[0], picture[:256, :256]) and np.array_equal(tiles[-1], picture[-256:, -256:])
    assert [tile.shape for tile in native_tiles(picture[:100, :300])] == [(100, 256, 3)]


def test_white_noise_is_as_strong_at_all_frequencies() -> None:
    noise = np.random.default_rng(1).normal(128, 20, (256, 256)).astype(np.float32)
    assert sharpness([noise]) == pytest.approx(0, abs=0.05)
    assert sharpness([noise * 3]) == pytest.approx(sharpness([noise]), abs=1e-4), "contrast is nothing"


def test_entropy_of_two_independent_levels_is_two_bits_and_of_one_none() -> None:
    draw = np.random.default_rng(2)
    assert glcm_entropy(draw.choice([0.0, 200.0], (256, 256))) == pytest.approx(2, abs=0.01)
    assert glcm_entropy(np.full((256, 256), 77.0)) == 0 and glcm_entropy(draw.uniform(0, 256, (256, 256))) == pytest.approx(2 * np.log2(LEVELS), abs=0.1)


def test_blocks_of_eight_are_seen_and_other_ones_are_not() -> None:
    smooth = np.random.default_rng(3).normal(128, 3, (256, 256))
    eight = smooth + np.kron(np.random.default_rng(4).normal(0, 10, (32, 32)), np.ones((8, 8)))
    assert blockiness(smooth) == pytest.approx(1, abs=0.02) and blockiness(eight) > 2
    assert blockiness(np.roll(eight, 4, axis=(0, 1))) < 1, "only blocks that start at the corner"
    assert blockiness(smooth[:10, :10]) == 1


def test_a_seam_counts_with_its_step_and_an_edge_of_part_of_the_picture_does_not() -> None:
    flat = np.random.default_rng(5).normal(128, 0.2, (1024, 512))
    shifted, door = flat.copy(), flat.copy()
    shifted[:, 300:] += 4
    door[600:1000, 200:320] += 60
    assert seam(shifted) == pytest.approx(4, abs=0.2) and seam(flat) < 0.2 and seam(door) < 0.2
    assert seam(shifted[:, :40]) == 0


def test_plain_compresses_and_noise_does_not() -> None:
    plain, noise = np.full((256, 256, 3), 90, np.uint8), np.random.default_rng(6).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    assert compression_ratio([plain]) > 30 > 2 > compression_ratio([noise])


@pytest.mark.parametrize(("kind", "dose", "feature", "sign"), [
    ("picture_blurred", 2, "sharpness", -1), ("picture_upscaled", 2, "sharpness", -1), ("picture_blurred", 2, "glcm_entropy", -1),
    ("picture_blurred", 2, "compression_ratio", 1), ("picture_compressed", 50, "blockiness", 1), ("picture_tiled", 8, "seam", 1)])
def test_each_fault_of_2k_pictures_moves_its_measure(kind: str, dose: float, feature: str, sign: int) -> None:
    """A blur of two pixels, twice the size, JPEG of quality 50, seams."""
    for seed in range(3):
        whole = scene(2048 if kind == "picture_tiled" else 768, seed=seed)  # sixteen tiles, of which any two may be alike
        assert sign * (read(corrupt(kind, whole, NOWHERE, dose, (seed,)))[feature] - read(whole)[feature]) > 0.05, seed


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 300, 3), (64, 64, 3)])
def test_odd_sizes_and_flat_pictures_have_finite_values(shape: tuple[int, int, int]) -> None:
    for pixels in (np.zeros(shape, np.uint8), np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)):
        assert np.isfinite(list(read(pixels).values())).all()
    assert luminance(np.full((2, 2, 3), 255, np.uint8)) == pytest.approx(255)
