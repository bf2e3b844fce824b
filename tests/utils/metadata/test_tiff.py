"""TIFFs as results, with all metadata, and as sources; four inks kept as such."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import tifffile
from PIL import Image

from data.jpeg import encode_jpeg, read_jpeg
from jobs.earlier_results import earlier_result, made_of
from jobs.plan_files import FileJob
from jobs.restore_files import OutputSettings, restore_file
from models.restore.restorer import Restorer
from tests import made_jpegs
from tests import metadata_files as made
from tests.conftest import photograph
from tests.utils.metadata.conftest import ExifTool, Restore
from utils.cmyk import ink_to_rgb
from utils.image_io import read_image
from utils.metadata import read_metadata
from utils.picture_files import encoded_picture


@pytest.mark.parametrize(("gray", "alpha"), [(False, False), (False, True), (True, False)])
def test_other_programs_read_the_same_pixels(gray: bool, alpha: bool, tmp_path: Path) -> None:
    """Of several strips, the last one not full; so does this one."""
    picture = photograph(611, 503)
    image = picture[:, :, 0].copy() if gray else picture
    opacity = picture[:, :, 1].copy() if alpha else None
    path = tmp_path / "a.tiff"
    path.write_bytes(encoded_picture(image, "tiff", 95, read_metadata(b""), opacity)[0])
    with Image.open(path) as opened:
        pixels = np.asarray(opened)
        assert opened.mode == ("L" if gray else "RGBA" if opacity is not None else "RGB")
    whole = image if opacity is None else np.dstack((image, opacity))
    np.testing.assert_array_equal(pixels, whole)
    np.testing.assert_array_equal(tifffile.imread(path), whole)
    np.testing.assert_array_equal(read_image(path), image)


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_tag_of_a_jpeg_is_as_before(
    order: Literal["<", ">"], restore: Restore, exiftool: ExifTool, tmp_path: Path
) -> None:
    """EXIF with a maker's note of offsets, GPS, damaged tags; XMP, IPTC, Photoshop's, profile."""
    profile = made.profile(100_000)
    result, target = restore(
        made.jpeg(
            made.exif_segment(made.exif(6, order)),
            made.xmp_segment(),
            made.photoshop_segment(),
            made.profile_segments(profile),
        ),
        "tiff",
    )
    assert not result.left_out
    with Image.open(target) as image:
        assert image.size == (50, 70)
        assert image.info["icc_profile"] == profile
    before, after = exiftool(tmp_path / "a.jpg"), exiftool(target)
    changed = ("Orientation", "ExifImageWidth", "ExifImageHeight", "Resolution", "ResolutionUnit")
    kinds = ("IFD0:", "ExifIFD:", "Canon:", "GPS:", "XMP", "Photoshop:", "ICC")
    kept = [key for key in before if key.startswith(kinds) and not key.endswith(changed)]
    assert len(kept) > 30
    assert {key: after.get(key) for key in kept} == {key: before[key] for key in kept}
    assert after["IFD0:Orientation"] == "Horizontal (normal)"
    assert [v for k, v in after.items() if k.endswith("Caption-Abstract")] == ["Grüße aus Köln"]


def test_resolution_and_what_has_no_place(restore: Restore) -> None:
    data = bytearray(made.jpeg(made.segment(0xFE, b"taken by me"), made.segment(0xE5, b"Own data")))
    data[13:18] = b"\2\0\x76\0\x3c"  # dots per cm
    result, target = restore(bytes(data), "tiff")
    assert result.left_out == ("a comment", "APP5 (Own data)")
    assert "TIFF has no place for that" in result.message
    with Image.open(target) as image:
        assert [float(image.tag_v2[tag]) for tag in (282, 283)] == [118, 60]  # type: ignore[attr-defined]
        assert image.tag_v2[296] == 3  # type: ignore[attr-defined]


def test_a_result_knows_its_source(restore: Restore, tmp_path: Path) -> None:
    _, target = restore(encode_jpeg(photograph(50, 70), 50), "tiff")
    source = tmp_path / "a.jpg"
    made_now = made_of(source, source.read_bytes(), {})
    assert earlier_result(target, made_now)[0] == "same"


PACKET = (made.PACKET % "").encode()


def _tiff() -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[33723] = "Canon", 6, b"\x1c\x02\x78\0\1a"
    exif[700] = PACKET
    for tag, directory in (
        (0x8769, {0x9003: "2024:01:02 03:04:05", 0x829A: (1, 125)}),
        (0x8825, {1: "N", 2: (7.0, 7.0, 7.0)}),
    ):
        exif.get_ifd(tag).update(directory)
        exif[tag] = 0  # Pillow puts the place in, and writes none that is not there
    buffer = io.BytesIO()
    Image.fromarray(photograph(50, 70)).save(buffer, "TIFF", exif=exif, dpi=(200, 200))
    return buffer.getvalue()


@pytest.mark.parametrize("file_format", ["png", "webp", "jpg", "tiff"])
def test_exif_and_iptc_of_a_tiff_are_kept(
    file_format: str, restore: Restore, exiftool: ExifTool
) -> None:
    result, target = restore(_tiff(), file_format, "a.tif")
    assert result.left_out == (("IPTC", "200 dpi") if file_format == "webp" else ())
    with Image.open(target) as image:
        found = image.getexif()
        assert image.info["xmp"] == PACKET
        assert image.size == (50, 70)  # turned by its decoder
        assert found[0x010F] == "Canon"
        assert found.get(0x0112, 1) == 1
        assert found.get_ifd(0x8769)[0x9003] == "2024:01:02 03:04:05"
        assert found.get_ifd(0x8825)[2] == (7.0, 7.0, 7.0)
        assert not {273, 279} & set(found) or file_format == "tiff"
    if file_format != "webp":
        captions = [v for k, v in exiftool(target).items() if k.endswith("Caption-Abstract")]
        assert captions == ["a"]


def test_a_turned_tiff_says_nowhere_that_it_is_to_be_turned() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[700] = 6, (made.PACKET % 'tiff:Orientation="6"').encode()
    buffer = io.BytesIO()
    Image.fromarray(photograph(50, 70)).save(buffer, "TIFF", exif=exif, dpi=(300, 150))
    found = read_metadata(buffer.getvalue())
    assert found.orientation == 1  # its decoder has turned it
    assert found.xmp == (made.PACKET % 'tiff:Orientation="1"').encode()
    assert found.density is not None
    assert (found.density.x, found.density.y) == (150, 300)
    assert found.exif is None


def test_what_is_not_read_of_a_bigtiff_is_named() -> None:
    buffer = io.BytesIO()
    more = [(0x010F, 2, 0, "Canon", True)]
    tifffile.imwrite(buffer, photograph(50, 70), bigtiff=True, photometric="rgb", extratags=more)
    assert [loss.what for loss in read_metadata(buffer.getvalue()).left_out] == ["EXIF"]


def test_damaged_exif_makes_no_damaged_tiff(restore: Restore) -> None:
    tiff = made.Tiff()
    tiff.directory([made.text(0x010F, b"Canon" * 9), (0x0112, 3, 1, tiff.short(1))])
    tiff.data[8 + 2 + 8 : 8 + 2 + 12] = tiff.long(1 << 30)  # the text lies beyond the end
    for block, left_out in (
        (bytes(tiff.data), ("damaged EXIF values",)),
        (b"MM\0*", ()),
        (b"II*\0\x08", ()),
    ):
        result, target = restore(made.jpeg(made.exif_segment(block)), "tiff")
        assert result.left_out == left_out
        pixels = tifffile.imread(target)
        with Image.open(target) as image:
            np.testing.assert_array_equal(np.asarray(image), pixels)


def test_damaged_tiffs_harm_nothing_else() -> None:
    """Directories that point to themselves or beyond the end, and every file that ends early."""
    whole = bytearray(_tiff())
    looping = whole.copy()
    place = looping.find((0x8769).to_bytes(2, "little") + b"\4\0")
    looping[place + 8 : place + 12] = looping[4:8]
    for data in (looping, *(whole[:end] for end in range(8, len(whole), 97))):
        found = read_metadata(bytes(data))
        assert found.exif is None or len(found.exif) < 3 * len(whole)


INK = np.dstack([photograph(48, 64), photograph(48, 64)[:, :, :1]])


def _cmyk(quality: int = 60) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(INK, "CMYK").save(buffer, "JPEG", quality=quality)
    return made_jpegs.with_profile(buffer.getvalue(), made_jpegs.ink_profile())


@pytest.mark.parametrize("quality", [60, 98])
@pytest.mark.parametrize("file_format", ["tiff", "jpg"])
def test_inks_are_kept_with_their_profile(
    file_format: Literal["tiff", "jpg"], quality: int, tmp_path: Path, restorer: Restorer
) -> None:
    source, target = tmp_path / "a.jpg", tmp_path / f"out.{file_format}"
    source.write_bytes(_cmyk(quality))
    job = FileJob(source, target, tmp_path / "compare.png")
    settings = OutputSettings(file_format, 100, keep_cmyk=True, below=90)
    result = restore_file(job, restorer, settings)
    assert result.outcome == ("restored" if quality == 60 else "left alone")
    assert not result.left_out
    assert "kept as CMYK" in result.message
    stored = read_jpeg(source)
    expected = restorer.restore_ink(stored) if quality == 60 else stored.decoded_ink()
    assert expected is not None
    with Image.open(target) as image:
        assert image.mode == "CMYK"
        assert image.info["icc_profile"] == made_jpegs.ink_profile()
        difference = np.abs(np.asarray(image).astype(int) - expected)
    assert difference.max() <= (0 if file_format == "tiff" else 6)
    assert (tmp_path / "compare.png").exists() == (quality == 60)


def test_a_profile_that_was_used_is_not_called_left_out(restore: Restore) -> None:
    result, target = restore(_cmyk(), "png")
    assert result.left_out == ()
    assert "left out" not in result.message
    assert "CMYK became RGB through its ICC profile, which the result no longer needs" in (
        result.message
    )
    with Image.open(target) as image:
        assert "icc_profile" not in image.info


def test_restored_inks_are_those_that_become_rgb(restorer: Restorer) -> None:
    stored = read_jpeg(_cmyk())
    ink = restorer.restore_ink(stored)
    np.testing.assert_array_equal(
        ink_to_rgb(ink, made_jpegs.ink_profile()), restorer.restore(stored)
    )


def test_what_the_exif_says_of_colours_and_size_is_kept(restore: Restore) -> None:
    tags = Image.Exif()
    tags[318] = (0.3127, 0.329)  # white point
    tags[319] = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)  # primaries
    tags[282] = tags[283] = 300.0
    tags[296] = 2
    expected = {tag: tags[tag] for tag in (318, 319)}
    for curves, kept in ((768, True), (256, False)):
        tags[301] = tuple(range(curves))
        buffer = io.BytesIO()
        Image.fromarray(photograph(32, 32)).save(buffer, "JPEG", exif=tags, dpi=(72, 72))
        result, target = restore(buffer.getvalue(), "tiff")
        with Image.open(target) as opened:
            found = opened.getexif()
            assert {tag: pytest.approx(tuple(found[tag])) for tag in expected} == expected
            assert (301 in found) == kept
            assert (found[282], found[283], found[296]) == (300, 300, 2)
        named = ("the transfer function",) if not kept else ()
        assert result.left_out == (*named, "72 dpi")
        assert "72 dpi left out: the EXIF says 300 dpi" in result.message
