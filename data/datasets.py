"""Evaluation sets by name or path: folders of images, and the built-in sample."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils.commands import as_started
from utils.evaluation.metrics import luma_studio_range
from utils.image_io import find_images, read_image
from utils.pictures import Image, gray_if_equal

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
    """An evaluation set: its name in tables, and its images in a stable order.

    folder: where its images lie; None for the built-in set.
    """

    __test__ = False  # not a test class, whatever pytest thinks of the name

    name: str
    images: tuple[NamedImage, ...]
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[NamedImage]:
        return iter(self.images)


SAMPLE = "Sample"
"""Name of the built-in set."""


def sample_set() -> TestSet:
    """Lossless photographs that come with scikit-image: no download, free to use."""
    from skimage import data  # slow to import, needed here only

    photographs = {
        "astronaut": data.astronaut,
        "chelsea": data.chelsea,
        "coffee": data.coffee,
        "motorcycle_left": lambda: data.stereo_motorcycle()[0],
        "motorcycle_right": lambda: data.stereo_motorcycle()[1],
        "ihc": data.immunohistochemistry,
    }
    return TestSet(SAMPLE, tuple(NamedImage(name, read) for name, read in photographs.items()))


def testset_folders(root: Path) -> list[Path]:
    """Where sets are looked for: ``root``, then the folders of ``$IJCN_TESTSETS``."""
    more = os.environ.get(TESTSETS_VARIABLE, "")
    return [root, *(Path(part) for part in more.split(os.pathsep) if part)]


GRAY_SETS = ("Classic5", "LIVE1_gray", "BSDS500_gray")
"""The field's gray sets."""


def set_name(wanted: str) -> str:
    """What tables and result folders call a set: its name, or the last part of its path.

    >>> set_name("LIVE1_color"), set_name("/home/me/mine/")
    ('LIVE1_color', 'mine')
    """
    return Path(os.path.abspath(Path(wanted).expanduser())).name or "root"


def testset_folder(wanted: str, root: Path) -> Path:
    """The folder of a set: a path, or a name below one of :func:`testset_folders`.

    Raises:
        DatasetError: there is none.
    """
    folder = _find_folder(wanted, root)
    if folder is not None:
        return folder
    if Path(wanted).expanduser().is_file():
        raise DatasetError(f"test set {wanted} is a file; give the folder that it is in")
    if _is_path(wanted):
        raise DatasetError(f"test set {wanted} not found; give the path of a folder of images")
    fetcher = as_started("python testsets/download.py")
    raise DatasetError(
        f"test set {wanted} not found in {', '.join(str(f) for f in testset_folders(root))}; "
        f"fetch it if it is a known one ({fetcher} --list), give the path of a "
        f"folder, or add its parent folder to ${TESTSETS_VARIABLE}"
    )


def _find_folder(wanted: str, root: Path) -> Path | None:
    """Paths are looked for as they are first, bare names below the folders of sets first."""
    path = Path(wanted).expanduser()
    named = [folder / wanted for folder in testset_folders(root)]
    places = [path, *named] if _is_path(wanted) else [*named, path]
    return next((place for place in places if place.is_dir()), None)


def _is_path(wanted: str) -> bool:
    return wanted in (".", "..") or wanted.startswith("~") or bool(set("/\\") & set(wanted))


def has_testset(wanted: str, root: Path) -> bool:
    """Whether :func:`open_testset` would find this set."""
    return any(
        each == SAMPLE or _find_folder(each, root) is not None
        for each in (wanted, *_colour_sets(wanted))
    )


def open_testset(wanted: str, root: Path) -> TestSet:
    """A set by name or path: a folder of images (:func:`testset_folder`), or Sample.

    ``X_gray``, where there is no such folder, is the luma of ``X_color`` or of ``X`` in studio
    range, as the field's gray sets were made with MATLAB. Of a folder ``X_gray`` or one of
    :data:`GRAY_SETS`, pictures stored as colours become gray too.

    Raises:
        DatasetError: no such folder, or no image in it.
    """
    if wanted == SAMPLE:
        return sample_set()
    colour_sets = _colour_sets(wanted)
    name = set_name(wanted)
    if not colour_sets or _find_folder(wanted, root) is not None:
        found = folder_set(name, testset_folder(wanted, root))
        if not colour_sets and name not in GRAY_SETS:
            return found
        return _with(_gray, found, name)
    source = next((each for each in colour_sets if has_testset(each, root)), colour_sets[0])
    colour = open_testset(source, root)
    return _with(_studio_luma, colour, name)


def _colour_sets(wanted: str) -> tuple[str, ...]:
    """What a gray set may be made of, the first that exists; nothing if it is no gray set."""
    wanted = wanted.rstrip("/\\")
    stem = wanted.removesuffix("_gray")
    return () if stem == wanted else (f"{stem}_color", stem)


def _with(convert: Callable[[Image], Image], source: TestSet, name: str) -> TestSet:
    """A set of another name, whose pictures are converted when they are read."""
    images = tuple(NamedImage(i.name, partial(_converted, convert, i)) for i in source)
    return TestSet(name, images, source.folder)


def _converted(convert: Callable[[Image], Image], image: NamedImage) -> Image:
    return convert(image.read())


def _studio_luma(image: Image) -> Image:
    return image if image.ndim == 2 else luma_studio_range(image)


def _gray(image: Image) -> Image:
    return _studio_luma(gray_if_equal(image))


def folder_set(name: str, folder: Path) -> TestSet:
    """All images below a folder as a set.

    Raises:
        DatasetError: no folder, or no image in it.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder; give one that holds images")
    paths = find_images(folder, follow_links=True)
    if not paths:
        raise DatasetError(f"test set {name}: no image in {folder}; put PNG or other images there")
    names = _names([path.relative_to(folder) for path in paths])
    images = (NamedImage(n, partial(read_image, p)) for n, p in zip(names, paths, strict=True))
    return TestSet(name, tuple(images), folder)


def _names(paths: Sequence[Path]) -> list[str]:
    """Paths without endings; with them where several would have one name: a.png and a.bmp."""
    whole = [path.as_posix() for path in paths]
    names = [path.with_suffix("").as_posix() for path in paths]
    while shared := {name for name, count in Counter(names).items() if count > 1}:
        names = [w if name in shared else name for w, name in zip(whole, names, strict=True)]
    return names
