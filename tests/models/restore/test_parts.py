"""models/restore/parts.py, utils/cmyk.py: RGB, CMYK and YCCK; layouts that no encoder writes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from benchmarks.command_line import gain
from benchmarks.layouts import inks
from data.jpeg import decode_jpeg, encode_jpeg, read_jpeg
from data.tables import standard_tables
from models import Restorer, load_checkpoint
from models.restore.parts import has_ink, parts_of
from tests.conftest import photograph, smooth, tiny_restorer
from tests.made_jpegs import Plane, assembled, ink_profile, with_profile, ycck

Picture = NDArray[np.uint8]


def _planes(picture: Picture) -> list[Picture]:
    return [np.ascontiguousarray(picture[:, :, i]) for i in range(picture.shape[2])]


def _ycc(rgb: Picture) -> list[Picture]:
    y, cr, cb = _planes(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb), np.uint8))
    return [y, cb, cr]


def _made(
    planes: list[Picture],
    factors: str,
    adobe: int | None = None,
    identifiers: bytes = b"\1\2\3\4",
    quality: int = 80,
) -> bytes:
    """factors: such as "2x2 1x1 1x1", horizontal first."""
    sampling = [map(int, each.split("x")) for each in factors.split()]
    made = [
        Plane(plane, *both, identifier=identifier)
        for plane, both, identifier in zip(planes, sampling, identifiers, strict=False)
    ]
    return assembled(made, quality, adobe)


RGB = smooth()
INK = inks(RGB)
FOUR = "1x1 1x1 1x1 1x1"
LAYOUTS: dict[str, Callable[[], bytes]] = {
    "3x1": lambda: _made(_ycc(RGB), "3x1 1x1 1x1"),
    "4:1:0": lambda: _made(_ycc(RGB), "4x2 1x1 1x1"),
    "1x4": lambda: _made(_ycc(RGB), "1x4 1x1 1x1"),
    "luma subsampled": lambda: _made(_ycc(RGB), "1x1 2x2 2x2"),
    "all apart": lambda: _made(_ycc(RGB), "1x2 2x1 2x2"),
    "identifiers from 0": lambda: _made(_ycc(RGB), "2x2 1x1 1x1", identifiers=b"\0\1\2"),
    "one identifier": lambda: _made(_ycc(RGB), "2x2 1x1 1x1", identifiers=b"\1\1\1"),
    "Adobe YCbCr": lambda: _made(_ycc(RGB), "1x1 1x1 1x1", adobe=1),
    "Adobe RGB": lambda: _made(_planes(RGB), "1x1 1x1 1x1", adobe=0),
    "RGB by identifiers": lambda: _made(_planes(RGB), "1x1 1x1 1x1", identifiers=b"RGB"),
    "RGB sampled": lambda: _made(_planes(RGB), "2x2 1x1 2x1", adobe=0),
    "gray 2x2": lambda: _made(_ycc(RGB)[:1], "2x2"),
    "Adobe CMYK": lambda: _made(_planes(255 - INK), FOUR, adobe=0),
    "CMYK without Adobe": lambda: _made(_planes(255 - INK), FOUR),
    "CMYK sampled": lambda: _made(_planes(255 - INK), "2x2 1x1 1x1 2x2", adobe=0),
    "YCCK": lambda: _made(ycck(INK), FOUR, adobe=2),
    "YCCK 4:2:0": lambda: _made(ycck(INK), "2x2 1x1 1x1 2x2", adobe=2),
    "YCCK, black sampled": lambda: _made(ycck(INK), "2x2 1x1 1x1 1x1", adobe=2),
    "YCCK, colours sampled": lambda: _made(ycck(INK), "1x1 1x1 1x1 2x2", adobe=2),
}


def _by_pillow(data: bytes) -> Picture:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image if image.mode == "L" else image.convert("RGB"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_starts_from_what_pillow_decodes(layout: str, restorer: Restorer) -> None:
    data = LAYOUTS[layout]()
    stored, expected = read_jpeg(data), _by_pillow(data)
    assert not stored.warnings
    np.testing.assert_array_equal(restorer.decoded(stored), expected)
    for image in (restorer.restore(stored), restorer.decoded(replace(stored, data=b""))):
        assert image.shape == expected.shape
        # Planes are enlarged smoothly here, by repetition in libjpeg for all but the factor 2.
        assert np.abs(image.astype(int) - expected).mean() < 1.6


@pytest.mark.parametrize("factor", [2, 4])
def test_planes_of_fewer_samples_lie_where_libjpeg_has_them(
    factor: int, restorer: Restorer
) -> None:
    """Of 17 rows and columns, whose last samples stand for more than the picture has."""
    ramp = np.asarray(np.add.outer(np.arange(17), np.arange(17)) * 6 + 20, np.uint8)
    data = _made([ramp] * 3, f"{factor}x{factor} 1x1 {factor}x{factor}", adobe=0, quality=100)
    stored = replace(read_jpeg(data), data=b"")
    inner = np.s_[factor:-factor, factor:-factor]
    error = restorer.decoded(stored)[:, :, 1].astype(int) - ramp
    assert np.abs(error[inner]).max() <= 3


@pytest.mark.parametrize("layout", ["YCCK 4:2:0", "CMYK without Adobe", "RGB sampled"])
def test_parts_go_through_the_network_in_tiles_and_batches(layout: str) -> None:
    stored = read_jpeg(LAYOUTS[layout]())
    restorer = tiny_restorer()
    whole = restorer.restore(stored)
    assert (whole != decode_jpeg(stored.data)).any()
    assert np.abs(restorer.restore_in_tiles(stored, 64).astype(int) - whole).max() <= 2
    restorer.batches = True
    other = read_jpeg(encode_jpeg(RGB, 50))
    for one, result in zip(
        (whole, restorer.restore(other), whole),
        restorer.restore_batch([stored, other, stored]),
        strict=True,
    ):
        assert np.abs(one.astype(int) - result).max() <= 1


def test_every_part_is_judged_by_its_own_table() -> None:
    """Fine colours beside coarse black: the colours stay."""
    coarse, fine = (standard_tables(q) for q in (20, 97))
    planes = [
        Plane(p, table=t)
        for p, t in zip(ycck(INK), (fine[0], fine[1], fine[1], coarse[0]), strict=True)
    ]
    stored = read_jpeg(assembled(planes, adobe=2))
    colors, black = parts_of(stored)
    restorer = tiny_restorer()
    assert not restorer.leaves(stored)
    np.testing.assert_array_equal(restorer.restore(colors), colors.decoded())  # type: ignore[arg-type]
    assert (restorer.restore(black) != black.decoded()).any()
    fine_file = read_jpeg(_made(_planes(255 - INK), FOUR, quality=97))
    assert restorer.leaves(fine_file)
    np.testing.assert_array_equal(restorer.restore(fine_file), _by_pillow(fine_file.data))


def test_inks_go_through_the_files_own_profile(restorer: Restorer) -> None:
    profile = ink_profile()
    data = with_profile(LAYOUTS["YCCK"](), profile)
    with Image.open(io.BytesIO(data)) as image:
        expected = ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),  # type: ignore[arg-type]
            outputMode="RGB",
        )
    assert expected is not None
    decoded = decode_jpeg(data)
    np.testing.assert_array_equal(decoded, np.asarray(expected))
    assert np.abs(decoded.astype(int) - _by_pillow(data)).mean() > 5  # not the plain conversion
    restored = restorer.restore(read_jpeg(data))
    assert np.abs(restored.astype(int) - decoded).mean() < 1.6


@pytest.mark.parametrize("at", [16, 36, 132])
def test_profiles_that_cannot_be_used_are_passed_over(at: int) -> None:
    damaged = bytearray(ink_profile())
    damaged[at : at + 8] = b"nonsense"
    data = with_profile(LAYOUTS["Adobe CMYK"](), bytes(damaged))
    np.testing.assert_array_equal(decode_jpeg(data), _by_pillow(data))


def test_truncated_inks_are_read_as_far_as_they_go(restorer: Restorer) -> None:
    data = LAYOUTS["YCCK"]()
    cut = read_jpeg(data[:-60], collect_warnings=True)
    assert cut.warnings
    decoded, whole = cut.decoded(), decode_jpeg(data)
    assert decoded is not None
    np.testing.assert_array_equal(decoded[:24], whole[:24])
    assert np.abs(restorer.restore(cut)[:24].astype(int) - whole[:24]).mean() < 2


@pytest.mark.parametrize("layout", ["RGB", "YCCK", "CMYK"])
def test_inks_and_planes_gain_as_luma_and_chroma_do(layout: str) -> None:
    """With the shipped weights, each against what the file was made of."""
    restorer = Restorer(load_checkpoint("full"), "cpu")
    rgb = np.asarray(cv2.GaussianBlur(photograph(128, 128), (0, 0), 1.0), np.uint8)
    ink = inks(rgb)
    luma, chroma = standard_tables(20)
    tables = [luma, chroma, chroma, luma] if layout == "YCCK" else [luma] * 4
    source = {"RGB": _planes(rgb), "YCCK": ycck(ink), "CMYK": _planes(255 - ink)}[layout]
    planes = [Plane(p, table=t) for p, t in zip(source, tables, strict=False)]
    data = assembled(planes, adobe=2 if layout == "YCCK" else 0)
    original = rgb
    if has_ink(read_jpeg(data)):
        original = np.asarray(Image.fromarray(ink, "CMYK").convert("RGB"))

    usual = encode_jpeg(rgb, 20)
    gains = [
        gain(decode_jpeg(each), restorer.restore(read_jpeg(each)), wanted)
        for each, wanted in ((data, original), (usual, rgb))
    ]
    assert gains[0] > 0.6 * gains[1] > 0.6
