"""Two methods compared image by image: mean difference, its confidence interval, images won."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95


class Paired(NamedTuple):
    """Differences of a figure over the images that two methods share.

    mean: of first - second. low, high: the confidence interval of this mean, nan for one image.
    won, lost: on how many images the first is above, or below; the others are equal.
    """

    images: int
    mean: float
    low: float
    high: float
    won: int
    lost: int


def compare(first: Mapping[str, float], second: Mapping[str, float]) -> Paired | None:
    """Figures by image of two methods; None if they share no image with two finite ones.

    The interval is Student's for paired differences: it takes the images for a sample of those
    that one could have measured, and the mean difference for about normally distributed.
    """
    pairs = [(value, second[name]) for name, value in first.items() if name in second]
    finite = [(x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
    if not finite:
        return None
    differences = np.array([x - y for x, y in finite])
    mean = float(differences.mean())
    reach = math.nan
    if len(finite) > 1:
        from scipy import stats  # slow to import, needed here only

        quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(finite) - 1))
        reach = quantile * float(differences.std(ddof=1)) / math.sqrt(len(finite))
    won, lost = int((differences > 0).sum()), int((differences < 0).sum())
    return Paired(len(finite), mean, mean - reach, mean + reach, won, lost)
