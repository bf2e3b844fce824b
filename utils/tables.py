"""Tables of results: averages, CSV files, and Markdown with published rows beside our own."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from utils.image_io import write_atomically
from utils.metrics import Scores
from utils.published import PublishedRow, rows_for

JPEG, IJCN = "JPEG", "IJCN"
METHODS = (JPEG, IJCN)


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


class Measured(Protocol):
    """What an evaluation found; utils.evaluation.Evaluation is one."""

    @property
    def results(self) -> Sequence[ImageResult]: ...
    @property
    def left_out(self) -> Mapping[str, set[str]]: ...
    def summary(self) -> list[SummaryRow]: ...


def summarise(results: Iterable[ImageResult]) -> list[SummaryRow]:
    """Averages in the order in which sets, settings and methods first appear.

    A metric that an image is too small for does not enter that metric's average.
    """
    groups: dict[tuple[str, str, str], list[Scores]] = {}
    for result in results:
        groups.setdefault((result.dataset, result.setting, result.method), []).append(result.scores)
    return [
        SummaryRow(
            *key, len(scores), Scores(*(mean(column) for column in zip(*scores, strict=True)))
        )
        for key, scores in groups.items()
    ]


def write_tables(
    output: Path, measured: Measured, published: Sequence[PublishedRow], title: str
) -> str:
    """Write ``summary.csv``, ``per_image.csv`` and ``summary.md``; returns the text of the last."""
    summary = measured.summary()
    write_atomically(
        output / "summary.csv",
        csv_text(
            SUMMARY_COLUMNS,
            (
                (row.dataset, row.setting, row.method, row.images, *_digits(row.scores))
                for row in summary
            ),
        ),
    )
    write_atomically(
        output / "per_image.csv",
        csv_text(
            ("dataset", "setting", "method", "image", *Scores._fields),
            (
                (r.dataset, r.setting, r.method, r.image, *_digits(r.scores))
                for r in measured.results
            ),
        ),
    )
    lines = [f"# {title}", "", *INTRODUCTION, ""]
    for dataset in dict.fromkeys((*(row.dataset for row in summary), *measured.left_out)):
        rows = [row for row in summary if row.dataset == dataset]
        count = max((row.images for row in rows), default=0)
        lines += [f"## {dataset}, {count} images", "", *table_of_set(rows, published), ""]
        if measured.left_out.get(dataset):
            count = len(measured.left_out[dataset])
            lines += [f"Left out: {count} images (see the messages of the run).", ""]
    text = "\n".join(lines).rstrip() + "\n"
    write_atomically(output / "summary.md", text)
    return text


INTRODUCTION = ("PSNR (dB) / SSIM / PSNR-B (dB), mean over the images.",)
SUMMARY_COLUMNS = ("dataset", "setting", "method", "images", *Scores._fields)


def read_summary(path: Path) -> list[SummaryRow]:
    """Rows of a ``summary.csv``.

    Raises:
        OSError: it cannot be read. ValueError: it is no such file; the message is one line.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = set(SUMMARY_COLUMNS) - set(reader.fieldnames or ())
        if missing:
            raise ValueError(
                f"{path}: no summary.csv of an evaluation, it lacks {', '.join(sorted(missing))}"
            )
        try:
            return [
                SummaryRow(
                    row["dataset"],
                    row["setting"],
                    row["method"],
                    int(row["images"]),
                    Scores(*(float(row[name]) for name in Scores._fields)),
                )
                for row in reader
            ]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error


def mean(values: Iterable[float]) -> float:
    """Mean of what is not nan; nan if nothing is left."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV file's text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def table_of_set(rows: Sequence[SummaryRow], published: Sequence[PublishedRow]) -> list[str]:
    """Markdown lines: our rows among the published ones of the same set.

    Methods go down from the lowest PSNR to the highest, settings across, and a last row says how
    far the best published PSNR is; where there are many settings, they go down.
    """
    settings = list(dict.fromkeys(row.setting for row in rows))
    ours = {(row.method, row.setting): row.scores for row in rows}
    cells = {key: _cell(*scores) for key, scores in ours.items()}
    # Where a method stands: by its first figure, JPEG at the top whatever it is.
    rank = {METHODS[0]: -math.inf}
    for (method, _), scores in ours.items():
        rank.setdefault(method, scores.psnr)
    best: dict[str, PublishedRow] = {}
    for other in rows_for(published, rows[0].dataset if rows else "", settings):
        method = f"{other.method} (published)"
        cells[method, other.setting] = _cell(other.psnr, other.ssim, other.psnrb)
        if other.psnr is not None:
            rank.setdefault(method, other.psnr)
            known = best.get(other.setting)
            if known is None or known.psnr is None or other.psnr > known.psnr:
                best[other.setting] = other
    methods = sorted(rank, key=rank.__getitem__)
    if len(settings) > MOST_ACROSS:
        methods = [method for method in methods if method in METHODS]
        grid = [["setting", *methods]]
        grid += [[s, *(cells.get((m, s), "") for m in methods)] for s in settings]
        return aligned(grid)
    grid = [["method", *settings]]
    grid += [[m, *(cells.get((m, s), "") for s in settings)] for m in methods]
    if best:
        grid.append(["to best published", *(_distance(ours, best, s) for s in settings)])
    return aligned(grid)


MOST_ACROSS = 4
"""Settings that fit beside each other."""


def _distance(
    ours: Mapping[tuple[str, str], Scores], best: Mapping[str, PublishedRow], setting: str
) -> str:
    own, other = ours.get((IJCN, setting)), best.get(setting)
    if own is None or other is None or other.psnr is None:
        return ""
    return f"{own.psnr - other.psnr:+.2f} dB ({other.method})"


def aligned(grid: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table that also reads well as plain text; the first row is its header."""
    widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in grid
    ]
    return [lines[0], "| " + " | ".join("-" * w for w in widths) + " |", *lines[1:]]


def _digits(scores: Scores) -> tuple[str, str, str]:
    return f"{scores.psnr:.4f}", f"{scores.ssim:.6f}", f"{scores.psnrb:.4f}"


def _cell(psnr: float | None, ssim: float | None, psnrb: float | None) -> str:
    def show(value: float | None, digits: int) -> str:
        return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"

    return f"{show(psnr, 2)} / {show(ssim, 3)} / {show(psnrb, 2)}"
