"""Finished evaluations side by side: one table of the methods of several runs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from data.degradation import Padding
from jobs.evaluate import PUBLISHED
from options.schema import OptionsError
from utils.arguments import Parser
from utils.commands import command_parser
from utils.evaluation.metrics import Scores
from utils.evaluation.published import read_published
from utils.evaluation.tables import (
    JPEG,
    NO_WEIGHTS,
    Evaluation,
    ImageResult,
    Weights,
    known_figures,
    read_images,
    write_tables,
)
from utils.run_log import RUN_FILE, read_run_file

EXAMPLES = """  python -m jobs.tables join test_results/color test_results/other
  python -m jobs.tables join mine theirs --output joined
"""

EQUAL = 2e-4
"""How far figures of one picture may be apart, in dB: what the files round away."""

Place = tuple[str, str, str]
"""Set, setting, image."""


class Finished(NamedTuple):
    """A finished run: where it lies, its figures, its weights, how it was measured.

    how: what of that decides on the answers of each network.
    """

    label: str
    results: list[ImageResult]
    weights: dict[str, Weights]
    protocol: str
    how: Mapping[str, tuple[object, ...]]
    padding: str

    @property
    def metrics(self) -> set[str]:
        """What it measured: what any of its images has."""
        return {name for result in self.results for name in known_figures(result)}


def join_parser() -> Parser:
    """The arguments of ``python -m jobs.tables join``."""
    parser = command_parser(__doc__, EXAMPLES, "python -m jobs.tables join")
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="folders of results of test_color_IJCN.py or test_colordouble_IJCN.py",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write summary.csv, .md and per_image.csv there"
    )
    return parser


def join(folders: Sequence[Path], output: Path | None) -> str:
    """The table of several runs; methods of one name are told apart by the runs' folders.

    Args:
        folders: of the runs.
        output: where to write tables, if anywhere.

    Raises:
        OptionsError: a folder without results, given twice, or runs whose JPEGs differ, which are
            of other pictures or another encoder.
    """
    places = {folder.resolve() for folder in folders}
    if len(places) < len(folders):
        raise OptionsError("join: a folder stands there twice; give each once")
    if output is not None and output.resolve() in places:
        raise OptionsError(f"--output {output} is one of the runs; choose another --output")
    names = [folder.resolve().name for folder in folders]
    unique = len(set(names)) == len(names)
    runs = [
        _read(folder, name if unique else str(folder))
        for folder, name in zip(folders, names, strict=True)
    ]
    paddings = {run.padding for run in runs}
    if len(paddings) > 1:
        raise OptionsError(
            f"join: the runs pad their pictures in several ways ({', '.join(sorted(paddings))}), "
            "so that their figures do not compare; measure again with one (--set padding=...)"
        )
    results, weights = _merged(runs)
    joined = Evaluation(results, missing=_missing(results))
    protocols = list(dict.fromkeys(run.protocol for run in runs))
    protocol = protocols[0]
    if len(protocols) > 1:
        protocol = "\n".join(f"- {run.label}: {run.protocol}" for run in runs)
    title = f"JPEG restoration: {', '.join(run.label for run in runs)}"
    return write_tables(
        output, joined, read_published(PUBLISHED, paddings), title, weights, protocol
    )


def _read(folder: Path, label: str) -> Finished:
    try:
        results, weights = read_images(folder / "per_image.csv")
    except OSError as error:
        raise OptionsError(
            f"{folder}: no results of an evaluation ({error.strerror or error}: per_image.csv); "
            "give the folder of a finished one"
        ) from error
    except ValueError as error:
        raise OptionsError(str(error)) from error
    run = read_run_file(folder / RUN_FILE)
    protocol = str(run.get("protocol") or "Protocol: not stated by this run.")
    options = run.get("options") or {}
    how: dict[str, tuple[object, ...]] = {
        method["name"]: (
            method.get("precision", run.get("precision")),  # older runs have one for all
            options.get("ensemble"),
            options.get("leave_fine"),
            options.get("strength"),
        )
        for method in run.get("methods") or ()
    }
    padding = options.get("padding") or Padding.AS_STORED.value  # older runs had no other
    return Finished(label, results, weights, protocol, how, padding)


def _merged(runs: Sequence[Finished]) -> tuple[list[ImageResult], dict[str, Weights]]:
    """All results under names that tell the methods apart; a metric that a run did not measure is
    left out where its images are averaged with others."""
    named: dict[str, list[tuple[Finished, dict[Place, ImageResult]]]] = {}
    for run in runs:
        for method in dict.fromkeys(result.method for result in run.results):
            rows = {_place(r): r for r in run.results if r.method == method}
            named.setdefault(method, []).append((run, rows))
    found: dict[Place, dict[str, ImageResult]] = {}
    lacking: dict[tuple[str, str, str], set[str]] = {}
    metrics = {run.label: run.metrics for run in runs}
    every = set[str]().union(*metrics.values())
    weights: dict[str, Weights] = {}
    for method, parts in named.items():
        same = _agree(method, parts)
        if method == JPEG and not same:
            raise OptionsError(
                f"join: {' and '.join(run.label for run, _ in parts)} have other JPEG figures for "
                "the same images; they are of other pictures, another encoder or sampling"
            )
        for run, rows in parts:
            name = method if same else f"{method} [{run.label}]"
            weights[name] = run.weights.get(method, NO_WEIGHTS)
            for place, row in rows.items():
                here = found.setdefault(place, {})
                here[name] = _together(here.get(name), replace(row, method=name))
        if same:
            for place in {place for _, rows in parts for place in rows}:
                measured = (metrics[run.label] for run, rows in parts if place in rows)
                group = lacking.setdefault((place[0], place[1], method), set())
                group |= every.difference(*measured)
    return [
        _without(row, lacking.get((row.dataset, row.setting, row.method), set()))
        for rows in found.values()
        for row in rows.values()
    ], weights


def _together(first: ImageResult | None, second: ImageResult) -> ImageResult:
    """The figures of an image from two runs, of which one may have measured what the other did
    not."""
    if first is None:
        return second
    known = known_figures(second) | known_figures(first)
    scores = Scores(*(known.get(name, math.nan) for name in Scores._fields))
    return replace(first, scores=scores, more={**second.more, **first.more})


def _without(row: ImageResult, metrics: Collection[str]) -> ImageResult:
    scores = {name: math.nan for name in Scores._fields if name in metrics}
    more = {name: value for name, value in row.more.items() if name not in metrics}
    return replace(row, scores=row.scores._replace(**scores), more=more)


def _agree(method: str, parts: Sequence[tuple[Finished, Mapping[Place, ImageResult]]]) -> bool:
    """Whether these are figures of the same method: same weights that answer in the same way, same
    figures where shared."""
    (first, rows), *others = parts
    return all(
        run.weights.get(method) == first.weights.get(method)
        and run.how.get(method) == first.how.get(method)
        and all(
            math.isclose(x, y, rel_tol=0, abs_tol=EQUAL)
            for place in rows.keys() & more.keys()
            for x, y in zip(rows[place].scores, more[place].scores, strict=True)
            if not (math.isnan(x) or math.isnan(y))  # not measured
        )
        for run, more in others
    )


def _missing(results: Iterable[ImageResult]) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """What a method lacks at settings where it has figures of other images."""
    held: dict[tuple[str, str, str], set[str]] = {}
    for result in results:
        held.setdefault((result.dataset, result.method, result.setting), set()).add(result.image)
    missing: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for (dataset, method, setting), images in held.items():
        for image in held.get((dataset, JPEG, setting), images) - images:
            missing.setdefault((dataset, method), set()).add((setting, image))
    return missing


def _place(result: ImageResult) -> Place:
    return result.dataset, result.setting, result.image
