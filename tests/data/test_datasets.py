"""data/datasets.py: evaluation sets found by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from data.datasets import DatasetError, folder_set, has_testset, open_testset
from tests.conftest import photograph
from utils.evaluation.metrics import luma_studio_range
from utils.image_io import write_png


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


def test_a_set_is_a_name_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    for folder in (root / "A", tmp_path / "A", tmp_path / "B", tmp_path / "deep" / "C"):
        write_png(folder / f"{folder.parent.name}.png", photograph(8, 8))
    monkeypatch.delenv("IJCN_TESTSETS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = {
        "A": ("A", root / "A"),  # a known name comes before a folder that happens to be here
        "./A": ("A", Path("A")),
        "B": ("B", Path("B")),
        "deep/C/": ("C", Path("deep/C")),
        "deep/../B": ("B", Path("deep/../B")),
        str(tmp_path / "deep"): ("deep", tmp_path / "deep"),
        "~/B": ("B", tmp_path / "B"),
    }
    for wanted, (name, folder) in found.items():
        testset = open_testset(wanted, root)
        assert (testset.name, testset.folder) == (name, folder), wanted
        assert has_testset(wanted, root)
    monkeypatch.chdir(tmp_path / "deep" / "C")
    assert open_testset(".", root).name == "C"
    (tmp_path / "a.png").write_bytes(b"")
    for wanted, words in (
        ("../../a.png", "is a file; give the folder"),
        ("nowhere/at/all", "give the path of a folder"),
        ("Nowhere", "give the path of a folder"),
    ):
        with pytest.raises(DatasetError, match=words):
            open_testset(wanted, root)


def test_files_that_share_a_name_are_told_apart_by_their_endings(tmp_path: Path) -> None:
    files = ("a.png", "a.bmp", "b.png", "a.png.png", "deep/a.png", "deep/a.TIFF")
    for index, name in enumerate(files):
        write_png(tmp_path / "x.png", photograph(8, 8, seed=index))
        target = tmp_path / "mine" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x.png").rename(target)
    found = {image.name: image.read() for image in folder_set("mine", tmp_path / "mine")}
    assert set(found) == {"a.png", "a.bmp", "b", "a.png.png", "deep/a.png", "deep/a.TIFF"}
    for index, name in enumerate(files):
        assert np.array_equal(found["b" if name == "b.png" else name], photograph(8, 8, seed=index))


@pytest.mark.parametrize("colour", ["mine", "mine_color"])
def test_any_colour_set_has_a_gray_one(colour: str, tmp_path: Path) -> None:
    image = photograph(24, 32)
    write_png(tmp_path / colour / "a.png", image)
    for wanted in ("mine_gray", str(tmp_path / "mine_gray"), f"{tmp_path}/mine_gray/"):
        assert has_testset(wanted, tmp_path)
        gray = open_testset(wanted, tmp_path)
        assert (gray.name, gray.folder) == ("mine_gray", tmp_path / colour)
        (entry,) = gray
        assert entry.name == "a"
        assert np.array_equal(entry.read(), luma_studio_range(image))
    write_png(tmp_path / "mine_gray" / "b.png", image[:, :, 0])  # comes first where it exists
    (entry,) = open_testset("mine_gray", tmp_path)
    assert np.array_equal(entry.read(), image[:, :, 0])


@pytest.mark.parametrize("name", ["mine_gray", "Classic5"])
def test_pictures_of_a_gray_set_are_gray_however_they_are_stored(name: str, tmp_path: Path) -> None:
    image = photograph(24, 32)
    write_png(tmp_path / name / "a.png", image[:, :, 0])
    write_png(tmp_path / name / "b.png", image[:, :, :1].repeat(3, 2))
    write_png(tmp_path / name / "c.png", image)
    one, three, colour = (entry.read() for entry in open_testset(name, tmp_path))
    assert np.array_equal(one, image[:, :, 0])
    assert np.array_equal(three, one)
    assert np.array_equal(colour, luma_studio_range(image))


def test_linked_folders_are_part_of_a_set(tmp_path: Path) -> None:
    write_png(tmp_path / "elsewhere" / "a.png", photograph(8, 8))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "more").symlink_to(tmp_path / "elsewhere")
    assert [image.name for image in open_testset("mine", tmp_path)] == ["more/a"]
    (tmp_path / "mine" / "up").symlink_to("..")  # each folder once
    assert [image.name for image in open_testset("mine", tmp_path)] == ["more/a"]


def test_a_gray_set_needs_a_colour_one(tmp_path: Path) -> None:
    assert not has_testset("Y_gray", tmp_path)
    with pytest.raises(DatasetError, match="test set Y_color not found"):
        open_testset("Y_gray", tmp_path)
    assert len(open_testset("Sample_gray", tmp_path)) == 6
