"""Metrics against scikit-image, literal definitions and figures worked out by hand."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from data.degradation import SingleJpeg
from tests.conftest import photograph
from utils.evaluation.learned_metrics import CLASSES, LearnedMetric, MetricError
from utils.evaluation.metrics import (
    Scores,
    blocking_effect_factor,
    luma_studio_range,
    measure,
    psnr,
    psnr_y,
    psnrb,
    ssim,
    ssim_y,
)

Image = NDArray[np.uint8]


# Both implementations compute in float64; filters differ in the order of summation only.
FLOAT64_ROUNDING = 1e-10


def image_pair(shape: tuple[int, ...], seed: int = 0, noise: int = 25) -> tuple[Image, Image]:
    """A textured image with smooth parts, and a noisy version of it: (restored, original)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape[:2])
    ramp = 128 + 90 * np.sin(rows / 5) * np.cos(columns / 7)
    if len(shape) == 3:
        ramp = ramp[..., None] * np.array([1.0, 0.8, 0.5])
    original = np.clip(ramp + rng.integers(-9, 10, shape), 0, 255).astype(np.uint8)
    degraded = original + rng.integers(-noise, noise + 1, shape)
    return np.clip(degraded, 0, 255).astype(np.uint8), original


def blocky_image(height: int, width: int, seed: int, step: int, noise: int) -> Image:
    """Blocks of 8x8 that differ by up to `step`, with noise on every pixel."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(-step, step + 1, (-(-height // 8), -(-width // 8)))
    blocks = np.kron(levels, np.ones((8, 8), dtype=np.int64))[:height, :width]
    pixels = 128 + blocks + rng.integers(-noise, noise + 1, (height, width))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def columns_16x16(*runs: tuple[int, int]) -> Image:
    """A 16x16 gray image from (number of columns, value) runs."""
    row = np.concatenate([np.full(count, value) for count, value in runs]).astype(np.uint8)
    return np.tile(row, (16, 1))


# PSNR and SSIM


def ssim_of_scikit_image(restored: Image, original: Image) -> float:
    """Of the valid region."""
    _, similarity = structural_similarity(
        original,
        restored,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        truncate=3.5,
        use_sample_covariance=False,
        channel_axis=-1 if original.ndim == 3 else None,
        full=True,
    )
    return float(similarity[5:-5, 5:-5].mean())


@pytest.mark.parametrize(
    "shape",
    [
        (11, 11, 3),
        (11, 40),
        (37, 29, 3),
        (64, 48),
        (74, 19, 3),  # 64 rows of windows, then one more, then several bands of 64
        (75, 19, 3),
        (203, 31),
    ],
    ids=str,
)
def test_psnr_and_ssim_agree_with_scikit_image(shape: tuple[int, ...]) -> None:
    pair = restored, original = image_pair(shape)
    scores = measure(restored=restored, original=original)
    expected = peak_signal_noise_ratio(original, restored, data_range=255)
    assert scores.psnr == pytest.approx(expected, rel=1e-12)
    assert scores.ssim == pytest.approx(ssim_of_scikit_image(*pair), abs=FLOAT64_ROUNDING)
    assert scores.psnrb == psnrb(restored=restored, original=original)


def test_psnr_of_opposite_extremes_does_not_wrap_around() -> None:
    black, white = np.zeros((9, 9, 3), np.uint8), np.full((9, 9, 3), 255, np.uint8)
    assert psnr(restored=black, original=white) == 0
    assert psnr(restored=white, original=black) == 0


# Luma


@pytest.mark.parametrize(
    ("rgb", "luma"),
    [
        ((0, 0, 0), 16),
        ((255, 255, 255), 235),
        ((255, 0, 0), 81),  # 16 + 65.481
        ((0, 255, 0), 145),  # 16 + 128.553
        ((0, 0, 255), 41),  # 16 + 24.966
        ((255, 255, 0), 210),  # 16 + 194.034
        ((0, 255, 255), 170),  # 16 + 153.519
        ((255, 0, 255), 106),  # 16 + 90.447
        ((128, 128, 128), 126),  # 16 + 219 * 128 / 255 = 125.929
        ((2, 44, 141), 53),  # 16 + 9307.5 / 255 = 52.5 exactly
    ],
    ids=str,
)
def test_luma_of_known_colours(rgb: tuple[int, int, int], luma: int) -> None:
    assert luma_studio_range(np.full((2, 3, 3), rgb, np.uint8)).tolist() == [[luma] * 3] * 2


def test_luma_agrees_with_scikit_image() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (300, 301, 3), np.uint8)
    exact = rgb2ycbcr(rgb)[..., 0]
    undecided = np.abs(exact % 1 - 0.5) < 1e-9  # halves: 194 of the 2^24 colours
    luma = luma_studio_range(rgb)
    assert luma.dtype == np.uint8
    assert np.array_equal(luma[~undecided], np.round(exact[~undecided]).astype(np.uint8))
    assert undecided.mean() < 1e-3


# Blocking effect factor and PSNR-B


def bef_by_definition(luma: Image) -> float:
    """Yim and Bovik's sums, pair by pair, with the counts of the published figures."""
    height, width = luma.shape
    pixels = luma.astype(int)
    steps = [(j, pixels[i, j] - pixels[i, j + 1]) for i, j in np.ndindex(height, width - 1)]
    steps += [(i, pixels[i, j] - pixels[i + 1, j]) for i, j in np.ndindex(height - 1, width)]
    boundary = sum(step**2 for place, step in steps if place % 8 == 7)
    other = sum(step**2 for place, step in steps if place % 8 != 7)
    n_b = height * (width / 8 - 1) + width * (height / 8 - 1)
    n_bc = height * (width - 1) + width * (height - 1) - n_b
    if n_b == 0:
        return 0.0
    d_b, d_bc = boundary / n_b, other / n_bc
    eta = math.log2(8) / math.log2(min(height, width)) if d_b > d_bc else 0
    return eta * (d_b - d_bc)


@settings(deadline=None, max_examples=150)
@given(
    height=st.integers(8, 34),
    width=st.integers(8, 34),
    seed=st.integers(0, 2**32 - 1),
    step=st.integers(0, 60),
    noise=st.integers(0, 127),
)
def test_bef_agrees_with_its_definition_and_lowers_psnr(
    height: int, width: int, seed: int, step: int, noise: int
) -> None:
    luma = blocky_image(height, width, seed, step, noise)
    expected = bef_by_definition(luma)
    # abs: where D_B and D_BC are equal but for rounding, the test D_B > D_BC may go either way.
    assert blocking_effect_factor(luma) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    original = blocky_image(height, width, seed + 1, step, noise=9)
    score = psnrb(restored=luma, original=original)
    assert score <= psnr(restored=luma, original=original)
    error = 255**2 / 10 ** (score / 10)
    mse = np.mean((luma.astype(float) - original) ** 2)
    assert error - mse == pytest.approx(expected, rel=1e-6, abs=1e-6)


# By hand, 16x16: N_B = 16 (2 - 1) + 16 (2 - 1) = 32; all pairs 2 * 16 * 15 = 480, so N_BC = 448;
# eta = log2(8) / log2(16) = 3/4. A step of s between two columns adds 16 s^2 to its sum.


@pytest.mark.parametrize(
    ("restored", "mse", "bef"),
    [
        # Step 8 at columns 7|8, a boundary: D_B = 16 * 64 / 32 = 32, D_BC = 0, BEF = 3/4 * 32.
        # Every pixel is 4 from 104: MSE = 16.
        (columns_16x16((8, 100), (8, 108)), 16, 24),
        # Also step 4 at columns 3|4, inside: D_BC = 16 * 16 / 448 = 4/7, BEF = 3/4 (32 - 4/7).
        # Columns are 8, 4 and 4 from 104: MSE = (4 * 64 + 4 * 16 + 8 * 16) / 16 = 28.
        (columns_16x16((4, 96), (4, 100), (8, 108)), 28, 3 / 4 * (32 - 4 / 7)),
        # Step 8 at columns 8|9, not a boundary: D_B = 0 < D_BC, eta = 0. MSE = 16.
        (columns_16x16((9, 100), (7, 108)), 16, 0),
    ],
    ids=["boundary", "both", "inside"],
)
def test_psnrb_of_gray_by_hand(restored: Image, mse: float, bef: float) -> None:
    original = np.full((16, 16), 104, np.uint8)
    assert blocking_effect_factor(restored) == pytest.approx(bef, rel=1e-12)
    assert blocking_effect_factor(restored.T) == pytest.approx(bef, rel=1e-12)
    expected = 10 * math.log10(255**2 / (mse + bef))
    assert psnrb(restored=restored, original=original) == pytest.approx(expected, rel=1e-12)


def test_psnrb_of_colour_by_hand() -> None:
    restored = np.zeros((16, 16, 3), np.uint8)
    restored[:, :8] = (100, 100, 100)  # luma 16 + 219 * 100 / 255 = 101.88, rounded 102
    restored[:, 8:] = (108, 108, 108)  # luma 16 + 219 * 108 / 255 = 108.75, rounded 109
    original = np.full_like(restored, 104)
    original[..., 2] = 98  # blue: 2 and 10 away
    # MSE over RGB = (16 + 16 + (4 + 100) / 2) / 3 = 28.
    # BEF of luma: D_B = 16 * 7^2 / 32 = 24.5, D_BC = 0, BEF = 3/4 * 24.5 = 18.375.
    expected = 10 * math.log10(255**2 / (28 + 18.375))
    assert psnrb(restored=restored, original=original) == pytest.approx(expected, rel=1e-12)


def test_bef_of_one_block_is_zero() -> None:
    restored, original = image_pair((8, 8))
    assert blocking_effect_factor(restored) == 0
    assert psnrb(restored=restored, original=original) == psnr(restored=restored, original=original)


# All of them


def test_identical_images() -> None:
    restored, _ = image_pair((16, 24, 3))
    assert psnr(restored=restored, original=restored) == math.inf
    assert ssim(restored=restored, original=restored) == 1
    flat = np.full((16, 16, 3), 77, np.uint8)
    assert measure(restored=flat, original=flat.copy()) == Scores(math.inf, 1, math.inf)
    blocky = columns_16x16((8, 100), (8, 108))
    expected = 10 * math.log10(255**2 / 24)
    assert psnrb(restored=blocky, original=blocky) == pytest.approx(expected, rel=1e-12)


def test_views_are_measured_like_copies() -> None:
    restored, original = image_pair((31, 42, 3))
    expected = measure(restored=restored, original=original)
    stored_as_bgr = np.ascontiguousarray(restored[..., ::-1])
    stored_as_planes = np.ascontiguousarray(original.transpose(2, 0, 1))
    views = {
        "restored": stored_as_bgr[..., ::-1],
        "original": stored_as_planes.transpose(1, 2, 0),
    }
    for view in views.values():
        view.setflags(write=False)
    assert measure(**views) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", [(10, 10, 3), (8, 30), (7, 30, 3), (30, 7), (1, 1, 3)], ids=str)
def test_metrics_are_nan_where_none_of_their_windows_fits(shape: tuple[int, ...]) -> None:
    restored, original = image_pair(shape)
    scores = measure(restored=restored, original=original)
    assert scores.psnr == psnr(restored=restored, original=original)
    assert math.isnan(scores.ssim)
    assert math.isnan(scores.psnrb) == (min(shape[:2]) < 8)


IMAGE = np.zeros((16, 16, 3), np.uint8)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (IMAGE[:, 1:], "of one shape"),
        (IMAGE.astype(np.float32), "is float32, .*uint8"),
        (IMAGE.tolist(), "is list, .*NumPy"),
        (np.zeros((16, 16, 4), np.uint8), r"\(H, W, 3\) RGB or \(H, W\) gray"),
        (np.zeros((3, 16, 16), np.uint8), r"\(H, W, 3\) RGB or \(H, W\) gray"),
        (IMAGE[:0], "empty"),
    ],
)
def test_what_is_no_pair_of_images_is_refused(other: Any, words: str) -> None:
    for metric, pair in product(
        (psnr, ssim, psnrb, psnr_y, ssim_y, measure), ((other, IMAGE), (IMAGE, other))
    ):
        with pytest.raises(ValueError, match=words):
            metric(restored=pair[0], original=pair[1])


# Metrics on request


def test_luma_metrics_agree_with_scikit_image() -> None:
    original = photograph(40, 56)
    restored = SingleJpeg(20)(original).jpeg
    pair = {"restored": restored, "original": original}
    x, y = luma_studio_range(restored), luma_studio_range(original)
    assert psnr_y(**pair) == pytest.approx(peak_signal_noise_ratio(y, x, data_range=255))
    assert ssim_y(**pair) == pytest.approx(ssim_of_scikit_image(x, y), abs=FLOAT64_ROUNDING)
    gray = {"restored": x, "original": y}
    assert psnr_y(**gray) == psnr_y(**pair)
    assert ssim_y(**gray) == ssim_y(**pair)
    tiny = photograph(9, 9)
    assert math.isnan(ssim_y(restored=tiny, original=tiny))
    assert psnr_y(restored=tiny, original=tiny) == math.inf


@pytest.mark.parametrize("name", CLASSES)
def test_real_learned_metrics(name: str) -> None:
    pytest.importorskip("piq", reason="piq is an optional extra")
    try:
        metric = LearnedMetric(name)
    except MetricError as error:
        pytest.skip(str(error))
    original = photograph(64, 64)
    worse, better = (SingleJpeg(quality)(original).jpeg for quality in (5, 80))
    assert metric(restored=original, original=original) == pytest.approx(0, abs=1e-4)
    assert metric(restored=worse, original=original) > metric(restored=better, original=original)
    assert math.isnan(metric(restored=original[:20], original=original[:20]))
