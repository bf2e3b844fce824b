"""Cutting a picture into tiles that fit memory and agree with the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from models.ijcn import IJCNConfig

STEP = 16
"""Tiles begin and end at multiples of an MCU."""

MIN_SIDE = 256


class Tile(NamedTuple):
    """What is kept (rows, cols) and what is computed for it (seen_rows, seen_cols), in pixels."""

    rows: slice
    cols: slice
    seen_rows: slice
    seen_cols: slice

    @property
    def pixels(self) -> int:
        """How many are kept."""
        return (self.rows.stop - self.rows.start) * (self.cols.stop - self.cols.start)


def tiles(height: int, width: int, side: int, around: int) -> Iterator[Tile]:
    """Tiles of nearly equal size, at most ``side`` pixels a side, that cover a picture once.

    height and width: multiples of 16. around: pixels seen beside each, a multiple of 16.
    """
    for rows in _spans(height, side):
        for cols in _spans(width, side):
            yield Tile(rows, cols, _seen(rows, around, height), _seen(cols, around, width))


def _seen(kept: slice, around: int, length: int) -> slice:
    return slice(max(0, kept.start - around), min(length, kept.stop + around))


def _spans(length: int, side: int) -> list[slice]:
    count = -(-length // max(side, STEP))
    each = -(-length // (count * STEP)) * STEP
    return [slice(start, min(length, start + each)) for start in range(0, length, each)]


def backbone_bytes_per_pixel(config: IJCNConfig, item_bytes: int) -> int:
    """Memory of the backbone at its peak, for each pixel it sees; measured, rounded up."""
    full, half, _ = config.widths
    return (8 * full + half) * item_bytes + 64


def largest_side(
    height: int, width: int, around: int, bytes_per_pixel: float, budget: float
) -> int:
    """Side of the largest tiles that fit ``budget`` bytes; the picture's own if it fits whole."""
    if height * width * bytes_per_pixel <= budget:
        return max(height, width)
    seen = int((budget / bytes_per_pixel) ** 0.5) if budget > 0 else 0
    return max(MIN_SIDE, (seen - 2 * around) // STEP * STEP)
