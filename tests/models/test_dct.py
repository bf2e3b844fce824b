"""models/dct.py against scipy's DCT and Pillow's colours."""

from __future__ import annotations

import numpy as np
import scipy.fft
import torch
from PIL import Image

from models.dct import CoefficientsToImage, plane_to_blocks, ycbcr_to_rgb


def test_inverse_dct_undoes_scipys_dct_and_the_level_shift() -> None:
    plane = np.random.default_rng(1).uniform(0, 255, (16, 24))
    blocks = plane_to_blocks(torch.from_numpy(plane))
    coefficients = scipy.fft.dctn(blocks.numpy() - 128, axes=(-2, -1), norm="ortho")
    module = CoefficientsToImage().double()
    restored = module.inverse_dct(torch.from_numpy(coefficients))
    np.testing.assert_allclose(restored.numpy(), plane, atol=1e-4)  # the basis is float32


def test_colours_are_pillows_within_one_level() -> None:
    ycbcr = np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    pillow = np.asarray(Image.fromarray(ycbcr, "YCbCr").convert("RGB")).astype(int)
    ours = ycbcr_to_rgb(torch.from_numpy(ycbcr).permute(2, 0, 1)[None].double())
    ours = ours[0].permute(1, 2, 0).round().clamp(0, 255).numpy().astype(int)
    assert np.abs(ours - pillow).max() <= 1
