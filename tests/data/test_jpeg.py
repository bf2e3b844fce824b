"""data/jpeg.py against independent readers: jpeglib for levels, Pillow for tables and pixels."""

from __future__ import annotations

import io
import re
import struct
import time
from pathlib import Path
from typing import Any

import cv2
import jpeglib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks import fuzz
from data import jpeg
from data.jpeg import (
    ColorTransform,
    Component,
    JpegError,
    JpegImage,
    Sampling,
    decode_jpeg,
    encode_jpeg,
    read_jpeg,
)
from data.jpeg_markers import JpegHeader, Usable, scan_header
from tests.conftest import ROOT, photograph
from tests.made_jpegs import parts
from tests.metadata_files import segment

FIXTURES = ROOT / "tests" / "fixtures"
END = b"\xff\xd9"


def _pillow_jpeg(image: np.ndarray, mode: str | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    picture.convert(mode or picture.mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _agrees_with_jpeglib(data: bytes, folder: Path) -> JpegImage:
    path = folder / "x.jpg"
    path.write_bytes(data)
    other = jpeglib.read_dct(str(path))
    ours = read_jpeg(data)
    assert (ours.height, ours.width) == (other.height, other.width)
    planes = [other.Y] if len(ours.components) == 1 else [other.Y, other.Cb, other.Cr]
    for index, (component, plane) in enumerate(zip(ours.components, planes, strict=True)):
        rows, cols = component.levels.shape[:2]
        assert np.array_equal(component.levels, plane[:rows, :cols])
        assert np.array_equal(component.table, other.qt[other.quant_tbl_no[index]])
    return ours


@pytest.mark.parametrize("sampling", Sampling)
@pytest.mark.parametrize("quality", [3, 50, 100])
def test_levels_tables_and_sizes_agree_with_jpeglib(
    sampling: Sampling, quality: int, tmp_path: Path
) -> None:
    stored = _agrees_with_jpeglib(encode_jpeg(photograph(45, 71), quality, sampling), tmp_path)
    assert stored.describe() == f"71x45 YCbCr {sampling.value}"


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    quality=st.integers(1, 100),
    seed=st.integers(0, 999),
)
def test_any_size_agrees_with_jpeglib(
    height: int, width: int, quality: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    folder = tmp_path_factory.mktemp("jpeg")
    stored = _agrees_with_jpeglib(encode_jpeg(image, quality), folder)
    assert (stored.height, stored.width) == (height, width)


@pytest.mark.parametrize(
    ("options", "layout"),
    [
        ({}, "90x60 YCbCr 4:2:0"),
        ({"progressive": True}, "90x60 YCbCr 4:2:0"),
        ({"optimize": True}, "90x60 YCbCr 4:2:0"),
        ({"mode": "L"}, "90x60 gray [(1, 1)]"),
    ],
)
def test_pillows_files_agree_with_jpeglib(
    options: dict[str, Any], layout: str, tmp_path: Path
) -> None:
    data = _pillow_jpeg(photograph(60, 90), quality=40, **options)
    assert _agrees_with_jpeglib(data, tmp_path).describe() == layout


def test_other_colours_are_told_apart() -> None:
    rgb = _pillow_jpeg(photograph(32, 32), quality=90, keep_rgb=True, subsampling=0)
    assert read_jpeg(rgb).color_transform is ColorTransform.RGB
    stored = read_jpeg(_pillow_jpeg(photograph(16, 16), "CMYK"))
    assert len(stored.components) == 4
    assert stored.color_transform in (ColorTransform.CMYK, ColorTransform.YCCK)


def test_decoding_is_pillows_libjpeg_within_rounding() -> None:
    data = encode_jpeg(photograph(50, 70), 35)
    pillow = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    ours = decode_jpeg(data)
    assert ours.shape == (50, 70, 3)
    assert ours.dtype == np.uint8
    assert np.abs(ours - pillow).max() <= 1


def test_orientation_tags_do_not_turn_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _pillow_jpeg(photograph(24, 40), exif=exif.tobytes())
    assert decode_jpeg(data).shape == (24, 40, 3)


def test_path_and_bytes_give_the_same(tmp_path: Path) -> None:
    data = encode_jpeg(photograph(30, 30), 50)
    path = tmp_path / "süß 写真.jpg"
    path.write_bytes(data)
    one, other = read_jpeg(path), read_jpeg(data)
    assert np.array_equal(one.components[2].levels, other.components[2].levels)


def test_container_is_immutable_and_checks_itself() -> None:
    stored = read_jpeg(encode_jpeg(photograph(30, 30), 50))
    with pytest.raises(ValueError, match="read-only"):
        stored.components[0].levels[0, 0, 0, 0] = 1
    with pytest.raises(AttributeError):
        stored.width = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="call for"):
        JpegImage(300, 30, stored.components, stored.color_transform)
    with pytest.raises(ValueError, match="below 1"):
        Component(np.zeros((1, 1, 8, 8), np.int16), np.zeros((8, 8), np.int32), 1, 1)
    with pytest.raises(ValueError, match="levels must be"):
        Component(np.zeros((1, 64), np.int16), np.ones((8, 8), np.int32), 1, 1)


def test_truncated_files_yield_what_is_there() -> None:
    data = encode_jpeg(photograph(64, 64), 80)
    whole, cut = read_jpeg(data), read_jpeg(data[: len(data) * 2 // 3])
    assert np.array_equal(cut.components[0].levels[0], whole.components[0].levels[0])
    assert not np.array_equal(cut.components[0].levels, whole.components[0].levels)


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "empty"), (b"\x89PNG\r\n", "not a JPEG"), (b"\xff\xd8\xff\xe0\x00\x10", "cut off")],
)
def test_what_is_no_jpeg_is_refused(data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(JpegError, match=words):
        read_jpeg(data)
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    with pytest.raises(JpegError, match=r"x\.jpg"):
        read_jpeg(path)
    with pytest.raises(JpegError):
        decode_jpeg(data)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(JpegError, match="give a readable"):
            read_jpeg(path)


def test_encoder_refuses_what_it_cannot_store() -> None:
    with pytest.raises(ValueError, match=r"1\.\.100"):
        encode_jpeg(photograph(8, 8), 0)
    with pytest.raises(ValueError, match="uint8"):
        encode_jpeg(photograph(8, 8).astype(np.float32), 50)  # type: ignore[arg-type]


def _same_levels(one: JpegImage, other: JpegImage) -> bool:
    return all(
        np.array_equal(a.levels, b.levels)
        for a, b in zip(one.components, other.components, strict=True)
    )


def test_arithmetic_coding_stores_the_same() -> None:
    """The same picture by the same encoder; jpeglib does not read arithmetic coding."""
    huffman = read_jpeg(FIXTURES / "cjpeg.jpg")
    for name in ("cjpeg_arithmetic.jpg", "cjpeg_arithmetic_progressive.jpg"):
        assert _same_levels(read_jpeg(FIXTURES / name), huffman)


@pytest.mark.parametrize("name", ["cjpeg_16bit_tables", "cjpeg_3x2", "cjpeg_swapped"])
def test_unusual_layouts_agree_with_jpeglib(name: str, tmp_path: Path) -> None:
    stored = _agrees_with_jpeglib((FIXTURES / f"{name}.jpg").read_bytes(), tmp_path)
    assert (stored.components[0].table.max() > 255) == (name == "cjpeg_16bit_tables")


# Files made of parts.


def _starts(data: bytes, code: int) -> list[int]:
    """Where the marker stands, in a file whose other segments do not hold its code."""
    return [match.start() for match in re.finditer(re.escape(bytes([0xFF, code])), data)]


def _frame(
    code: int = 0xC0,
    precision: int = 8,
    size: tuple[int, int] = (8, 8),
    rest: bytes = b"\x01\x01\x11\x00",
) -> bytes:
    return segment(code, struct.pack(">BHH", precision, *size) + rest)


def _with_frame(frame: bytes) -> bytes:
    """A gray file of 8x8 pixels with another frame header."""
    data = encode_jpeg(photograph(8, 8)[:, :, 0], 50)
    (at,) = _starts(data, 0xC0)
    return data[:at] + frame + data[at + 13 :]


def _three_scans(slots: tuple[int, int, int], qualities: tuple[int, int, int]) -> bytes:
    """Three gray files as the components of one without subsampling, each with its tables before
    its scan; the tables go to ``slots``."""
    planes = photograph(40, 56)
    frame = b"\x03" + b"".join(bytes([i + 1, 0x11, slots[i]]) for i in range(3))
    data = b"\xff\xd8" + _frame(size=(40, 56), rest=frame)
    for i, (slot, quality) in enumerate(zip(slots, qualities, strict=True)):
        gray = parts(encode_jpeg(np.ascontiguousarray(planes[:, :, i]), quality))
        data += segment(0xDB, bytes([slot]) + gray[0xDB][0][1:])
        data += b"".join(segment(0xC4, table) for table in gray[0xC4])
        data += segment(0xDA, bytes([1, i + 1, 0, 0, 63, 0])) + gray[0][0]
    return data + END


def _decodes_to(stored: JpegImage, expected: np.ndarray) -> bool:
    """Whether the levels are those of these pixels, by OpenCV's float DCT; chroma at full size."""
    planes = []
    for component in (stored.components[i] for i in (0, 2, 1)):
        levels = (component.levels * component.table).astype(np.float32)
        planes.append(np.block([[cv2.idct(block) + 128 for block in row] for row in levels]))
    ycc = np.stack(planes, -1)[: stored.height, : stored.width].clip(0, 255)
    rgb = cv2.cvtColor(ycc.round().astype(np.uint8), cv2.COLOR_YCrCb2RGB)
    return bool(np.abs(rgb.astype(int) - expected).max() <= 3)  # rounded after each step


@pytest.mark.parametrize("slots", [(0, 0, 0), (0, 2, 2), (3, 1, 2)])
def test_each_component_has_the_table_in_force_at_its_first_scan(
    slots: tuple[int, int, int],
) -> None:
    data = _three_scans(slots, (90, 20, 55))
    stored = read_jpeg(data)
    for component, quality in zip(stored.components, (90, 20, 55), strict=True):
        gray = read_jpeg(encode_jpeg(photograph(8, 8)[:, :, 0], quality))
        assert np.array_equal(component.table, gray.components[0].table)
    assert _decodes_to(stored, decode_jpeg(data))


def test_a_table_that_is_never_defined_is_refused() -> None:
    data = bytearray(_three_scans((0, 0, 0), (50, 50, 50)))
    frame = _starts(bytes(data), 0xC0)[0]
    for at, value, words in (
        (frame + 12, 3, "whose quantisation table 3 is missing"),
        (frame + 15, 3, "table 3 of component 1 is missing"),
    ):
        changed = bytearray(data)
        changed[at] = value
        with pytest.raises(JpegError, match=words):
            read_jpeg(bytes(changed))


@pytest.mark.parametrize("place", [0, 1, 9, 63])
def test_a_step_of_0_is_read_as_libjpeg_reads_it(place: int) -> None:
    data = bytearray(encode_jpeg(photograph(40, 56), 60, Sampling.S444))
    data[_starts(bytes(data), 0xDB)[0] + 5 + place] = 0
    expected = np.asarray(Image.open(io.BytesIO(data)))
    assert np.array_equal(decode_jpeg(bytes(data)), expected)
    assert _decodes_to(read_jpeg(bytes(data)), expected)


# Damage that libjpeg gives up at.


def test_progressive_files_cut_within_a_later_table_give_the_scans_before() -> None:
    data = _pillow_jpeg(photograph(64, 80), quality=60, progressive=True)
    tables = [at for at in _starts(data, 0xC4) if at > _starts(data, 0xDA)[2]]
    cut = data[: tables[0] + 9]
    stored = read_jpeg(cut)
    assert stored.warnings == (
        f"cut off within a marker segment at byte {tables[0]}: read up to there",
    )
    before = cut[: tables[0]] + END
    assert _same_levels(stored, read_jpeg(before))
    assert scan_header(cut).scans == 3
    assert np.array_equal(decode_jpeg(cut), np.asarray(Image.open(io.BytesIO(before))))


BEHIND_A_SCAN = {
    "an impossible Huffman table": segment(0xC4, bytes([0x10, *[255] * 16, *[0] * 300])),
    "a Huffman table of wrong length": segment(0xC4, bytes(20)),
    "a marker segment of impossible length": b"\xff\xc4\0\0",
    "an impossible quantisation table": segment(0xDB, b"\0" + bytes([1] * 63)),
    "an impossible scan header": segment(0xDA, bytes([5, *range(10), 0, 0, 0])),
    "a scan of components that": segment(0xDA, b"\x01\x07\0\0\x3f\0"),
    "a scan of impossible progression": segment(0xDA, b"\x01\x01\0\x05\x03\0"),
    "a scan whose Huffman table": segment(0xDA, b"\x01\x01\x03\x01\x3f\0"),
    "a second frame header": _frame(0xC2),
    "a second start of image": b"\xff\xd8",
    "a restart interval of wrong length": segment(0xDD, b"\0"),
    "impossible arithmetic conditioning": segment(0xCC, b"\x00\x01"),
    "cut off within a marker segment": b"\xff\xe5\xff\xff",
}


@pytest.mark.parametrize("fault", BEHIND_A_SCAN)
def test_what_libjpeg_gives_up_at_ends_the_usable_file(fault: str) -> None:
    data = _pillow_jpeg(photograph(32, 40), quality=60, progressive=True)
    end = _starts(data, 0xDA)[4]
    damaged = data[:end] + BEHIND_A_SCAN[fault] + data[end:]
    stored = read_jpeg(damaged)
    assert len(stored.warnings) == 1
    assert stored.warnings[0].startswith(fault)
    assert stored.warnings[0].endswith(f" at byte {end}: read up to there")
    before = data[:end] + END
    assert _same_levels(stored, read_jpeg(before))
    assert scan_header(damaged).scans == 4
    assert np.array_equal(decode_jpeg(damaged), decode_jpeg(before))


def test_a_sequential_file_ends_with_the_scan_of_all_components() -> None:
    data = encode_jpeg(photograph(32, 40), 60)
    stored = read_jpeg(data[:-2] + data[_starts(data, 0xDA)[0] :])
    assert "a scan after the last one" in stored.warnings[0]
    assert _same_levels(stored, read_jpeg(data))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (_with_frame(_frame(precision=12)), r"12-bit JPEG; only 8 bits .* convert it"),
        (_with_frame(_frame(0xC3)), "lossless JPEG"),
        (_with_frame(_frame(0xC5)), "hierarchical JPEG"),
        (_with_frame(_frame(0xCF)), "hierarchical JPEG"),
        (_with_frame(_frame(size=(0, 8))), "height open"),
        (_with_frame(_frame(size=(8, 0))), "width 0"),
        (_with_frame(_frame(size=(65501, 8))), "up to 65500"),
        (_with_frame(_frame(rest=b"\0")), "with 0 components"),
        (_with_frame(_frame(rest=bytes([5, *[1, 0x11, 0] * 5]))), "with 5 components"),
        (_with_frame(_frame(rest=b"\x01\x01\x51\x00")), "sampling factors 5x1"),
        (_with_frame(_frame(rest=b"\x01\x01\x10\x00")), "sampling factors 1x0"),
        (_with_frame(_frame(rest=b"\x02\x01\x11\x00")), "frame header of wrong length"),
        (_with_frame(_frame() * 2), "second frame header"),
        (_with_frame(b""), "a scan before the frame header"),
        (_with_frame(b"\xff\x05"), r"unknown marker \(ff 05\)"),
        (b"\xff\xd8" + _frame(), "no scan"),
        (b"\xff\xd8" + segment(0xFE, b"remark"), "no frame header"),
    ],
)
def test_what_cannot_be_restored_is_one_clear_line(data: bytes, words: str) -> None:
    with pytest.raises(JpegError, match=words) as caught:
        read_jpeg(data)
    assert "\n" not in str(caught.value)
    with pytest.raises(JpegError):
        decode_jpeg(data)


def test_headers_tell_size_and_scans() -> None:
    data = _pillow_jpeg(photograph(20, 30), progressive=True)
    assert scan_header(data) == JpegHeader(30, 20, len(_starts(data, 0xDA)))


def test_unknown_markers_cost_one_scan_only() -> None:
    """Stuffing turned into a marker: libjpeg would give up, though all other scans are whole."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = _pillow_jpeg(picture, quality=95, progressive=True)
    scans = _starts(data, 0xDA)
    at = data.index(b"\xff\0", scans[1])
    assert at < scans[2]
    damaged = data[: at + 1] + b"\x05" + data[at + 2 :]
    stored, whole = read_jpeg(damaged), read_jpeg(data)
    assert stored.warnings == (f"an unknown marker (ff 05) at byte {at}: read over",)
    assert np.array_equal(stored.components[1].levels, whole.components[1].levels)
    assert not _same_levels(stored, whole)
    assert scan_header(damaged).scans == len(scans)


def test_unknown_markers_cost_one_restart_interval_only() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    data = _pillow_jpeg(picture, quality=95, restart_marker_rows=1)
    at = data.index(b"\xff\0", data.index(b"\xff\xd2"))
    assert at < data.index(b"\xff\xd3")
    stored = read_jpeg(data[: at + 1] + b"\xbe" + data[at + 2 :])
    whole = read_jpeg(data).components[0].levels
    rows = [i for i in range(8) if not np.array_equal(stored.components[0].levels[i], whole[i])]
    assert rows == [3]


def test_the_walk_over_markers_is_linear() -> None:
    data = encode_jpeg(photograph(16, 16), 50)
    ends = {
        "fill": b"\xff\xd8" + b"\xff" * 2_000_000,
        "unknown markers": data[:-2] + b"\xff\x05" * 1_000_000,
        "restart markers": data[:-2] + b"\xff\xd0" * 1_000_000,
        "stuffing": data[:-2] + b"\xff\0" * 1_000_000,
    }
    for name, ending in ends.items():
        start = time.process_time()
        if name == "fill":
            with pytest.raises(JpegError, match="no frame header"):
                scan_header(ending)
        else:
            assert scan_header(ending).scans == 1
        assert time.process_time() - start < 60, name  # hours, if each byte were looked at twice


def test_no_damaged_file_makes_libjpeg_give_up() -> None:
    """Its memory would be lost."""
    rng = np.random.default_rng(0)
    picture = photograph(40, 56)
    seeds = [
        *fuzz.built_in_seeds(),
        _pillow_jpeg(picture, progressive=True),
        _pillow_jpeg(picture, restart_marker_blocks=3),
        (FIXTURES / "cjpeg_arithmetic.jpg").read_bytes(),
    ]
    messages = []
    for index in range(600):
        try:
            read_jpeg(fuzz.mutated(seeds[index % len(seeds)], rng))
        except JpegError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert not [message for message in messages if fuzz.GAVE_UP in message]


def test_where_libjpeg_gives_up_all_the_same_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Usable(b"\xff\xd8" + BEHIND_A_SCAN["an impossible Huffman table"], [], ())
    monkeypatch.setattr(jpeg, "usable_part", lambda data, name: bad)
    with pytest.raises(JpegError, match=f"these bytes: {fuzz.GAVE_UP}"):
        read_jpeg(b"")


def test_truncated_files_are_decoded_as_far_as_they_go() -> None:
    """libjpeg decodes what comes before an early end, so a cut file is one with an early end."""
    for data in (
        encode_jpeg(photograph(64, 64), 80),
        encode_jpeg(photograph(64, 64)[:, :, 0], 80),
        _pillow_jpeg(photograph(64, 64), progressive=True),
    ):
        cut = data[: len(data) * 2 // 3]
        expected = np.asarray(Image.open(io.BytesIO(cut + END)).convert("RGB"))
        assert np.array_equal(decode_jpeg(cut), expected)
    inks = _pillow_jpeg(photograph(64, 64), "CMYK")  # Pillow and OpenCV convert in their ways
    decoded = decode_jpeg(inks[: len(inks) * 2 // 3])
    assert np.array_equal(decoded[:16], decode_jpeg(inks)[:16])
