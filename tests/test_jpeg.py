"""data/jpeg.py against independent readers: jpeglib for levels, Pillow for tables and pixels."""

from __future__ import annotations

import io
from pathlib import Path

import jpeglib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

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
from tests.conftest import photograph

BLOCKS_OF = {
    Sampling.S444: (1, 1),
    Sampling.S422: (2, 1),
    Sampling.S420: (2, 2),
    Sampling.S440: (1, 2),
    Sampling.S411: (4, 1),
}


def _pillow_jpeg(image: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", **options)
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


@pytest.mark.parametrize("sampling", list(Sampling))
@pytest.mark.parametrize("quality", [3, 50, 100])
def test_levels_tables_and_sizes_agree_with_jpeglib(
    sampling: Sampling, quality: int, tmp_path: Path
) -> None:
    stored = _agrees_with_jpeglib(encode_jpeg(photograph(45, 71), quality, sampling), tmp_path)
    assert stored.sampling is sampling
    assert stored.color_transform is ColorTransform.YCBCR
    assert stored.colors == "YCbCr"
    luma = stored.sampling_factors[0]
    assert luma == BLOCKS_OF[sampling]


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


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
def test_pillows_files_agree_with_jpeglib(options: dict[str, bool], tmp_path: Path) -> None:
    data = _pillow_jpeg(photograph(60, 90), quality=40, **options)
    stored = _agrees_with_jpeglib(data, tmp_path)
    assert (stored.colors, stored.sampling) == ("YCbCr", Sampling.S420)


def test_tables_agree_with_pillow() -> None:
    data = encode_jpeg(photograph(16, 16), 25)
    tables = Image.open(io.BytesIO(data)).quantization
    stored = read_jpeg(data)
    assert stored.components[0].table.ravel().tolist() == tables[0]
    assert stored.components[1].table.ravel().tolist() == tables[1]


def test_gray_files_have_one_component(tmp_path: Path) -> None:
    gray = photograph(33, 40)[:, :, 0]
    stored = _agrees_with_jpeglib(encode_jpeg(gray, 60), tmp_path)
    assert len(stored.components) == 1
    assert stored.color_transform is ColorTransform.GRAY
    assert stored.describe() == "40x33 gray [(1, 1)]"


def test_rgb_files_without_transform_are_told_apart() -> None:
    data = _pillow_jpeg(photograph(32, 32), quality=90, keep_rgb=True, subsampling=0)
    assert read_jpeg(data).color_transform is ColorTransform.RGB


def test_cmyk_files_are_told_apart() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image, "CMYK").save(buffer, "JPEG")
    stored = read_jpeg(buffer.getvalue())
    assert len(stored.components) == 4
    assert stored.color_transform in (ColorTransform.CMYK, ColorTransform.YCCK)


def test_each_component_has_its_own_table() -> None:
    luma, cb = [2] * 64, [5] * 64
    data = _pillow_jpeg(photograph(32, 32), qtables=[luma, cb])
    tables = [int(c.table[3, 3]) for c in read_jpeg(data).components]
    assert tables == [2, 5, 5]


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
    [(b"", "empty"), (b"\x89PNG\r\n", "not a JPEG"), (b"\xff\xd8\xff\xe0\x00\x10", "libjpeg")],
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
