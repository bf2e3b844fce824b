"""One evaluator behind every test script: degrade, restore, measure, write tables and pictures.

It receives data sets, degradations and the restoring function; it knows neither networks nor files
of JPEGs.
"""

from __future__ import annotations

import csv
import io
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from utils.image_io import ImageError, write_atomically, write_png
from utils.metrics import Scores, measure, psnr
from utils.pictures import as_rgb, busiest_window, side_by_side
from utils.published import PublishedRow, rows_for

Image = NDArray[np.uint8]

SMALLEST_SIDE = 8
"""Images below one JPEG block a side have no blocking to measure and are left out."""

SaveImages = Literal["none", "first", "all"]

JPEG, IJCN = "JPEG", "IJCN"
METHODS = (JPEG, IJCN)


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


@dataclass(frozen=True)
class ImageResult:
    """Figures of one image, setting and method."""

    dataset: str
    setting: str
    method: str
    image: str
    scores: Scores


@dataclass(frozen=True)
class SummaryRow:
    """Averages over the images of a set, at one setting, by one method."""

    dataset: str
    setting: str
    method: str
    images: int
    scores: Scores


@dataclass
class Evaluation:
    """What an evaluation found: figures per image, and a line for every image left out."""

    results: list[ImageResult] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    left_out: dict[str, set[str]] = field(default_factory=dict)
    restore_seconds: float = 0.0
    metric_seconds: float = 0.0
    restored_pixels: int = 0

    def leave_out(self, dataset: str, image: str, reason: str) -> None:
        """Note that an image of a set was not measured, at one setting or at all."""
        self.failures.append(reason)
        self.left_out.setdefault(dataset, set()).add(image)

    def summary(self) -> list[SummaryRow]:
        """Averages in the order in which sets, settings and methods were evaluated.

        A metric that an image is too small for does not enter that metric's average.
        """
        groups: dict[tuple[str, str, str], list[Scores]] = {}
        for result in self.results:
            key = (result.dataset, result.setting, result.method)
            groups.setdefault(key, []).append(result.scores)
        return [
            SummaryRow(
                *key, len(scores), Scores(*(_mean(column) for column in zip(*scores, strict=True)))
            )
            for key, scores in groups.items()
        ]


def evaluate(
    sets: Sequence[EvaluationSet],
    degradations: Sequence[Degrade],
    restore: Callable[[Any], Image],
    output: Path,
    save_images: SaveImages = "first",
    progress: bool = True,
) -> Evaluation:
    """Measure JPEG and restored images of every set at every setting; write pictures on the way.

    One image is held at a time. An image that cannot be used is reported and left out; the others
    go on.

    Args:
        sets: evaluation sets.
        degradations: one per setting.
        restore: what a JPEG stores -> RGB image, at least as large as the original, which lies in
            its top left corner.
        output: folder for ``images/SET/SETTING/NAME.png`` and ``comparison.png``; pictures of an
            earlier evaluation in it are replaced once this one is complete.
        save_images: pictures of no setting, of the first one, or of all.
        progress: show a bar with the running mean PSNR.
    """
    found = Evaluation()
    pictures = _Pictures(output, save_images, degradations[0].label)
    total = sum(len(each) for each in sets) * len(degradations)
    with tqdm(total=total, unit="image", disable=not progress, dynamic_ncols=True) as bar:
        for dataset in sets:
            running = _RunningMeans(dataset.name, bar)
            for entry in dataset:
                try:
                    image = _checked(entry.read(), f"{dataset.name}/{entry.name}")
                except ImageError as error:
                    found.leave_out(dataset.name, entry.name, str(error))
                    bar.update(len(degradations))
                    continue
                for degrade in degradations:
                    where = f"{dataset.name}/{entry.name} at {degrade.label}"
                    try:
                        pair = degrade(image)
                        _checked(pair.original, where)
                        restored, before, after = _measure_pair(pair, restore, found)
                    except ImageError as error:
                        found.leave_out(dataset.name, entry.name, str(error))
                        bar.update()
                        continue
                    except ValueError as error:
                        found.leave_out(dataset.name, entry.name, f"{where}: {error}")
                        bar.update()
                        continue
                    for method, scores in ((JPEG, before), (IJCN, after)):
                        found.results.append(
                            ImageResult(dataset.name, degrade.label, method, entry.name, scores)
                        )
                    pictures.add(dataset.name, degrade.label, entry.name, pair, restored)
                    running.add(before.psnr, after.psnr)
    pictures.finish()
    return found


def _measure_pair(
    pair: Pair, restore: Callable[[Any], Image], found: Evaluation
) -> tuple[Image, Scores, Scores]:
    """Restored image, scores of the JPEG and of the restored image; adds the time to ``found``."""
    height, width = pair.original.shape[:2]
    start = time.perf_counter()
    restored = restore(pair.stored)[:height, :width]
    middle = time.perf_counter()
    before = measure(restored=pair.jpeg, original=pair.original)
    after = measure(restored=restored, original=pair.original)
    found.metric_seconds += time.perf_counter() - middle
    found.restore_seconds += middle - start
    found.restored_pixels += height * width
    return restored, before, after


class _RunningMeans:
    """Mean PSNR of a set so far, shown in the progress bar."""

    def __init__(self, dataset: str, bar: tqdm[Any]) -> None:
        self.dataset = dataset
        self.bar = bar
        self.pairs: list[tuple[float, float]] = []

    def add(self, before: float, after: float) -> None:
        self.pairs.append((before, after))
        jpeg, restored = (_mean(column) for column in zip(*self.pairs, strict=True))
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
        self.beside = output / "images.part"
        self.final = output / "images"
        self.comparison: Image | None = None
        for folder in (self.beside, self.final):
            if folder.exists() and not (folder / self.MARK).exists():
                raise ImageError(
                    f"{folder} exists and was not made by an evaluation; choose another --output"
                )
        shutil.rmtree(self.beside, ignore_errors=True)

    def add(self, dataset: str, setting: str, name: str, pair: Pair, restored: Image) -> None:
        if self.wanted == "none":
            return
        if self.wanted == "all" or setting == self.first_setting:
            write_atomically(self.beside / self.MARK, "")
            write_png(self.beside / dataset / setting / f"{name}.png", restored)
        if self.comparison is None:

            def gain(image: Image) -> str:
                return f"{psnr(restored=image, original=pair.original):.2f} dB"

            self.comparison = side_by_side(
                [as_rgb(image) for image in (pair.original, pair.jpeg, restored)],
                (
                    f"original ({name})",
                    f"{JPEG} {setting}, {gain(pair.jpeg)}",
                    f"{IJCN}, {gain(restored)}",
                ),
                busiest_window(pair.jpeg, restored),
            )

    def finish(self) -> None:
        comparison = self.output / "comparison.png"
        if self.final.exists():
            shutil.rmtree(self.final)
            comparison.unlink(missing_ok=True)
        if self.beside.exists():
            self.beside.rename(self.final)
        if self.comparison is not None:
            write_png(comparison, self.comparison)


def write_tables(
    output: Path, evaluation: Evaluation, published: Sequence[PublishedRow], title: str
) -> str:
    """Write ``summary.csv``, ``per_image.csv`` and ``summary.md``; returns the text of the last."""
    summary = evaluation.summary()
    write_atomically(
        output / "summary.csv",
        _csv(
            ("dataset", "setting", "method", "images", "psnr", "ssim", "psnrb"),
            (
                (row.dataset, row.setting, row.method, row.images, *_digits(row.scores))
                for row in summary
            ),
        ),
    )
    write_atomically(
        output / "per_image.csv",
        _csv(
            ("dataset", "setting", "method", "image", "psnr", "ssim", "psnrb"),
            (
                (r.dataset, r.setting, r.method, r.image, *_digits(r.scores))
                for r in evaluation.results
            ),
        ),
    )
    text = _markdown(summary, evaluation, published, title)
    write_atomically(output / "summary.md", text)
    return text


def _checked(image: Image, name: str) -> Image:
    if min(image.shape[:2]) < SMALLEST_SIDE:
        raise ImageError(
            f"{name}: {image.shape[1]}x{image.shape[0]} pixels, below {SMALLEST_SIDE} a side; "
            "move it out of the set"
        )
    return image


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _digits(scores: Scores) -> tuple[str, str, str]:
    return f"{scores.psnr:.4f}", f"{scores.ssim:.6f}", f"{scores.psnrb:.4f}"


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _cell(psnr: float | None, ssim: float | None, psnrb: float | None) -> str:
    def show(value: float | None, digits: int) -> str:
        return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"

    return f"{show(psnr, 2)} / {show(ssim, 3)} / {show(psnrb, 2)}"


def _markdown(
    summary: Sequence[SummaryRow],
    evaluation: Evaluation,
    published: Sequence[PublishedRow],
    title: str,
) -> str:
    """A table per set: methods down, settings across; settings down where there are many."""
    lines = [f"# {title}", "", "PSNR (dB) / SSIM / PSNR-B (dB), mean over the images.", ""]
    for dataset in dict.fromkeys((*(row.dataset for row in summary), *evaluation.left_out)):
        rows = [row for row in summary if row.dataset == dataset]
        settings = list(dict.fromkeys(row.setting for row in rows))
        cells = {(row.method, row.setting): _cell(*row.scores) for row in rows}
        methods = list(METHODS)
        for other in rows_for(published, dataset, settings):
            method = f"{other.method} (published)"
            if method not in methods:
                methods.append(method)
            cells[method, other.setting] = _cell(other.psnr, other.ssim, other.psnrb)
        count = max((row.images for row in rows), default=0)
        lines += [f"## {dataset}, {count} images", ""]
        if len(settings) <= 4:
            grid = [["method", *settings]]
            grid += [[m, *(cells.get((m, s), "") for s in settings)] for m in methods]
        else:
            grid = [["setting", *methods]]
            grid += [[s, *(cells.get((m, s), "") for m in methods)] for s in settings]
        lines += [*_aligned(grid), ""]
        if evaluation.left_out.get(dataset):
            count = len(evaluation.left_out[dataset])
            lines += [f"Left out: {count} images (see the messages of the run).", ""]
    return "\n".join(lines).rstrip() + "\n"


def _aligned(grid: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table that also reads well as plain text."""
    widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
    rows = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in grid
    ]
    return [rows[0], "| " + " | ".join("-" * w for w in widths) + " |", *rows[1:]]
