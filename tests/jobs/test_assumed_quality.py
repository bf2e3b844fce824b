"""Pictures that were a JPEG before they were resized or saved again (assume_quality)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data as pictures

from data.jpeg import decode_jpeg, encode_jpeg
from data.pixels import assumed_jpeg, pixels_as_jpeg
from data.quality import standard_tables
from jobs.plan_files import FileJob
from jobs.restore_files import FileResult, OutputSettings, restore_file
from models.restore.restorer import Restorer
from tests.conftest import ROOT
from utils.evaluation.metrics import psnr
from utils.image_io import read_image, write_png


def _photograph() -> np.ndarray:
    return np.ascontiguousarray(np.asarray(pictures.astronaut())[20:180, 140:300])


def _resized(image: np.ndarray, factor: float = 0.75) -> np.ndarray:
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("gray", [False, True])
def test_levels_are_those_of_the_pixels_and_lose_nothing(gray: bool, restorer: Restorer) -> None:
    """Restored by a network that changes nothing, sides that are no multiples of 8."""
    image = _resized(_photograph())[:93, :107]
    image = image[:, :, 1].copy() if gray else image
    stored = assumed_jpeg(image, 30)
    assert stored.components[0].levels.dtype == np.float32
    assert np.array_equal(stored.components[0].table, standard_tables(30)[0])
    assert stored.colors == ("gray" if gray else "YCbCr")
    restored = restorer.restore_pixels(image, assume_quality=30)
    assert restored.shape == image.shape
    assert np.abs(restored.astype(int) - image).max() <= 1


def test_a_trace_is_worth_more_than_an_assumption() -> None:
    pixels = decode_jpeg(encode_jpeg(_photograph(), 40))
    source = pixels_as_jpeg(pixels, assume_quality=80)
    assert "recognised as a JPEG of quality 40" in source.note
    assert np.array_equal(source.stored.components[0].table, standard_tables(40)[0])


def test_it_helps_where_no_grid_is_left(shipped: Restorer) -> None:
    original = _resized(_photograph())
    pixels = _resized(decode_jpeg(encode_jpeg(_photograph(), 30)))
    before = psnr(restored=pixels, original=original)
    assumed = psnr(restored=shipped.restore_pixels(pixels, 50), original=original)
    plain = psnr(restored=shipped.restore_pixels(pixels), original=original)
    assert assumed > plain + 0.5
    assert assumed > before + 1


def _restore(
    path: Path, restorer: Restorer, assumed: int | None, below: int | None = None
) -> FileResult:
    target = path.with_name("out.png")
    settings = OutputSettings(overwrite=True, assume_quality=assumed, below=below)
    return restore_file(FileJob(path, target), restorer, settings)


def test_files_say_what_they_were_taken_for(restorer: Restorer, tmp_path: Path) -> None:
    pixels = _resized(decode_jpeg(encode_jpeg(_photograph(), 30)))
    png, fine, poor = (tmp_path / name for name in ("a.png", "fine.jpg", "poor.jpg"))
    write_png(png, pixels)
    fine.write_bytes(encode_jpeg(pixels, 95))
    poor.write_bytes(encode_jpeg(pixels, 20))
    assert "no trace of an earlier JPEG was found at this size" in (
        _restore(png, restorer, None).message
    )
    assert "assume_quality=50" in _restore(png, restorer, None).message
    for path in (png, fine):
        result = _restore(path, restorer, 30)
        assert result.status == "restored"
        assert "treated as one of quality 30" in result.message
    assert _restore(poor, restorer, 30).message == ""
    assert _restore(fine, restorer, 30, below=20).outcome == "left alone"
    assert np.abs(read_image(tmp_path / "out.png").astype(int) - read_image(fine)).max() == 0


@pytest.fixture(scope="module")
def shipped() -> Restorer:
    from models import load_checkpoint

    return Restorer(load_checkpoint(ROOT / "model_zoo" / "Color_IJCN.safetensors"))
