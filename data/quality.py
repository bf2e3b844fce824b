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

    Nearest in the mean absolute difference of logarithms, over the tables of luma and chroma: a
    step twice as large counts as much wherever it stands.
    """
    tables = [component.table for component in stored.components]
    luma, chroma = tables[0], tables[1:3]
    distances = []
    for quality in range(1, 101):
        standard_luma, standard_chroma = standard_tables(quality)
        parts = [_distance(luma, standard_luma)]
        # RGB files quantise all three alike.
        expected = standard_luma if stored.colors == "RGB" else standard_chroma
        parts += [_distance(table, expected) for table in chroma]
        distances.append(float(np.mean(parts)))
    best = int(np.argmin(distances))
    return QualityEstimate(best + 1, distances[best] == 0)


@lru_cache(maxsize=100)
def standard_tables(quality: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Luma and chroma table (8, 8) that libjpeg uses at ``quality``, in natural order."""
    stored = read_jpeg(encode_jpeg(np.full((8, 8, 3), 128, np.uint8), quality))
    return stored.components[0].table, stored.components[1].table


def _distance(table: NDArray[np.int32], other: NDArray[np.int32]) -> float:
    return float(np.abs(np.log(table) - np.log(other)).mean())
