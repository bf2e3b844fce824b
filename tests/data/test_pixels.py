"""data/pixels.py: what decoded pixels show of their JPEG, and what clean ones do not."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data as pictures

from data.jpeg import Sampling, decode_jpeg, encode_jpeg, read_jpeg
from data.pixels import CompressionTrace, assumed_jpeg, find_compression, pixels_as_jpeg
from tests.conftest import photograph


def _photograph() -> np.ndarray:
    return np.asarray(pictures.astronaut())[100:420, 60:420]


@pytest.mark.parametrize("quality", [5, 10, 30, 50, 75, 85])
@pytest.mark.parametrize("shift", [(0, 0), (3, 5), (10, 14)])
def test_quality_sampling_and_grid_are_found(quality: int, shift: tuple[int, int]) -> None:
    for sampling, unit in ((Sampling.S420, 16), (Sampling.S444, 8)):
        pixels = decode_jpeg(encode_jpeg(_photograph(), quality, sampling))
        trace = find_compression(pixels[shift[0] :, shift[1] :])
        assert trace == CompressionTrace(quality, sampling, (shift[0] % unit, shift[1] % unit))


def test_where_no_colour_is_no_chroma_is_assumed() -> None:
    gray = _photograph()[:, :, :1].repeat(3, 2)
    y, cb, cr = assumed_jpeg(gray, 50).components
    assert y.levels.any()
    assert not cb.levels.any()
    assert not cr.levels.any()


def test_gray_pixels() -> None:
    gray = _photograph()[:, :, 1]
    pixels = decode_jpeg(encode_jpeg(gray, 40))[2:, 7:, 0]
    trace = find_compression(np.ascontiguousarray(pixels))
    assert trace == CompressionTrace(40, Sampling.S444, (2, 7))
    source = pixels_as_jpeg(np.ascontiguousarray(pixels))
    assert source.stored.colors == "gray"


def test_clean_and_tiny_pictures_show_nothing() -> None:
    assert find_compression(_photograph()) is None
    assert find_compression(photograph(200, 200)) is None
    assert find_compression(np.zeros((200, 200, 3), np.uint8)) is None
    assert find_compression(decode_jpeg(encode_jpeg(_photograph(), 98))) is None
    assert find_compression(photograph(20, 20)) is None


def test_stored_levels_come_back() -> None:
    """All but a few levels of the file that the pixels were decoded from, at a shifted grid too."""
    data = encode_jpeg(_photograph(), 30)
    stored = read_jpeg(data).components[0]
    source = pixels_as_jpeg(decode_jpeg(data)[5:, 3:])
    assert source.offset == (5, 3)
    found = source.stored.components[0]
    assert np.array_equal(found.table, stored.table)
    inside = np.s_[2:-2, 2:-2]
    assert (found.levels[inside] == stored.levels[inside]).mean() > 0.995


def test_without_a_trace_next_to_nothing_is_lost() -> None:
    image = _photograph()
    source = pixels_as_jpeg(image)
    assert source.offset == (0, 0)
    assert source.stored.sampling is Sampling.S444
    assert all((c.table == 1).all() for c in source.stored.components)
    assert "no trace" in source.note
