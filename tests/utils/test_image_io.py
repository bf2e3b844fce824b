"""utils/image_io.py: every common format, atomic writing, refusals."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from tests.conftest import photograph
from tests.made_jpegs import ink_profile
from utils.cmyk import ink_to_rgb
from utils.image_io import (
    ImageError,
    find_images,
    read_image,
    read_image_bytes,
    write_atomically,
    write_png,
)
from utils.metadata import png, read_metadata
from utils.picture_files import encoded_picture, picture_size, read_extras


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "ppm"])
def test_lossless_formats_round_trip(tmp_path: Path, suffix: str) -> None:
    image = photograph(20, 33)
    path = tmp_path / f"x.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(image).save(path, **options)
    assert np.array_equal(read_image(path), image)


def test_png_is_read_back_by_pillow(tmp_path: Path) -> None:
    image = photograph(20, 33)
    write_png(tmp_path / "a" / "ü.png", image)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a" / "ü.png")), image)
    write_png(tmp_path / "gray.png", image[:, :, 0])
    assert np.array_equal(read_image(tmp_path / "gray.png"), image[:, :, 0])


def test_alpha_is_dropped_and_16_bits_are_scaled(tmp_path: Path) -> None:
    image = photograph(9, 9)
    alpha = np.full((9, 9, 1), 77, np.uint8)
    Image.fromarray(np.concatenate((image, alpha), 2)).save(tmp_path / "rgba.png")
    assert np.array_equal(read_image(tmp_path / "rgba.png"), image)
    gray16 = image[:, :, 0].astype(np.uint16) * 257
    Image.fromarray(gray16).save(tmp_path / "deep.png")
    assert np.array_equal(read_image(tmp_path / "deep.png"), image[:, :, 0])


RGB, GRAY = photograph(20, 33), photograph(20, 33)[:, :, 0]
ALPHA = photograph(20, 33, seed=1)[:, :, 0]
RGBA, GRAY_ALPHA, PLANES = np.dstack((RGB, ALPHA)), np.dstack((GRAY, ALPHA)), RGB.transpose(2, 0, 1)
IN_PLANES = {"planarconfig": "separate"}
SEEN_THROUGH = {"extrasamples": ["unassalpha"]}
TILES, TURNED = {"tile": (16, 16)}, {"extratags": [(274, 3, 1, 6, True)], "metadata": None}
DEEP_GRAY_ALPHA = GRAY_ALPHA * np.uint16(257)

TIFFS: dict[str, tuple[np.ndarray, str, dict[str, Any], np.ndarray | None, bool]] = {
    # samples, what they are, how they are stored; what is read (None: refused), with transparency?
    "planes": (PLANES, "rgb", IN_PLANES, RGB, False),
    "planes, 16 bits": (PLANES * np.uint16(257), "rgb", IN_PLANES, None, False),
    "0 is white": (~GRAY, "miniswhite", {}, GRAY, False),
    "0 is white, 16 bits": (~(GRAY * np.uint16(257)), "miniswhite", {}, GRAY, False),
    "BigTIFF": (RGBA, "rgb", {"bigtiff": True, **SEEN_THROUGH}, RGB, True),
    "gray": (GRAY_ALPHA, "minisblack", SEEN_THROUGH, GRAY, True),
    "gray, 16 bits": (DEEP_GRAY_ALPHA, "minisblack", SEEN_THROUGH, GRAY, False),
    "BigTIFF, big-endian": (GRAY, "minisblack", {"bigtiff": True, "byteorder": ">"}, None, False),
    "tiles, turned": (GRAY, "minisblack", TILES | TURNED, np.rot90(GRAY, -1), False),
    "tiles, gray": (GRAY_ALPHA, "minisblack", TILES | SEEN_THROUGH, GRAY, True),
    "tiles, gray, 16 bits": (DEEP_GRAY_ALPHA, "minisblack", TILES | SEEN_THROUGH, None, False),
    "gray, planes": (np.stack((GRAY, ALPHA)), "minisblack", SEEN_THROUGH | IN_PLANES, None, False),
}


@pytest.mark.parametrize("name", TIFFS)
def test_tiffs_of_every_kind_are_read_rightly_or_refused(name: str) -> None:
    samples, colours, how, expected, seen_through = TIFFS[name]
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, photometric=colours, **how)
    data = buffer.getvalue()
    if expected is None:
        with pytest.raises(ImageError, match=r"TIFF .*is not read; save it"):
            read_image_bytes(data)
        return
    np.testing.assert_array_equal(read_image_bytes(data), expected)
    alpha, notes, _ = read_extras(data)
    assert np.array_equal(alpha, ALPHA) if seen_through else alpha is None
    lost = "its transparency cannot be read and was left out"
    assert (lost in notes) == ("extrasamples" in how and not seen_through)
    assert ("16 bits a sample became 8" in notes) == (samples.dtype == np.uint16)


def test_white_is_white_whatever_number_stands_for_it() -> None:
    header = struct.pack("<2sLHHL", b"BM", 138, 0, 0, 70) + struct.pack(
        "<LllHHLLllLLLLLL", 56, 4, 4, 1, 16, 3, 32, 0, 0, 0, 0, 0xF800, 0x07E0, 0x001F, 0
    )
    pnms = (
        b"P6 2 2 1023\n" + struct.pack(">12H", *[1023] * 12),
        b"P6 2 2 65535\n" + b"\xff" * 24,
        b"P2 # by hand\n2 2\n# white is\n100\n100 100 100 100\n",
    )
    for data in (header + b"\xff" * 32, *pnms):
        assert read_image_bytes(data).min() == 255


def test_transparency_of_pngs_that_pillow_would_not_open_or_understand() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.dstack((RGB, ALPHA))).save(buffer, "PNG")
    text = png.chunk(b"zTXt", b"drawing\0\0" + zlib.compress(bytes(3_000_000)))
    data = buffer.getvalue()
    long = data[:33] + text + data[33:]
    with pytest.raises(ValueError, match="too large"), Image.open(io.BytesIO(long)):
        pass
    alpha, notes, _ = read_extras(long)
    np.testing.assert_array_equal(alpha, ALPHA)
    assert not notes
    assert picture_size(long) == (33, 20)
    buffer = io.BytesIO()
    Image.fromarray(GRAY * np.uint16(257)).save(buffer, "PNG")
    data = buffer.getvalue()
    key = png.chunk(b"tRNS", struct.pack(">H", int(GRAY[0, 0]) * 257))
    alpha, *_ = read_extras(data[:33] + key + data[33:])
    np.testing.assert_array_equal(alpha, np.where(GRAY[0, 0] == GRAY, 0, 255))
    for end in range(8, 60):
        read_extras(data[:end])
        picture_size(data[:end])
    assert picture_size(png.SIGNATURE + png.chunk(b"IHDR", bytes(4))) is None


@pytest.mark.parametrize(("bits", "key"), [(2, 1), (4, 5)])
def test_transparency_of_pngs_of_few_grays(bits: int, key: int) -> None:
    width = 8 // bits
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, 3, bits, 0, 0, 0, 0),
        b"tRNS": struct.pack(">H", key),
        b"IDAT": zlib.compress(b"\0\x00\0\xff\0\x55"),  # rows of one byte, not filtered
        b"IEND": b"",
    }
    data = png.SIGNATURE + b"".join(png.chunk(*each) for each in parts.items())
    alpha, *_ = read_extras(data)
    assert alpha is not None
    assert alpha.tolist() == [[255] * width, [255] * width, [0] * width]


def test_gray_with_transparency_is_gray(tmp_path: Path) -> None:
    Image.fromarray(GRAY_ALPHA).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), GRAY)


def test_heic_is_called_by_its_name() -> None:
    with pytest.raises(ImageError, match="HEIC is not read; give PNG"):
        read_image_bytes(b"\0\0\0\x18ftypheic" + bytes(40))


def test_unreadable_files_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not an image")
    for name, words in (
        ("none.png", "No such file"),
        ("empty.png", "empty"),
        ("text.png", "not an image"),
    ):
        with pytest.raises(ImageError, match=words) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes that are files")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a file"):
        read_image(tmp_path / "pipe.png")


def test_failed_writing_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    write_atomically(target, "old")
    write_atomically(target, "new")
    assert target.read_text() == "new"
    write_atomically(target, os.fsdecode(b"bad\xff.png"))
    assert target.read_text() == r"bad\udcff.png"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ImageError, match="choose another --output"):
        write_atomically(tmp_path / "file" / "x.txt", "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "x.txt"]


def test_images_are_found_recursively_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/z.jpg", "a/.hidden.png", ".cache/c.png", "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "broken_link.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "long_link.png").symlink_to("x" * 300)
    names = [str(p.relative_to(tmp_path)) for p in find_images(tmp_path)]
    assert names == ["a/z.jpg", "b.PNG", "broken_link.png", "long_link.png"]
    assert find_images(tmp_path, (".jpg",)) == [tmp_path / "a" / "z.jpg"]


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_deep_samples_are_scaled_by_their_own_white() -> None:
    """OpenCV keeps 10 and 12 bits in 16, unscaled."""
    for bits in (9, 10, 12, 16):
        white = 2**bits - 1
        samples = np.round(GRAY * (white / 255)) + 2**15 - 2 ** (bits - 1)  # as stored: around 0
        picture = Image.fromarray(samples.astype(np.uint16))
        data = bytearray(_saved(picture, "JPEG2000", no_jp2=True))
        data[42] = bits - 1
        np.testing.assert_array_equal(read_image_bytes(bytes(data)), GRAY)
        assert read_extras(bytes(data))[1] == [f"{bits} bits a sample became 8"]
    for bits in (10, 12):
        deep = np.round(RGB[:, :, ::-1] * ((2**bits - 1) / 255)).astype(np.uint16)
        options = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100]
        avif = cv2.imencode(".avif", deep, options)[1].tobytes()
        assert np.abs(read_image_bytes(avif).astype(int) - RGB).max() <= 2
        assert read_extras(avif)[1] == [f"{bits} bits a sample became 8"]
    assert read_extras(b"P5 2 1 65535\n" + bytes(4))[1] == ["16 bits a sample became 8"]


def test_colours_are_those_that_pillow_shows() -> None:
    """BMPs of OS/2, whose header OpenCV takes for a gray picture's; JPEG 2000 in YCbCr and CMYK."""
    header = struct.pack("<2sLHHLLHHHH", b"BM", 206, 0, 0, 26, 12, 4, 15, 1, 24)
    samples = np.arange(180, dtype=np.uint8)
    expected = samples.reshape(15, 4, 3)[::-1, :, ::-1]
    np.testing.assert_array_equal(read_image_bytes(header + samples.tobytes()), expected)
    for mode in ("YCbCr", "CMYK"):
        data = _saved(Image.fromarray(RGB).convert(mode), "JPEG2000", irreversible=False)
        with Image.open(io.BytesIO(data)) as opened:
            shown = np.asarray(opened.convert("RGB")).astype(int)
        assert np.abs(read_image_bytes(data) - shown).max() <= 2
    assert "CMYK became RGB through plain arithmetic (no ICC profile)" in read_extras(data).notes


def test_inks_of_a_tiff_go_through_their_profile() -> None:
    ink, profile = Image.fromarray(RGB).convert("CMYK"), ink_profile()
    data = _saved(ink, "TIFF", icc_profile=profile)
    np.testing.assert_array_equal(read_image_bytes(data), ink_to_rgb(np.asarray(ink), profile))
    extras = read_extras(data)
    assert extras.profile_used
    assert extras.notes[0].startswith("CMYK became RGB through its ICC profile")
    plain = read_image_bytes(_saved(ink, "TIFF"))
    assert np.abs(plain.astype(int) - read_image_bytes(data)).mean() > 5


@pytest.mark.parametrize("own", [False, True])
def test_an_animated_png_is_its_picture_not_a_frame(own: bool) -> None:
    """With a picture of its own that is shown where nothing moves, and without."""
    first, *frames = [Image.fromarray(np.full((20, 30, 4), n, np.uint8)) for n in (200, 90, 30)]
    data = _saved(first, "PNG", save_all=True, append_images=frames, default_image=own)
    assert (read_image_bytes(data) == 200).all()
    alpha, notes, _ = read_extras(data)
    assert alpha is not None
    assert (alpha == 200).all()
    assert notes == ["only the first of 3 frames"]


@pytest.mark.parametrize("kind", ["RGB", "RGB_ALPHA", "GRAYSCALE"])
def test_what_opencv_alone_reads_is_refused(kind: str) -> None:
    depth = {"RGB": 3, "RGB_ALPHA": 4, "GRAYSCALE": 1}[kind]
    header = f"P7\nWIDTH 4\nHEIGHT 4\nDEPTH {depth}\nMAXVAL 100\nTUPLTYPE {kind}\nENDHDR\n"
    data = header.encode() + bytes(range(16 * depth))
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR) is not None
    with pytest.raises(ImageError, match="give PNG, WebP, BMP, TIFF or JPEG"):
        read_image_bytes(data)


def test_the_size_of_a_tiff_is_known_whatever_its_samples() -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((5, 7, 3), np.float32), photometric="rgb")
    assert picture_size(buffer.getvalue()) == (7, 5)


def test_what_opencv_cannot_read_pillow_may() -> None:
    """TIFFs of few bits."""
    for bits, stored, row in ((2, 0b00_01_10_11, [0, 85, 170, 255]), (4, 0x5F, [85, 255])):
        tags = {256: len(row), 257: 2, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: 2, 279: 2}
        entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags.items())
        directory = struct.pack("<H", len(tags)) + entries + bytes(4)
        data = struct.pack("<2sHLBBxx", b"II", 42, 12, stored, stored) + directory
        assert read_image_bytes(data).tolist() == [row, row]
    with pytest.raises(ImageError, match=r"^x: a TIFF of this kind is not read, or it is damaged"):
        read_image_bytes(data[:60], "x")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, RGB.astype(np.float32), photometric="rgb")
    with pytest.raises(ImageError, match="float32 samples; convert it to 8 or 16 bits"):
        read_image_bytes(buffer.getvalue())


def test_colours_that_are_no_srgb_are_kept_or_named() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    jp2 = _saved(Image.fromarray(RGB), "JPEG2000")
    at = jp2.index(b"colr") - 4
    box = b"colr\2\0\0" + profile
    box = struct.pack(">L", len(box) + 4) + box
    head = jp2.index(b"jp2h") - 4
    length = struct.unpack(">L", jp2[head : head + 4])[0] + len(box) - 15
    with_profile = (
        jp2[:head] + struct.pack(">L", length) + jp2[head + 4 : at] + box + jp2[at + 15 :]
    )
    assert read_metadata(with_profile).icc_profile == profile
    assert read_metadata(jp2).icc_profile is None
    avif = bytearray(_saved(Image.fromarray(RGB), "AVIF"))
    assert not read_metadata(bytes(avif)).chunks
    at = avif.index(b"colrnclx") + 8
    avif[at : at + 4] = struct.pack(">HH", 12, 16)  # P3, PQ
    found = read_metadata(bytes(avif))
    assert found.chunks == ((b"cICP", bytes((12, 16, 0, 1))),)
    assert b"cICP" in encoded_picture(RGB, "png", 95, found)[0]
    (lost,) = encoded_picture(RGB, "webp", 95, found)[1]
    assert lost.what == "what it says of its colours (cICP)"
