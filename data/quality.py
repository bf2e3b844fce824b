"""Which of libjpeg's qualities a file's quantisation tables stand for."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.jpeg import JpegImage, encode_jpeg, read_jpeg


class QualityEstimate(NamedTuple):
    """quality: 1..100 on libjpeg's scale. exact: whether the tables are libjpeg's at this quality,
    not merely about as coarse."""

    quality: int
    exact: bool


def estimate_quality(stored: JpegImage) -> QualityEstimate:
    """The quality whose standard tables (T.81 annex K, scaled as libjpeg does) are nearest.

    Nearest in the mean absolute difference of logarithms, over the tables of all components: a step
    twice as large counts as much wherever it stands. Chroma is compared with the chroma table, all
    else with luma's. Where all components share one table, it counts once, as luma's.
    """
    tables = [component.table for component in stored.components]
    if all(np.array_equal(table, tables[0]) for table in tables):
        tables = tables[:1]  # of luma, whatever the colours
    chroma = () if stored.colors in ("RGB", "CMYK") else (1, 2)
    distances = []
    for quality in range(1, 101):
        standard = standard_tables(quality)
        parts = [_distance(table, standard[i in chroma]) for i, table in enumerate(tables)]
        distances.append(float(np.mean(parts)))
    best = int(np.argmin(distances))
    return QualityEstimate(best + 1, distances[best] == 0)


@lru_cache(maxsize=100)
def standard_tables(quality: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Luma and chroma table (8, 8) that libjpeg uses at ``quality``, in natural order."""
    luma, chroma = _standard_tables()
    return scaled(luma, quality), scaled(chroma, quality)


def scaled(table: NDArray[np.int32], quality: int) -> NDArray[np.int32]:
    """A table stated for quality 50, at another quality: libjpeg's jpeg_quality_scaling."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((table * percent + 50) // 100, 1, 255).astype(np.int32)


@lru_cache(maxsize=1)
def _standard_tables() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    luma, chroma, _ = read_jpeg(encode_jpeg(np.full((8, 8, 3), 128, np.uint8), 50)).components
    return luma.table, chroma.table


def _distance(table: NDArray[np.int32], other: NDArray[np.int32]) -> float:
    return float(np.abs(np.log(table) - np.log(other)).mean())
