"""Tables of results: averages, CSV files, and Markdown with published rows beside our own."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from utils.image_io import write_atomically
from utils.metrics import Scores
from utils.published import PublishedRow, not_comparable, rows_for, without_chroma

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
    """Averages over the images of a set, at one setting, by one method.

    exact: how many images the method reproduces exactly. Their PSNR is infinite, so they do not
    enter the averages of PSNR and PSNR-B; those are nan where all images are exact.
    """

    dataset: str
    setting: str
    method: str
    images: int
    scores: Scores
    exact: int = 0


class Measured(Protocol):
    """What an evaluation found; utils.evaluation.Evaluation is one."""

    @property
    def results(self) -> Sequence[ImageResult]: ...
    @property
    def left_out(self) -> Mapping[str, set[str]]: ...
    def summary(self) -> list[SummaryRow]: ...


def summarise(results: Iterable[ImageResult]) -> list[SummaryRow]:
    """Averages in the order in which sets, settings and methods first appear.

    A metric that an image is too small for does not enter that metric's average, and an image
    that is reproduced exactly enters neither PSNR nor PSNR-B: see :class:`SummaryRow`.
    """
    groups: dict[tuple[str, str, str], list[Scores]] = {}
    for result in results:
        groups.setdefault((result.dataset, result.setting, result.method), []).append(result.scores)
    return [_average(*key, scores) for key, scores in groups.items()]


def _average(dataset: str, setting: str, method: str, scores: Sequence[Scores]) -> SummaryRow:
    others = [each for each in scores if not is_exact(each)]
    means = Scores(
        mean(each.psnr for each in others),
        mean(each.ssim for each in scores),
        mean(each.psnrb for each in others),
    )
    return SummaryRow(dataset, setting, method, len(scores), means, len(scores) - len(others))


def is_exact(scores: Scores) -> bool:
    """Whether these are figures of an image that is reproduced to the last bit."""
    return scores.psnr == math.inf


def write_tables(
    output: Path, measured: Measured, published: Sequence[PublishedRow], title: str
) -> str:
    """Write ``summary.csv``, ``per_image.csv`` and ``summary.md``; returns the text of the last."""
    summary = measured.summary()
    write_atomically(
        output / "summary.csv",
        csv_text(
            (*SUMMARY_COLUMNS, "exact"),
            (
                (row.dataset, row.setting, row.method, row.images, *_digits(row.scores), row.exact)
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
    lines = [f"# {title}", "", *introduction(row.setting for row in summary), ""]
    for dataset in dict.fromkeys((*(row.dataset for row in summary), *measured.left_out)):
        rows = [row for row in summary if row.dataset == dataset]
        count = max((row.images for row in rows), default=0)
        lines += [f"## {dataset}, {counted(count, 'image')}", ""]
        lines += [*table_of_set(rows, published), ""]
        lines += _exact_images([r for r in measured.results if r.dataset == dataset])
        if measured.left_out.get(dataset):
            left_out = counted(len(measured.left_out[dataset]), "image")
            lines += [f"Left out: {left_out} (see the messages of the run).", ""]
    text = "\n".join(lines).rstrip() + "\n"
    write_atomically(output / "summary.md", text)
    return text


def _exact_images(results: Sequence[ImageResult]) -> list[str]:
    """Which images are reproduced exactly, and what that means for the averages."""
    found: dict[str, list[str]] = {}
    for result in results:
        if is_exact(result.scores):
            found.setdefault(f"{result.method} at {result.setting}", []).append(result.image)
    if not found:
        return []
    lists = "; ".join(
        f"{where}: {counted(len(names), 'image')} ({listed(names)})"
        for where, names in found.items()
    )
    rule = "They do not enter the means of PSNR and PSNR-B, which would be infinite."
    return [f"Reproduced exactly: {lists}. {rule}", ""]


def listed(names: Sequence[str], most: int = 10) -> str:
    """Names for a sentence, the first few of them."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def introduction(settings: Iterable[str]) -> list[str]:
    """What the cells of tables with these settings hold."""
    example = example_of(settings)
    cells = "PSNR (dB) / SSIM / PSNR-B (dB), mean over the images."
    return [cells, "", example] if example else [cells]


def example_of(settings: Iterable[str]) -> str:
    """One of the settings of two compressions in words, the one that shows most; else empty."""
    twice = [
        (setting, found)
        for setting in settings
        if (found := _TWICE.fullmatch(without_chroma(setting)[0]))
    ]
    if not twice:
        return ""
    telling, _ = max(twice, key=lambda pair: (pair[1][3] != "0", pair[1][1] != pair[1][2]))
    return f"{telling}: {explained(telling)}."


def explained(setting: str) -> str:
    """The label of a degradation in words; empty for any other text."""
    bare, sampling = without_chroma(setting)
    chroma = f", chroma {sampling}" if sampling else ""
    if once := _ONCE.fullmatch(bare):
        return f"compressed at quality {once[1]}{chroma}"
    if not (twice := _TWICE.fullmatch(bare)):
        return ""
    first, second, rows, columns = twice.groups()
    if rows == columns == "0":
        return f"compressed at quality {first}, again at {second} on the same grid{chroma}"
    shift = f"{counted(int(rows), 'row')} and {counted(int(columns), 'column')}"
    return (
        f"compressed at quality {first}, shifted by {shift}, compressed again at {second}{chroma}"
    )


_ONCE = re.compile(r"QF(\d+)")
_TWICE = re.compile(r"QF(\d+)-(\d+)\+(\d+)\+(\d+)")


def counted(count: int, noun: str) -> str:
    """A number and what it counts: "1 image", "2 images"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


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
                    int(row.get("exact") or 0),
                )
                for row in reader
            ]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error


def mean(values: Iterable[float]) -> float:
    """Mean of what is not nan; nan if nothing is left. The values are finite or nan."""
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
    far the best published PSNR is. Where there are many settings, ours go down, and those that
    have published figures make further tables. A set that is not whole is compared with none.
    """
    if not rows:
        return []
    settings = list(dict.fromkeys(row.setting for row in rows))
    dataset = rows[0].dataset
    note = not_comparable(dataset, (row.images for row in rows), settings)
    others = [] if note else rows_for(published, dataset, settings)
    if len(settings) <= MOST_ACROSS:
        lines = _methods_down(rows, others, settings)
    else:
        lines = _settings_down(rows, settings)
        shared = [s for s in settings if any(other.setting == s for other in others)]
        for start in range(0, len(shared), MOST_ACROSS):
            part = shared[start : start + MOST_ACROSS]
            lines += ["", *_methods_down(rows, rows_for(others, dataset, part), part)]
    return [*lines, "", f"{note}."] if note else lines


MOST_ACROSS = 4
"""Settings that fit beside each other."""


def best_published(
    published: Iterable[PublishedRow], dataset: str, setting: str
) -> PublishedRow | None:
    """The row of the highest PSNR."""
    rows = [row for row in rows_for(published, dataset, [setting]) if row.psnr is not None]
    return max(rows, key=lambda row: row.psnr or 0.0, default=None)


def _methods_down(
    rows: Sequence[SummaryRow], others: Sequence[PublishedRow], settings: Sequence[str]
) -> list[str]:
    ours = {(row.method, row.setting): row.scores for row in rows if row.setting in settings}
    cells = {(row.method, row.setting): _own_cell(row) for row in rows if row.setting in settings}
    # Where a method stands: by its first figure, JPEG at the top whatever it is.
    rank = {METHODS[0]: -math.inf}
    for (method, _), scores in ours.items():
        rank.setdefault(method, math.inf if math.isnan(scores.psnr) else scores.psnr)
    for other in others:
        method = f"{other.method} (published)"
        cells[method, other.setting] = _cell(other.psnr, other.ssim, other.psnrb)
        if other.psnr is not None:
            rank.setdefault(method, other.psnr)
    grid = [["method", *settings]]
    for method in sorted(rank, key=rank.__getitem__):
        grid.append([method, *(cells.get((method, setting), "") for setting in settings)])
    if any(other.psnr is not None for other in others):
        distances = (_distance(ours.get((IJCN, s)), others, s) for s in settings)
        grid.append(["to best published", *distances])
    return aligned(grid)


def _settings_down(rows: Sequence[SummaryRow], settings: Sequence[str]) -> list[str]:
    methods = list(dict.fromkeys(row.method for row in rows))
    cells = {(row.method, row.setting): _own_cell(row) for row in rows}
    grid = [["setting", *methods]]
    grid += [[s, *(cells.get((method, s), "") for method in methods)] for s in settings]
    return aligned(grid)


def _distance(own: Scores | None, others: Sequence[PublishedRow], setting: str) -> str:
    best = best_published(others, others[0].dataset, setting)
    if own is None or best is None or best.psnr is None or math.isnan(own.psnr):
        return ""
    return f"{own.psnr - best.psnr:+.2f} dB ({best.method})"


def aligned(grid: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table that also reads well as plain text; the first row is its header."""
    grid = [[cell.replace("|", "\\|") for cell in row] for row in grid]
    widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in grid
    ]
    return [lines[0], "| " + " | ".join("-" * w for w in widths) + " |", *lines[1:]]


def _digits(scores: Scores) -> tuple[str, str, str]:
    return f"{scores.psnr:.4f}", f"{scores.ssim:.6f}", f"{scores.psnrb:.4f}"


def _own_cell(row: SummaryRow) -> str:
    return "exact" if row.exact == row.images else _cell(*row.scores)


def _cell(psnr: float | None, ssim: float | None, psnrb: float | None) -> str:
    def show(value: float | None, digits: int) -> str:
        return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"

    return f"{show(psnr, 2)} / {show(ssim, 3)} / {show(psnrb, 2)}"
