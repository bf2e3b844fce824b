"""Curves as SVG and PNG: figures over the JPEG quality factor, and the course of training runs.

matplotlib is optional: ``pip install -e ".[plots]"``.
"""

from __future__ import annotations

import argparse
import io
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, product
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import TYPE_CHECKING, Any

from utils.arguments import EXIT_USAGE, Parser
from utils.commands import command_parser
from utils.evaluation.metrics import Scores
from utils.evaluation.published import PublishedRow, not_comparable, read_published, without_chroma
from utils.evaluation.tables import JPEG, SummaryRow, read_summary
from utils.image_io import ImageError, require_writable, write_atomically
from utils.project import PROJECT
from utils.report.run_table import compared
from utils.run_log import RUN_FILE, read_run_file
from utils.scripts import run_script
from utils.training.record import TRAIN_CURVE, VALIDATION_CURVE, read_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PUBLISHED = PROJECT / "testsets" / "published.csv"

EXAMPLES = """  python -m utils.plots summary test_results/color/summary.csv --output plots
  python -m utils.plots summary old/summary.csv new/summary.csv --figure psnrb --output plots
  python -m utils.plots training runs/small runs/large --output plots
"""

FIGURES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "psnrb": "PSNR-B (dB)"}

OURS = ("#d55e00", "#000000", "#7b3294", "#a6611a")
OTHERS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#b8860b", "#4b5fc0", "#7a7a00", "#8c564b")
"""Mostly those of Okabe and Ito: told apart by people who see few colours."""

LINES = ("-", "--", "-.", ":")
MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">")
GRAY = "#666666"

PANELS_ACROSS = 4

_LEGEND_CHARACTERS = 32
"""Longest line of a legend."""

_CHARACTERS_PER_INCH = 12
"""Of a legend's font, at least for names as people give them."""

_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "svg.hashsalt": "ijcn",  # the same curves make the same file
    "text.parse_math": False,  # names may hold a dollar sign
}


class PlotError(ValueError):
    """What keeps curves from being drawn; the message is one line: what, why, what to do."""


@dataclass
class Curve:
    """One method on one data set.

    name: for the legend. ours: measured, not published. points: quality -> figures, nan where
    unknown. jpeg: the same of the JPEG it started from. is_jpeg: whether it is that itself. note:
    what must be known about it. uneven: qualities at which it reproduces another number of images
    exactly than the JPEG does, so that their means are not over the same images.
    """

    name: str
    ours: bool
    points: dict[int, Scores] = field(default_factory=dict)
    jpeg: dict[int, Scores] = field(default_factory=dict)
    is_jpeg: bool = False
    note: str = ""
    uneven: set[int] = field(default_factory=set)

    def values(self, figure: str, gain: bool = False) -> list[tuple[int, float]]:
        """(quality, figure) by rising quality, as far as finite; ``gain``: less the JPEG's, which
        itself has none."""
        if gain and self.is_jpeg:
            return []
        unknown = Scores(math.nan, math.nan, math.nan)
        pairs = []
        for quality, scores in sorted(self.points.items()):
            value = getattr(scores, figure)
            if gain and quality in self.uneven and figure != "ssim":
                continue
            if gain:
                value -= getattr(self.jpeg.get(quality, unknown), figure)
            if math.isfinite(value):
                pairs.append((quality, value))
        return pairs


Columns = dict[str, list[tuple[float, float]]]
"""(step, value) pairs of each column of a CSV file."""


def read_summaries(
    paths: Sequence[Path], published: Sequence[PublishedRow] = ()
) -> dict[str, list[Curve]]:
    """Curves of each data set: the JPEG, ours of every file, the published ones.

    Args:
        paths: ``summary.csv`` files of evaluations; the methods of several are told apart by
            their folders.
        published: other methods' figures; those of other data sets are passed over, and all where
            a set was not measured as a whole, which its curves then note.

    Returns:
        Data sets in file order; settings other than a single quality (QF10) are passed over.

    Raises:
        PlotError: a file that is missing, no summary, gives a figure twice, or has no setting of
            one quality.
    """
    labels = _labels([path.parent for path in paths])
    curves: dict[str, list[Curve]] = {}
    measured: dict[str, list[SummaryRow]] = {}
    for path, label in zip(paths, labels, strict=True):
        here: dict[tuple[str, str, str], Curve] = {}
        exact: dict[tuple[str, str, str, int], int] = {}
        try:
            rows = read_summary(path)
        except (OSError, ValueError) as error:
            why = f"{path}: {error.strerror}" if isinstance(error, OSError) else str(error)
            raise PlotError(f"{why}; give the summary.csv of an evaluation") from error
        for row in rows:
            setting, chroma = without_chroma(row.setting)
            quality = _quality(setting)
            if quality is None:
                continue
            measured.setdefault(row.dataset, []).append(row)
            name = f"{row.method} {chroma}".rstrip()
            new = Curve(name, ours=True, is_jpeg=row.method == JPEG)
            curve = here.setdefault((row.dataset, row.method, chroma), new)
            if quality in curve.points:
                raise PlotError(
                    f"{path}: {row.dataset}, {row.setting}, {row.method} stands there twice; give "
                    "a summary with one row for each"
                )
            curve.points[quality] = row.scores
            exact[row.dataset, row.method, chroma, quality] = row.exact
        if not here:
            raise PlotError(
                f"{path}: no setting is a single quality such as QF10; "
                "give the summary of test_color_IJCN.py"
            )
        for (dataset, method, chroma), curve in here.items():
            there = curves.setdefault(dataset, [])
            if (dataset, JPEG, chroma) in here:
                curve.jpeg = here[dataset, JPEG, chroma].points
                curve.uneven = {
                    quality
                    for quality in curve.points.keys() & curve.jpeg.keys()
                    if exact[dataset, method, chroma, quality]
                    != exact[dataset, JPEG, chroma, quality]
                }
            if method != JPEG and len(paths) > 1:
                curve.name = f"{curve.name} ({label})"
            if method != JPEG or curve.name not in [other.name for other in there]:
                there.append(curve)
    for dataset, there in curves.items():
        rows = measured[dataset]
        whole = [row for row in rows if row.method == JPEG] or rows  # others may lack pictures
        settings = (row.setting for row in rows)
        note = not_comparable(dataset, (row.images for row in whole), settings)
        for curve in there:
            curve.note = note
        if not note:
            has_jpeg = any(curve.name == JPEG for curve in there)
            there += _published_curves(published, dataset, has_jpeg)
    return curves


def _quality(setting: str) -> int | None:
    """Of a setting that is a single quality: QF10 -> 10."""
    found = re.fullmatch(r"QF(\d+)", setting)
    return int(found[1]) if found else None


def _published_curves(
    published: Iterable[PublishedRow], dataset: str, has_jpeg: bool
) -> list[Curve]:
    """Published curves of a data set; the JPEG among them only where none was measured."""
    methods: dict[str, Curve] = {}
    for row in published:
        quality = _quality(row.setting)
        if row.dataset != dataset or quality is None:
            continue
        new = Curve(row.method, ours=False, is_jpeg=row.method == JPEG)
        curve = methods.setdefault(row.method, new)
        figures = (math.nan if v is None else v for v in (row.psnr, row.ssim, row.psnrb))
        curve.points[quality] = Scores(*figures)
    jpeg = methods[JPEG].points if JPEG in methods else {}
    for curve in methods.values():
        curve.jpeg = jpeg
    return [curve for curve in methods.values() if not (has_jpeg and curve.name == JPEG)]


def read_runs(folders: Sequence[Path]) -> dict[str, Columns]:
    """What training runs recorded in ``train.csv`` and ``validation.csv``, by their names.

    Raises:
        PlotError: a folder that is missing or has neither file, or a file that is no such curve.
    """
    runs: dict[str, Columns] = {}
    for folder, label in zip(folders, _labels(folders), strict=True):
        if not folder.is_dir():
            raise PlotError(f"{folder}: no such folder; give folders of training runs")
        train, validation = folder / TRAIN_CURVE, folder / VALIDATION_CURVE
        if not train.exists() and not validation.exists():
            raise PlotError(
                f"{folder}: neither {TRAIN_CURVE} nor {VALIDATION_CURVE} is in it; "
                "give folders of training runs"
            )
        runs[label] = {
            **_columns(train, ("step", "loss", "gain")),
            **_columns(validation, ("step",)),
        }
    return runs


def _columns(path: Path, needed: Sequence[str]) -> Columns:
    """Every column but the step, without what is not finite; none where there is no file."""
    columns: Columns = {}
    try:
        header, rows = read_curve(path)
        missing = [name for name in needed if header and name not in header]
        if missing:
            raise ValueError(f"column {', '.join(missing)} is missing")
        for row in rows:
            for name, text in row.items():
                if name != "step" and text and math.isfinite(value := float(text)):
                    columns.setdefault(name, []).append((float(row["step"]), value))
    except (OSError, ValueError, TypeError) as error:
        raise PlotError(f"{path}: {error}; give folders of training runs") from error
    return columns


def _labels(folders: Sequence[Path]) -> list[str]:
    """Their names, or whole paths where two names are the same."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def quality_figure(dataset: str, curves: Sequence[Curve], figure: str, gain: bool) -> Figure:
    """A figure over the JPEG quality factor: ours thick, published ones dashed.

    Args:
        dataset: for the title.
        curves: see `read_summaries`.
        figure: "psnr", "ssim" or "psnrb".
        gain: draw the difference to the JPEG instead.

    Raises:
        PlotError: no curve has such a figure.
    """
    drawn = [(curve, points) for curve in curves if (points := curve.values(figure, gain))]
    if not drawn:
        what = f"{FIGURES[figure]} gain over the JPEG" if gain else FIGURES[figure]
        raise PlotError(f"{dataset}: no curve has a {what}; leave this data set or figure out")
    labels = [fill(_shown(curve.name), _LEGEND_CHARACTERS) for curve, _ in drawn]
    lines = [line for label in labels for line in label.splitlines()]
    beside = max(0, max(map(len, lines)) - 20) / _CHARACTERS_PER_INCH
    page, axes = _new_page(1, 7.2 + beside, max(4.6, 0.19 * len(lines) + 0.6))
    (ax,) = axes
    ours, jpegs = cycle(product(LINES, OURS)), cycle(("o", *MARKERS))
    others = cycle(zip(OTHERS, MARKERS, strict=True))
    for (curve, points), label in zip(drawn, labels, strict=True):
        if curve.is_jpeg:
            shape = {"marker": next(jpegs), "zorder": 2}
            style: dict[str, Any] = {"color": GRAY, "linestyle": ":", **shape}
        elif curve.ours:
            dashes, colour = next(ours)
            thick = {"linewidth": 2.6, "marker": "o", "zorder": 4}
            style = {"color": colour, "linestyle": dashes, **thick}
        else:
            colour, mark = next(others)
            style = {"color": colour, "linestyle": (0, (4, 2)), "marker": mark, "zorder": 3}
        line = {"linewidth": 1.3, "markersize": 5, **style, "label": label}
        ax.plot(*zip(*points, strict=True), **line)
    # Where all can be compared, if anywhere.
    shared = set.intersection(*({quality for quality, _ in points} for _, points in drawn))
    heights = [dict(points)[max(shared)] if shared else points[-1][1] for _, points in drawn]
    ranked = sorted(zip(heights, ax.get_lines(), strict=True), key=lambda pair: -pair[0])
    page.legend(handles=[line for _, line in ranked], loc="outside right upper")
    if gain:
        ax.axhline(0, color=GRAY, linewidth=0.8)
    qualities = sorted({quality for _, points in drawn for quality, _ in points})
    if len(qualities) <= 12:
        ax.set_xticks(qualities)
    ax.set_xlabel("JPEG quality factor")
    name, _, unit = FIGURES[figure].partition(" ")
    ax.set_ylabel(f"{name} gain over the JPEG {unit}".strip() if gain else FIGURES[figure])
    title = f"{dataset}: {name}{' gain' if gain else ''} over the quality factor"
    ax.set_title(title, loc="left", pad=20)
    note = drawn[0][0].note
    if any(not curve.ours for curve, _ in drawn):
        note = "thick: measured, dashed: published"
    ax.text(0, 1.015, note, transform=ax.transAxes, size=9, color=GRAY)
    return page


def training_figures(runs: Mapping[str, Columns], smooth: int = 1) -> dict[str, Figure]:
    """Courses over the steps: "training" and "validation", each if a run has something of it.

    The first shows loss and PSNR gain of the training crops, the second the gain on the validation
    images, one panel per setting. smooth: mean over so many reports of the first; those themselves
    stay visible behind.
    """
    axis = "PSNR gain over the JPEG (dB)"
    training = {"loss": ("Training loss", "loss"), "gain": ("Gain on training crops", axis)}
    validation = {
        column: (f"Validation gain, {column.removeprefix('gain_')}", axis)
        for columns in runs.values()
        for column in columns
        if column.startswith("gain_")
    }
    width = 5.4 if len(validation) == 1 else 4.2
    found = {
        "training": _courses(runs, training, 5.2, smooth),
        "validation": _courses(runs, validation, width, marker="o", markersize=3),
    }
    return {name: page for name, page in found.items() if page is not None}


def _courses(
    runs: Mapping[str, Columns],
    panels: Mapping[str, tuple[str, str]],
    width: float,
    smooth: int = 1,
    **style: Any,
) -> Figure | None:
    """A page of panels over the steps with a curve of every run; None if no run has any.

    panels: column -> title and label of the axis. width: of a panel, in inches. style: of lines.
    """
    runs = {name: columns for name, columns in runs.items() if columns.keys() & panels.keys()}
    if not runs:
        return None
    page, axes = _new_page(len(panels), width, 4.1)
    for ax, (column, (title, axis)) in zip(axes, panels.items(), strict=True):
        ax.set(xlabel="step", ylabel=axis)
        ax.set_title(title, loc="left")
        for (name, columns), (dashes, colour) in zip(
            runs.items(), cycle(product(LINES, OTHERS)), strict=False
        ):
            x, y = [list(each) for each in zip(*columns.get(column, []), strict=True)] or ([], [])
            if smooth > 1 and len(y) > 2:
                ax.plot(x, y, color=colour, linewidth=0.8, alpha=0.3)
                y = [fmean(y[max(0, i + 1 - smooth) : i + 1]) for i in range(len(y))]
            line = {"label": _shown(name), "color": colour, "linestyle": dashes, **style}
            ax.plot(x, y, linewidth=1.6, **line)
    handles, labels = axes[0].get_legend_handles_labels()
    labels = [fill(label, 2 * _LEGEND_CHARACTERS) for label in labels]
    longest = max(len(line) for label in labels for line in label.splitlines())
    room = page.get_figwidth() * _CHARACTERS_PER_INCH
    across = max(1, min(len(labels), 4, int(room / (longest + 8))))
    page.legend(handles, labels, loc="outside lower center", ncols=across)
    return page


def _shown(name: str) -> str:
    """For a legend: matplotlib leaves out names that begin with an underscore."""
    return name.lstrip("_") or "-"


def _new_page(panels: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """An empty page with panels, at most so many in a row; sizes of a panel in inches."""
    from matplotlib.figure import Figure

    across = min(panels, PANELS_ACROSS)
    down = math.ceil(panels / across)
    page = Figure(figsize=(width * across, height * down), layout="constrained")
    return page, [page.add_subplot(down, across, i + 1) for i in range(panels)]


def _files(pages: Mapping[str, Figure]) -> dict[str, bytes]:
    """Each page as the bytes of an SVG and of a PNG file, by file name."""
    files = {}
    for name, page in pages.items():
        for suffix in ("svg", "png"):
            file = io.BytesIO()
            metadata = {"Date": None} if suffix == "svg" else None
            page.savefig(file, format=suffix, dpi=160, metadata=metadata)
            files[f"{name}.{suffix}"] = file.getvalue()
    return files


def _summary_pages(args: argparse.Namespace) -> dict[str, Figure]:
    """The plots of ``summary`` by name."""
    published: list[PublishedRow] = []
    if not args.no_published:
        try:
            runs = [read_run_file(file.parent / RUN_FILE) for file in args.files]
            stated = ((run.get("options") or {}).get("padding") for run in runs)
            paddings = {padding for padding in stated if padding}
            published = read_published(args.published, paddings)
        except (OSError, KeyError, ValueError) as error:
            why = getattr(error, "strerror", None) or f"not a file like that ({error})"
            raise PlotError(
                f"{args.published}: {why}; name published figures with --published, "
                "or leave them out with --no-published"
            ) from error
    pages: dict[str, Figure] = {}
    for dataset, curves in read_summaries(args.files, published).items():
        safe = re.sub(r"[^\w.-]+", "_", dataset).strip("._") or "set"
        for kind, gain in ((args.figure, False), (f"{args.figure}_gain", True)):
            # Nothing to gain over without a JPEG, nothing to draw of images that are all exact.
            if not any(curve.values(args.figure, gain) for curve in curves):
                continue
            name = f"{kind}_{safe}"
            if name in pages:
                raise PlotError(
                    f"{dataset}: its plots would take the name {name} of another data set; "
                    "plot them in two calls"
                )
            pages[name] = quality_figure(dataset, curves, args.figure, gain)
    if not pages:
        raise PlotError(f"{args.files[0]}: no curve has a {FIGURES[args.figure]} to draw")
    return pages


def _training_pages(args: argparse.Namespace) -> dict[str, Figure]:
    """The plots of ``training`` by name."""
    pages = training_figures(read_runs(args.folders), args.smooth)
    if not pages:
        raise PlotError(
            f"{args.folders[0]}: no run has reported anything yet; wait for the first report"
        )
    return pages


def _parser() -> Parser:
    parser = command_parser(__doc__, EXAMPLES, "python -m utils.plots")
    kinds = parser.add_subparsers(required=True, metavar="summary|training")

    text = "figures over the quality factor, and their gain, one plot per data set"
    summary = kinds.add_parser("summary", help=text, description=text, epilog=parser.epilog)
    summary.add_argument("files", nargs="+", type=Path, metavar="summary.csv")
    summary.add_argument("--figure", choices=tuple(FIGURES), default="psnr", help="default: psnr")
    summary.add_argument(
        "--published",
        type=Path,
        default=PUBLISHED,
        metavar="CSV",
        help="other methods' figures (default: testsets/published.csv)",
    )
    summary.add_argument("--no-published", action="store_true", help="only what was measured")
    summary.set_defaults(pages_of=_summary_pages)

    text = "loss and gains of several runs together, and a table of them"
    training = kinds.add_parser("training", help=text, description=text, epilog=parser.epilog)
    training.add_argument("folders", nargs="+", type=Path, metavar="runs/NAME")
    training.add_argument(
        "--smooth",
        type=int,
        default=10,
        metavar="N",
        help="mean over N reports of the training curves (default: 10; 1: as reported)",
    )
    training.set_defaults(pages_of=_training_pages)
    for each in (summary, training):
        each.add_argument(
            "--output", type=Path, required=True, metavar="DIR", help="where the plots go"
        )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Body of ``python -m utils.plots``; returns its exit code, 2 for anything unusable."""
    args = _parser().parse_args(arguments)
    try:
        import matplotlib
    except ImportError:
        print('error: plots need matplotlib; pip install -e ".[plots]"', file=sys.stderr)
        return EXIT_USAGE
    with matplotlib.rc_context(_STYLE):
        return run_script(lambda: _plot(args), (PlotError, ImageError))


def _plot(args: argparse.Namespace) -> int:
    files = _files(args.pages_of(args))  # everything is drawn before anything is written
    table = compared(args.folders) if "folders" in args else ""
    if table:
        files["training.md"] = table.encode()
    require_writable(args.output)
    for name, data in files.items():
        write_atomically(args.output / name, data)
    for name in files:
        print(args.output / name)
    if table:
        print(f"\n{table}", end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
