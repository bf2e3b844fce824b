"""data/datasets.py: crops as a pure function of (seed, index), and sets found by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from data.datasets import DatasetError, TrainingCrops, folder_set, has_testset, open_testset
from data.degradation import RandomCompression
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


def _crops(folder: Path, seed: int = 1) -> TrainingCrops:
    return TrainingCrops(find_images(folder), 64, RandomCompression(double_share=0.3), seed)


def test_crops_have_the_networks_shapes(folder: Path) -> None:
    crop = _crops(folder)[0]
    assert crop.qts.shape == (3, 8, 8)
    assert crop.y_coef.shape == (1, 8, 8, 8, 8)
    assert crop.c_coef.shape == (2, 4, 4, 8, 8)
    assert crop.image.shape == (3, 64, 64)
    assert crop.image.dtype == np.uint8


def test_crops_are_a_function_of_seed_and_index(folder: Path) -> None:
    one, other = _crops(folder), _crops(folder)
    for index in (5, 0, 5):
        assert np.array_equal(one[index].image, other[index].image)
        assert np.array_equal(one[index].y_coef, other[index].y_coef)
    assert not np.array_equal(one[5].image, one[6].image)
    assert not np.array_equal(one[5].image, _crops(folder, seed=2)[5].image)


def test_levels_belong_to_the_crop(folder: Path) -> None:
    """The luma DC level times its step is 8 times the block's mean luma, within half a step."""
    compression = RandomCompression((), 0.0, 60, 90)
    crops = TrainingCrops(find_images(folder), 64, compression, 0)
    for index in range(8):
        crop = crops[index]
        luma = np.tensordot([0.299, 0.587, 0.114], crop.image.astype(float), 1) - 128
        means = luma.reshape(8, 8, 8, 8).mean((1, 3)) * 8
        stored = crop.y_coef[0, :, :, 0, 0] * crop.qts[0, 0, 0]
        assert np.abs(stored - means).max() <= crop.qts[0, 0, 0] / 2 + 4


def test_unusable_images_are_named(folder: Path) -> None:
    crops = _crops(folder)
    assert len(crops.images) == 4
    assert sorted(Path(line.split(":")[0]).name for line in crops.skipped) == [
        "broken.png",
        "small.png",
    ]


def test_no_usable_image_is_an_error(tmp_path: Path) -> None:
    write_png(tmp_path / "small.png", photograph(20, 20))
    with pytest.raises(DatasetError, match="none of 1"):
        _crops(tmp_path)
    with pytest.raises(ValueError, match="multiple of 64"):
        TrainingCrops(find_images(tmp_path), 100, RandomCompression(), 0)


def test_sets_are_found_in_the_root_then_in_the_variables_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, one, two = (tmp_path / name for name in ("root", "one", "two"))
    write_png(root / "A" / "x.png", photograph(8, 8))
    write_png(one / "B" / "deep" / "y.png", photograph(8, 8))
    write_png(two / "B" / "z.png", photograph(8, 8))
    monkeypatch.delenv("IJCN_TESTSETS", raising=False)
    assert has_testset("A", root)
    assert not has_testset("B", root)
    monkeypatch.setenv("IJCN_TESTSETS", f"{one}{os.pathsep}{two}")
    assert [image.name for image in open_testset("B", root)] == ["deep/y"]
    with pytest.raises(DatasetError, match="test set C not found"):
        open_testset("C", root)


def test_empty_and_missing_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    with pytest.raises(DatasetError, match="no image"):
        open_testset("A", tmp_path)
    with pytest.raises(DatasetError, match="not a folder"):
        folder_set("B", tmp_path / "B")


def test_built_in_set_is_colour_and_needs_no_file(tmp_path: Path) -> None:
    sample = open_testset("Sample", tmp_path)
    assert [image.name for image in sample][:2] == ["astronaut", "chelsea"]
    assert len(sample) == 6
    for image in sample:
        pixels = image.read()
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
