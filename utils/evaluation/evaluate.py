"""One evaluator behind every test script: degrade, restore, measure, write tables and pictures.

It receives data sets, degradations and methods; it knows neither networks nor files of JPEGs.
"""

from __future__ import annotations

import math
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from utils.distributed import ALONE, World
from utils.evaluation.journal import Entry, Journal, Record, pixel_hash
from utils.evaluation.metrics import Scores, measure, psnr
from utils.evaluation.pipeline import in_background, prefetched
from utils.evaluation.tables import IJCN, JPEG, ImageResult, SummaryRow, mean, summarise
from utils.image_io import ImageError, read_image, write_png
from utils.pictures import as_rgb, busiest_window, side_by_side

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


class Task(NamedTuple):
    """What a method restores: an image of a set at a setting; stored: what the JPEG stores."""

    dataset: str
    setting: str
    image: str
    stored: Any


class MissingPictures(ValueError):
    """Why a method has no picture of an image, as a whole line: several images may share it."""


class Ways(NamedTuple):
    """How a method restores one task, and several at once, ``batch`` of them.

    The image is at least as large as the original, which lies in its top left corner. A ValueError
    says why there is none.
    """

    one: Callable[[Task], Image]
    many: Callable[[list[Task]], list[Image]] | None = None
    batch: int = 1


@dataclass(frozen=True)
class Method:
    """A way to restore pictures, and the name that its rows bear.

    start: makes it ready, such as by loading weights; called when its turn comes. own: its pictures
    are made here, so they are saved, and an image that it cannot restore is left out for all
    methods; those of others are compared where they are there. key: stands for all that its figures
    depend on, but for the image and the setting; empty if they cannot be kept for later.
    """

    name: str
    start: Callable[[], Ways]
    own: bool = True
    key: str = ""


class Figures:
    """What is measured of a picture.

    Args:
        names: of the metrics; PSNR is measured anyway.
        more: those that are not among `Scores`, as functions of two 8-bit images.
    """

    def __init__(
        self,
        names: Sequence[str] = Scores._fields,
        more: Mapping[str, Callable[..., float]] | None = None,
    ) -> None:
        self.names = tuple(dict.fromkeys(("psnr", *names)))
        self.more = more or {}

    def of(self, restored: Image, original: Image) -> dict[str, float]:
        """Figures by name of a picture and its original, of one shape."""
        scores = measure(restored=restored, original=original, wanted=self.names)
        found = {name: value for name, value in scores._asdict().items() if name in self.names}
        for name, function in self.more.items():
            found[name] = function(restored=restored, original=original)
        return found


@dataclass
class Cost:
    """What restoring took: seconds, pixels and images."""

    seconds: float = 0.0
    pixels: int = 0
    images: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.seconds + other.seconds, self.pixels + other.pixels, self.images + other.images
        )


@dataclass
class Evaluation:
    """What an evaluation found: figures per image, and a line for every image left out.

    left_out: images that were not measured, by set. missing: (set, method) -> (setting, image) that
    only this method lacks. costs: of each method.
    """

    results: list[ImageResult] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    left_out: dict[str, set[str]] = field(default_factory=dict)
    missing: dict[tuple[str, str], set[tuple[str, str]]] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    metric_seconds: float = 0.0

    def add(self, part: Evaluation) -> None:
        """Take up what was found of another image."""
        self.results += part.results
        self.failures += part.failures
        for dataset, names in part.left_out.items():
            self.left_out.setdefault(dataset, set()).update(names)
        for place, entries in part.missing.items():
            self.missing.setdefault(place, set()).update(entries)
        for method, cost in part.costs.items():
            self.costs[method] = self.costs.get(method, Cost()) + cost
        self.metric_seconds += part.metric_seconds

    def summary(self) -> list[SummaryRow]:
        """Averages over the images, see :func:`utils.evaluation.tables.summarise`."""
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
    """:func:`evaluate_methods` of one way to restore, whose rows are called IJCN.

    Args:
        sets, degradations, output, save_images, progress, world: see there.
        restore: what a JPEG stores -> RGB image, at least as large as the original, which lies in
            its top left corner. Called in this thread only.
        restore_many: as ``restore``, for several at once; used for ``batch`` images, which are
            most often one image at its settings.
        batch: how many images are handed to ``restore_many``.
    """
    method = Method(IJCN, lambda: ways_of(restore, restore_many, batch))
    return evaluate_methods(sets, degradations, [method], output, save_images, progress, world)


def ways_of(
    restore: Callable[[Any], Image],
    restore_many: Callable[[list[Any]], list[Image]] | None = None,
    batch: int = 1,
) -> Ways:
    """Ways that look at what the JPEG stores, and at nothing else of a task."""
    if restore_many is None:
        return Ways(lambda task: restore(task.stored))
    many = restore_many
    return Ways(
        lambda task: restore(task.stored), lambda tasks: many([t.stored for t in tasks]), batch
    )


def evaluate_methods(
    sets: Sequence[EvaluationSet],
    degradations: Sequence[Degrade],
    methods: Sequence[Method],
    output: Path,
    save_images: SaveImages = "first",
    progress: bool = True,
    world: World = ALONE,
    journal: Journal | None = None,
    jpeg_key: str = "",
    figures: Figures | None = None,
) -> Evaluation:
    """Measure the JPEG and every method, of every set at every setting; write pictures on the way.

    The methods take their turns, so one network is held at a time; the JPEG is measured once for
    all. A few images are held at a time: while one is restored, the next are read and compressed,
    and the one before is measured. An image that cannot be used is reported and left out; the
    others go on. Several processes share the images out; each returns what all of them found.

    Args:
        sets: evaluation sets.
        degradations: one per setting.
        methods: what is measured beside the JPEG; their names differ.
        output: folder for ``images/SET/SETTING/NAME.png`` and ``comparison.png``; pictures of an
            earlier evaluation in it are replaced once this one is complete. Where several methods
            have pictures of their own, ``images/METHOD/SET/SETTING/NAME.png``.
        save_images: pictures of no setting, of the first one, or of all.
        progress: show a bar with the running mean PSNR, in the main process.
        world: this process among those that share the work.
        journal: what a stopped run has measured, and where this one notes it (default: none).
        jpeg_key: as `Method.key`, of the JPEG.
        figures: what is measured of each picture (default: PSNR, SSIM and PSNR-B).
    """
    journal = Journal(None) if journal is None else journal
    pictures = _Pictures(output, save_images, degradations[0].label, methods)
    world.wait()  # every process has read the journal and looked at the folders
    if world.is_main and not journal:
        pictures.clear()
    world.wait()
    images = [(dataset.name, entry) for dataset in sets for entry in dataset]
    own = world.share(len(images))
    run = _Run(degradations, methods, pictures, journal, jpeg_key, figures or Figures())
    with tqdm(
        total=len(own) * len(degradations) * len(methods),
        unit="image",
        disable=not (progress and world.is_main),
        dynamic_ncols=True,
    ) as bar:
        for method in methods:
            run.measure(method, [(i, *images[i]) for i in own], bar)
    # By index, the results of all processes stand as one process alone would have found them.
    found = {i: part for each in world.gather(run.found(own, images)) for i, part in each.items()}
    whole = Evaluation()
    for i in range(len(images)):
        whole.add(found[i])
    if world.is_main:
        pictures.finish(whole, images, degradations)
        journal.remove()
    return whole


class _Run:
    """The work of one process, and what it has found so far."""

    def __init__(
        self,
        degradations: Sequence[Degrade],
        methods: Sequence[Method],
        pictures: _Pictures,
        journal: Journal,
        jpeg_key: str,
        figures: Figures,
    ) -> None:
        self.degradations = degradations
        self.methods = methods
        self.pictures = pictures
        self.journal = journal
        self.jpeg_key = jpeg_key
        self.figures = figures
        self.works: dict[tuple[int, str], dict[str, _Work]] = {}  # by image, setting and method
        self.unusable: dict[int, _Work] = {}
        self.jpegs: dict[tuple[int, str], Record] = {}

    def measure(
        self, method: Method, images: Sequence[tuple[int, str, EvaluationImage]], bar: tqdm[Any]
    ) -> None:
        """All images at all settings by one method."""
        ways = method.start()
        ahead = max(_AHEAD, ways.batch)
        running = _RunningMeans(bar, method.name)
        with (
            closing(
                prefetched((w for i in images for w in self._degraded(method, *i)), ahead)
            ) as d,
            closing(in_background(self._measured, _restored(d, ways), 1, ahead)) as done,
        ):
            for work in done:
                self._note(work)
                if work.before is None or work.after is None:
                    bar.update(work.settings)
                    continue
                running.add(work.dataset, work.before.figures["psnr"], work.after.figures["psnr"])

    def _note(self, work: _Work) -> None:
        if not work.setting:
            self.unusable.setdefault(work.index, work)
            return
        place = work.index, work.setting
        if work.before is not None:
            self.jpegs.setdefault(place, work.before)
        # What keeps an image from being compressed is told once, not for every method.
        if not (work.pair is None and work.failure and place in self.works):
            self.works.setdefault(place, {})[work.method.name] = work
        work.pair = work.restored = None

    def _degraded(
        self, method: Method, index: int, dataset: str, entry: EvaluationImage
    ) -> Iterator[_Work]:
        work = _Work(index, dataset, entry.name, method, settings=len(self.degradations))
        if index in self.unusable:
            yield work
            return
        try:
            image = _checked(entry.read(), f"{dataset}/{entry.name}")
        except ImageError as error:
            work.failure = _one_line(error)
            yield work
            return
        pixels = pixel_hash(image)
        for degrade in self.degradations:
            work = _Work(index, dataset, entry.name, method, degrade.label, pixels=pixels)
            work.area = image.shape[0] * image.shape[1]
            self._recall(work)
            if work.after is None or work.before is None:
                self._degrade(work, degrade, image)
            yield work

    def _recall(self, work: _Work) -> None:
        """Figures that are known: of the JPEG from another method, others from a stopped run."""
        work.before = self.jpegs.get((work.index, work.setting)) or self.journal.find(
            self._entry(work, self.jpeg_key), self.figures.names
        )
        saved = self.pictures.path(work)
        if work.before is not None and (saved is None or saved.exists()):
            work.after = self.journal.find(self._entry(work, work.method.key), self.figures.names)

    def _entry(self, work: _Work, key: str) -> Entry:
        return Entry(key, work.dataset, work.setting, work.name, work.pixels)

    def _degrade(self, work: _Work, degrade: Degrade, image: Image) -> None:
        where = f"{work.dataset}/{work.name} at {work.setting}"
        try:
            work.pair = degrade(image)
            _checked(work.pair.original, where)
        except ImageError as error:
            work.failure = _one_line(error)
        except ValueError as error:
            work.failure = f"{where}: {_one_line(error)}"
        if work.failure:
            work.pair = None

    def _measured(self, work: _Work) -> _Work:
        """In another thread: figures of the JPEG, unless they are known, and of the picture."""
        if work.pair is None:
            return work
        start = time.perf_counter()
        if work.before is None:
            work.before = Record(self.figures.of(work.pair.jpeg, work.pair.original), 0.0)
            self.journal.add(self._entry(work, self.jpeg_key), work.before)
        if work.restored is not None:
            if (path := self.pictures.path(work)) is not None:
                self.pictures.write(path, work.restored)
            try:
                figures = self.figures.of(_in_colours(work), work.pair.original)
            except ValueError as error:
                work.failure = f"{work.where}: {_one_line(error)}"
            else:
                work.after = Record(figures, work.restore_seconds)
                self.journal.add(self._entry(work, work.method.key), work.after)
        work.metric_seconds = time.perf_counter() - start
        return work

    def found(
        self, own: Iterable[int], images: Sequence[tuple[str, EvaluationImage]]
    ) -> dict[int, Evaluation]:
        """What was found of each image of this process."""
        return {i: self._of_image(i, images[i][0], images[i][1].name) for i in own}

    def _of_image(self, index: int, dataset: str, name: str) -> Evaluation:
        part = Evaluation()
        if index in self.unusable:
            part.failures.append(self.unusable[index].failure)
            part.left_out[dataset] = {name}
        for degrade in self.degradations:
            works = self.works.get((index, degrade.label), {})
            part.metric_seconds += sum(work.metric_seconds for work in works.values())
            part.failures += [work.failure for work in works.values() if work.failure]
            before = self.jpegs.get((index, degrade.label))
            if (
                not works
                or before is None
                or any(w.failure for w in works.values() if w.method.own)
            ):
                if works:
                    part.left_out[dataset] = {name}
                continue

            def note(method: str, record: Record, label: str = degrade.label) -> None:
                found = {each: record.figures[each] for each in self.figures.names}
                scores = Scores(*(found.pop(each, math.nan) for each in Scores._fields))
                part.results.append(ImageResult(dataset, label, method, name, scores, found))

            note(JPEG, before)
            for method, work in works.items():
                if work.after is None:
                    place = dataset, method
                    part.missing.setdefault(place, set()).add((degrade.label, name))
                    continue
                note(method, work.after)
                cost = Cost(work.after.seconds, work.area, 1)
                part.costs[method] = part.costs.get(method, Cost()) + cost
        return part


def image_path(
    output: Path, dataset: str, setting: str, name: str, method: str | None = None
) -> Path:
    """Where :func:`evaluate_methods` has written a restored picture, if it has.

    method: where several have pictures of their own.
    """
    return _picture(output / _IMAGES, dataset, setting, name, method)


def picture_folders(output: Path) -> tuple[Path, Path]:
    """Where pictures are written, and where they lie in the end."""
    return output / f"{_IMAGES}.part", output / _IMAGES


def _picture(
    folder: Path, dataset: str, setting: str, name: str, method: str | None = None
) -> Path:
    above = folder if method is None else folder / re.sub(r"[^\w.+ ()-]", "_", method)
    return above / dataset / setting / f"{name}.png"


def has_folders(methods: Sequence[Method]) -> bool:
    """Whether each method's pictures lie in a folder of their own."""
    return sum(method.own for method in methods) > 1


_IMAGES = "images"

_AHEAD = 2
"""Images prepared before, and measured after, the one that is being restored."""


@dataclass
class _Work:
    """An image at a setting on its way: degraded, restored, measured; or why it got no further.

    index: of the image over all sets. settings: how many this stands for, more than one where an
    image cannot be read at all, which has no setting then. pixels: hash of the image.
    """

    index: int
    dataset: str
    name: str
    method: Method
    setting: str = ""
    settings: int = 1
    pixels: str = ""
    area: int = 0
    pair: Pair | None = None
    restored: Image | None = None
    before: Record | None = None
    after: Record | None = None
    restore_seconds: float = 0.0
    metric_seconds: float = 0.0
    failure: str = ""

    @property
    def task(self) -> Task:
        assert self.pair is not None
        return Task(self.dataset, self.setting, self.name, self.pair.stored)

    @property
    def where(self) -> str:
        """For messages: the image, and the method unless its pictures are made here."""
        place = f"{self.dataset}/{self.name} at {self.setting}"
        return place if self.method.own else f"{self.method.name}: {place}"


def _restored(works: Iterator[_Work], ways: Ways) -> Iterator[_Work]:
    while group := list(islice(works, ways.batch)):
        usable = [work for work in group if work.pair is not None]
        if ways.many is not None and len(usable) > 1:
            _restore_together(usable, ways.many)
        for work in usable:
            if work.restored is None:
                _restore_one(work, ways.one)
        yield from group


def _restore_together(
    works: Sequence[_Work], restore_many: Callable[[list[Task]], list[Image]]
) -> None:
    """All of them, or none: where one fails, each is tried by itself later."""
    start = time.perf_counter()
    try:
        images = restore_many([work.task for work in works])
    except ValueError:
        return
    each = (time.perf_counter() - start) / len(works)
    for work, image in zip(works, images, strict=True):
        work.restored = _as_large_as_the_original(work, image)
        work.restore_seconds = each


def _restore_one(work: _Work, restore: Callable[[Task], Image]) -> None:
    start = time.perf_counter()
    try:
        work.restored = _as_large_as_the_original(work, restore(work.task))
    except MissingPictures as error:
        work.failure = str(error)
    except ValueError as error:
        work.failure = f"{work.where}: {_one_line(error)}"
    work.restore_seconds = time.perf_counter() - start


def _as_large_as_the_original(work: _Work, image: Image) -> Image:
    assert work.pair is not None
    if not work.method.own:
        return image  # made elsewhere: of another size, it is of another picture
    height, width = work.pair.original.shape[:2]
    return image[:height, :width]


def _in_colours(work: _Work) -> Image:
    """The restored picture, gray where the original is gray, else in colour.

    Raises:
        ValueError: it is of another size, or in colour where the original is gray.
    """
    assert work.pair is not None
    assert work.restored is not None
    original, picture = work.pair.original, work.restored
    if picture.shape[:2] != original.shape[:2]:
        (height, width), (rows, columns) = original.shape[:2], picture.shape[:2]
        raise ValueError(f"{columns}x{rows} pixels, the original has {width}x{height}")
    if picture.ndim == original.ndim:
        return picture
    if picture.ndim == 2:
        return as_rgb(picture)
    if (picture == picture[:, :, :1]).all():
        return picture[:, :, 0]
    raise ValueError("it is in colour, the original is gray")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


class _RunningMeans:
    """Mean PSNR of the set at hand so far, shown in the progress bar."""

    def __init__(self, bar: tqdm[Any], method: str) -> None:
        self.bar = bar
        self.method = method
        self.dataset = ""
        self.pairs: list[tuple[float, float]] = []

    def add(self, dataset: str, before: float, after: float) -> None:
        if dataset != self.dataset:
            self.dataset, self.pairs = dataset, []
        self.pairs.append((before, after))
        finite = [pair for pair in self.pairs if math.inf not in pair]
        jpeg, restored = (mean(pair[i] for pair in finite) for i in (0, 1))
        text = f"{self.dataset} {JPEG} {jpeg:.2f} -> {self.method} {restored:.2f} dB"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update()


class _Pictures:
    """Restored pictures and one comparison, put in the place of earlier ones at the end.

    A hidden file marks folders made here; others of the same name are never touched.
    """

    MARK = ".made_by_ijcn"

    def __init__(
        self, output: Path, wanted: SaveImages, first_setting: str, methods: Sequence[Method]
    ) -> None:
        self.output = output
        self.wanted = wanted
        self.first_setting = first_setting
        self.own = [method.name for method in methods if method.own]
        self.in_folders = has_folders(methods)
        self.beside, self.final = picture_folders(output)
        for folder in (self.beside, self.final):
            if folder.exists() and not (folder / self.MARK).exists():
                raise ImageError(
                    f"{folder} exists and was not made by an evaluation; choose another --output"
                )

    def clear(self) -> None:
        """Remove what an evaluation that was stopped has left."""
        shutil.rmtree(self.beside, ignore_errors=True)

    def path(self, work: _Work) -> Path | None:
        """Where the picture of a work is written; None if it is not wanted."""
        if not work.method.own:
            return None
        return self._path(work.dataset, work.setting, work.name, work.method.name)

    def _path(self, dataset: str, setting: str, name: str, method: str) -> Path | None:
        if self.wanted == "none" or (self.wanted == "first" and setting != self.first_setting):
            return None
        return _picture(self.beside, dataset, setting, name, method if self.in_folders else None)

    def write(self, path: Path, restored: Image) -> None:
        # Several processes may come here at once; touching a file suits them all.
        try:
            self.beside.mkdir(parents=True, exist_ok=True)
            (self.beside / self.MARK).touch()
        except OSError as error:
            raise ImageError(
                f"{self.beside}: cannot be written ({error.strerror or error}); "
                "choose another --output"
            ) from error
        write_png(path, restored)

    def finish(
        self,
        found: Evaluation,
        images: Sequence[tuple[str, EvaluationImage]],
        degradations: Sequence[Degrade],
    ) -> None:
        """Put the new pictures in the place of the old ones, once all processes are done."""
        path = self.output / "comparison.png"
        comparison = self._comparison(found, images, degradations)
        if self.beside.exists():
            self._remove_others(found)
        if self.final.exists():
            shutil.rmtree(self.final)
            path.unlink(missing_ok=True)
        if self.beside.exists():
            self.beside.rename(self.final)
        if comparison is not None:
            write_png(path, comparison)

    def _remove_others(self, found: Evaluation) -> None:
        """A stopped run of other sets or settings may have left pictures."""
        kept = {self._path(r.dataset, r.setting, r.image, r.method) for r in found.results}
        for path in sorted(self.beside.rglob("*"), reverse=True):  # folders after what they hold
            if path.is_dir():
                with suppress(OSError):  # not empty
                    path.rmdir()
            elif path not in kept and path.name != self.MARK:
                path.unlink()

    def _comparison(
        self,
        found: Evaluation,
        images: Sequence[tuple[str, EvaluationImage]],
        degradations: Sequence[Degrade],
    ) -> Image | None:
        """Original, JPEG and the pictures of the first result that has any, side by side."""
        first = next((r for r in found.results if r.method in self.own), None)
        if first is None or self.wanted == "none":
            return None
        entry = next(e for name, e in images if (name, e.name) == (first.dataset, first.image))
        degrade = next(each for each in degradations if each.label == first.setting)
        pair = degrade(entry.read())
        panels = {f"original ({first.image})": pair.original}
        panels[f"{JPEG} {first.setting}, {_gain(pair.jpeg, pair.original)}"] = pair.jpeg
        for method in self.own:
            path = self._path(first.dataset, first.setting, first.image, method)
            if path is not None and path.exists():
                picture = read_image(path)
                panels[f"{method}, {_gain(picture, pair.original)}"] = picture
        return side_by_side(
            [as_rgb(image) for image in panels.values()],
            tuple(panels),
            busiest_window(pair.jpeg, list(panels.values())[-1]),
        )


def _gain(image: Image, original: Image) -> str:
    return f"{psnr(restored=image, original=original):.2f} dB"


def _checked(image: Image, name: str) -> Image:
    if min(image.shape[:2]) < SMALLEST_SIDE:
        raise ImageError(
            f"{name}: {image.shape[1]}x{image.shape[0]} pixels, below {SMALLEST_SIDE} a side; "
            "move it out of the set"
        )
    return image
