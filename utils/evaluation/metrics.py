"""PSNR, SSIM and PSNR-B of 8-bit images, as the JPEG artifact removal literature reports them.

Every figure is taken over the whole image, no border cut. A restored image is clamped and rounded
to 8 bits first; these functions refuse anything but uint8 so that this cannot be forgotten.
Arguments are keyword-only: PSNR-B is not symmetric, and a swap would go unnoticed.

Metrics take ``restored`` and ``original``, uint8 in [0, 255], (H, W, 3) RGB or (H, W) gray, both of
one shape, and raise ValueError for anything else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

PEAK = 255
BLOCK = 8  # side of a JPEG block
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_BAND = 64  # rows of windows filtered at once
SSIM_C1: float = (0.01 * PEAK) ** 2
SSIM_C2: float = (0.03 * PEAK) ** 2

# ITU-R BT.601: the weights of R, G, B in studio-range luma, in thousandths; they sum to 219 levels.
LUMA_WEIGHTS = (65481, 128553, 24966)
LUMA_SCALE = 1000 * PEAK
LUMA_BLACK = 16


class Scores(NamedTuple):
    """The three figures of one restored image: dB, no unit, dB."""

    psnr: float
    ssim: float
    psnrb: float


def psnr(*, restored: NDArray[np.uint8], original: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio over all samples (all channels together), in dB, peak 255.

    10 log10(255^2 / MSE); infinity for identical images.
    """
    _check_pair(restored, original)
    return _decibels(_mean_squared_error(restored, original))


def ssim(*, restored: NDArray[np.uint8], original: NDArray[np.uint8]) -> float:
    """Structural similarity: Gaussian window 11x11, sigma 1.5, valid region, mean of the channels.

    Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural
    similarity, IEEE Transactions on Image Processing 13(4), 2004. K1 = 0.01, K2 = 0.03, weighted
    population variances and covariance, no downsampling. In [-1, 1]; nan below 11 pixels a side.
    """
    _check_pair(restored, original)
    if min(original.shape[:2]) < SSIM_WINDOW:
        return math.nan
    pairs = zip(_channels(restored), _channels(original), strict=True)
    return float(np.mean([_ssim_of_channel(x, y) for x, y in pairs]))


def psnrb(*, restored: NDArray[np.uint8], original: NDArray[np.uint8]) -> float:
    """PSNR with the blocking effect factor (BEF) of the restored image added to the MSE, in dB.

    Yim, Bovik: Quality assessment of deblocked images, IEEE Transactions on Image Processing
    20(1), 2011. As usual for colour, the MSE is taken over all RGB samples and the BEF over the
    restored image's studio-range luma; a gray image is its own luma. Not symmetric: the blocks of
    the original do not count. Never more than the PSNR; nan below 8 pixels a side.
    """
    _check_pair(restored, original)
    if min(original.shape[:2]) < BLOCK:
        return math.nan
    bef = blocking_effect_factor(luma_studio_range(restored))
    return _decibels(_mean_squared_error(restored, original) + bef)


def measure(*, restored: NDArray[np.uint8], original: NDArray[np.uint8]) -> Scores:
    """All three metrics of one image; averages leave out those that are nan."""
    pair = {"restored": restored, "original": original}
    return Scores(psnr(**pair), ssim(**pair), psnrb(**pair))


def psnr_y(*, restored: NDArray[np.uint8], original: NDArray[np.uint8]) -> float:
    """:func:`psnr` of the studio-range luma, as papers on gray or luma report it."""
    _check_pair(restored, original)
    return psnr(restored=luma_studio_range(restored), original=luma_studio_range(original))


def ssim_y(*, restored: NDArray[np.uint8], original: NDArray[np.uint8]) -> float:
    """:func:`ssim` of the studio-range luma."""
    _check_pair(restored, original)
    return ssim(restored=luma_studio_range(restored), original=luma_studio_range(original))


Metric: TypeAlias = Callable[..., float]
"""Of ``restored`` and ``original``, by keyword."""

METRICS: dict[str, Metric] = {each.__name__: each for each in (psnr, ssim, psnrb, psnr_y, ssim_y)}
"""What an evaluation can measure; utils.evaluation.learned_metrics has more."""

METRIC_TITLES = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "psnrb": "PSNR-B (dB)",
    "psnr_y": "PSNR of luma (dB)",
    "ssim_y": "SSIM of luma",
    "lpips": "LPIPS (lower is better)",
    "dists": "DISTS (lower is better)",
}
"""Every metric, in the order of the cells of tables, as their introduction calls it."""


def luma_studio_range(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma Y of ITU-R BT.601 in studio range, rounded to 8 bits, as MATLAB's `rgb2ycbcr` gives it.

    (H, W, 3) RGB -> (H, W) in [16, 235]; a gray image is its own luma. Not the full-range Y of JPEG
    files (ITU-T T.871). Computed in integers, so exact; halves round up.
    """
    if image.ndim == 2:
        return image
    red, green, blue = (
        image[..., channel].astype(np.int32) * weight for channel, weight in enumerate(LUMA_WEIGHTS)
    )
    luma = LUMA_BLACK + (red + green + blue + LUMA_SCALE // 2) // LUMA_SCALE
    return luma.astype(np.uint8)


def blocking_effect_factor(luma: NDArray[np.uint8]) -> float:
    """Blocking effect factor of an 8x8 block grid that starts at the top left corner.

    Yim, Bovik 2011 (see `psnrb`), section III, for the one block size of JPEG. The mean squared
    difference between neighbours across block boundaries (D_B: columns 7|8, 15|16, ..., rows
    alike) is compared with that between all other neighbours (D_BC). The counts N_B and N_BC divide
    the sides by 8 without rounding, as the published figures do, so they equal the true number of
    neighbours only where both sides are multiples of 8. An image of 8x8 has no boundary: 0.

    luma: (H, W), both sides at least 8 (below, N_B is meaningless). Returns eta (D_B - D_BC) with
    eta = log2(8) / log2(min(H, W)) if D_B > D_BC, otherwise 0.
    """
    height, width = luma.shape

    boundary_count = height * (width / BLOCK - 1) + width * (height / BLOCK - 1)
    if boundary_count == 0:
        return 0.0
    other_count = height * (width - 1) + width * (height - 1) - boundary_count

    samples = luma.astype(np.float64)
    by_column = np.square(np.diff(samples, axis=1)).sum(axis=0)  # [j]: columns j|j+1
    by_row = np.square(np.diff(samples, axis=0)).sum(axis=1)  # [i]: rows i|i+1
    last = BLOCK - 1  # of a block, then every BLOCK
    boundary_sum = by_column[last::BLOCK].sum() + by_row[last::BLOCK].sum()
    other_sum = by_column.sum() + by_row.sum() - boundary_sum

    excess = float(boundary_sum / boundary_count - other_sum / other_count)
    if excess <= 0:
        return 0.0
    return math.log2(BLOCK) / math.log2(min(height, width)) * excess


def _ssim_of_channel(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> float:
    """Mean SSIM of two (H, W) channels over the valid region.

    Taken in bands of rows that fit the processor's cache: three times faster than the whole image
    at once, and the memory needed does not grow with its height.
    """
    height, width = x.shape
    margin = SSIM_WINDOW - 1
    total = 0.0
    for top in range(0, height - margin, SSIM_BAND):
        band = slice(top, top + SSIM_BAND + margin)  # the last one ends with the image
        total += float(_ssim_map(x[band], y[band]).sum())
    return total / float((height - margin) * (width - margin))


def _ssim_map(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(H, W) twice -> (H - 10, W - 10): SSIM of each pair of windows."""
    x_samples = x.astype(np.float64)
    y_samples = y.astype(np.float64)
    x_mean = _window_mean(x_samples)
    y_mean = _window_mean(y_samples)
    # Only the sum of both variances enters, so four filters do instead of five.
    mean_product = x_mean * y_mean
    mean_squares = np.square(x_mean) + np.square(y_mean)
    covariance = _window_mean(x_samples * y_samples) - mean_product
    variances = _window_mean(np.square(x_samples) + np.square(y_samples)) - mean_squares
    numerator = (2 * mean_product + SSIM_C1) * (2 * covariance + SSIM_C2)
    similarity: NDArray[np.float64] = numerator / ((mean_squares + SSIM_C1) * (variances + SSIM_C2))
    return similarity


def _window_mean(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """(H, W) -> (H - 10, W - 10): mean under the Gaussian window wherever it lies inside."""
    radius = SSIM_WINDOW // 2
    window = cv2.getGaussianKernel(SSIM_WINDOW, SSIM_SIGMA, cv2.CV_64F)  # sums to 1
    filtered = cv2.sepFilter2D(samples, cv2.CV_64F, window, window)
    return np.asarray(filtered[radius:-radius, radius:-radius], dtype=np.float64)


def _channels(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """(H, W) or (H, W, C) -> its channels, each (H, W)."""
    return [image] if image.ndim == 2 else list(np.moveaxis(image, -1, 0))


def _mean_squared_error(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> float:
    """Exact up to the last division: float64 holds these sums of integers."""
    difference = np.subtract(x, y, dtype=np.float64)
    return float(np.vdot(difference, difference)) / x.size


def _decibels(error: float) -> float:
    """Mean squared error -> dB below the peak; infinity for none."""
    return math.inf if error == 0 else 10 * math.log10(PEAK**2 / error)


def _check_pair(restored: Any, original: Any) -> None:
    for name, image in (("restored", restored), ("original", original)):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            found = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
            raise ValueError(
                f"{name} is {found}, but metrics are defined on uint8 NumPy arrays; "
                "clamp to [0, 255], round and convert first."
            )
        if image.ndim != 2 and (image.ndim != 3 or image.shape[2] != 3):
            raise ValueError(
                f"{name} has shape {image.shape}, but (H, W, 3) RGB or (H, W) gray is expected; "
                "drop an alpha channel, move channels last, squeeze other axes."
            )
        if image.size == 0:
            raise ValueError(
                f"{name} has shape {image.shape}: it is empty; give at least one pixel."
            )
    if restored.shape != original.shape:
        raise ValueError(
            f"restored has shape {restored.shape} and original {original.shape}, but metrics "
            "compare images of one shape; crop or convert one of them."
        )
