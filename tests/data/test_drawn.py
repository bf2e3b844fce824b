"""data/drawn.py: pictures that are no photographs."""

from __future__ import annotations

import numpy as np
import pytest

from data.drawn import KINDS, drawn, smooth_chroma, to_gray
from tests.conftest import photograph

SOURCE = photograph(135, 135)


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_a_function_of_the_seed(kind: str) -> None:
    before = SOURCE.copy()
    pictures = [drawn(SOURCE, np.random.default_rng(seed), (kind,)) for seed in (1, 1, 2, 3, 4, 5)]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert any(not np.array_equal(pictures[0], other) for other in pictures[2:])
    for picture in pictures:
        assert picture.shape == SOURCE.shape
        assert picture.dtype == np.uint8
        assert np.ptp(picture) > 0
    np.testing.assert_array_equal(SOURCE, before)


def test_about_half_are_gray() -> None:
    rng = np.random.default_rng(0)
    gray = [np.ptp(drawn(SOURCE, rng, ("shapes",)), axis=2).max() == 0 for _ in range(60)]
    assert 20 < sum(gray) < 45


def test_sprites_divide_the_blocks_of_a_jpeg() -> None:
    sides = set()
    for seed in range(20):
        picture = drawn(SOURCE, np.random.default_rng(seed), ("sprites",))
        for scale in (4, 8, 16):
            cells = picture[:128, :128].reshape(128 // scale, scale, 128 // scale, scale, 3)
            if (cells == cells[:, :1, :, :1]).all():
                sides.add(scale)
        first = picture[:8, :8].reshape(2, 4, 2, 4, 3)
        assert (first == first[:, :1, :, :1]).all()
    assert sides == {4, 8, 16}


@pytest.mark.parametrize("kind", ["error_diffused", "ordered", "halftoned"])
def test_dithered_pictures_have_few_levels(kind: str) -> None:
    rng = np.random.default_rng(0)
    counts = [len(np.unique(drawn(SOURCE, rng, (kind,))[:, :, 0])) for _ in range(20)]
    assert min(counts) == 2
    assert sorted(counts)[len(counts) // 2] <= 9


def test_codes_are_made_of_squares() -> None:
    """Rows of a picture of modules repeat, but where one row of modules ends."""
    rng = np.random.default_rng(3)
    changes = [
        np.mean(
            np.any(np.diff(drawn(SOURCE, rng, ("codes",))[:, :, 0].astype(int), axis=0), axis=1)
        )
        for _ in range(20)
    ]
    assert min(changes) < 0.2


def test_gray_is_the_luma() -> None:
    gray = to_gray(SOURCE)
    assert np.ptp(gray, axis=2).max() == 0
    luma = SOURCE @ np.array([0.299, 0.587, 0.114])
    assert np.abs(gray[:, :, 0] - luma).max() <= 0.51


def test_smooth_chroma_of_the_smallest_picture() -> None:
    assert smooth_chroma(np.full((1, 3, 3), 9, np.uint8)).shape == (1, 3, 3)
