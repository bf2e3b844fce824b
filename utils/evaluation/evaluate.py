"""One evaluator behind every test script: degrade, restore, measure, write tables and pictures.

It receives data sets, degradations and methods; it knows neither networks nor files of JPEGs.
"""

from __future__ import annotations

import math
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from utils.distributed import ALONE, World
from utils.evaluation.journal import Entry, Journal, Record, pixel_hash
from utils.evaluation.metrics import METRICS, Metric, Scores, psnr
from utils.evaluation.pipeline import in_background, prefetched
from utils.evaluation.tables import JPEG, Cost, Evaluation, Failure, ImageResult, mean
from utils.image_io import ImageError, read_image, write_atomically, write_png
from utils.pictures import as_rgb, busiest_window, gray_if_equal, side_by_side

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


class MissingPictures(ValueError):
    """Why a method has no picture of an image, as a whole line: several images may share it."""


@dataclass
class Task:
    """An image of a set at a setting on its way: degraded, restored, measured; or why not further.

    A method restores it by ``dataset``, ``setting``, ``image`` and ``stored``. index: of the image
    over all sets. method, key, own: see `Method`. setting: empty where an image cannot be read at
    all. pixels: hash of the image. area: how many pixels it has.
    """

    index: int
    dataset: str
    image: str
    method: str
    key: str
    own: bool
    setting: str = ""
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
    def stored(self) -> Any:
        """What the JPEG stores."""
        assert self.pair is not None
        return self.pair.stored

    def fail(self, error: ValueError) -> None:
        """Note why it got no further, and where: for pictures of other programs, of which method.

        Lines about images that cannot be used and about `MissingPictures` are whole.
        """
        line = " ".join(str(error).split())
        place = f"{self.dataset}/{self.image} at {self.setting}"
        if self.pair is not None and not self.own:
            place = f"{self.method}: {place}"
        whole = ImageError if self.pair is None else MissingPictures
        self.failure = line if isinstance(error, whole) else f"{place}: {line}"


Restore: TypeAlias = Callable[[list[Task]], list[Image]]
"""Restores tasks, an image for each.

The image is at least as large as the original, which lies in its top left corner. A ValueError says
why there is none; where it is raised for several tasks, each is tried by itself.
"""


def one_by_one(restore: Callable[[Task], Image]) -> Callable[[], Restore]:
    """`Method.start` of what restores one task at a time and needs no preparation."""
    return lambda: lambda tasks: [restore(task) for task in tasks]


@dataclass(frozen=True)
class Method:
    """A way to restore pictures, and the name that its rows bear.

    start: makes it ready, such as by loading weights; called when its turn comes. own: its pictures
    are restored here. They are saved, and an image that it cannot restore is left out for all
    methods. Pictures of other programs are compared wherever they exist. key: stands for all
    that its figures depend on, but for the image and the setting; empty if they cannot be kept for
    later. batch: how many tasks it takes at once, at most.
    """

    name: str
    start: Callable[[], Restore]
    own: bool = True
    key: str = ""
    batch: int = 1


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
    metrics: Mapping[str, Metric] | None = None,
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
        journal: what a stopped run has measured, and where this one notes it (default: none); the
            caller removes it in the end.
        jpeg_key: as `Method.key`, of the JPEG.
        metrics: what is measured of each picture, PSNR among them (default: `Scores`).
    """
    journal = Journal(None) if journal is None else journal
    metrics = metrics or {name: METRICS[name] for name in Scores._fields}
    journal.keep({jpeg_key, *(method.key for method in methods)})
    settings = [each.label for each in degradations]
    saved = {"none": [], "first": settings[:1], "all": settings}[save_images]
    pictures = _Pictures(output, saved, methods)
    world.wait()  # every process has read the journal and looked at the folders
    if world.is_main and not journal:  # what an evaluation that was stopped has left
        shutil.rmtree(pictures.beside, ignore_errors=True)
        journal.remove()
    world.wait()
    images = [(dataset.name, entry) for dataset in sets for entry in dataset]
    own = world.share(len(images))
    run = _Run(degradations, pictures, journal, jpeg_key, metrics)
    with tqdm(
        total=len(own) * len(degradations) * len(methods),
        unit="image",
        disable=not (progress and world.is_main),
        dynamic_ncols=True,
    ) as bar:
        for method in methods:
            run.measure(method, [(i, *images[i]) for i in own], bar)
    tasks: Tasks = {}
    for each in world.gather(run.tasks):
        tasks |= each
    found = _found(images, settings, tasks, metrics)
    if world.is_main:
        pictures.finish(found, images, degradations)
    return found


_AHEAD = 2
"""Images prepared before, and measured after, the one that is being restored."""


Tasks: TypeAlias = dict[tuple[int, str], dict[str, Task]]
"""By the image's index and the setting, then by method."""


@dataclass
class _Run:
    """The work of one process, and what it has found so far."""

    degradations: Sequence[Degrade]
    pictures: _Pictures
    journal: Journal
    jpeg_key: str
    metrics: Mapping[str, Metric]
    tasks: Tasks = field(default_factory=dict)

    def measure(
        self, method: Method, images: Sequence[tuple[int, str, EvaluationImage]], bar: tqdm[Any]
    ) -> None:
        """All images at all settings by one method."""
        restore = method.start()
        ahead = max(_AHEAD, method.batch)
        prepared = (task for image in images for task in self._degraded(method, *image))
        finite: dict[str, list[tuple[float, float]]] = defaultdict(list)  # PSNR, by set
        degraded = prefetched(prepared, ahead)
        restored = _restored(degraded, restore, method.batch)
        done = in_background(self._measured, restored, 1, ahead)
        with closing(degraded), closing(done):
            for task in done:
                self._note(task)
                if task.before is not None and task.after is not None:
                    pairs = finite[task.dataset]
                    pair = task.before.figures["psnr"], task.after.figures["psnr"]
                    if math.inf not in pair:
                        pairs.append(pair)
                    before, after = (mean(pair[i] for pair in pairs) for i in (0, 1))
                    text = f"{task.dataset} {JPEG} {before:.2f} -> {method.name} {after:.2f} dB"
                    bar.set_postfix_str(text, refresh=False)
                bar.update(1 if task.setting else len(self.degradations))

    def _note(self, task: Task) -> None:
        task.pair = task.restored = None
        others = self.tasks.setdefault((task.index, task.setting), {})
        # What keeps an image from being compressed is told once, not for every method.
        if task.before is not None or not others:
            others[task.method] = task

    def _degraded(
        self, method: Method, index: int, dataset: str, entry: EvaluationImage
    ) -> Iterator[Task]:
        bare = Task(index, dataset, entry.name, method.name, method.key, method.own)
        if (index, "") in self.tasks:  # it could not be read for an earlier method
            yield bare
            return
        try:
            image = _checked(entry.read(), f"{dataset}/{entry.name}")
        except ImageError as error:
            bare.fail(error)
            yield bare
            return
        pixels, area = pixel_hash(image), image.shape[0] * image.shape[1]
        for degrade in self.degradations:
            task = replace(bare, setting=degrade.label, pixels=pixels, area=area)
            self._recall(task)
            if task.after is None or task.before is None:
                try:
                    pair = degrade(image)
                    _checked(pair.original, f"{dataset}/{entry.name} at {task.setting}")
                except ValueError as error:
                    task.fail(error)
                else:
                    task.pair = pair
            yield task

    def _recall(self, task: Task) -> None:
        """Figures that are known: of the JPEG from another method, others from a stopped run."""
        others = self.tasks.get((task.index, task.setting), {})
        task.before = next((each.before for each in others.values()), None) or self.journal.find(
            self._entry(task, self.jpeg_key), self.metrics
        )
        saved = self.pictures.path(task)
        if task.before is not None and (saved is None or saved.exists()):
            task.after = self.journal.find(self._entry(task, task.key), self.metrics)

    def _entry(self, task: Task, key: str) -> Entry:
        return Entry(key, task.dataset, task.setting, task.image, task.pixels)

    def _measured(self, task: Task) -> Task:
        """In another thread: figures of the JPEG, unless they are known, and of the picture."""
        if task.pair is None:
            return task
        start = time.perf_counter()
        if task.before is None:
            task.before = Record(self._figures(task.pair.jpeg, task.pair.original), 0.0)
            self.journal.add(self._entry(task, self.jpeg_key), task.before)
        if task.restored is not None:
            if (path := self.pictures.path(task)) is not None:
                self.pictures.write(path, task.restored)
            try:
                restored = _in_colours(task.restored, task.pair.original)
                figures = self._figures(restored, task.pair.original)
            except ValueError as error:
                task.fail(error)
            else:
                task.after = Record(figures, task.restore_seconds)
                self.journal.add(self._entry(task, task.key), task.after)
        task.metric_seconds = time.perf_counter() - start
        return task

    def _figures(self, restored: Image, original: Image) -> dict[str, float]:
        return {
            name: metric(restored=restored, original=original)
            for name, metric in self.metrics.items()
        }


def _found(
    images: Sequence[tuple[str, EvaluationImage]],
    settings: Sequence[str],
    tasks: Tasks,
    metrics: Iterable[str],
) -> Evaluation:
    """What all processes have found, in the order in which one alone would have found it."""
    found = Evaluation()
    for (index, (dataset, entry)), setting in product(enumerate(images), ("", *settings)):
        here = tasks.get((index, setting), {})
        found.failures += [
            Failure(dataset, entry.name, setting, task.failure)
            for task in here.values()
            if task.failure
        ]
        found.metric_seconds += sum(task.metric_seconds for task in here.values())
        if any(task.before is None or (task.failure and task.own) for task in here.values()):
            found.left_out.setdefault(dataset, set()).add(entry.name)
            continue
        records: dict[str, Record | None] = {}
        for method, task in here.items():
            records |= {JPEG: task.before, method: task.after}
        for method, record in records.items():
            if record is None:
                found.missing.setdefault((dataset, method), set()).add((setting, entry.name))
                continue
            figures = {name: record.figures[name] for name in metrics}
            scores = Scores(*(figures.pop(name, math.nan) for name in Scores._fields))
            result = ImageResult(dataset, setting, method, entry.name, scores, figures)
            found.results.append(result)
            if method in here:
                cost = found.costs.setdefault(method, Cost())
                cost.seconds += record.seconds
                cost.pixels += here[method].area
                cost.images += 1
    return found


def image_path(
    output: Path, dataset: str, setting: str, name: str, method: str | None = None
) -> Path:
    """Where :func:`evaluate_methods` has written a restored picture, if it has.

    method: where several have pictures of their own.
    """
    above = output / "images" if method is None else output / "images" / folder_name(method)
    return above / dataset / setting / f"{name}.png"


def folder_name(method: str) -> str:
    """A method's name as that of its folder."""
    return re.sub(r"[^\w.+ ()-]|^\.+$", "_", method)


def picture_paths(
    output: Path, methods: Sequence[Method]
) -> dict[str, Callable[[str, str, str], Path]]:
    """:func:`image_path` of each method that has pictures of its own: set, setting, image."""
    own = [method.name for method in methods if method.own]
    return {
        name: partial(image_path, output, method=name if len(own) > 1 else None) for name in own
    }


def picture_folders(output: Path) -> tuple[Path, Path]:
    """Where pictures are written, and where they lie in the end."""
    return output / "images.part", output / "images"


def _restored(tasks: Iterator[Task], restore: Restore, batch: int) -> Iterator[Task]:
    while group := list(islice(tasks, batch)):
        if usable := [task for task in group if task.pair is not None]:
            _restore(usable, restore)
        yield from group


def _restore(tasks: list[Task], restore: Restore) -> None:
    """All of them, or where that fails, one by one."""
    start = time.perf_counter()
    try:
        images = restore(tasks)
    except ValueError as error:
        if len(tasks) == 1:
            tasks[0].fail(error)
            return
        for task in tasks:
            _restore([task], restore)
        return
    seconds = (time.perf_counter() - start) / len(tasks)
    for task, image in zip(tasks, images, strict=True):
        assert task.pair is not None
        height, width = task.pair.original.shape[:2]
        # Made elsewhere and of another size, it is of another picture.
        task.restored = image[:height, :width] if task.own else image
        task.restore_seconds = seconds


def _in_colours(picture: Image, original: Image) -> Image:
    """A restored picture, gray where the original is gray, else in colour.

    Raises:
        ValueError: it is of another size, or in colour where the original is gray.
    """
    if picture.shape[:2] != original.shape[:2]:
        (height, width), (rows, columns) = original.shape[:2], picture.shape[:2]
        raise ValueError(f"{columns}x{rows} pixels, the original has {width}x{height}")
    if picture.ndim == original.ndim:
        return picture
    if picture.ndim == 2:
        return as_rgb(picture)
    if (gray := gray_if_equal(picture)).ndim == 2:
        return gray
    raise ValueError("it is in colour, the original is gray")


class _Pictures:
    """Restored pictures and one comparison, put in the place of earlier ones at the end.

    A hidden file marks folders made here; others of the same name are never touched. settings:
    those of which pictures are wanted.
    """

    MARK = ".made_by_ijcn"

    def __init__(self, output: Path, settings: Sequence[str], methods: Sequence[Method]) -> None:
        self.comparison = output / "comparison.png"
        self.settings = settings
        self.paths = picture_paths(output, methods)
        self.beside, self.final = picture_folders(output)
        for folder in (self.beside, self.final):
            if folder.exists() and not (folder / self.MARK).exists():
                raise ImageError(
                    f"{folder} exists and was not made by an evaluation; choose another --output"
                )

    def path(self, of: Task | ImageResult) -> Path | None:
        """Where a method's picture is written; None if it is not wanted, or made elsewhere."""
        if of.setting not in self.settings or of.method not in self.paths:
            return None
        final = self.paths[of.method](of.dataset, of.setting, of.image)
        return self.beside / final.relative_to(self.final)

    def write(self, path: Path, restored: Image) -> None:
        if not (self.beside / self.MARK).exists():  # several processes may come here at once
            write_atomically(self.beside / self.MARK, "")
        write_png(path, restored)

    def finish(
        self,
        found: Evaluation,
        images: Sequence[tuple[str, EvaluationImage]],
        degradations: Sequence[Degrade],
    ) -> None:
        """Put the new pictures in the place of the old ones, once all processes are done."""
        comparison = self._compared(found, images, degradations)
        if self.final.exists():
            shutil.rmtree(self.final)
            self.comparison.unlink(missing_ok=True)
        if self.beside.exists():
            self._remove_others(found)
            self.beside.rename(self.final)
        if comparison is not None:
            write_png(self.comparison, comparison)

    def _remove_others(self, found: Evaluation) -> None:
        """A stopped run of other sets or settings may have left pictures."""
        kept = {self.path(result) for result in found.results}
        for path in sorted(self.beside.rglob("*"), reverse=True):  # folders after what they hold
            if path.is_dir():
                with suppress(OSError):  # not empty
                    path.rmdir()
            elif path not in kept and path.name != self.MARK:
                path.unlink()

    def _compared(
        self,
        found: Evaluation,
        images: Sequence[tuple[str, EvaluationImage]],
        degradations: Sequence[Degrade],
    ) -> Image | None:
        """Original, JPEG and the pictures of the first result that has any, side by side."""
        first = next((r for r in found.results if r.method in self.paths), None)
        if first is None or not self.settings:
            return None
        entry = next(e for name, e in images if (name, e.name) == (first.dataset, first.image))
        degrade = next(each for each in degradations if each.label == first.setting)
        pair = degrade(entry.read())
        panels = {f"original ({first.image})": pair.original}
        panels[f"{JPEG} {first.setting}, {_gain(pair.jpeg, pair.original)}"] = pair.jpeg
        for method in self.paths:
            path = self.path(replace(first, method=method))
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
