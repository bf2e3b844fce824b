"""models/dct.py against scipy's DCT, Pillow's colours, and the printed zigzag table."""

from __future__ import annotations

import numpy as np
import scipy.fft
import torch
from PIL import Image

from models.dct import (
    UNZIGZAG,
    ZIGZAG,
    CoefficientsToImage,
    blocks_to_plane,
    dct_basis,
    plane_to_blocks,
    ycbcr_to_rgb,
)

# ITU-T T.81 figure 5, typed from the standard: zigzag index of each natural position.
STANDARD_FIGURE = """
 0  1  5  6 14 15 27 28
 2  4  7 13 16 26 29 42
 3  8 12 17 25 30 41 43
 9 11 18 24 31 40 44 53
10 19 23 32 39 45 52 54
20 22 33 38 46 51 55 60
21 34 37 47 50 56 59 61
35 36 48 49 57 58 62 63
"""


def test_zigzag_order_is_the_standards() -> None:
    figure = np.array(STANDARD_FIGURE.split(), dtype=int)
    assert np.array_equal(UNZIGZAG, figure)
    assert np.array_equal(ZIGZAG[UNZIGZAG], np.arange(64))


def test_basis_is_scipys_orthonormal_dct() -> None:
    block = np.random.default_rng(0).normal(size=(8, 8))
    basis = dct_basis()
    np.testing.assert_allclose(
        basis @ block @ basis.T, scipy.fft.dctn(block, norm="ortho"), atol=1e-12
    )


def test_inverse_dct_undoes_scipys_dct_and_the_level_shift() -> None:
    plane = np.random.default_rng(1).uniform(0, 255, (16, 24))
    blocks = plane_to_blocks(torch.from_numpy(plane))
    coefficients = scipy.fft.dctn(blocks.numpy() - 128, axes=(-2, -1), norm="ortho")
    module = CoefficientsToImage().double()
    restored = module.inverse_dct(torch.from_numpy(coefficients))
    np.testing.assert_allclose(restored.numpy(), plane, atol=1e-4)  # the basis is float32


def test_blocks_and_planes_are_inverse() -> None:
    plane = torch.arange(2 * 16 * 24).reshape(2, 16, 24)
    blocks = plane_to_blocks(plane)
    assert blocks.shape == (2, 2, 3, 8, 8)
    assert torch.equal(blocks[1, 1, 2], plane[1, 8:16, 16:24])
    assert torch.equal(blocks_to_plane(blocks), plane)


def test_colours_are_pillows_within_one_level() -> None:
    ycbcr = np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    pillow = np.asarray(Image.fromarray(ycbcr, "YCbCr").convert("RGB")).astype(int)
    ours = ycbcr_to_rgb(torch.from_numpy(ycbcr).permute(2, 0, 1)[None].double())
    ours = ours[0].permute(1, 2, 0).round().clamp(0, 255).numpy().astype(int)
    assert np.abs(ours - pillow).max() <= 1
