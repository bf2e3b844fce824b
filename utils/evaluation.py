"""One evaluator behind every test script: degrade, restore, measure, write tables and pictures.

It receives data sets, degradations and the restoring function; it knows neither networks nor files
of JPEGs.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from utils.distributed import ALONE, World
from utils.image_io import ImageError, write_png
from utils.metrics import Scores, measure, psnr
from utils.pictures import as_rgb, busiest_window, side_by_side
from utils.pipeline import in_background, prefetched
from utils.tables import IJCN, JPEG, ImageResult, SummaryRow, mean, summarise

Image = NDArray[np.uint8]

SMALLEST_SIDE = 8
"""Images below one JPEG block a side have no blocking to measure and are left out."""

SaveImages = Literal["none", "first", "all"]


class EvaluationImage(Protocol):
    """An image of a set, read when asked for."""

    @property
    def name(self) -> str: ...
    @property
    def read(self) -> Callable[[], Image]: ...


class EvaluationSet(Protocol):
    """A named set of images."""

    @property
    def name(self) -> str: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...


class Pair(Protocol):
    """Original, decoded JPEG, and what the JPEG stores (passed on to the restorer)."""

    @property
    def original(self) -> Image: ...
    @property
    def jpeg(self) -> Image: ...
    @property
    def stored(self) -> Any: ...


class Degrade(Protocol):
    """Makes a pair of an image; its label is the setting in every table."""

    @property
    def label(self) -> str: ...
    def __call__(self, image: Image) -> Pair: ...


@dataclass
class Evaluation:
    """What an evaluation found: figures per image, and a line for every image left out."""

    results: list[ImageResult] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    left_out: dict[str, set[str]] = field(default_factory=dict)
    restore_seconds: float = 0.0
    metric_seconds: float = 0.0
    restored_pixels: int = 0

    def add(self, work: _Work) -> None:
        """Note the figures of an image at a setting, or that it was not measured."""
        self.restore_seconds += work.restore_seconds
        self.metric_seconds += work.metric_seconds
        if work.failure:
            self.failures.append(work.failure)
            self.left_out.setdefault(work.dataset, set()).add(work.name)
            return
        assert work.restored is not None
        self.restored_pixels += work.restored.shape[0] * work.restored.shape[1]
        for method, scores in ((JPEG, work.before), (IJCN, work.after)):
            assert scores is not None
            self.results.append(ImageResult(work.dataset, work.setting, method, work.name, scores))

    @classmethod
    def joined(cls, parts: Iterable[Evaluation]) -> Evaluation:
        """All parts as one, in their order."""
        whole = cls()
        for part in parts:
            whole.results += part.results
            whole.failures += part.failures
            for dataset, names in part.left_out.items():
                whole.left_out.setdefault(dataset, set()).update(names)
            whole.restore_seconds += part.restore_seconds
            whole.metric_seconds += part.metric_seconds
            whole.restored_pixels += part.restored_pixels
        return whole

    def summary(self) -> list[SummaryRow]:
        """Averages over the images, see :func:`utils.tables.summarise`."""
        return summarise(self.results)


def evaluate(
    sets: Sequence[EvaluationSet],
    degradations: Sequence[Degrade],
    restore: Callable[[Any], Image],
    output: Path,
    save_images: SaveImages = "first",
    progress: bool = True,
    world: World = ALONE,
    restore_many: Callable[[list[Any]], list[Image]] | None = None,
    batch: int = 1,
) -> Evaluation:
    """Measure JPEG and restored images of every set at every setting; write pictures on the way.

    A few images are held at a time: while one is restored, the next are read and compressed, and
    the one before is measured. An image that cannot be used is reported and left out; the others
    go on. Several processes share the images out; each returns what all of them found.

    Args:
        sets: evaluation sets.
        degradations: one per setting.
        restore: what a JPEG stores -> RGB image, at least as large as the original, which lies in
            its top left corner. Called in this thread only.
        output: folder for ``images/SET/SETTING/NAME.png`` and ``comparison.png``; pictures of an
            earlier evaluation in it are replaced once this one is complete.
        save_images: pictures of no setting, of the first one, or of all.
        progress: show a bar with the running mean PSNR, in the main process.
        world: this process among those that share the work.
        restore_many: as ``restore``, for several at once; used for ``batch`` images, which are
            most often one image at its settings.
        batch: how many images are handed to ``restore_many``.
    """
    ahead = max(_AHEAD, batch)
    pictures = _Pictures(output, save_images, degradations[0].label)
    if world.is_main:
        pictures.clear()
    world.wait()
    images = [(dataset.name, entry) for dataset in sets for entry in dataset]
    own = world.share(len(images))
    found = {index: Evaluation() for index in own}
    comparison: tuple[int, Image] | None = None

    def measured(work: _Work) -> _Work:
        if work.pair is not None and work.restored is not None:
            start = time.perf_counter()
            work.before = measure(restored=work.pair.jpeg, original=work.pair.original)
            work.after = measure(restored=work.restored, original=work.pair.original)
            work.metric_seconds = time.perf_counter() - start
            pictures.write(work.dataset, work.setting, work.name, work.restored)
        return work

    with (
        tqdm(
            total=len(own) * len(degradations),
            unit="image",
            disable=not (progress and world.is_main),
            dynamic_ncols=True,
        ) as bar,
        closing(
            prefetched((w for i in own for w in _degraded(i, *images[i], degradations)), ahead)
        ) as degraded,
        closing(
            in_background(measured, _restored(degraded, restore, restore_many, batch), 1, ahead)
        ) as done,
    ):
        running = _RunningMeans(bar)
        for work in done:
            found[work.index].add(work)
            if work.failure:
                bar.update(work.settings)
                continue
            assert work.pair is not None
            assert work.restored is not None
            assert work.before is not None
            assert work.after is not None
            running.add(work.dataset, work.before.psnr, work.after.psnr)
            if comparison is None and save_images != "none":
                comparison = work.index, _comparison(work)
    # By index, the results of all processes stand as one process alone would have found them.
    everything = {i: each for part in world.gather(found) for i, each in part.items()}
    comparisons = [each for each in world.gather(comparison) if each is not None]
    if world.is_main:
        first = min(comparisons, key=lambda each: each[0], default=None)
        pictures.finish(None if first is None else first[1])
    return Evaluation.joined(everything[i] for i in range(len(images)))


def image_path(output: Path, dataset: str, setting: str, name: str) -> Path:
    """Where :func:`evaluate` has written a restored picture, if it has."""
    return _picture(output / _IMAGES, dataset, setting, name)


def picture_folders(output: Path) -> tuple[Path, Path]:
    """Where :func:`evaluate` writes pictures, and where they lie in the end."""
    return output / f"{_IMAGES}.part", output / _IMAGES


def _picture(folder: Path, dataset: str, setting: str, name: str) -> Path:
    return folder / dataset / setting / f"{name}.png"


_IMAGES = "images"

_AHEAD = 2
"""Images prepared before, and measured after, the one that is being restored."""


@dataclass
class _Work:
    """An image at a setting on its way: degraded, restored, measured; or why it got no further.

    index: of the image over all sets. settings: how many this stands for, more than one where an
    image cannot be read at all.
    """

    index: int
    dataset: str
    name: str
    setting: str = ""
    settings: int = 1
    pair: Pair | None = None
    restored: Image | None = None
    before: Scores | None = None
    after: Scores | None = None
    restore_seconds: float = 0.0
    metric_seconds: float = 0.0
    failure: str = ""


def _degraded(
    index: int, dataset: str, entry: EvaluationImage, degradations: Sequence[Degrade]
) -> Iterator[_Work]:
    try:
        image = _checked(entry.read(), f"{dataset}/{entry.name}")
    except ImageError as error:
        yield _Work(
            index, dataset, entry.name, settings=len(degradations), failure=_one_line(error)
        )
        return
    for degrade in degradations:
        work = _Work(index, dataset, entry.name, degrade.label)
        where = f"{dataset}/{entry.name} at {degrade.label}"
        try:
            work.pair = degrade(image)
            _checked(work.pair.original, where)
        except ImageError as error:
            work.failure = _one_line(error)
        except ValueError as error:
            work.failure = f"{where}: {_one_line(error)}"
        yield work


def _restored(
    works: Iterator[_Work],
    restore: Callable[[Any], Image],
    restore_many: Callable[[list[Any]], list[Image]] | None,
    batch: int,
) -> Iterator[_Work]:
    while group := list(islice(works, batch)):
        usable = [work for work in group if work.pair is not None and not work.failure]
        if restore_many is not None and len(usable) > 1:
            _restore_together(usable, restore_many)
        for work in usable:
            if work.restored is None:
                _restore_one(work, restore)
        yield from group


def _restore_together(
    works: Sequence[_Work], restore_many: Callable[[list[Any]], list[Image]]
) -> None:
    """All of them, or none: where one fails, each is tried by itself later."""
    start = time.perf_counter()
    try:
        images = restore_many([work.pair.stored for work in works if work.pair is not None])
    except ValueError:
        return
    each = (time.perf_counter() - start) / len(works)
    for work, image in zip(works, images, strict=True):
        work.restored = _as_large_as_the_original(work, image)
        work.restore_seconds = each


def _restore_one(work: _Work, restore: Callable[[Any], Image]) -> None:
    assert work.pair is not None
    start = time.perf_counter()
    try:
        work.restored = _as_large_as_the_original(work, restore(work.pair.stored))
    except ValueError as error:
        where = f"{work.dataset}/{work.name} at {work.setting}"
        work.failure = f"{where}: {_one_line(error)}"
    work.restore_seconds = time.perf_counter() - start


def _as_large_as_the_original(work: _Work, image: Image) -> Image:
    assert work.pair is not None
    height, width = work.pair.original.shape[:2]
    return image[:height, :width]


def _comparison(work: _Work) -> Image:
    """Original, JPEG and restored image side by side, with the crop that changed most."""
    assert work.pair is not None
    assert work.restored is not None
    original, jpeg = work.pair.original, work.pair.jpeg

    def gain(image: Image) -> str:
        return f"{psnr(restored=image, original=original):.2f} dB"

    return side_by_side(
        [as_rgb(image) for image in (original, jpeg, work.restored)],
        (
            f"original ({work.name})",
            f"{JPEG} {work.setting}, {gain(jpeg)}",
            f"{IJCN}, {gain(work.restored)}",
        ),
        busiest_window(jpeg, work.restored),
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


class _RunningMeans:
    """Mean PSNR of the set at hand so far, shown in the progress bar."""

    def __init__(self, bar: tqdm[Any]) -> None:
        self.bar = bar
        self.dataset = ""
        self.pairs: list[tuple[float, float]] = []

    def add(self, dataset: str, before: float, after: float) -> None:
        if dataset != self.dataset:
            self.dataset, self.pairs = dataset, []
        self.pairs.append((before, after))
        finite = [pair for pair in self.pairs if math.inf not in pair]
        jpeg, restored = (mean(pair[i] for pair in finite) for i in (0, 1))
        text = f"{self.dataset} {JPEG} {jpeg:.2f} -> {IJCN} {restored:.2f} dB"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update()


class _Pictures:
    """Restored pictures and one comparison, put in the place of earlier ones at the end.

    A hidden file marks folders made here; others of the same name are never touched.
    """

    MARK = ".made_by_ijcn"

    def __init__(self, output: Path, wanted: SaveImages, first_setting: str) -> None:
        self.output = output
        self.wanted = wanted
        self.first_setting = first_setting
        self.beside, self.final = picture_folders(output)
        for folder in (self.beside, self.final):
            if folder.exists() and not (folder / self.MARK).exists():
                raise ImageError(
                    f"{folder} exists and was not made by an evaluation; choose another --output"
                )

    def clear(self) -> None:
        """Remove what an evaluation that was stopped has left."""
        shutil.rmtree(self.beside, ignore_errors=True)

    def write(self, dataset: str, setting: str, name: str, restored: Image) -> None:
        if self.wanted == "all" or (self.wanted == "first" and setting == self.first_setting):
            self._mark()
            write_png(_picture(self.beside, dataset, setting, name), restored)

    def _mark(self) -> None:
        # Several processes may come here at once; touching a file suits them all.
        try:
            self.beside.mkdir(parents=True, exist_ok=True)
            (self.beside / self.MARK).touch()
        except OSError as error:
            raise ImageError(
                f"{self.beside}: cannot be written ({error.strerror or error}); "
                "choose another --output"
            ) from error

    def finish(self, comparison: Image | None) -> None:
        """Put the new pictures in the place of the old ones, once all processes are done."""
        path = self.output / "comparison.png"
        if self.final.exists():
            shutil.rmtree(self.final)
            path.unlink(missing_ok=True)
        if self.beside.exists():
            self.beside.rename(self.final)
        if comparison is not None:
            write_png(path, comparison)


def _checked(image: Image, name: str) -> Image:
    if min(image.shape[:2]) < SMALLEST_SIDE:
        raise ImageError(
            f"{name}: {image.shape[1]}x{image.shape[0]} pixels, below {SMALLEST_SIDE} a side; "
            "move it out of the set"
        )
    return image
