"""What a decoded image is: upright, opaque, eight bits, and of a sane size."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_bench.errors import DataError
from sana_bench.images import image_size, pixels_sha256, read_image, write_png

HALVES = np.concatenate([np.zeros((8, 4, 3), np.uint8), np.full((8, 4, 3), 255, np.uint8)], axis=1)
"""8 x 8: black on the left, white on the right."""


def test_png_gives_back_the_pixels(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", HALVES)
    assert np.array_equal(read_image(tmp_path / "a.png", DataError), HALVES)


def test_a_photograph_is_upright_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(HALVES).save(tmp_path / "a.jpg", exif=exif, quality=100)
    turned = read_image(tmp_path / "a.jpg", DataError)
    assert turned[:4].mean() < 5 and turned[4:].mean() > 250


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_picture(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(HALVES[:4]).save(tmp_path / "a.jpg", exif=exif)
    assert image_size(tmp_path / "a.jpg", DataError) == read_image(tmp_path / "a.jpg", DataError).shape[1::-1]


@pytest.mark.parametrize(("kind", "value"), [(2, b"6\0\0\0"), (3, b"\x09\0\0\0"), (3, b"\0\0\0\0")])  # text, and numbers that stand for nothing
def test_an_orientation_that_is_none_turns_nothing(kind: int, value: bytes, tmp_path: Path) -> None:
    tag = struct.pack("<HHI", 0x0112, kind, 2 if kind == 2 else 1) + value
    Image.fromarray(HALVES[:4]).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0" + tag + bytes(4))
    assert image_size(tmp_path / "a.jpg", DataError) == read_image(tmp_path / "a.jpg", DataError).shape[1::-1] == (8, 4)


def test_the_size_of_no_image_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be decoded"):
        image_size(tmp_path / "a.png", DataError)


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 51, np.uint8)])).save(tmp_path / "a.png")
    assert np.unique(read_image(tmp_path / "a.png", DataError)).tolist() == [204]  # 255 x (1 - 51/255)


def test_sixteen_bits_are_refused_instead_of_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        read_image(tmp_path / "a.png", DataError)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (9_000, 9_000)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 100_000
    with pytest.raises(DataError, match="a.png"):
        read_image(tmp_path / "a.png", DataError)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<svg/>"])
def test_no_image_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match="cannot be decoded"):
        read_image(tmp_path / "a.png", DataError)


def test_the_hash_is_of_shape_and_pixels(tmp_path: Path) -> None:
    assert pixels_sha256(HALVES) == pixels_sha256(HALVES.copy()) != pixels_sha256(HALVES[:, ::-1])
    assert pixels_sha256(HALVES.reshape(4, 16, 3)) != pixels_sha256(HALVES)
