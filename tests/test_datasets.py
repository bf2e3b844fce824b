"""data/datasets.py: evaluation sets found by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from data.datasets import DatasetError, folder_set, has_testset, open_testset
from tests.conftest import photograph
from utils.image_io import write_png
from utils.metrics import luma_studio_range


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


def test_gray_sets_are_made_of_colour_ones(tmp_path: Path) -> None:
    image = photograph(24, 32)
    write_png(tmp_path / "X_color" / "a.png", image)
    assert has_testset("X_gray", tmp_path)
    (entry,) = open_testset("X_gray", tmp_path)
    assert entry.name == "a"
    assert np.array_equal(entry.read(), luma_studio_range(image))
    write_png(tmp_path / "X_gray" / "b.png", image[:, :, 0])
    (entry,) = open_testset("X_gray", tmp_path)
    assert np.array_equal(entry.read(), image[:, :, 0])
    assert not has_testset("Y_gray", tmp_path)
    with pytest.raises(DatasetError, match="test set Y_color not found"):
        open_testset("Y_gray", tmp_path)
    assert len(open_testset("Sample_gray", tmp_path)) == 6
