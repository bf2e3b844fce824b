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

from models.dct import BLOCK, LEVEL_SHIFT, block_dct, rgb_to_ycbcr, scaled_in_ycbcr
from models.level_check import NEAREST, BlockContext

_COEFFICIENTS = BLOCK * BLOCK
_COMPONENTS = 3
_STATISTICS = 4
"""Least, largest, mean and deviation of a block's samples in one component."""

_LEAST_MOVE, _LARGEST_LEVEL = 1e-4, 4.0
"""Of a coefficient, in steps of its table; a square root has no gradient at 0."""

_FARTHEST = 2.5
"""Steps from its level that count; farther is no worse."""

_SPREAD = 4.0
"""Scales what is seen of a block, whose standard deviation is about 0.15, to about 1, so that it
trains as fast as the other inputs."""

_START = 0.95
"""Share with which training begins."""


class Confidence(BlockContext):
    """Tables, the JPEG's picture, the answer before and after the level check -> a mixture.

    Luma and chroma are trusted apart: in 4:4:4 the answer may be right in one and smooth away the
    colours of a screen in the other.

    width: channels in which a block's neighbourhood is described. Starts near full trust. Always
    computes in float32.
    """

    def __init__(self, width: int) -> None:
        features = _COMPONENTS * (1 + 2 * (_COEFFICIENTS + _STATISTICS))
        super().__init__(features, _COMPONENTS, width, looks_around=True)
        self.trust = nn.Conv2d(width, 2, 1)
        self.start()

    def start(self) -> None:
        """Begin with nearly full trust everywhere."""
        nn.init.zeros_(self.trust.weight)
        assert self.trust.bias is not None
        nn.init.constant_(self.trust.bias, _START)

    def forward(self, tables: Tensor, jpeg: Tensor, refined: Tensor, answer: Tensor) -> Tensor:
        """
        Args:
            tables: B x 3 x 8 x 8 of Y, Cb, Cr.
            jpeg: B x 3 x H x W, RGB of the stored levels, nominally in [0, 1], not clamped.
            refined, answer: the same before and after the level check; ``refined`` in [0, 1].

        Returns:
            RGB image (B, 3, H, W), not clamped.
        """
        shares = self.shares(tables, jpeg, refined)
        shares = F.interpolate(shares, scale_factor=BLOCK, mode="bilinear", align_corners=False)
        jpeg = jpeg.clamp(0, 1)
        return jpeg + scaled_in_ycbcr(answer.clamp(0, 1) - jpeg, shares[:, [0, 1, 1]])

    def shares(self, tables: Tensor, jpeg: Tensor, refined: Tensor) -> Tensor:
        """(B, 2, H/8, W/8): how much of each block's change is kept, 0 to 1, of luma and chroma.

        Blocks are of 8x8 pixels, for chroma too, whatever its sampling. How far the answer left the
        stored intervals before the check tells most: the check hides it.
        """
        steps = tables[:, :, None, None]
        jpeg, refined = rgb_to_ycbcr(255 * jpeg), rgb_to_ycbcr(255 * refined)
        offsets = (block_dct(refined - jpeg) / steps).abs()
        excess = (offsets.clamp(max=_FARTHEST) - offsets.clamp(max=NEAREST)).mean((-2, -1))
        levels = (block_dct(jpeg - LEVEL_SHIFT) / steps).abs().clamp(max=_LARGEST_LEVEL)
        features = (
            _by_block(offsets.clamp(_LEAST_MOVE, 1.0).sqrt()),
            _by_block(levels / _LARGEST_LEVEL),
            excess.clamp_min(_LEAST_MOVE).sqrt(),
            _statistics(jpeg),
            _statistics(refined),
        )
        trust: Tensor = self.trust(self.described(tables, _SPREAD * torch.cat(features, 1)))
        return _clamped(trust) if self.training else trust.clamp(0, 1)


def _clamped(shares: Tensor) -> Tensor:
    """Clamped to [0, 1]; the gradient is zero only where it would lead further outside.

    A plain clamp has none outside at all. In training nearly all shares soon reach 1, and would
    never leave it again.
    """
    if shares.requires_grad:
        outside = shares.detach()
        shares.register_hook(
            lambda gradient: gradient.masked_fill(
                ((outside > 1) & (gradient < 0)) | ((outside < 0) & (gradient > 0)), 0
            )
        )
    return shares + (shares.clamp(0, 1) - shares).detach()


def _by_block(levels: Tensor) -> Tensor:
    """(B, P, h, w, 8, 8) -> (B, 64 * P, h, w)."""
    return levels.flatten(4).permute(0, 1, 4, 2, 3).flatten(1, 2)


def _statistics(ycbcr: Tensor) -> Tensor:
    """Least, largest, mean and standard deviation of each block: (B, 12, h, w), of (B, 3, H, W).

    In units of 255 gray levels, from 0 for black to 1 for white.
    """
    ycbcr = ycbcr / 255
    mean = F.avg_pool2d(ycbcr, BLOCK)
    variance = (F.avg_pool2d(ycbcr.square(), BLOCK) - mean.square()).clamp_min(1e-6)
    largest = F.max_pool2d(ycbcr, BLOCK)
    return torch.cat((-F.max_pool2d(-ycbcr, BLOCK), largest, mean, variance.sqrt()), 1)
