"""Tables of results: averages, CSV files, and Markdown with published rows beside our own."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from utils.evaluation.metrics import METRIC_TITLES, Scores
from utils.evaluation.published import PublishedRow, not_comparable, rows_for, without_chroma
from utils.image_io import write_atomically

JPEG, IJCN = "JPEG", "IJCN"


class Weights(NamedTuple):
    """Which weights made a row: name of their file, and its SHA-256."""

    file: str = ""
    sha256: str = ""


NO_WEIGHTS = Weights()


@dataclass(frozen=True)
class ImageResult:
    """Figures of one image, setting and method; more: by metrics that are not among the scores."""

    dataset: str
    setting: str
    method: str
    image: str
    scores: Scores
    more: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SummaryRow:
    """Averages over the images of a set, at one setting, by one method.

    exact: how many images the method reproduces exactly. Their PSNR is infinite, so they do not
    enter the averages of PSNR and PSNR-B; those are nan where all images are exact. weights: empty
    for a method that has none, or whose are not known.
    """

    dataset: str
    setting: str
    method: str
    images: int
    scores: Scores
    exact: int = 0
    weights: Weights = NO_WEIGHTS
    more: Mapping[str, float] = field(default_factory=dict)


def known_figures(row: ImageResult | SummaryRow) -> dict[str, float]:
    """All figures by the metric's name, as far as they are known."""
    known = {**row.scores._asdict(), **row.more}
    return {name: value for name, value in known.items() if not math.isnan(value)}


@dataclass
class Cost:
    """What restoring took: seconds, pixels and images."""

    seconds: float = 0.0
    pixels: int = 0
    images: int = 0


class Failure(NamedTuple):
    """Why an image was not measured, in one line; setting: empty where it cannot be read at all."""

    dataset: str
    image: str
    setting: str
    line: str


@dataclass
class Evaluation:
    """What an evaluation found: figures per image, and why images were left out.

    left_out: images that were not measured, by set. missing: (set, method) -> (setting, image) that
    only this method lacks. costs: of each method. not_scored: lines about pictures of other
    programs that are of no image.
    """

    results: list[ImageResult] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    left_out: dict[str, set[str]] = field(default_factory=dict)
    missing: dict[tuple[str, str], set[tuple[str, str]]] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    metric_seconds: float = 0.0
    not_scored: list[str] = field(default_factory=list)

    def summary(self) -> list[SummaryRow]:
        """Averages in the order in which sets, settings and methods first appear.

        A metric that an image is too small for does not enter that metric's average, and an image
        that is reproduced exactly enters neither PSNR nor PSNR-B: see :class:`SummaryRow`.
        """
        groups: dict[tuple[str, str, str], list[ImageResult]] = {}
        for result in self.results:
            groups.setdefault((result.dataset, result.setting, result.method), []).append(result)
        return [_average(*key, group) for key, group in groups.items()]


def _average(dataset: str, setting: str, method: str, results: Sequence[ImageResult]) -> SummaryRow:
    scores = [result.scores for result in results]
    others = [each for each in scores if each.psnr != math.inf]
    means = Scores(
        mean(each.psnr for each in others),
        mean(each.ssim for each in scores),
        mean(each.psnrb for each in others),
    )
    more = {
        # Luma may be equal where colours are not.
        name: mean(v for r in results if (v := r.more.get(name, math.nan)) != math.inf)
        for name in more_metrics(results)
    }
    exact = len(scores) - len(others)
    return SummaryRow(dataset, setting, method, len(scores), means, exact, more=more)


def more_metrics(rows: Iterable[ImageResult | SummaryRow]) -> list[str]:
    """The metrics that any of these rows has beside `Scores`, in the order of columns."""
    found = {name for row in rows for name in row.more}
    return [name for name in METRIC_TITLES if name in found]


def write_tables(
    output: Path | None,
    measured: Evaluation,
    published: Sequence[PublishedRow],
    title: str,
    weights: Mapping[str, Weights] | None = None,
    protocol: str = "",
) -> str:
    """Write ``summary.csv``, ``per_image.csv`` and ``summary.md``; returns the text of the last.

    Args:
        output: their folder; None writes nothing.
        measured: what was found.
        published: figures of other methods.
        title: heading of the last.
        weights: of the methods that have them.
        protocol: how everything was measured, in one line.
    """
    weights = weights or {}
    summary = [
        replace(row, weights=weights.get(row.method, NO_WEIGHTS)) for row in measured.summary()
    ]
    text = _text(summary, measured, published, title, protocol)
    if output is None:
        return text
    last = (*WEIGHTS_COLUMNS, *more_metrics(measured.results))
    averages = [_cells(row, row.weights) for row in summary]
    images = [_cells(r, weights.get(r.method, NO_WEIGHTS)) for r in measured.results]
    for name, columns, rows in (
        ("summary.csv", (*SUMMARY_COLUMNS, "exact", *last), averages),
        ("per_image.csv", (*IMAGE_COLUMNS, *last), images),
    ):
        write_atomically(output / name, csv_text(columns, rows, missing="nan"))
    write_atomically(output / "summary.md", text)
    return text


def _cells(row: ImageResult | SummaryRow, weights: Weights) -> dict[str, object]:
    """Of a row of a CSV file, by column."""
    figures = {**row.scores._asdict(), **row.more}
    digits = {name: f"{value:.{4 if 'psnr' in name else 6}f}" for name, value in figures.items()}
    return {**vars(row), **digits, **dict(zip(WEIGHTS_COLUMNS, weights, strict=True))}


def _text(
    summary: Sequence[SummaryRow],
    measured: Evaluation,
    published: Sequence[PublishedRow],
    title: str,
    protocol: str,
) -> str:
    """A ``summary.md``: for each set its table, what is not in it, and methods compared."""
    lines = [f"# {title}", "", *introduction(summary), ""]
    lines += [protocol, ""] if protocol else []
    for dataset in dict.fromkeys((*(row.dataset for row in summary), *measured.left_out)):
        rows = [row for row in summary if row.dataset == dataset]
        lines += [f"## {dataset}, {image_count(rows)}", ""]
        lines += [*table_of_set(rows, published), ""]
        results = [result for result in measured.results if result.dataset == dataset]
        lines += _exact_images(results)
        if measured.left_out.get(dataset):
            left_out = counted(len(measured.left_out[dataset]), "image")
            lines += [f"Left out: {left_out} (see the messages of the run).", ""]
        if uneven := uneven_settings(rows):
            lines += [uneven, ""]
        for (where, method), entries in measured.missing.items():
            if where == dataset:
                lines += [_missing_pictures(method, entries), ""]
        lines += _comparisons(results)
    return "\n".join(lines).rstrip() + "\n"


def image_count(rows: Iterable[SummaryRow]) -> str:
    """Over how many images the rows of a set are at most, such as "29 images"."""
    return counted(max((row.images for row in rows), default=0), "image")


def uneven_settings(rows: Iterable[SummaryRow]) -> str:
    """That some settings of a set lack images that others have; empty where none does."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.setting] = max(counts.get(row.setting, 0), row.images)
    if len(set(counts.values())) < 2:
        return ""
    lists = ", ".join(f"{number} at {setting}" for setting, number in counts.items())
    return f"Images: {lists}. Means over other images do not compare."


def _missing_pictures(method: str, entries: Iterable[tuple[str, str]]) -> str:
    settings: dict[str, list[str]] = {}
    for setting, image in sorted(entries):
        settings.setdefault(setting, []).append(image)
    lists = "; ".join(
        f"{counted(len(images), 'image')} at {setting} ({listed(images)})"
        for setting, images in settings.items()
    )
    return f"Left out of {method}: {lists}. Its means are over the others."


def _comparisons(results: Sequence[ImageResult]) -> list[str]:
    """The first method against each of the others, image by image, in PSNR."""
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for result in results:
        of_method = figures.setdefault(result.method, {})
        of_method.setdefault(result.setting, {})[result.image] = result.scores.psnr
    methods = [method for method in figures if method != JPEG]
    lines = []
    for first, other in ((methods[0], other) for other in methods[1:]):
        grid = [["setting", "images", "difference (dB)", "95 % interval", "won", "lost"]]
        for setting, images in figures[first].items():
            if found := compare(images, figures[other].get(setting, {})):
                interval = "-"
                if not math.isnan(found.low):
                    interval = f"{found.low:+.3f} to {found.high:+.3f}"
                counts = str(found.won), str(found.lost)
                grid.append([setting, str(found.images), f"{found.mean:+.3f}", interval, *counts])
        if len(grid) > 1:
            lines += [
                f"PSNR of {first} minus {other}, image by image: mean, its confidence interval "
                f"(Student's, paired), and on how many images {first} is better or worse:",
                "",
                *aligned(grid),
                "",
            ]
    return lines


CONFIDENCE = 0.95


class Paired(NamedTuple):
    """Differences of a figure over the images that two methods share.

    mean: of first - second. low, high: the confidence interval of this mean, nan for one image.
    won, lost: on how many images the first is above, or below; the others are equal.
    """

    images: int
    mean: float
    low: float
    high: float
    won: int
    lost: int


def compare(first: Mapping[str, float], second: Mapping[str, float]) -> Paired | None:
    """Figures by image of two methods; None if they share no image with two finite ones.

    The interval is Student's for paired differences: it takes the images for a sample of those
    that one could have measured, and the mean difference for about normally distributed.
    """
    pairs = [(value, second[name]) for name, value in first.items() if name in second]
    finite = [(x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
    if not finite:
        return None
    differences = np.array([x - y for x, y in finite])
    mean = float(differences.mean())
    reach = math.nan
    if len(finite) > 1:
        from scipy.special import stdtrit  # slow to import, needed here only

        quantile = float(stdtrit(len(finite) - 1, (1 + CONFIDENCE) / 2))
        reach = quantile * float(differences.std(ddof=1)) / math.sqrt(len(finite))
    won, lost = int((differences > 0).sum()), int((differences < 0).sum())
    return Paired(len(finite), mean, mean - reach, mean + reach, won, lost)


def _exact_images(results: Sequence[ImageResult]) -> list[str]:
    """Which images are reproduced exactly, and what that means for the averages."""
    found: dict[str, list[str]] = {}
    for result in results:
        if result.scores.psnr == math.inf:
            found.setdefault(f"{result.method} at {result.setting}", []).append(result.image)
    if not found:
        return []
    lists = "; ".join(
        f"{where}: {counted(len(names), 'image')} ({listed(names)})"
        for where, names in found.items()
    )
    rule = "They do not enter the means of PSNR and PSNR-B, which would be infinite."
    return [f"Reproduced exactly: {lists}. {rule}", ""]


def listed(names: Sequence[str]) -> str:
    """Names for a sentence, the first ten of them."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def introduction(rows: Sequence[SummaryRow]) -> list[str]:
    """What the cells of tables with these rows hold."""
    example = example_of(row.setting for row in rows)
    titles = " / ".join(METRIC_TITLES[name] for name in _shown_metrics(rows))
    cells = f"{titles}, mean over the images."
    return [cells, "", example] if example else [cells]


def _shown_metrics(rows: Iterable[SummaryRow]) -> tuple[str, ...]:
    """The metrics that a table's cells hold: those that any of its rows has."""
    found = {name for row in rows for name in known_figures(row)}
    return tuple(name for name in METRIC_TITLES if name in found) or Scores._fields


def example_of(settings: Iterable[str]) -> str:
    """One of the settings of two compressions in words, the one that shows most; else empty."""
    labels = {setting: _LABEL.fullmatch(without_chroma(setting)[0]) for setting in settings}
    twice = {setting: found for setting, found in labels.items() if found and found[2]}
    if not twice:
        return ""
    telling = max(twice, key=lambda s: (twice[s][3] != "0", twice[s][1] != twice[s][2]))
    return f"{telling}: {explained(telling)}."


def explained(setting: str) -> str:
    """The label of a degradation in words; empty for any other text."""
    bare, sampling = without_chroma(setting)
    chroma = f", chroma {sampling}" if sampling else ""
    if not (found := _LABEL.fullmatch(bare)):
        return ""
    first, second, rows, columns = found.groups()
    words = f"compressed at quality {first}"
    if second is not None and rows == columns == "0":
        words += f", again at {second} on the same grid"
    elif second is not None:
        shift = f"{counted(int(rows), 'row')} and {counted(int(columns), 'column')}"
        words += f", shifted by {shift}, compressed again at {second}"
    return words + chroma


_LABEL = re.compile(r"QF(\d+)(?:-(\d+)\+(\d+)\+(\d+))?")


def counted(count: int, noun: str) -> str:
    """A number and what it counts: "1 image", "2 images"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


WEIGHTS_COLUMNS = ("weights", "weights_sha256")
IMAGE_COLUMNS = ("dataset", "setting", "method", "image", *Scores._fields)
SUMMARY_COLUMNS = ("dataset", "setting", "method", "images", *Scores._fields)


def read_summary(path: Path) -> list[SummaryRow]:
    """Rows of a ``summary.csv``, also of one without the columns that came later.

    Raises:
        OSError: it cannot be read. ValueError: it is no such file; the message is one line.
    """

    def row(cells: Mapping[str, str]) -> SummaryRow:
        place = cells["dataset"], cells["setting"], cells["method"]
        images, exact = int(cells["images"]), int(cells.get("exact") or 0)
        scores, more, weights = _measured(cells)
        return SummaryRow(*place, images, scores, exact, weights, more)

    return _read_rows(path, SUMMARY_COLUMNS, row)


def read_images(path: Path) -> tuple[list[ImageResult], dict[str, Weights]]:
    """Rows of a ``per_image.csv``, and the weights of its methods.

    Raises:
        OSError: it cannot be read. ValueError: it is no such file; the message is one line.
    """
    weights: dict[str, Weights] = {}

    def row(cells: Mapping[str, str]) -> ImageResult:
        scores, more, found = _measured(cells)
        if any(found):
            weights[cells["method"]] = found
        place = cells["dataset"], cells["setting"], cells["method"], cells["image"]
        return ImageResult(*place, scores, more)

    return _read_rows(path, IMAGE_COLUMNS, row), weights


def _measured(cells: Mapping[str, str]) -> tuple[Scores, dict[str, float], Weights]:
    names = [name for name in METRIC_TITLES if cells.get(name)]
    more = {name: float(cells[name]) for name in names if name not in Scores._fields}
    scores = Scores(*(float(cells[name]) for name in Scores._fields))
    return scores, more, Weights(*(cells.get(name) or "" for name in WEIGHTS_COLUMNS))


Row = TypeVar("Row")


def _read_rows(
    path: Path, columns: Sequence[str], row: Callable[[Mapping[str, str]], Row]
) -> list[Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            if missing := set(columns) - set(reader.fieldnames or ()):
                raise ValueError(f"it lacks {', '.join(sorted(missing))}")
            rows = []
            for cells in reader:
                if None in cells or None in cells.values():
                    raise ValueError("not as many cells as the header has")
                rows.append(row(cells))
        except (csv.Error, ValueError) as error:
            where = f"{path}, line {reader.line_num}"
            raise ValueError(f"{where}: no {path.name} of an evaluation, {error}") from error
    return rows


def mean(values: Iterable[float]) -> float:
    """Mean of what is not nan; nan if nothing is left. The values are finite or nan."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def csv_text(
    columns: Sequence[str], rows: Iterable[Mapping[str, object]], missing: str = ""
) -> str:
    """A CSV file's text; of rows that have more than these columns, too."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, missing, "ignore", lineterminator="\n")
    writer.writeheader()
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
    note = comparability(rows)
    others = [] if note else rows_for(published, dataset, settings)
    if len(settings) <= MOST_ACROSS:
        lines = _methods_down(rows, others, settings)
    else:
        lines = _settings_down(rows, settings)
        shared = [s for s in settings if any(other.setting == s for other in others)]
        for start in range(0, len(shared), MOST_ACROSS):
            part = shared[start : start + MOST_ACROSS]
            lines += ["", *_methods_down(rows, rows_for(others, dataset, part), part)]
    lines += _references(others)
    return [*lines, "", f"{note}."] if note else lines


def _references(others: Sequence[PublishedRow]) -> list[str]:
    """Who published the methods of a table, and which of them know the quality."""
    named = {row.method: row.reference for row in others if row.reference}
    if not named:
        return []
    text = "; ".join(f"{method}: {reference}" for method, reference in named.items())
    known = dict.fromkeys(row.method for row in others if not row.blind)
    if known:
        text += f". Not blind, a model for each quality: {', '.join(known)}"
    return ["", f"Published: {text}."]


def comparability(rows: Sequence[SummaryRow]) -> str:
    """Why published figures say nothing about these of one set; empty if they do.

    The JPEG's rows count: a method of which a picture is missing is marked by itself. Where some
    settings are in 4:2:0, published figures stand at these.
    """
    if not rows:
        return ""
    whole = [row for row in rows if row.method == JPEG] or rows
    settings = dict.fromkeys(row.setting for row in rows)
    published = [setting for setting in settings if not without_chroma(setting)[1]]
    return not_comparable(rows[0].dataset, (r.images for r in whole), published or settings)


MOST_ACROSS = 4
"""Settings that fit beside each other."""


def best_published(
    published: Iterable[PublishedRow], dataset: str, setting: str
) -> PublishedRow | None:
    """The row of the highest PSNR among blind methods: one network for all qualities, as ours."""
    here = rows_for(published, dataset, [setting])
    rows = [row for row in here if row.psnr is not None and row.blind and row.method != JPEG]
    return max(rows, key=lambda row: row.psnr or 0.0, default=None)


def _methods_down(
    rows: Sequence[SummaryRow], others: Sequence[PublishedRow], settings: Sequence[str]
) -> list[str]:
    names = _names(rows)
    ours = {(row.method, row.setting): row for row in rows if row.setting in settings}
    metrics = _shown_metrics(rows)
    cells = {
        (names[method], setting): _own_cell(row, metrics) for (method, setting), row in ours.items()
    }
    # Where a method stands: by its first figure, JPEG at the top whatever it is.
    rank = {JPEG: -math.inf}
    for (method, _), row in ours.items():
        psnr = row.scores.psnr
        rank.setdefault(names[method], math.inf if math.isnan(psnr) else psnr)
    for other in others:
        method = f"{other.method} (published{'' if other.blind else ', not blind'})"
        figures = {name: getattr(other, name) for name in Scores._fields}
        cells[method, other.setting] = _cell(figures, metrics)
        if other.psnr is not None:
            rank.setdefault(method, other.psnr)
    grid = [["method", *settings]]
    for method in sorted(rank, key=rank.__getitem__):
        grid.append([method, *(cells.get((method, setting), "") for setting in settings)])
    if any(other.psnr is not None for other in others):
        methods = [method for method in names if method != JPEG]
        for method in methods:
            distances = (_distance(ours.get((method, s)), others, s) for s in settings)
            label = "to best published" if len(methods) == 1 else f"{method} to best published"
            grid.append([label, *distances])
    return aligned(grid)


def _settings_down(rows: Sequence[SummaryRow], settings: Sequence[str]) -> list[str]:
    names = _names(rows)
    metrics = _shown_metrics(rows)
    cells = {(row.method, row.setting): _own_cell(row, metrics) for row in rows}
    grid = [["setting", *names.values()]]
    grid += [[s, *(cells.get((method, s), "") for method in names)] for s in settings]
    return aligned(grid)


def _names(rows: Sequence[SummaryRow]) -> dict[str, str]:
    """What the table calls each method: one whose means are over fewer images says so."""
    whole = {row.setting: row.images for row in rows if row.method == JPEG}
    names: dict[str, str] = {}
    for row in rows:
        names.setdefault(row.method, row.method)
        if row.images < whole.get(row.setting, 0):
            names[row.method] = f"{row.method} (fewer images)"
    return names


def _distance(own: SummaryRow | None, others: Sequence[PublishedRow], setting: str) -> str:
    best = best_published(others, others[0].dataset, setting)
    if own is None or best is None or best.psnr is None or math.isnan(own.scores.psnr):
        return ""
    return f"{own.scores.psnr - best.psnr:+.2f} dB ({best.method})"


def aligned(grid: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table that also reads well as plain text; the first row is its header."""
    grid = [[cell.replace("|", "\\|") for cell in row] for row in grid]
    widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in grid
    ]
    return [lines[0], "| " + " | ".join("-" * w for w in widths) + " |", *lines[1:]]


def _own_cell(row: SummaryRow, metrics: Sequence[str]) -> str:
    return "exact" if row.exact == row.images else _cell(known_figures(row), metrics)


def _cell(figures: Mapping[str, float | None], metrics: Sequence[str]) -> str:
    values = {name: figures.get(name) for name in metrics}
    return " / ".join(
        "-" if value is None else f"{value:.{2 if 'psnr' in name else 3}f}"
        for name, value in values.items()
    )
