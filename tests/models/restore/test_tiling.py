"""models/restore/tiling.py: tiles cover a picture once, see their surroundings, fit the budget."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models import IJCNConfig
from models.restore.tiling import MIN_SIDE, backbone_bytes_per_pixel, largest_side, tiles

AROUND = 64


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 60), cols=st.integers(1, 60), side=st.integers(1, 1100))
def test_tiles_cover_once_and_see_their_halo(rows: int, cols: int, side: int) -> None:
    height, width = 16 * rows, 16 * cols
    covered = np.zeros((rows, cols), int)
    for tile in tiles(height, width, side, AROUND):
        for span, seen, length in (
            (tile.rows, tile.seen_rows, height),
            (tile.cols, tile.seen_cols, width),
        ):
            assert span.start % 16 == span.stop % 16 == 0
            assert 0 < span.stop - span.start <= max(16, -(-side // 16) * 16)
            assert seen.start == max(0, span.start - AROUND)
            assert seen.stop == min(length, span.stop + AROUND)
        covered[
            tile.rows.start // 16 : tile.rows.stop // 16,
            tile.cols.start // 16 : tile.cols.stop // 16,
        ] += 1
    assert (covered == 1).all()


def test_side_follows_the_budget() -> None:
    assert largest_side(1000, 2000, AROUND, 100, 3e8) == 2000
    side = largest_side(1000, 2000, AROUND, 100, 1e8)
    assert (side + 2 * AROUND) ** 2 * 100 <= 1e8
    assert (side + 16 + 2 * AROUND) ** 2 * 100 > 1e8
    assert largest_side(1000, 2000, AROUND, 100, -5.0) == MIN_SIDE


def test_wider_networks_and_floats_need_more() -> None:
    small = IJCNConfig(widths=(32, 128, 128))
    assert backbone_bytes_per_pixel(small, 2) < backbone_bytes_per_pixel(small, 4)
    assert backbone_bytes_per_pixel(small, 4) < backbone_bytes_per_pixel(IJCNConfig(), 4)
