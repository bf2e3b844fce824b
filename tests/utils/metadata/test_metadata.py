"""utils/metadata: what a file holds besides its pixels, before and after, by other readers."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from data.jpeg import decode_jpeg, encode_jpeg
from tests import metadata_files as made
from tests.conftest import ROOT, photograph
from tests.metadata_files import segment
from tests.utils.metadata.conftest import ExifTool, Restore
from utils.metadata import Metadata, exif, png, read_metadata, webp, xmp
from utils.metadata.jpeg_segments import segments
from utils.picture_files import encoded_picture

FORMATS = ("png", "webp", "jpg")

CASES: dict[str, Callable[[], bytes]] = {
    "little endian": lambda: made.jpeg(made.exif_segment(made.exif(6, "<"))),
    "big endian": lambda: made.jpeg(made.exif_segment(made.exif(8, ">"))),
    "upright": lambda: made.jpeg(made.exif_segment(made.exif(1))),
    "several": lambda: made.jpeg(
        made.exif_segment(made.exif(3)), made.xmp_segment('tiff:Orientation="3"')
    ),
    "extended XMP": lambda: made.jpeg(made.extended_xmp_segments()),
    "IPTC": lambda: made.jpeg(made.photoshop_segment()),
    "profile": lambda: made.jpeg(made.profile_segments(made.profile(3000))),
    "profile of many segments": lambda: made.jpeg(made.profile_segments(made.profile(300_000))),
    "maker's note": lambda: _fixture("makernote_synthetic.jpg"),
    "UTF-8": lambda: _fixture("utf8.jpg"),
    "damaged resolution": lambda: _fixture("badres.jpg"),
    "damaged rational": lambda: _fixture("exif_neg_rational_o6.jpg"),
    "XMP, IPTC, comment": lambda: _fixture("xmp_iptc.jpg"),
}


def _fixture(name: str) -> bytes:
    return (ROOT / "tests" / "fixtures" / name).read_bytes()


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_every_tag_is_as_before(
    case: str, file_format: str, restore: Restore, exiftool: ExifTool, tmp_path: Path
) -> None:
    data = CASES[case]()
    result, target = restore(data, file_format)
    before, after = exiftool(tmp_path / "a.jpg"), exiftool(target)
    turn = read_metadata(data).orientation
    for key in list(before):
        if key.startswith("IFD1:"):
            del before[key]
        elif key.endswith(":Orientation") and turn != 1:
            before[key] = "Horizontal (normal)"
    sides = "ExifIFD:ExifImageWidth", "ExifIFD:ExifImageHeight"
    if turn >= 5 and sides[0] in before:
        before[sides[0]], before[sides[1]] = before[sides[1]], before[sides[0]]
    if file_format == "webp":
        lost = [key for key in before if key.startswith(("IPTC:", "Photoshop:"))]
        assert ("IPTC" in result.left_out) == bool(lost)
        assert ("IPTC" in result.message) == bool(lost)
        before = {key: value for key, value in before.items() if key not in lost}
    assert after == before


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_the_same_byte_for_byte(
    order: Literal["<", ">"], file_format: str, restore: Restore
) -> None:
    block = made.exif(6, order, sides=(70, 50))
    expected = bytearray(made.exif(1, order, sides=(70, 50)))
    pointer = 8 + 2 + 12 * 8
    # of the thumbnail, which is out of reach, the orientation is as it was
    at = struct.unpack_from(f"{order}L", expected, pointer)[0] + 2 + 12 + 8
    expected[at : at + 2] = block[at : at + 2]
    expected[pointer : pointer + 4] = bytes(4)
    places = [expected.find(struct.pack(f"{order}H", tag)) for tag in (0xA002, 0xA003)]
    one, other = (slice(at + 2, at + 12) for at in places)
    expected[one], expected[other] = expected[other], expected[one]
    _, target = restore(made.jpeg(made.exif_segment(block)), file_format)
    with Image.open(target) as image:
        assert image.info["exif"].removeprefix(b"Exif\0\0") == bytes(expected)
        assert image.size == (50, 70)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", FORMATS)
def test_pictures_look_the_same_in_programs_that_turn_them(
    orientation: int, file_format: str, restore: Restore, tmp_path: Path
) -> None:
    more = f'tiff:Orientation="{orientation}"'
    tags = Image.Exif()
    tags[0x0112] = orientation
    data = made.jpeg(segment(0xE1, tags.tobytes()), made.xmp_segment(more))
    _, target = restore(data, file_format)
    with Image.open(tmp_path / "a.jpg") as before, Image.open(target) as after:
        one, other = (np.asarray(ImageOps.exif_transpose(i), int) for i in (before, after))
        assert after.getexif()[0x0112] == 1
    assert one.shape == other.shape
    assert np.abs(one - other).mean() < 6


@pytest.mark.parametrize("orientation", [3, 6])
def test_stated_sides_are_those_of_the_turned_picture(orientation: int) -> None:
    tiff = made.Tiff(">")
    tiff.directory(
        [
            (0x0100, 4, 1, tiff.long(70)),
            (0x0101, 3, 1, tiff.short(50)),
            (0x0112, 3, 1, tiff.short(orientation)),
            (0x011A, 5, 1, tiff.rational(300, 1)),
            (0x011B, 5, 1, tiff.rational(150, 1)),
        ]
    )
    sides = (
        'tiff:ImageWidth="70" tiff:ImageLength="50" tiff:XResolution="300/1" '
        'tiff:YResolution="150/1" xmlns:e="http://ns.adobe.com/exif/1.0/" '
        'e:PixelYDimension="5" e:PixelXDimension="700"'
    )
    found = read_metadata(made.jpeg(made.exif_segment(bytes(tiff.data)), made.xmp_segment(sides)))
    assert found.exif is not None
    assert found.xmp is not None
    tags = Image.Exif()
    tags.load(b"Exif\0\0" + found.exif)
    turned = orientation == 6
    assert (tags[0x0100], tags[0x0101]) == ((50, 70) if turned else (70, 50))
    assert (tags[0x011A], tags[0x011B]) == ((150, 300) if turned else (300, 150))
    density = found.density
    assert density is not None
    assert (density.x, density.y) == (tags[0x011A], tags[0x011B])
    assert (b'tiff:ImageWidth="50" tiff:ImageLength="70"' in found.xmp) == turned
    assert (b'tiff:XResolution="150/1" tiff:YResolution="300/1"' in found.xmp) == turned
    assert (b'e:PixelYDimension="700" e:PixelXDimension="5"' in found.xmp) == turned
    # One side alone, or those of several pictures, stay as they are.
    for stated in ('tiff:ImageWidth="70"', f"{sides} {sides}"):
        packet = (made.PACKET % stated).encode()
        assert xmp.upright(packet, turned) == packet


def test_a_motion_photo_without_its_film_says_so() -> None:
    camera = (
        'xmlns:C="http://ns.google.com/photos/1.0/camera/" C:MotionPhoto="%d" C:MicroVideo="%d"'
    )
    data = made.jpeg(made.xmp_segment(camera % (1, 1)))
    assert read_metadata(data).xmp == (made.PACKET % (camera % (1, 1))).encode()
    film = b"\0\0\0\x10ftypmp42\0\0\0\0\0\0\x10\x08mdat" + bytes(4096)
    assert read_metadata(data + film).xmp == (made.PACKET % (camera % (0, 0))).encode()


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_an_avif_is_turned_and_keeps_its_exif(restore: Restore) -> None:
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "Canon"
    _, target = restore(made.saved("AVIF", exif=tags.tobytes()), "png", "a.avif")
    with Image.open(target) as image:
        assert image.size == (50, 70)
        assert image.getexif()[0x010F] == "Canon"
        assert image.getexif().get(0x0112, 1) == 1


def test_a_webp_has_no_profile_of_gray() -> None:
    gray, sides = np.zeros((8, 8), np.uint8), made.profile(1000)
    of_gray = sides[:16] + b"GRAY" + sides[20:]
    for profile, kept in ((of_gray, False), (sides, True)):
        data, lost = encoded_picture(gray, "webp", 90, Metadata(icc_profile=profile))
        assert (webp.read(data).icc_profile == profile) == kept
        assert [loss.what for loss in lost] == ([] if kept else ["the colour profile"])


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_orientation_of_the_xmp_alone_stays_with_the_pixels(
    file_format: str, restore: Restore, tmp_path: Path
) -> None:
    data = made.jpeg(made.xmp_segment('tiff:Orientation="6"'))
    result, target = restore(data, file_format)
    assert "the XMP says orientation 6, the EXIF does not" in result.message
    with Image.open(target) as image:
        assert image.size == (70, 50)
        assert ImageOps.exif_transpose(image).size == (50, 70)  # as of the source


def test_an_orientation_that_can_be_read_is_applied() -> None:
    for name in ("badres.jpg", "exif_neg_rational_o6.jpg"):
        assert read_metadata(_fixture(name)).orientation == 6
    block = made.exif(6)
    for cut in (60, 100, 200):  # within IFD0, behind it, within Exif's
        found = read_metadata(made.jpeg(made.exif_segment(block[:cut])))
        assert found.orientation == 6
        assert found.exif is not None
        assert len(found.exif) == cut
    tiff = made.Tiff(">")
    tiff.directory([(0x0112, 4, 1, tiff.long(8))])  # a type that it should not have
    assert exif.upright(bytes(tiff.data)).orientation == 8


def test_where_no_pointer_to_a_thumbnail_stands_nothing_is_cut() -> None:
    tiff = made.Tiff()
    pointer = tiff.directory([made.text(0x010E, b"x" * 12), (0x0112, 3, 1, tiff.short(6))])
    del tiff.data[pointer : pointer + 4]  # as some programs write it: the text follows at once
    tiff.point(8 + 2 + 8, pointer)
    tiff.data[pointer : pointer + 4] = tiff.long(8)  # looks like a pointer
    block = bytes(tiff.data)
    assert exif.upright(block).exif[pointer:] == block[pointer:]


@given(st.data())
def test_whatever_is_in_a_block_its_length_stays(data: st.DataObject) -> None:
    block = bytearray(made.exif(6))
    for _ in range(data.draw(st.integers(1, 12))):
        block[data.draw(st.integers(2, 250))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(2, len(block)))
    result = exif.upright(bytes(block[:end]))
    assert len(result.exif) == end
    assert result.orientation in range(1, 9)
    assert exif.upright(result.exif).orientation == 1
    exif.density(bytes(block[:end]))


def test_exif_without_a_header_is_kept_and_said(restore: Restore) -> None:
    result, target = restore(made.jpeg(made.exif_segment(b"no header at all")), "png")
    assert "the EXIF cannot be read" in result.message
    with Image.open(target) as image:
        assert image.info["exif"] == b"Exif\0\0no header at all"


@pytest.mark.parametrize("file_format", FORMATS)
def test_large_profiles_open_in_libraries(file_format: str, restore: Restore) -> None:
    pyvips = pytest.importorskip("pyvips", reason="pyvips is an optional extra")
    profile = made.profile(1_300_000)
    result, target = restore(made.jpeg(made.profile_segments(profile)), file_format)
    with Image.open(target) as image:
        image.load()
        kept = image.info.get("icc_profile")
    assert (kept == profile) == (file_format != "png")
    assert ("the colour profile of 1.3 MB" in result.left_out) == (file_format == "png")
    picture = pyvips.Image.new_from_file(str(target))
    assert (picture.width, picture.height) == (70, 50)
    assert picture.avg() > 0
    if file_format != "png":
        assert picture.get("icc-profile-data") == profile


def test_parts_of_a_profile_may_come_in_any_order_and_must_be_whole() -> None:
    profile = made.profile(200_000)
    whole, length = made.profile_segments(profile), 65_519 + 18
    parts = [whole[at : at + length] for at in range(0, len(whole), length)]
    assert read_metadata(made.jpeg(*reversed(parts))).icc_profile == profile
    found = read_metadata(made.jpeg(*parts[1:]))
    assert found.icc_profile is None
    assert "a part is missing" in found.problems[0]


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    ("comment", "text"),
    [(b"taken by me", "taken by me"), (made.UTF_8, made.UTF_8.decode()), (made.LATIN_1, "Zoë")],
)
def test_comments(comment: bytes, text: str, file_format: str, restore: Restore) -> None:
    result, target = restore(made.jpeg(segment(0xFE, comment)), file_format)
    with Image.open(target) as image:
        if file_format == "webp":
            assert result.left_out == ("a comment",)
            assert "a comment left out: WebP has no place for that" in result.message
        elif file_format == "png":
            assert image.text["Comment"].startswith(text)  # type: ignore[attr-defined]
            again, back = restore(target.read_bytes(), "jpg", "b.png")
            assert back.read_bytes().count(segment(0xFE, comment)) == 1
            assert not again.left_out
        else:
            assert image.info["comment"] == comment


def test_a_large_packet_of_a_webp_goes_into_a_jpeg_as_extended_xmp(restore: Restore) -> None:
    packet = (made.PACKET % f'xmp:Nickname="{"n" * 100_000}"').encode()
    _, target = restore(made.saved("WEBP", xmp=packet, lossless=True), "jpg", "a.webp")
    found = read_metadata(target.read_bytes())
    assert found.xmp is not None
    assert found.extended_xmp is not None
    assert b"n" * 100_000 in xmp.joined(found.xmp, found.extended_xmp[1])


def test_damaged_extended_xmp_is_said() -> None:
    whole = made.extended_xmp_segments()
    found = read_metadata(made.jpeg(whole[:-60_000]))  # the first part is the last to come
    assert found.xmp is not None
    assert "extended XMP is damaged" in found.problems[0]
    with pytest.raises(xmp.XmpError):
        xmp.joined(b"<a>", b"<b/>")
    with pytest.raises(xmp.XmpError, match="document type"):
        xmp.joined((made.PACKET % "").encode(), b'<!DOCTYPE r [<!ENTITY e "e">]><r/>')


def _jfif(unit: int, x: int, y: int, *parts: bytes) -> bytes:
    data = made.jpeg(*parts)
    return data[:13] + struct.pack(">BHH", unit, x, y) + data[18:]


@pytest.mark.parametrize(
    ("unit", "x", "y", "per_metre"),
    [(1, 300, 300, (11811, 11811)), (2, 118, 60, (11800, 6000)), (1, 72, 144, (2835, 5669))],
)
def test_resolution(
    unit: int, x: int, y: int, per_metre: tuple[int, int], restore: Restore
) -> None:
    _, target = restore(_jfif(unit, x, y), "jpg")
    assert target.read_bytes()[13:18] == struct.pack(">BHH", unit, x, y)
    _, target = restore(_jfif(unit, x, y), "png")
    at = target.read_bytes().find(b"pHYs") + 4
    assert struct.unpack_from(">IIB", target.read_bytes(), at) == (*per_metre, 1)
    _, again = restore(target.read_bytes(), "jpg", "b.png")
    assert again.read_bytes()[13:18] == struct.pack(">BHH", unit, x, y)
    result, _ = restore(_jfif(unit, x, y), "webp")
    assert "dpi" in result.left_out[0]
    turned_by_90 = _jfif(unit, x, y, made.exif_segment(made.exif(6)))
    assert restore(turned_by_90, "jpg")[1].read_bytes()[13:18] == struct.pack(">BHH", unit, y, x)


def test_shape_of_pixels(restore: Restore) -> None:
    _, target = restore(_jfif(0, 4, 3), "png")
    at = target.read_bytes().find(b"pHYs") + 4
    assert struct.unpack_from(">IIB", target.read_bytes(), at) == (4, 3, 0)
    assert b"pHYs" not in restore(_jfif(0, 1, 1), "png")[1].read_bytes()


def test_texts_and_colours_of_a_png_stay_in_a_png(restore: Restore) -> None:
    parts = (
        (b"gAMA", struct.pack(">I", 100_000)),
        (b"tEXt", b"Title\0" + made.LATIN_1),
        (b"iTXt", b"Author\0\0\0de\0Urheber\0" + made.UTF_8),
    )
    data = _png(*parts)
    result, target = restore(data, "png", "a.png")
    assert b"".join(png.chunk(*part) for part in parts) in target.read_bytes()
    assert not result.left_out
    result, _ = restore(data, "webp", "a.png")
    colours = "what it says of its colours (gAMA)"
    assert result.left_out == ('the text "Title"', 'the text "Author"', colours)


def test_chunks_of_a_png_that_have_no_place_are_named(restore: Restore) -> None:
    ours = ((b"caBX", b"jumb"), (b"tIME", bytes(7)), (b"sBIT", b"\x08\x08\x08"))
    result, _ = restore(_png(*ours, (b"prVt", b"x"), (b"prVt", b"y")), "png", "a.png")
    named = ("content credentials (C2PA)", "the chunk 'tIME'", "the chunk 'prVt'")
    assert result.left_out == named


@pytest.mark.parametrize("length", [60_000, 70_000])
def test_a_comment_too_long_for_a_jpeg_is_named(length: int, restore: Restore) -> None:
    text = b"Comment\0\0" + zlib.compress(bytes(range(1, 101)) * (length // 100))
    result, target = restore(_png((b"zTXt", text)), "jpg", "a.png")
    kept = bytes(range(1, 101)) in target.read_bytes()
    assert kept == (length < 65_000)
    assert result.left_out == (() if kept else ('the text "Comment"',))


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    data = made.saved("PNG")
    return data[:33] + b"".join(png.chunk(*each) for each in chunks) + data[33:]


def _raw_profile(name: bytes, profile: bytes) -> bytes:
    digits = profile.hex().encode()
    lines = b"\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    return b"\n%b\n%8d\n%b\n" % (name, len(profile), lines)


@pytest.mark.parametrize("file_format", FORMATS)
def test_exif_of_other_sources(file_format: str, restore: Restore) -> None:
    block = made.exif(6)
    text = _raw_profile(b"exif", b"Exif\0\0" + block)
    for name, data in (
        ("a.png", _png((b"eXIf", block))),
        ("a.png", _png((b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))),
        ("a.png", _png((b"tEXt", b"Raw profile type APP1\0" + text), (b"eXIf", block))),
        ("a.webp", made.saved("WEBP", exif=block)),
    ):
        result, target = restore(data, file_format, name)
        assert not result.left_out
        content = target.read_bytes()
        assert b"Raw profile" not in content
        with Image.open(target) as image:
            assert image.size == (50, 70)
            assert image.info["exif"].removeprefix(b"Exif\0\0") == exif.upright(block).exif


def _bomb() -> bytes:
    """Texts that grow when they are unpacked, for nothing."""
    bomb = zlib.compress(bytes(30_000_000))
    names = (b"Title", b"Comment", b"XML:com.adobe.xmp", b"Raw profile type iptc")
    return _png(*((b"zTXt", name + b"\0\0" + bomb) for name in names * 20))


def _many_parts() -> bytes:
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">L", 60_000)
    parts = (segment(0xE1, head + struct.pack(">L", at) + b"x") for at in range(60_000))
    return made.jpeg(*parts)


def _overlapping_directories(count: int = 300) -> bytes:
    """A TIFF of which every entry is a directory: the one that it stands in."""
    pointers = struct.pack("<HHLL", 0x8769, 4, 1, 8) * count
    return b"II*\0" + struct.pack("<LH", 8, count) + pointers + bytes(4)


@pytest.mark.parametrize(
    "read",
    [
        lambda: read_metadata(_bomb()),
        lambda: read_metadata(_many_parts()),
        lambda: read_metadata(b"\xff\xd8" + b"\xff" * 500_000 + b"\0"),
        lambda: exif.taken_from(_overlapping_directories(), ()),
        lambda: xmp.split(b"<?xpacket" * 200_000),
    ],
    ids=["texts that grow", "many parts", "fill", "directories", "wrappers"],
)
def test_no_small_file_takes_long(read: Callable[[], object]) -> None:
    start = time.process_time()
    read()
    assert time.process_time() - start < 10


def test_many_parts_of_extended_xmp_are_put_together() -> None:
    assert read_metadata(_many_parts()).extended_xmp == (b"0" * 32, b"x" * 60_000)


def test_values_that_overlap_make_no_huge_block() -> None:
    values = b"".join(struct.pack("<HHLL", 0xC000 + i, 1, 2000, 8) for i in range(300))
    tiff = b"II*\0" + struct.pack("<LH", 8, 300) + values + bytes(4)
    assert len(exif.taken_from(tiff, ()) or b"") < 4 * len(tiff)


# What stands behind the first picture.


def _with_gain_map() -> bytes:
    gain = encode_jpeg(photograph(24, 32)[:, :, 0], 70)
    said = b'http://ns.adobe.com/xap/1.0/\0<x xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"/>'
    version = segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")
    return made.jpeg(version) + gain[:2] + segment(0xE1, said) + gain[2:]


_FILM = struct.pack(">I4s8s", 16, b"ftyp", b"mp42\0\0\0\0") + struct.pack(">I4s", 3008, b"mdat")
_FILM += bytes(range(256)) * 11 + bytes(184)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: _fixture("stereo.mpo"), ["a further picture (64x48, 0.9 kB)"]),
        (_with_gain_map, ["an HDR gain map (32x24, "]),
        (lambda: made.jpeg() + _FILM, ["a film (motion photo, 3.0 kB)"]),
        (
            lambda: made.jpeg() + b"MotionPhoto_Data" + _FILM + b"SEFHxxxxSEFT",
            ["other data behind the picture", "a film", "Samsung data behind the picture"],
        ),
        (lambda: made.jpeg() + bytes(500), []),
        (lambda: made.jpeg() + b"\0\0\0\2ftyp" * 9000, ["a film"] * 100),
    ],
)
@pytest.mark.parametrize("file_format", FORMATS)
def test_what_follows_the_first_picture_is_named(
    data: Callable[[], bytes], words: list[str], file_format: str, restore: Restore
) -> None:
    content = data()
    result, target = restore(content, file_format)
    assert len(result.left_out) == len(words)
    for found, expected in zip(result.left_out, words, strict=True):
        assert found.startswith(expected)
    assert ("only the file's first picture is restored" in result.message) == bool(words)
    with Image.open(target) as image:
        assert getattr(image, "n_frames", 1) == 1
        difference = np.asarray(image.convert("RGB"), int) - decode_jpeg(content)
    assert np.abs(difference).mean() < 6


def test_a_depth_map_is_told_by_the_directory_of_its_container() -> None:
    items = '<Item Item:Semantic="Primary"/><Item Item:Semantic="Depth" Item:Mime="image/jpeg"/>'
    packet = (made.PACKET % "").replace("</rdf:RDF>", items + "</rdf:RDF>").encode()
    data = made.jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)) + made.jpeg()
    assert read_metadata(data).left_out[0].what.startswith("a depth map (70x50, ")


def test_segments_that_only_a_jpeg_has(restore: Restore) -> None:
    data = made.jpeg(
        segment(0xEC, b"Ducky\0\1\0\4\0\0\0\x3c\0\0"), segment(0xEB, b"JP\0\0 jumb c2pa")
    )
    result, target = restore(data, "jpg")
    assert result.left_out == ("content credentials (C2PA)",)
    assert segment(0xEC, b"Ducky\0\1\0\4\0\0\0\x3c\0\0") in target.read_bytes()
    result, _ = restore(data, "png")
    assert result.left_out == ("content credentials (C2PA)", "APP12 (Ducky)")


def test_a_second_block_that_some_program_reads_does_not_turn_it_again(restore: Restore) -> None:
    data = made.jpeg(made.exif_segment(made.exif(6)), made.exif_segment(made.exif(8)))
    _, target = restore(data, "jpg")
    blocks = [s.payload[6:] for s in segments(target.read_bytes()) if s.payload[:4] == b"Exif"]
    assert [exif.upright(block).orientation for block in blocks] == [1, 1]
    assert restore(data, "png")[0].left_out == ("a second EXIF block",)
