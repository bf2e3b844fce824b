"""Training crops from folders of clean images, and evaluation sets by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.degradation import RandomCompression
from utils.image_io import ImageError, find_images, read_image

TESTSETS_VARIABLE = "IJCN_TESTSETS"
"""Environment variable with further folders of test sets, separated like PATH."""


class DatasetError(ValueError):
    """A data set that cannot be used; the message is one line: what, why, what to do."""


class TrainingCrop(NamedTuple):
    """What a JPEG of one crop stores (shapes as models.IJCN's, without batch), and the crop.

    qts (3, 8, 8) int32; y_coef (1, H/8, W/8, 8, 8) int16; c_coef (2, H/16, W/16, 8, 8) int16; image
    (3, H, W) uint8 RGB.
    """

    qts: NDArray[np.int32]
    y_coef: NDArray[np.int16]
    c_coef: NDArray[np.int16]
    image: NDArray[np.uint8]


class TrainingCrops:
    """Endless random crops, each a pure function of (seed, index).

    Images are held in memory as 8-bit RGB and drawn in proportion to their area; a crop starts at
    any pixel, so the JPEG grid has a random phase against the content; it is flipped and rotated at
    random, then compressed. Images smaller than a crop and unreadable ones are left out and listed
    in ``skipped``.
    """

    def __init__(
        self, paths: Sequence[Path], patch: int, compression: RandomCompression, seed: int
    ) -> None:
        """patch: side of a crop in pixels, a multiple of 64."""
        if patch < 64 or patch % 64:
            raise ValueError(f"patch must be a positive multiple of 64, got {patch}")
        self.patch = patch
        self.compression = compression
        self.seed = seed
        self.images: list[NDArray[np.uint8]] = []
        self.skipped: list[str] = []
        least = patch + compression.MARGIN
        for path in paths:
            try:
                image = read_image(path)
            except ImageError as error:
                self.skipped.append(str(error))
                continue
            if image.ndim == 2:
                image = np.repeat(image[:, :, None], 3, axis=2)
            if min(image.shape[:2]) < least:
                self.skipped.append(f"{path}: {image.shape[1]}x{image.shape[0]} is below {least}")
                continue
            self.images.append(image)
        if not self.images:
            raise DatasetError(
                f"none of {len(paths)} training images can be used (crops need {least} pixels a "
                "side); check the folders in data.folders"
            )
        area = np.array([i.shape[0] * i.shape[1] for i in self.images], dtype=np.float64)
        self._share = area / area.sum()

    def __getitem__(self, index: int) -> TrainingCrop:
        rng = np.random.default_rng((self.seed, index))
        image = self.images[int(rng.choice(len(self.images), p=self._share))]
        side = self.patch + self.compression.MARGIN
        row = int(rng.integers(image.shape[0] - side + 1))
        col = int(rng.integers(image.shape[1] - side + 1))
        pixels = np.rot90(image[row : row + side, col : col + side], int(rng.integers(4)))
        if rng.integers(2):
            pixels = pixels[:, ::-1]
        original, stored = self.compression(np.ascontiguousarray(pixels), rng)
        y, cb, cr = stored.components
        return TrainingCrop(
            np.stack([c.table for c in stored.components]),
            y.levels[None],
            np.stack((cb.levels, cr.levels)),
            np.ascontiguousarray(original.transpose(2, 0, 1)),
        )


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
        "fetch it (python testsets/download.py --list), "
        f"or add its parent folder to ${TESTSETS_VARIABLE}"
    )


def has_testset(name: str, root: Path) -> bool:
    """Whether :func:`open_testset` would find a set of this name."""
    return name == SAMPLE or any((folder / name).is_dir() for folder in testset_folders(root))


def open_testset(name: str, root: Path) -> TestSet:
    """The set called ``name``: a folder of images below one of :func:`testset_folders`, or Sample.

    Raises:
        DatasetError: no such folder, or no image in it.
    """
    if name == SAMPLE:
        return sample_set()
    return folder_set(name, testset_folder(name, root))


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
