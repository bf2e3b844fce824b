"""Quantisation tables as encoders write them: libjpeg's, other programs', variations of both."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import JpegPresets

from data.quality import scaled, standard_tables

Table = NDArray[np.int32]
"""(8, 8), natural order: row is vertical frequency."""

Tables = tuple[Table, Table, Table]
"""Of Y, Cb and Cr."""

TableKind = Literal["libjpeg", "apart", "wild", "bent", "presets", "mozjpeg"]
"""Where tables come from, see :func:`random_tables`."""

_FOUND = Path(__file__).with_name("found_tables.json")


def random_tables(kind: TableKind, quality: int, other: int, rng: np.random.Generator) -> Tables:
    """Draw the tables of one JPEG.

    Args:
        kind: "libjpeg": libjpeg's (T.81 annex K, scaled) at ``quality``. "apart": luma's at
            ``quality``, chroma's at ``other``. "presets": one of Pillow's, which include
            Photoshop's. "mozjpeg": one of mozjpeg's sets, scaled as libjpeg scales to ``quality``.
            "wild": a set found in a file of a public collection, as often as it was found.
            "bent": any of these, luma and chroma scaled and tilted over the frequencies, or flat.
        quality, other: 1 to 100.
        rng: all else is drawn from it.
    """
    if kind == "libjpeg":
        luma, chroma = standard_tables(quality)
        return luma, chroma, chroma
    if kind == "apart":
        return standard_tables(quality)[0], standard_tables(other)[1], standard_tables(other)[1]
    if kind == "presets":
        presets = list(preset_tables().values())
        return presets[rng.integers(len(presets))]
    if kind == "mozjpeg":
        sets = mozjpeg_tables()
        return _three([scaled(table, quality) for table in sets[rng.integers(len(sets))]])
    if kind == "wild":
        files, found = wild_tables()
        return found[rng.choice(len(found), p=files / files.sum())]
    kinds: tuple[TableKind, ...] = ("libjpeg", "apart", "wild", "presets", "mozjpeg")
    return _bent(random_tables(kinds[rng.integers(len(kinds))], quality, other, rng), rng)


@lru_cache(maxsize=1)
def preset_tables() -> dict[str, Tables]:
    """Pillow's named sets: those of Photoshop's "Save for Web" and of its quality steps."""
    return {
        name: _three([np.array(table) for table in preset["quantization"]])
        for name, preset in cast("dict[str, dict[str, Any]]", JpegPresets.presets).items()
        if preset["quantization"]
    }


@lru_cache(maxsize=1)
def wild_tables() -> tuple[NDArray[np.float64], list[Tables]]:
    """Sets found in public collections of camera and web files, and how many files had each."""
    found = json.loads(_FOUND.read_text(encoding="utf-8"))["wild"]
    files = np.array([each["files"] for each in found], np.float64)
    return files, [_three([np.array(table) for table in each["tables"]]) for each in found]


@lru_cache(maxsize=1)
def mozjpeg_tables() -> list[list[Table]]:
    """mozjpeg's ``-quant-table`` 1 to 8 at quality 50; 0 is libjpeg's."""
    sets = json.loads(_FOUND.read_text(encoding="utf-8"))["mozjpeg"]
    return [[np.array(table, np.int32).reshape(8, 8) for table in each] for each in sets]


def _three(tables: Sequence[NDArray[np.integer]]) -> Tables:
    """One table serves all components, two serve luma and both chromas."""
    shaped = [table.astype(np.int32).reshape(8, 8) for table in tables]
    return shaped[0], shaped[min(1, len(shaped) - 1)], shaped[-1]


def _bent(tables: Tables, rng: np.random.Generator) -> Tables:
    rows, cols = np.mgrid[0:8, 0:8] / 7
    shared = rng.normal(0, 0.5, 4)
    results = []
    for index, table in enumerate(tables):
        own = shared + rng.normal(0, 0.25, 4) * (index > 0)
        steps = table.astype(np.float64)
        if rng.random() < 0.15:
            steps = np.full((8, 8), math.exp(rng.uniform(0.7, 4.0)))
        bend = own[0] + own[1] * rows + own[2] * cols + own[3] * rows * cols
        results.append(np.clip(np.round(steps * np.exp(bend)), 1, 255).astype(np.int32))
    if rng.random() < 0.7:  # most encoders have one table for both
        results[2] = results[1]
    return results[0], results[1], results[2]
