"""The last step: the restored picture's DCT coefficients against the levels that the file stores.

An encoder rounded every coefficient to the nearest multiple of its table's step, so the original's
lies within half a step of the stored one. The backbone sees pixels only and forgets this. Here each
coefficient of its answer is compared with the stored level again, and moved: mostly those that left
their interval, back into it, but also those that a network of this size leaves too far from, or too
near to, the middle. Clipping alone, the classical projection onto the quantisation constraint set
(Zakhor, "Iterative procedures for reduction of blocking effects in transform image coding", 1992),
cannot do the latter, and trusts the file also where it was compressed twice.

Not in the published network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dct import (
    BLOCK,
    LEVEL_SHIFT,
    CoefficientsToImage,
    block_dct,
    image_to_coefficients,
    rgb_to_ycbcr,
    ycbcr_to_rgb,
)
from models.qtgm import scaled_log

_COEFFICIENTS = BLOCK * BLOCK
_FEATURES = 4
"""Numbers that describe a coefficient, see :func:`_features`."""

_UNITS = 8
"""Hidden units of each coefficient's own function."""

_AROUND = 4
"""Radius, in blocks, of the mean over neighbouring blocks. With chroma's own neighbours, blocks
of 16 pixels, that makes 58 pixels: within the halo of a tile (models.restore.tiling)."""

NEAREST = 0.5
"""Half a step: how far an encoder that rounds leaves a coefficient from its level."""

_LEAST = -3.0
"""Bias of ``reach`` before training: sigmoid(-3) = 0.05 makes a bound of little more than half a
step."""

_CHROMA_REACH = 0.6
"""The same, in steps, of chroma that is stored at full resolution."""

_DOUBT = 0.1
"""Mean distance beyond that reach, in steps, at which half of a block's change is kept. Measured:
the share that is best falls with it, from 0.9 and more below 0.02 to 0.1 above 0.3."""

_LARGEST_EXCESS = 2.0
"""Steps beyond the reach that count; farther is no worse."""

_WHOLE = 0.01
"""How far computed levels are from the whole numbers that they are."""

_FARTHEST = 1.5
_LARGEST_LEVEL = 3.0


class LevelCheck(nn.Module):
    """Restored picture, tables and stored levels -> picture, a little nearer to the original.

    width: channels in which a block's neighbourhood is described. Starts as a mere clipping of the
    stored coefficients to about their intervals. Always computes in float32.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_image = CoefficientsToImage()
        self.luma = _PlaneCheck(1, 0, width, looks_around=True)
        self.chroma = _PlaneCheck(2, width, width, looks_around=False)

    def start(self) -> None:
        """Begin without changes but for the bound, half a step and a little."""
        self.luma.start()
        self.chroma.start()

    def forward(self, tables: Tensor, y_coef: Tensor, c_coef: Tensor, image: Tensor) -> Tensor:
        """
        Args:
            tables: B x 3 x 8 x 8 of Y, Cb, Cr.
            y_coef: B x 1 x H/8 x W/8 x 8 x 8 levels; c_coef: B x 2 x H/16 x W/16 x 8 x 8. Levels
                that are not whole numbers were not stored (see models.restore.layouts); their
                coefficients stay as they are.
            image: B x 3 x H x W, RGB, nominally in [0, 1].

        Returns:
            RGB image (B, 3, H, W), not clamped.
        """
        image = image.clamp(0, 1)
        y, c = image_to_coefficients(image)
        luma, context = self.luma(tables[:, :1], y_coef, y, None)
        chroma, _ = self.chroma(tables[:, 1:], c_coef, c, F.avg_pool2d(context, 2))
        return image + self.to_image.unclamped(luma, chroma, level_shift=0) / 255

    def keep_chroma(self, tables: Tensor, detail: Tensor, jpeg: Tensor, image: Tensor) -> Tensor:
        """Clip chroma that a file stores at full resolution, as 4:4:4 does, to about its intervals.

        The check itself sees chroma at half resolution only. What lies beyond is taken from the
        file unchanged before the backbone, which may smooth away the colours of a screen. The
        farther a block's answer is from the file, the less of it is kept.

        Args:
            tables: B x 3 x 8 x 8.
            detail: B x 2 x H x W, see :class:`models.ijcn.Known`; zero for 4:2:0, which stays as it
                is.
            jpeg: B x 3 x H x W, RGB of the stored levels in [0, 255], not clamped. A block's chroma
                is stored so where its levels, and those of most blocks, are whole numbers.
            image: B x 3 x H x W, RGB, nominally in [0, 1].

        Returns:
            RGB image (B, 3, H, W), not clamped.
        """
        steps = tables[:, 1:, None, None]
        stored, answer = (
            block_dct(rgb_to_ycbcr(rgb)[:, 1:] - LEVEL_SHIFT) / steps for rgb in (jpeg, 255 * image)
        )
        levels = stored.round()
        is_stored = ((stored - levels).abs() < _WHOLE).flatten(-2).all(-1)
        # Flat blocks of other samplings are whole, too, and those at a tile's border never are.
        mostly = is_stored.float().mean((2, 3)) > 0.5
        is_stored &= (mostly & detail.flatten(2).any(-1))[:, :, None, None]
        offsets = answer - levels
        kept = offsets.clamp(-_CHROMA_REACH, _CHROMA_REACH)
        beyond = (offsets - kept).abs().clamp(max=_LARGEST_EXCESS).mean((-2, -1), keepdim=True)
        moves = kept * _DOUBT / (_DOUBT + beyond) - offsets
        planes = self.to_image.inverse_dct(moves * steps * is_stored[..., None, None])
        luma = torch.zeros_like(planes[:, :1])
        return image + ycbcr_to_rgb(torch.cat((luma, planes), 1)) / 255


class BlockContext(nn.Module):
    """What is known of each block: numbers of its own, its neighbours, the tables.

    features: numbers of a block. tables: components whose tables are seen. looks_around: whether
    blocks know the mean of those around. Where a picture was compressed twice, whole regions leave
    their intervals, rightly: one block alone does not show that.
    """

    def __init__(self, features: int, tables: int, width: int, looks_around: bool) -> None:
        super().__init__()
        self.from_features = nn.Conv2d(features, width, 1)
        self.from_tables = nn.Linear(tables * _COEFFICIENTS, width)
        self.from_neighbours = nn.Conv2d(width, width, 3, padding=1)
        self.from_around = nn.Conv2d(width, width, 1, bias=False) if looks_around else None

    def described(self, tables: Tensor, features: Tensor) -> Tensor:
        """tables (B, T, 8, 8), features (B, F, h, w) -> (B, width, h, w)."""
        about_tables = self.from_tables(scaled_log(tables).flatten(1))
        context = F.relu(self.from_features(features) + about_tables[:, :, None, None])
        around = 0.0
        if self.from_around is not None:
            around = self.from_around(
                F.avg_pool2d(context, 2 * _AROUND + 1, 1, padding=_AROUND, count_include_pad=False)
            )
        return F.relu(context + self.from_neighbours(context) + around)


class _PlaneCheck(BlockContext):
    """Changes to the coefficients of ``planes`` components that share a grid of blocks."""

    def __init__(self, planes: int, extra: int, width: int, looks_around: bool) -> None:
        count = planes * _COEFFICIENTS
        super().__init__(_FEATURES * count + extra, planes, width, looks_around)
        self.spread = nn.Conv2d(width, _UNITS * count, 1)
        self.own = nn.Conv2d(_FEATURES * count, _UNITS * count, 1, groups=count, bias=False)
        self.change = nn.Conv2d(_UNITS * count, count, 1, groups=count)
        self.reach = nn.Conv2d(width, count, 1)
        self.start()

    def start(self) -> None:
        for layer in (self.change, self.reach):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, _LEAST if layer is self.reach else 0.0)

    def forward(
        self, tables: Tensor, levels: Tensor, coefficients: Tensor, extra: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """tables (B, P, 8, 8); levels, coefficients (B, P, h, w, 8, 8); extra (B, E, h, w).

        Returns the changes to the coefficients, and the description (B, width, h, w) of each block.
        """
        steps = tables[:, :, None, None]
        offsets = coefficients / steps - levels
        features = _features(levels, offsets)
        seen = features if extra is None else torch.cat((features, extra), 1)
        context = self.described(tables, seen)
        units = F.relu(self.own(features) + self.spread(context))
        planes = tables.shape[1]
        reach = NEAREST + NEAREST * _as_blocks(self.reach(context).sigmoid(), planes)
        moved = offsets + _as_blocks(self.change(units), planes)
        moved = torch.maximum(torch.minimum(moved, reach), -reach)
        return (moved - offsets) * steps * (levels == levels.round()), context


def _features(levels: Tensor, offsets: Tensor) -> Tensor:
    """(B, P, h, w, 8, 8) twice -> (B, 4 * 64 * P, h, w), the four of a coefficient side by side.

    The offset of the picture's coefficient from the stored level, in steps; by how much that is
    more than half a step; the level's sign; the level itself, as far as it is small.
    """
    offsets = offsets.clamp(-_FARTHEST, _FARTHEST)
    beyond = offsets - offsets.clamp(-NEAREST, NEAREST)
    small = levels.clamp(-_LARGEST_LEVEL, _LARGEST_LEVEL) / _LARGEST_LEVEL
    stacked = torch.stack((offsets, beyond, levels.sign(), small), -1)
    b, planes, rows, cols = levels.shape[:4]
    return (
        stacked.permute(0, 1, 4, 5, 6, 2, 3)
        .reshape(b, planes * _COEFFICIENTS * _FEATURES, rows, cols)
        .contiguous(memory_format=torch.channels_last)
    )


def _as_blocks(channels: Tensor, planes: int) -> Tensor:
    """(B, 64 * P, h, w) -> (B, P, h, w, 8, 8)."""
    b, _, rows, cols = channels.shape
    return channels.reshape(b, planes, BLOCK, BLOCK, rows, cols).permute(0, 1, 4, 5, 2, 3)
