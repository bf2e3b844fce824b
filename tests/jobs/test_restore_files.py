"""jobs/restore_files.py: every layout by independent encoders, faults, outputs, metadata."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks import fuzz
from data.jpeg import JpegImage, Sampling, decode_jpeg, encode_jpeg
from jobs import restore_files as job
from jobs.plan_files import FileJob
from jobs.restore_files import FileResult, OutputSettings, restore_file
from models.restore.restorer import Restorer
from tests.conftest import FIXTURES, photograph, saved, smooth
from tests.made_jpegs import Plane, assembled
from utils.image_io import ImageError, read_image, write_png
from utils.picture_files import Format

SETTINGS = OutputSettings()


@pytest.fixture
def restore(restorer: Restorer, tmp_path: Path) -> Callable[..., tuple[FileResult, Path]]:
    def run(
        name: str, data: bytes, compare: bool = False, **changes: object
    ) -> tuple[FileResult, Path]:
        source = tmp_path / name
        source.write_bytes(data)
        settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
        target = tmp_path / "out" / f"{source.stem}.{settings.file_format}"
        comparison = target.with_name(f"{source.stem}.compare.png") if compare else None
        result = restore_file(FileJob(source, target, comparison), restorer, settings)
        assert source.read_bytes() == data
        assert not list(tmp_path.rglob("*.part"))
        return result, target

    return run


Restore = Callable[..., tuple[FileResult, Path]]


IMAGE = smooth(61, 83)
PICTURE = Image.fromarray(IMAGE)
LAYOUTS = {
    **{f"opencv {each.digits}": encode_jpeg(IMAGE, 90, each) for each in Sampling},
    "opencv gray": encode_jpeg(IMAGE[:, :, 1], 90),
    "opencv restart": cv2.imencode(".jpg", IMAGE[:, :, ::-1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[
        1
    ].tobytes(),
    "pillow progressive": saved(PICTURE, quality=90, progressive=True),
    "pillow optimised": saved(PICTURE, quality=90, optimize=True),
    "pillow RGB": saved(PICTURE, quality=90, keep_rgb=True, subsampling=0),
    "pillow gray": saved(PICTURE.convert("L"), quality=90, progressive=True),
    "height stated again": encode_jpeg(IMAGE, 90)[:-2] + b"\xff\xdc\0\x04\0\x3d\xff\xd9",
    # of other encoders, see tests/fixtures/README.md
    **{path.stem: path.read_bytes() for path in sorted(FIXTURES.glob("cjpeg*.jpg"))},
    "imagemagick": (FIXTURES / "imagemagick.jpg").read_bytes(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_every_encoder_is_restored(layout: str, restore: Restore) -> None:
    data = LAYOUTS[layout]
    result, target = restore("a.jpg", data)
    assert result.status == "restored", result
    assert result.message == ""
    expected = np.asarray(Image.open(io.BytesIO(data)))
    image = read_image(target)
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 2


@pytest.mark.parametrize("file_format", ["png", "jpg"])
def test_cmyk_is_restored_and_becomes_rgb(file_format: str, restore: Restore) -> None:
    data = saved(PICTURE.convert("CMYK"), quality=85)
    result, target = restore("a.jpg", data, compare=True, file_format=file_format, quality=98)
    assert result.status == "restored"
    assert result.message == "CMYK became RGB through plain arithmetic (no ICC profile)"
    assert np.abs(read_image(target).astype(int) - IMAGE).mean() < 4
    assert read_image(target.with_name("a.compare.png")).shape[1] > 900


def test_what_decoders_complain_of_is_told_with_the_file(
    restore: Restore, capfd: pytest.CaptureFixture[str]
) -> None:
    png = bytearray(cv2.imencode(".png", photograph(64, 64))[1].tobytes())
    short = restore("short.png", bytes(png[: len(png) // 2]))[0]
    png[200] ^= 255
    broken = restore("broken.png", bytes(png))[0]
    jpeg = bytearray(encode_jpeg(photograph(64, 64), 50))
    jpeg[-300:-290] = b"\xff\xd9" * 5
    damaged = restore("damaged.jpg", bytes(jpeg), compare=True)[0]
    assert [r.status for r in (short, broken, damaged)] == ["failed", "failed", "restored"]
    assert "a damaged one; give PNG" in short.message
    assert "CRC error" in broken.message
    assert "WARN" not in short.message
    assert "damaged: " in damaged.message
    assert capfd.readouterr().err == ""


def test_truncated_files_are_restored_as_far_as_they_go(restore: Restore) -> None:
    data = encode_jpeg(photograph(200, 200), 90)
    result, target = restore("a.jpg", data[: len(data) // 2], compare=True)
    assert result.status == "restored"
    assert "damaged: Premature end" in result.message
    top = read_image(target)[:60].astype(int)
    assert np.abs(top - decode_jpeg(data)[:60]).mean() < 3


def _with_frame(at: int, change: bytes) -> bytes:
    """A JPEG whose frame header is changed."""
    data = bytearray(encode_jpeg(IMAGE, 90))
    frame = data.find(b"\xff\xc0")
    data[frame + at : frame + at + len(change)] = change
    return bytes(data)


def _many_scans() -> bytes:
    data = saved(PICTURE, progressive=True)
    at = data.rfind(b"\xff\xda")
    return data[:-2] + data[at:-2] * 300 + data[-2:]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (b"hello", "not an image"),
        (b"\xff\xd8\xff", "no frame header"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 500, "no frame header"),
        (_with_frame(5, b"\xff\xdc" * 2), "65500x65500 pixels are more than 200 megapixels"),
        (_with_frame(4, b"\x0c"), "a 12-bit JPEG; only 8 bits"),
        (_with_frame(1, b"\xc3"), "a lossless JPEG"),
        (_with_frame(1, b"\xcb"), "a lossless arithmetic JPEG"),
        (_with_frame(5, b"\0\0"), "leaves the height open (DNL), which libjpeg does not read"),
        (_many_scans(), "scans, more than any encoder writes"),
        (assembled([Plane(IMAGE[:, :, 0].copy())] * 2), "only gray, YCbCr and RGB"),
        (saved(np.zeros((3, 65501), np.uint8), "PNG"), "no side may exceed 65500"),
        (saved(np.zeros((65501, 3), np.uint8), "PNG"), "no side may exceed 65500"),
    ],
)
def test_faulty_files_are_one_line(data: bytes, words: str, restore: Restore) -> None:
    result, target = restore("a.jpg", data)
    assert result.status == "failed"
    assert words in result.message
    assert "\n" not in result.message
    assert not target.exists()


def test_large_png_headers_are_refused_before_decoding(restore: Restore) -> None:
    result, _ = restore("a.png", saved(np.zeros((40, 40), np.uint8), "PNG"), max_pixels=1000)
    assert "40x40 pixels are more than 0.001 megapixels; raise --max_pixels" in result.message
    wide = encode_jpeg(np.zeros((8, 16384), np.uint8), 50)
    result, _ = restore("a.jpg", wide, file_format="webp")
    assert "no side of a WebP may exceed 16383; choose --format png" in result.message


def test_pixels_are_restored_from_the_jpeg_they_were(restore: Restore) -> None:
    pixels = decode_jpeg(encode_jpeg(photograph(200, 240), 30))[5:, 3:]
    png = saved(pixels, "PNG")
    result, target = restore("a.png", png)
    assert result.status == "restored"
    assert "recognised as a JPEG of quality 30 that was cropped since" in result.message
    assert read_image(target).shape == pixels.shape
    assert np.abs(read_image(target).astype(int) - pixels).mean() < 3
    # also under a wrong name
    again, _ = restore("b.jpg", png)
    assert again.status == "restored"
    assert again.message == f"not a JPEG, whatever its name says; {result.message}"


def test_a_comparison_that_cannot_be_written_is_no_failure(restore: Restore) -> None:
    result, target = restore(f"{'n' * 251}.jpg", encode_jpeg(photograph(40, 40), 20), compare=True)
    assert result.status == "restored"
    assert result.message == "no comparison: File name too long"
    assert target.exists()


@pytest.mark.parametrize("image", [IMAGE, IMAGE[:, :, 0]], ids=["colour", "gray"])
def test_comparison_pictures(image: np.ndarray, restore: Restore) -> None:
    result, target = restore("a.jpg", encode_jpeg(image, 20), compare=True)
    assert result.status == "restored"
    assert result.layout == ("83x61 YCbCr 4:2:0" if image.ndim == 3 else "83x61 gray")
    assert result.pixels == 83 * 61
    assert read_image(target.with_name("a.compare.png")).shape[1] > 900


def test_a_comparison_that_is_there_is_left_unless_told(restore: Restore, tmp_path: Path) -> None:
    other = tmp_path / "out" / "a.compare.png"
    write_png(other, IMAGE)
    data = encode_jpeg(IMAGE, 20)
    result, _ = restore("a.jpg", data, compare=True)
    assert "a.compare.png is there already" in result.message
    assert np.array_equal(read_image(other), IMAGE)
    assert restore("a.jpg", data, compare=True, overwrite=True)[0].message == ""
    assert read_image(other).shape != IMAGE.shape


def test_what_is_gone_and_what_is_no_file_are_one_line(restorer: Restorer, tmp_path: Path) -> None:
    job = FileJob(tmp_path / "a.jpg", tmp_path / "a.png")
    gone = restore_file(job, restorer, SETTINGS)
    assert gone.status == "failed"
    assert "No such file" in gone.message
    if hasattr(os, "mkfifo"):
        os.mkfifo(job.source)  # which might be waited for without end
        pipe = restore_file(job, restorer, SETTINGS)
        assert pipe.status == "failed"
        assert "not a regular file" in pipe.message


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("could not create a primitive"), "unexpected RuntimeError (could not create"),
        (MemoryError(), "not enough memory; give a smaller --max_memory"),
        (OSError(5, "Input/output error"), "Input/output error; give another file"),
        (ImageError("cannot be written (No space left on device)"), "No space left on device"),
    ],
)
def test_whatever_goes_wrong_is_the_files_own_affair(
    error: Exception, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def leaves(self, stored: JpegImage) -> bool:
            return False

        def restore(self, stored: JpegImage) -> np.ndarray:
            if stored.width == 16:
                raise error
            return np.zeros((stored.height, stored.width, 3), np.uint8)

    jobs = []
    for width in (8, 16, 24):
        source = tmp_path / f"{width}.jpg"
        source.write_bytes(encode_jpeg(IMAGE[:8, :width], 90))
        jobs.append(FileJob(source, tmp_path / "out" / f"{width}.png"))
    results = job.restore_files(jobs, Failing(), SETTINGS)
    assert [result.status for result in results] == ["restored", "failed", "restored"]
    assert words in results[1].message

    def unwritable(*_: object) -> None:
        raise error

    monkeypatch.setattr(job, "write_atomically", unwritable)
    failed = restore_file(replace(jobs[0], target=tmp_path / "x.png"), Failing(), SETTINGS)
    assert failed.status == "failed"
    assert words in failed.message


@pytest.mark.parametrize("length", [250, 300])
def test_names_longer_than_the_system_takes_fail_alone(
    length: int, restorer: Restorer, tmp_path: Path
) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(encode_jpeg(IMAGE, 90))
    result = restore_file(FileJob(source, tmp_path / f"{'n' * length}.png"), restorer, SETTINGS)
    # 255 bytes are what most file systems take; what is written first must not need more.
    assert result.status == ("restored" if length < 252 else "failed"), result
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("file_format", ["png", "webp", "jpg"])
@pytest.mark.parametrize("gray", [False, True])
def test_transparency_is_kept_where_it_can_be(
    file_format: str, gray: bool, restore: Restore
) -> None:
    alpha = np.tile(np.arange(83, dtype=np.uint8) * 3, (61, 1))
    picture = PICTURE.convert("L") if gray else PICTURE.copy()
    picture.putalpha(Image.fromarray(alpha))
    data = saved(picture, "PNG")
    result, target = restore("a.png", data, file_format=file_format, quality=100)
    assert result.status == "restored", result
    with Image.open(target) as image:
        if file_format == "jpg":
            assert "transparency was left out" in result.message
        else:
            assert np.array_equal(np.asarray(image.convert("RGBA"))[:, :, 3], alpha)


def test_what_8_bit_pixels_do_not_hold_is_said(restore: Restore) -> None:
    deep = cv2.imencode(".png", IMAGE.astype(np.uint16) * 257)[1].tobytes()
    assert "16 bits a sample became 8" in restore("a.png", deep)[0].message
    frames = saved(PICTURE, "WEBP", save_all=True, append_images=[PICTURE.rotate(180)])
    assert "only the first of 2 frames" in restore("b.webp", frames)[0].message
    assert "became 8" not in restore("c.png", saved(PICTURE, "PNG"))[0].message


def test_exif_that_a_jpeg_cannot_hold_is_left_out(restore: Restore) -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 100_000
    result, _ = restore("a.png", saved(PICTURE, "PNG", exif=exif), file_format="jpg")
    assert result.status == "restored"
    assert "EXIF is too long" in result.message


def test_damaged_files_never_escape(tmp_path: Path) -> None:
    """500 files with bytes changed, cut out and inserted: each is a result, none an exception."""
    seeds = [*fuzz.built_in_seeds(), LAYOUTS["pillow progressive"], LAYOUTS["pillow gray"]]
    seeds += fuzz.metadata_seeds()
    found = set()
    formats: tuple[Format, ...] = ("png", "webp", "jpg")
    before = fuzz.process_state().descriptors
    for status, message, seconds in fuzz.outcomes(seeds, 500, tmp_path, 0, formats):
        assert "\n" not in message
        assert "unexpected" not in message
        assert seconds < 10
        assert fuzz.GAVE_UP not in message
        found.add(status)
    assert fuzz.process_state().descriptors == before
    assert found >= {"restored", "failed"}
    names = {"mutated.jpg", *(f"restored.{each}" for each in formats)}
    assert {path.name for path in tmp_path.iterdir()} == names
