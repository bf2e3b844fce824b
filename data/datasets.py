"""Evaluation sets by name: folders of images, and the built-in sample."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils.image_io import find_images, read_image
from utils.metrics import luma_studio_range

TESTSETS_VARIABLE = "IJCN_TESTSETS"
"""Environment variable with further folders of test sets, separated like PATH."""


class DatasetError(ValueError):
    """A data set that cannot be used; the message is one line: what, why, what to do."""


@dataclass(frozen=True)
class NamedImage:
    """One image of an evaluation set, read when asked for."""

    name: str
    read: Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True)
class TestSet:
    """An evaluation set: its name in tables, and its images in a stable order."""

    __test__ = False  # not a test class, whatever pytest thinks of the name

    name: str
    images: tuple[NamedImage, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[NamedImage]:
        return iter(self.images)


SAMPLE = "Sample"
"""Name of the built-in set."""


def sample_set() -> TestSet:
    """Lossless photographs that come with scikit-image: no download, free to use."""
    from skimage import data  # slow to import, needed here only

    def motorcycle(side: int) -> Callable[[], NDArray[np.uint8]]:
        return lambda: np.asarray(data.stereo_motorcycle()[side])

    return TestSet(
        SAMPLE,
        (
            NamedImage("astronaut", lambda: np.asarray(data.astronaut())),
            NamedImage("chelsea", lambda: np.asarray(data.chelsea())),
            NamedImage("coffee", lambda: np.asarray(data.coffee())),
            NamedImage("motorcycle_left", motorcycle(0)),
            NamedImage("motorcycle_right", motorcycle(1)),
            NamedImage("ihc", lambda: np.asarray(data.immunohistochemistry())),
        ),
    )


def testset_folders(root: Path) -> list[Path]:
    """Where sets are looked for: ``root``, then the folders of ``$IJCN_TESTSETS``."""
    more = os.environ.get(TESTSETS_VARIABLE, "")
    return [root, *(Path(part) for part in more.split(os.pathsep) if part)]


def testset_folder(name: str, root: Path) -> Path:
    """The folder of the set called ``name`` below one of :func:`testset_folders`.

    Raises:
        DatasetError: there is none.
    """
    folders = testset_folders(root)
    for folder in folders:
        if (folder / name).is_dir():
            return folder / name
    raise DatasetError(
        f"test set {name} not found in {', '.join(str(f) for f in folders)}; "
        "fetch it if it is a known one (python testsets/download.py --list), "
        f"or add its parent folder to ${TESTSETS_VARIABLE}"
    )


def has_testset(name: str, root: Path) -> bool:
    """Whether :func:`open_testset` would find a set of this name."""
    return any(
        wanted == SAMPLE or any((folder / wanted).is_dir() for folder in testset_folders(root))
        for wanted in (name, _colour_name(name))
    )


def open_testset(name: str, root: Path) -> TestSet:
    """The set called ``name``: a folder of images below one of :func:`testset_folders`, or Sample.

    ``X_gray``, where there is no such folder, is the luma of ``X_color`` (or of ``X``) in studio
    range, as the field's gray sets were made with MATLAB.

    Raises:
        DatasetError: no such folder, or no image in it.
    """
    colour = _colour_name(name)
    if colour != name and not any((f / name).is_dir() for f in testset_folders(root)):
        images = open_testset(colour, root)
        return TestSet(
            name, tuple(NamedImage(i.name, partial(_studio_luma, i.read)) for i in images)
        )
    if name == SAMPLE:
        return sample_set()
    return folder_set(name, testset_folder(name, root))


def _colour_name(name: str) -> str:
    """Of the set that a gray set may be made from; the name itself if it is no gray set's."""
    if not name.endswith(_GRAY):
        return name
    stem = name.removesuffix(_GRAY)
    return stem if stem == SAMPLE else f"{stem}_color"


_GRAY = "_gray"


def _studio_luma(read: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    image = read()
    return image if image.ndim == 2 else luma_studio_range(image)


def folder_set(name: str, folder: Path) -> TestSet:
    """All images below a folder as a set.

    Raises:
        DatasetError: no folder, or no image in it.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder; give one that holds images")
    paths = find_images(folder)
    if not paths:
        raise DatasetError(f"test set {name}: no image in {folder}; put PNG or other images there")
    return TestSet(
        name,
        tuple(
            NamedImage(p.relative_to(folder).with_suffix("").as_posix(), partial(read_image, p))
            for p in paths
        ),
    )
