"""data/training_crops.py: crops as a pure function of (seed, index), batches shared out."""

from __future__ import annotations

import multiprocessing
import shutil
from collections import deque
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.datasets import DatasetError
from data.degradation import RandomCompression
from data.training_crops import (
    TrainingBatch,
    TrainingCrops,
    TrainingImages,
    crop_batches,
    default_workers,
)
from models.restore.layouts import network_view
from tests.conftest import photograph
from utils.image_io import find_images, write_png


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, size in enumerate([(90, 120), (150, 80), (71, 71)]):
        write_png(tmp_path / f"{index}.png", photograph(*size, seed=index))
    write_png(tmp_path / "small.png", photograph(40, 200))
    write_png(tmp_path / "gray.png", photograph(100, 100)[:, :, 0])
    (tmp_path / "broken.png").write_bytes(b"broken")
    return tmp_path


def _images(folder: Path, memory_gib: float = 1.0) -> TrainingImages:
    return TrainingImages(find_images(folder), 71, memory_gib, quiet=True)


def _crops(folder: Path, seed: int = 1, memory_gib: float = 1.0) -> TrainingCrops:
    shares = (("4:2:0", 0.6), ("4:4:4", 0.2), ("gray", 0.2))
    compression = RandomCompression(double_share=0.3, samplings=shares)
    return TrainingCrops(_images(folder, memory_gib), 64, compression, seed, network_view)


def _crops_of(*paths: Path, **options: Any) -> TrainingCrops:
    """Crops of single compression in 4:2:0; two of one index are the same."""
    images = TrainingImages(paths, 71, 1.0, quiet=True)
    crops = TrainingCrops(images, 64, RandomCompression(), 1, network_view, **options)
    np.testing.assert_array_equal(crops[3].image, crops[3].image)
    return crops


def _is_gray(crop: TrainingBatch) -> bool:
    return bool((crop.image == crop.image[:1]).all())


def test_crops_have_the_networks_shapes_and_their_own_jpeg(folder: Path) -> None:
    crop = _crops(folder)[3]
    assert crop.qts.shape == (3, 8, 8)
    assert crop.y_coef.shape == (1, 8, 8, 8, 8)
    assert crop.c_coef.shape == (2, 4, 4, 8, 8)
    assert crop.chroma_detail.shape == (2, 64, 64)
    assert crop.image.shape == crop.jpeg.shape == (3, 64, 64)
    assert crop.image.dtype == torch.uint8
    assert 0 < (crop.jpeg.int() - crop.image).abs().float().mean() < 30


def test_crops_are_a_function_of_seed_and_index(folder: Path) -> None:
    one, other = _crops(folder), _crops(folder)
    for index in (5, 0, 5):
        assert np.array_equal(one[index].image, other[index].image)
        assert np.array_equal(one[index].y_coef, other[index].y_coef)
    assert not np.array_equal(one[5].image, one[6].image)
    assert not np.array_equal(one[5].image, _crops(folder, seed=2)[5].image)


def test_candidates_draw_crops_by_their_share_of_the_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = np.full((100, 400, 3), 128, np.uint8)
    image[:, 200:] = rng.integers(90, 166, (100, 200, 3))
    write_png(tmp_path / "half.png", image)

    def busy_share(candidates: int) -> float:
        crops = _crops_of(tmp_path / "half.png", candidates=candidates)
        return float(np.mean([np.ptp(crops[i].image.numpy()) > 40 for i in range(60)]))

    # A crop of 71 pixels touches the right half at 200 of 330 places; that none of six does is
    # rare, and one that does not has next to no error.
    assert 0.45 < busy_share(1) < 0.75
    assert busy_share(6) > 0.95


def test_reduced_crops_show_more_of_the_image(tmp_path: Path) -> None:
    """The colour of the image changes along its rows: by 0.4 levels a pixel, 0.8 at half size."""
    ramp = np.tile((np.arange(400) * 0.4 + 40)[None, :, None], (200, 1, 3)).astype(np.uint8)
    write_png(tmp_path / "ramp.png", ramp)

    def slopes(smallest: float) -> list[float]:
        crops = _crops_of(tmp_path / "ramp.png", smallest_scale=smallest)
        return [np.ptp(crops[i].image.numpy()) / 63 for i in range(40)]

    assert min(slopes(1.0)) > 0.35
    assert max(slopes(1.0)) < 0.45
    assert min(slopes(0.5)) < 0.55
    assert 0.65 < max(slopes(0.5)) < 0.85
    # A scale at which the image is smaller than a crop stops where it just fits.
    assert max(slopes(0.1)) < 200 / 71 * 0.45


def test_drawn_and_gray_crops_come_as_told(folder: Path) -> None:
    photographs = (folder / "0.png", folder / "1.png")

    def gray_share(drawn: float, desaturated: float) -> float:
        crops = _crops_of(*photographs, drawn_share=drawn, desaturated_share=desaturated)
        return float(np.mean([_is_gray(crops[i]) for i in range(60)]))

    assert gray_share(0, 0) == 0
    assert gray_share(0, 1) == 1
    assert 0.3 < gray_share(0, 0.5) < 0.7
    assert 0.3 < gray_share(1, 0) < 0.75  # half of the drawn ones, and some black on white


def test_smooth_chroma_keeps_luma_and_means(tmp_path: Path) -> None:
    """Colours that change from pixel to pixel mix, luma stays; a flat colour stays as it is."""
    colors = np.array([[200, 100, 100], [90, 147, 147]], np.uint8)  # of nearly the same luma
    write_png(tmp_path / "columns.png", np.tile(colors, (100, 50, 1)))
    write_png(tmp_path / "flat.png", np.full((100, 100, 3), colors[0]))

    def crop(name: str, share: float) -> np.ndarray:
        return _crops_of(tmp_path / name, smooth_chroma_share=share)[3].image.double().numpy()

    sharp, smooth = crop("columns.png", 0), crop("columns.png", 1)
    weights = [0.299, 0.587, 0.114]
    luma = [np.tensordot(weights, picture, 1) for picture in (sharp, smooth)]
    assert np.abs(luma[0] - luma[1]).max() < 2
    assert np.ptp(sharp[0]) == 110
    assert np.ptp(smooth[0]) < 55
    np.testing.assert_allclose(smooth.mean((1, 2)), sharp.mean((1, 2)), atol=2)
    np.testing.assert_allclose(crop("flat.png", 1), crop("flat.png", 0), atol=1)


def test_half_of_the_drawn_crops_begin_where_the_blocks_of_a_jpeg_do(folder: Path) -> None:
    crops = _crops_of(folder / "0.png", drawn_share=1.0, drawn_kinds=("sprites",))
    begun = 0
    for index in range(60):
        squares = crops[index].image.reshape(3, -1, 4, crops.patch // 4, 4)
        begun += bool((squares == squares[:, :, :1, :, :1]).all())
    assert 20 < begun < 42


def test_only_named_kinds_are_drawn(folder: Path) -> None:
    """Codes have two colours, flat in squares; noise has many."""

    def colors(kind: str) -> int:
        crops = _crops_of(folder / "0.png", drawn_share=1.0, drawn_kinds=(kind,))
        pixels = torch.cat([crops[index].image.flatten(1) for index in range(6)], 1)
        return len(pixels.unique(dim=1).T)

    assert 10 * colors("codes") < colors("noisy")


def test_levels_belong_to_the_crop(folder: Path) -> None:
    """The luma DC level times its step is 8 times the block's mean luma, within half a step."""
    compression = RandomCompression((), 0.0, 60, 90)
    crops = TrainingCrops(_images(folder), 64, compression, 0, network_view)
    for index in range(8):
        crop = crops[index]
        luma = np.tensordot([0.299, 0.587, 0.114], crop.image.double(), 1) - 128
        means = luma.reshape(8, 8, 8, 8).mean((1, 3)) * 8
        stored = crop.y_coef[0, :, :, 0, 0] * crop.qts[0, 0, 0]
        assert np.abs(stored.numpy() - means).max() <= crop.qts[0, 0, 0] / 2 + 4


def test_unusable_images_are_named(folder: Path) -> None:
    images = _images(folder)
    assert len(images) == 4
    skipped = sorted(Path(line.split(":")[0]).name for line in images.skipped)
    assert skipped == ["broken.png", "small.png"]


def test_no_usable_image_is_an_error(tmp_path: Path) -> None:
    write_png(tmp_path / "alone" / "small.png", photograph(20, 20))
    with pytest.raises(DatasetError, match="none of 1"):
        _images(tmp_path / "alone")


def test_images_beyond_the_memory_budget_are_read_from_disk(folder: Path) -> None:
    held, read = _crops(folder), _crops(folder, memory_gib=3e-5)
    assert 0 < read.images.bytes_held < held.images.bytes_held
    assert "read again for every crop" in read.images.describe()
    assert "read again" not in held.images.describe()
    for index in range(8):
        assert np.array_equal(held[index].image, read[index].image)


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_share_a_step_and_resume_anywhere(folder: Path, workers: int) -> None:
    """Two processes of two parts each see, step by step, what one process with one part sees."""
    crops = _crops(folder)
    whole = islice(crop_batches(crops, 8, 1, [0], 0, 0), 3)
    expected = [batch.image for batch in whole]
    shares = [crop_batches(crops, 8, 4, own, 1, workers) for own in ([0, 1], [2, 3])]
    for step in (1, 2):
        parts = [next(share).image for share in shares for _ in range(2)]
        assert torch.equal(torch.cat(parts), expected[step])


def test_after_an_error_no_loader_process_is_left(folder: Path) -> None:
    """Python's exit would wait for them for ever: they heed no signal."""
    before = set(multiprocessing.active_children())
    batches = crop_batches(_crops(folder, memory_gib=0), 8, 1, [0], 0, 2)
    next(batches)
    shutil.rmtree(folder)
    with pytest.raises(DatasetError, match="it could be read when training began"):
        deque(batches, maxlen=0)
    assert set(multiprocessing.active_children()) <= before


def test_loader_processes_by_device() -> None:
    assert default_workers(torch.device("cpu"), 1) == 0
    assert 1 <= default_workers(torch.device("cuda"), 1) <= 8
    assert default_workers(torch.device("cuda"), 1000) == 1


def test_samplings_are_mixed_as_told(folder: Path) -> None:
    crops = [_crops(folder)[index] for index in range(60)]
    gray = [crop for crop in crops if (crop.c_coef == 0).all() and _is_gray(crop)]
    full = [c for c in crops if c.chroma_detail.any()]
    assert 4 <= len(gray) <= 30  # a quarter of the images is gray themselves
    assert 4 <= len(full) <= 22
    assert not any((c.chroma_detail != 0).any() for c in gray)
