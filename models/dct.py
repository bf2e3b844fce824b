"""Block DCT, the zigzag order, and the way from (corrected) levels to a first RGB image.

Standards: ITU-T T.81 (JPEG) A.3.3 and A.3.6, ITU-T T.871 (JFIF) clause 7 for the colours.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 8
"""Side of a JPEG block in samples."""

LEVEL_SHIFT = 128
"""Gray level that a JPEG's coefficients are relative to, T.81 A.3.1."""

LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in luma, ITU-T T.871."""


def _zigzag_order() -> np.ndarray:
    """Natural (row-major) index of the k-th zigzag frequency, T.81 figure A.6."""
    rows, cols = np.divmod(np.arange(BLOCK * BLOCK), BLOCK)
    diagonal = rows + cols
    # Even diagonals run upwards (row falls), odd ones downwards.
    along = np.where(diagonal % 2 == 0, cols, rows)
    return np.lexsort((along, diagonal))


ZIGZAG: np.ndarray = _zigzag_order()
UNZIGZAG: np.ndarray = np.argsort(ZIGZAG)


def dct_basis() -> np.ndarray:
    """Orthonormal 8-point DCT-II as an 8x8 float64 matrix: row k is frequency k."""
    k = np.arange(BLOCK)[:, None]
    n = np.arange(BLOCK)[None, :]
    basis = np.cos((2 * n + 1) * k * np.pi / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    basis[0] /= np.sqrt(2)
    return basis


def blocks_to_plane(blocks: Tensor) -> Tensor:
    """Lay blocks side by side: (..., h, w, 8, 8) -> (..., 8h, 8w)."""
    *lead, h, w, n, _ = blocks.shape
    return blocks.transpose(-3, -2).reshape(*lead, h * n, w * n)


def plane_to_blocks(plane: Tensor) -> Tensor:
    """Cut a plane into blocks: (..., 8h, 8w) -> (..., h, w, 8, 8)."""
    *lead, height, width = plane.shape
    return plane.reshape(*lead, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(-3, -2)


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """(B, 3, H, W) full-range YCbCr in [0, 255] -> RGB, same scale, not clamped. ITU-T T.871."""
    y, cb, cr = ycbcr.unbind(1)
    cb, cr = cb - 128, cr - 128
    return torch.stack((y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb), 1)


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """(B, 3, H, W) RGB in [0, 255] -> full-range YCbCr, same scale, not rounded. ITU-T T.871."""
    red, green, blue = rgb.unbind(1)
    luma = LUMA_WEIGHTS[0] * red + LUMA_WEIGHTS[1] * green + LUMA_WEIGHTS[2] * blue
    return torch.stack((luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402), 1)


def luma_of(rgb: Tensor) -> Tensor:
    """Luma (..., 1, H, W) of RGB (..., 3, H, W), on the same scale."""
    return (rgb * rgb.new_tensor(LUMA_WEIGHTS)[:, None, None]).sum(-3, True)


def colourless_in_gray(rgb: Tensor, c_coef: Tensor, chroma_detail: Tensor | None = None) -> Tensor:
    """RGB (B, 3, H, W) with R = G = B where a file holds no colour: all its chroma is zero.

    c_coef, chroma_detail: as :class:`models.ijcn.IJCN` takes them.
    """
    chroma = c_coef.abs().sum((1, 2, 3, 4, 5))
    if chroma_detail is not None:
        chroma = chroma + chroma_detail.abs().sum((1, 2, 3))
    return torch.where((chroma == 0)[:, None, None, None], luma_of(rgb), rgb)


def scaled_in_ycbcr(change: Tensor, factors: Tensor) -> Tensor:
    """A change of RGB (B, 3, H, W), its Y, Cb and Cr parts times ``factors``.

    factors: (B, 3, 1, 1), or (B, 3, H, W) for each pixel.
    """
    # Not by way of YCbCr's middle of 128, which would cost small changes their last digits.
    red, green, blue = change.unbind(1)
    luma = LUMA_WEIGHTS[0] * red + LUMA_WEIGHTS[1] * green + LUMA_WEIGHTS[2] * blue
    y, cb, cr = factors.unbind(1)
    red, blue = cr * (red - luma), cb * (blue - luma)  # chroma but for a constant
    green = -(LUMA_WEIGHTS[0] * red + LUMA_WEIGHTS[2] * blue) / LUMA_WEIGHTS[1]
    return (y * luma)[:, None] + torch.stack((red, green, blue), 1)


def image_to_coefficients(image: Tensor) -> tuple[Tensor, Tensor]:
    """DCT coefficients of a clean image, as an encoder has them before quantisation.

    RGB (B, 3, H, W) in [0, 1], sides multiples of 16 -> luma (B, 1, H/8, W/8, 8, 8) and chroma
    (B, 2, H/16, W/16, 8, 8), not divided by the tables. Chroma is the mean of 2x2 samples, as in
    libjpeg.
    """
    ycbcr = rgb_to_ycbcr(image * 255) - 128
    return block_dct(ycbcr[:, :1]), block_dct(F.avg_pool2d(ycbcr[:, 1:], 2))


def block_dct(planes: Tensor) -> Tensor:
    """Samples (..., 8h, 8w) -> their blocks' DCT coefficients (..., h, w, 8, 8), float32."""
    basis = torch.from_numpy(dct_basis()).to(planes.device, torch.float32)
    return basis @ plane_to_blocks(planes) @ basis.T


class CoefficientsToImage(nn.Module):
    """Inverse DCT, chroma enlargement and colour transform: the network's first image x0.

    Unlike a decoder it does not round, so that gradients reach the levels.
    """

    basis: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer(
            "basis", torch.from_numpy(dct_basis()).to(torch.float32), persistent=False
        )

    def inverse_dct(self, coefficients: Tensor, level_shift: float = LEVEL_SHIFT) -> Tensor:
        """Dequantised (..., h, w, 8, 8) -> samples (..., 8h, 8w), level shift undone."""
        return blocks_to_plane(self.basis.T @ coefficients @ self.basis) + level_shift

    def forward(self, y: Tensor, c: Tensor, chroma_detail: Tensor | None = None) -> Tensor:
        """Luma (B, 1, H/8, W/8, 8, 8) and chroma (B, 2, H/16, W/16, 8, 8), dequantised.

        ``chroma_detail`` (B, 2, H, W), in gray levels, is added to the enlarged chroma.

        Returns RGB (B, 3, H, W) in [0, 1], clamped. Chroma is enlarged bilinearly with half-pixel
        centres, which is close to, but not exactly, libjpeg's "fancy upsampling".
        """
        return self.unclamped(y, c, chroma_detail).clamp(0, 255) / 255

    def unclamped(
        self,
        y: Tensor,
        c: Tensor,
        chroma_detail: Tensor | None = None,
        level_shift: float = LEVEL_SHIFT,
    ) -> Tensor:
        """As :meth:`forward`, in [0, 255], not clamped. ``level_shift`` 0: of changes to levels."""
        luma = self.inverse_dct(y, level_shift)
        chroma = F.interpolate(
            self.inverse_dct(c), scale_factor=2, mode="bilinear", align_corners=False
        )
        if chroma_detail is not None:
            chroma = chroma + chroma_detail
        return ycbcr_to_rgb(torch.cat((luma, chroma), 1))
