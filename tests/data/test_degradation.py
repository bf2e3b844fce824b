"""data/degradation.py: labels, crops, padding, and training's random compression."""

from __future__ import annotations

import collections
import importlib.util

import cv2
import numpy as np
import pytest

from data.degradation import ENCODERS, DoubleJpeg, Padding, RandomCompression, SingleJpeg
from data.jpeg import Sampling, decode_jpeg, encode_jpeg, read_jpeg
from tests.conftest import photograph


@pytest.mark.parametrize("sampling", [Sampling.S420, Sampling.S444])
def test_labels_and_sampling(sampling: Sampling) -> None:
    suffix = "" if sampling is Sampling.S420 else "_444"
    single, double = SingleJpeg(10, sampling), DoubleJpeg(30, 50, (4, 4), sampling)
    for degrade, label in ((single, "QF10"), (double, "QF30-50+4+4")):
        assert degrade.label == label + suffix
        assert degrade(photograph(32, 32)).stored.sampling is sampling


def test_single_is_opencvs_default_encoding() -> None:
    image = photograph(50, 75)
    pair = SingleJpeg(20)(image)
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 20])
    expected = cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1]
    assert np.array_equal(pair.jpeg, expected)
    assert pair.original is image
    levels = read_jpeg(data.tobytes()).components
    for ours, theirs in zip(pair.stored.components, levels, strict=True):
        assert np.array_equal(ours.levels, theirs.levels)


@pytest.mark.parametrize("shift", [(0, 0), (4, 4), (3, 7)])
def test_double_crops_between_the_compressions(shift: tuple[int, int]) -> None:
    image = photograph(50, 75)
    pair = DoubleJpeg(30, 50, shift)(image)
    rows, cols = shift
    once = decode_jpeg(encode_jpeg(image, 30))[rows:, cols:]
    assert np.array_equal(pair.original, image[rows:, cols:])
    assert np.array_equal(pair.jpeg, decode_jpeg(encode_jpeg(once, 50)))
    assert (pair.stored.height, pair.stored.width) == pair.original.shape[:2]


def test_double_refuses_an_image_inside_the_shift() -> None:
    with pytest.raises(ValueError, match="shift"):
        DoubleJpeg(30, 30, (9, 0))(photograph(9, 20))


def test_pad_first_replicates_the_edge_for_single_and_mirrors_it_for_double() -> None:
    image = photograph(50, 75)
    once = decode_jpeg(encode_jpeg(image, 40))[4:, 4:]
    single = SingleJpeg(90, padding=Padding.PAD_FIRST)
    double = DoubleJpeg(40, 90, (4, 4), padding=Padding.PAD_FIRST)
    for degrade, pixels, mode in ((single, image, "edge"), (double, once, "symmetric")):
        height, width = pixels.shape[:2]
        padded = np.pad(pixels, ((0, 64 - height), (0, 128 - width), (0, 0)), mode=mode)
        pair = degrade(image)
        assert (pair.stored.height, pair.stored.width) == (64, 128)
        assert pair.jpeg.shape == pair.original.shape == pixels.shape
        assert np.array_equal(pair.jpeg, decode_jpeg(encode_jpeg(padded, 90))[:height, :width])


def test_the_original_is_what_was_compressed() -> None:
    high = RandomCompression((), 0.0, 100, 100)
    original, jpeg, stored = high(photograph(71, 71), np.random.default_rng(5))
    assert np.abs(jpeg.astype(int) - original).mean() < 6  # chroma is subsampled
    luma = stored.components[0]
    block = cv2.idct((luma.levels[2, 3] * luma.table).astype(np.float32)) + 128
    weights = np.array([0.299, 0.587, 0.114])
    assert np.abs(block - original[16:24, 24:32] @ weights).max() < 2


def test_random_compression_draws_as_told() -> None:
    compression = RandomCompression((10, 20), 0.5, 80, 90, 0.0)
    rng = np.random.default_rng(0)
    drawn = collections.Counter(compression.quality(rng) for _ in range(4000))
    assert set(drawn) == {10, 20, *range(80, 91)}
    assert 0.45 < (drawn[10] + drawn[20]) / 4000 < 0.55
    fine = RandomCompression((10,), 0.2, 5, 50, fine_share=0.3)
    drawn = collections.Counter(fine.quality(rng) for _ in range(4000))
    assert 0.26 < sum(drawn[quality] for quality in range(95, 101)) / 4000 < 0.34
    assert all(drawn[quality] for quality in range(95, 101))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_random_compression_is_reproducible_with_every_encoder(encoder: str) -> None:
    pixels = photograph(71, 71)
    compression = RandomCompression(encoders=((encoder, 1.0),), double_share=0.3)
    for seed in range(4):
        one, other = (compression(pixels, np.random.default_rng(seed)) for _ in range(2))
        assert one.jpeg.shape == one.original.shape == (64, 64, 3)
        np.testing.assert_array_equal(one.original, other.original)
        np.testing.assert_array_equal(one.jpeg, other.jpeg)
        levels = [pair.stored.components[0].levels for pair in (one, other)]
        np.testing.assert_array_equal(*levels)
        assert one.stored.describe() == "64x64 YCbCr 4:2:0"
        assert np.abs(one.jpeg.astype(int) - one.original).mean() < 40


def test_only_where_it_is_shifted_does_the_original_begin_inside_the_margin() -> None:
    pixels = photograph(71, 71)
    seeds = range(8)
    compression = RandomCompression()
    for seed in seeds:
        pair = compression(pixels, np.random.default_rng(seed), shifted=False)
        np.testing.assert_array_equal(pair.original, pixels[:64, :64])
    pairs = [compression(pixels, np.random.default_rng(seed)) for seed in seeds]
    assert any(not np.array_equal(pair.original, pixels[:64, :64]) for pair in pairs)


def test_layouts_that_only_libjpeg_writes_are_left_to_it() -> None:
    compression = RandomCompression(
        samplings=((Sampling.S440.value, 1.0),), encoders=(("wild", 1.0),)
    )
    stored = compression(photograph(71, 71), np.random.default_rng(0)).stored
    assert stored.sampling is Sampling.S440


def test_a_missing_encoder_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"trellis needs the package pyvips; install it: pip"):
        RandomCompression(encoders=(("libjpeg", 0.5), ("trellis", 0.5)))
    RandomCompression(encoders=(("libjpeg", 1.0), ("trellis", 0.0)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"lowest": 60, "highest": 50},
        {"listed": (), "listed_share": 0.1},
        {"listed_share": 0.6, "fine_share": 0.5},
        {"samplings": (("4:2:1", 1.0),)},
        {"samplings": (("4:2:0", 0.5),)},
        {"encoders": (("libjpeg", 0.9),)},
        {"encoders": (("libjpg", 1.0),)},
    ],
)
def test_random_compression_refuses_contradictions(wrong: dict[str, object]) -> None:
    with pytest.raises(
        ValueError, match=r"exceed|no quality|unknown sampling|unknown encoder|add up to 1"
    ):
        RandomCompression(**wrong)  # type: ignore[arg-type]
