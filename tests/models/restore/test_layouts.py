"""models/restore/layouts.py: every layout starts from libjpeg's picture, 4:2:0 from levels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data.jpeg import (
    ColorTransform,
    Component,
    JpegImage,
    Sampling,
    decode_jpeg,
    encode_jpeg,
    read_jpeg,
)
from models.dct import CoefficientsToImage
from models.restore.layouts import mirror_blocks, network_view
from models.restore.restorer import Restorer, network_input
from tests.conftest import FIXTURES, photograph, smooth


def _samples(levels: np.ndarray) -> np.ndarray:
    return CoefficientsToImage().inverse_dct(torch.from_numpy(levels.copy()).float()).numpy()


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 4), cols=st.integers(1, 4), more=st.integers(0, 9), seed=st.integers(0, 99)
)
def test_mirrored_blocks_are_mirrored_samples(rows: int, cols: int, more: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.integers(-50, 50, (rows, cols, 8, 8)).astype(np.int16)
    extended = mirror_blocks(levels, rows + more, cols + more)
    assert extended.dtype == np.int16
    expected = np.pad(_samples(levels), ((0, 8 * more), (0, 8 * more)), mode="symmetric")
    np.testing.assert_allclose(_samples(extended), expected, atol=1e-3)


@pytest.mark.parametrize(
    "size", [(1, 1), (8, 8), (16, 24), (17, 40), (56, 72), (64, 64), (65, 129)]
)
def test_network_input_has_legal_size_and_keeps_the_levels(size: tuple[int, int]) -> None:
    stored = read_jpeg(encode_jpeg(photograph(*size), 50))
    qts, y, c, detail = network_input(stored)
    assert detail is None
    assert y.shape[2] % 8 == 0
    assert y.shape[3] % 8 == 0
    assert c.shape[2:4] == (y.shape[2] // 2, y.shape[3] // 2)
    assert qts.shape == (1, 3, 8, 8)
    luma, cb, _ = stored.components
    rows, cols = luma.levels.shape[:2]
    assert np.array_equal(y[0, 0, :rows, :cols].numpy(), luma.levels)
    rows, cols = cb.levels.shape[:2]
    assert np.array_equal(c[0, 0, :rows, :cols].numpy(), cb.levels)


def test_luma_and_chroma_are_mirrored_at_the_same_edge() -> None:
    """40 pixels: 5 luma blocks, but 3 chroma blocks that reach to 48."""
    stored = read_jpeg(encode_jpeg(photograph(40, 40), 95))
    _, y, c, _ = network_input(stored)
    luma, chroma = _samples(y[0, 0].numpy()), _samples(c[0, 0].numpy())
    np.testing.assert_allclose(luma[48:64], luma[32:48][::-1], atol=1e-3)
    np.testing.assert_allclose(chroma[24:32], chroma[16:24][::-1], atol=1e-3)


@pytest.mark.parametrize("sampling", list(Sampling))
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (64, 64), (70, 121)])
def test_first_image_of_every_sampling_is_libjpegs(
    restorer: Restorer, sampling: Sampling, size: tuple[int, int]
) -> None:
    data = encode_jpeg(smooth(*size), 90, sampling)
    image = restorer.restore(read_jpeg(data))
    difference = np.abs(image.astype(int) - decode_jpeg(data))
    assert image.shape == (*size, 3)
    # 4:1:1 is enlarged smoothly here, by repetition in libjpeg
    assert difference.mean() < (1.5 if sampling is Sampling.S411 else 0.8)


@pytest.mark.parametrize("quality", [10, 60, 95])
def test_nothing_of_full_resolution_chroma_is_lost(restorer: Restorer, quality: int) -> None:
    """A noisy picture in 4:4:4: no chroma filter is involved, so rounding alone remains."""
    data = encode_jpeg(photograph(80, 96), quality, Sampling.S444)
    image = restorer.restore(read_jpeg(data))
    assert np.abs(image.astype(int) - decode_jpeg(data)).max() <= 2


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.jpg")), ids=lambda path: path.stem)
def test_files_of_other_encoders_start_from_libjpegs_picture(
    restorer: Restorer, path: Path
) -> None:
    image = restorer.restore(read_jpeg(path))
    expected = np.asarray(Image.open(path))
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 0.8
    assert np.array_equal(decode_jpeg(path.read_bytes()), expected)


def _stored(factors: list[tuple[int, int]], height: int, width: int) -> JpegImage:
    """A YCbCr JPEG of constant planes with any sampling factors (vertical, horizontal)."""
    v_max, h_max = (max(f[i] for f in factors) for i in (0, 1))
    components = []
    for (v, h), level in zip(factors, (10, -4, 6), strict=True):
        rows = math.ceil(math.ceil(height * v / v_max) / 8)
        cols = math.ceil(math.ceil(width * h / h_max) / 8)
        levels = np.zeros((rows, cols, 8, 8), np.int16)
        levels[..., 0, 0] = level
        components.append(Component(levels, np.full((8, 8), 4, np.int32), h, v))
    return JpegImage(width, height, tuple(components), ColorTransform.YCBCR)


@pytest.mark.parametrize(
    "factors",
    [
        [(1, 1), (2, 2), (2, 2)],  # luma smaller than chroma
        [(2, 2), (1, 1), (2, 1)],  # two chroma resolutions
        [(3, 3), (1, 1), (2, 2)],  # thirds
        [(2, 3), (1, 2), (1, 1)],
        [(4, 1), (1, 1), (1, 1)],
        [(1, 4), (1, 1), (1, 2)],
    ],
)
def test_unusual_sampling_factors(restorer: Restorer, factors: list[tuple[int, int]]) -> None:
    stored = _stored(factors, 75, 133)
    view = network_view(stored)
    assert view.y.shape == (16, 24, 8, 8)
    assert view.c.shape == (2, 8, 12, 8, 8)
    image = restorer.restore(stored)
    y, cb, cr = 128 + 10 * 4 / 8, -4 * 4 / 8, 6 * 4 / 8
    expected = [y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb]
    assert np.abs(image - np.array(expected)).max() <= 0.51


def test_levels_of_other_layouts_are_near_those_of_420() -> None:
    """A smooth picture has the same half-resolution chroma, whatever resolution was stored."""
    picture = smooth(64, 64)
    usual = network_view(read_jpeg(encode_jpeg(picture, 98)))
    for sampling in (Sampling.S444, Sampling.S422, Sampling.S440):
        other = network_view(read_jpeg(encode_jpeg(picture, 98, sampling)))
        assert np.array_equal(other.y, usual.y)
        # An encoder rounds colours first: half a gray level is four steps of DC.
        assert np.abs(other.c - usual.c).max() < 4.5
        assert np.abs(other.c - usual.c).mean() < 0.3
        assert other.chroma_detail is not None
        assert np.abs(other.chroma_detail).mean() < 1.0
