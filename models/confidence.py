"""How far the network's answer is to be trusted, block by block; the rest stays the JPEG.

A network that learned from photographs takes the dots of a screen or the pixels of a drawing for
noise, and its answer there is worse than the file. Whether it is can mostly be seen from what the
file stores and what became of it. So a small part of the network learns, with the rest finished,
to go back to the JPEG's own picture where that is nearer to the original.

Not in the published network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dct import BLOCK, image_to_coefficients, luma_of
from models.level_check import BlockContext

_COEFFICIENTS = BLOCK * BLOCK
_STATISTICS = 8
"""Least, largest, mean and deviation of a block's luma, in the JPEG and in the answer."""

_LARGEST_OFFSET, _LARGEST_LEVEL = 1.0, 4.0
_BEYOND = 0.1
"""How far the sigmoid is stretched at either end: full trust and none are reached."""

_START = 2.0


class Confidence(BlockContext):
    """Tables, stored luma levels, the JPEG's picture, the answer -> a mixture of both.

    width: channels in which a block's neighbourhood is described. Starts near full trust. Always
    computes in float32.
    """

    def __init__(self, width: int) -> None:
        super().__init__(2 * _COEFFICIENTS + _STATISTICS, 1, width, looks_around=True)
        self.trust = nn.Conv2d(width, 1, 1)
        self.start()

    def start(self) -> None:
        """Begin with nearly full trust everywhere."""
        nn.init.zeros_(self.trust.weight)
        assert self.trust.bias is not None
        nn.init.constant_(self.trust.bias, _START)

    def forward(self, tables: Tensor, y_coef: Tensor, jpeg: Tensor, answer: Tensor) -> Tensor:
        """
        Args:
            tables: B x 3 x 8 x 8 of Y, Cb, Cr.
            y_coef: B x 1 x H/8 x W/8 x 8 x 8 stored luma levels.
            jpeg, answer: B x 3 x H x W, RGB, nominally in [0, 1].

        Returns:
            RGB image (B, 3, H, W) in [0, 1].
        """
        jpeg, answer = jpeg.clamp(0, 1), answer.clamp(0, 1)
        share = self.shares(tables, y_coef, jpeg, answer)
        share = F.interpolate(share, scale_factor=BLOCK, mode="bilinear", align_corners=False)
        return jpeg + share * (answer - jpeg)

    def shares(self, tables: Tensor, y_coef: Tensor, jpeg: Tensor, answer: Tensor) -> Tensor:
        """(B, 1, H/8, W/8): how much of each block's change is kept, 0 to 1."""
        coefficients, _ = image_to_coefficients(answer)
        offsets = (coefficients / tables[:, :1, None, None] - y_coef).abs()
        offsets = offsets.clamp(max=_LARGEST_OFFSET)
        sizes = y_coef.abs().clamp(max=_LARGEST_LEVEL) / _LARGEST_LEVEL
        numbers = torch.cat((_by_block(offsets), _by_block(sizes)), 1)
        features = torch.cat((numbers, _statistics(jpeg), _statistics(answer)), 1)
        trust: Tensor = self.trust(self.described(tables[:, :1], features))
        return ((1 + 2 * _BEYOND) * trust.sigmoid() - _BEYOND).clamp(0, 1)


def _by_block(levels: Tensor) -> Tensor:
    """(B, 1, h, w, 8, 8) -> (B, 64, h, w)."""
    return levels[:, 0].flatten(3).permute(0, 3, 1, 2)


def _statistics(image: Tensor) -> Tensor:
    """Least, largest, mean and standard deviation of each block's luma: (B, 4, h, w) of RGB."""
    luma = luma_of(image)
    mean = F.avg_pool2d(luma, BLOCK)
    variance = (F.avg_pool2d(luma.square(), BLOCK) - mean.square()).clamp_min(1e-6)
    largest = F.max_pool2d(luma, BLOCK)
    return torch.cat((-F.max_pool2d(-luma, BLOCK), largest, mean, variance.sqrt()), 1)
