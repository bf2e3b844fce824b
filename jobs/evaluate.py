"""The job of the measuring scripts: options, network, sets -> evaluator -> tables, run.yml."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TypeAlias

from data.datasets import SAMPLE, DatasetError, TestSet, has_testset, open_testset
from jobs.network import USAGE_ERRORS, Session, describe_network, open_session
from jobs.report import REPORT, remove_unwanted_pictures, report_evaluation
from options.command_line import (
    EXIT_FAILED_IMAGES,
    PROJECT,
    from_project,
    read_options,
    run_script,
    test_parser,
)
from options.schema import ColorTestOptions, DoubleTestOptions, EvaluationOptions
from utils.distributed import world_from_environment
from utils.evaluation import Evaluation, evaluate, picture_folders
from utils.image_io import require_writable
from utils.published import read_published
from utils.run_log import describe_run, write_run_file
from utils.tables import write_tables

DEFAULT_SET = "LIVE1_color"

AnyEvaluation: TypeAlias = ColorTestOptions | DoubleTestOptions


def evaluation_main(
    description: str | None,
    examples: str,
    default_options: str,
    schema: type[ColorTestOptions] | type[DoubleTestOptions],
) -> int:
    """Body of a measuring script; returns its exit code.

    Args:
        description: for ``--help``.
        examples: likewise.
        default_options: option file, relative to the project's root.
        schema: type of the options.
    """
    parser = test_parser(
        description or "",
        examples,
        default_options,
        f"sets to measure: names, or paths of folders; {SAMPLE} is built in",
    )
    args = parser.parse_args()

    def body() -> int:
        return _run(read_options(schema, args), args)

    return run_script(body, (*USAGE_ERRORS, DatasetError))


def _run(options: AnyEvaluation, args: argparse.Namespace) -> int:
    sets = _open_sets(options)
    require_apart(sets, options.output)
    with open_session(options) as session:
        evaluation = run_evaluation(options, sets, session, {"option_file": str(args.opt)})
        if session.world.is_main:
            _tell(options, evaluation)
    return EXIT_FAILED_IMAGES if evaluation.failures else 0


def run_evaluation(
    options: AnyEvaluation, sets: Sequence[TestSet], session: Session, facts: Mapping[str, object]
) -> Evaluation:
    """Measure ``sets`` as ``options`` say; write tables, pictures, ``run.yml``, a report.

    Every process of the session calls this; the main one writes. ``facts`` go into ``run.yml``.

    Raises:
        ImageError: the output folder cannot be written.
    """
    output = options.output
    require_writable(output)
    degradations = options.degradations()
    evaluation = evaluate(
        sets,
        degradations,
        session.restorer.restore,
        output,
        "all" if options.report else options.save_images,
        world=session.world,
        restore_many=session.restorer.restore_batch,
        batch=BATCH if session.restorer.batches else 1,
    )
    if session.world.is_main:
        times = "twice" if isinstance(options, DoubleTestOptions) else "once"
        title = f"JPEG restoration: compressed {times}, {options.checkpoint.name}"
        published = read_published(PUBLISHED)
        write_tables(output, evaluation, published, title)
        run = describe_run(
            options.model_dump(mode="json"),
            {**describe_network(options, session), **facts, **_cost(evaluation)},
        )
        write_run_file(output / "run.yml", run)
        if options.report:
            report_evaluation(output, title, sets, degradations, evaluation, published, run)
            remove_unwanted_pictures(output, evaluation, degradations, options.save_images)
    return evaluation


BATCH = 8
"""Pictures restored together on a GPU; a CPU takes them one by one."""

PUBLISHED = PROJECT / "testsets" / "published.csv"


def _tell(options: AnyEvaluation, evaluation: Evaluation) -> None:
    print()
    print((options.output / "summary.md").read_text(encoding="utf-8"))
    for line in evaluation.failures:
        print(f"left out: {line}", file=sys.stderr)
    if not evaluation.results:
        print("error: no image could be measured", file=sys.stderr)
    print(f"tables, restored pictures and run.yml: {options.output}")
    comparison = options.output / "comparison.png"
    if options.save_images != "none" and comparison.exists():
        print(f"side by side: {comparison}")
    if options.report:
        print(f"everything on one page: {options.output / REPORT}")


def _open_sets(options: EvaluationOptions) -> list[TestSet]:
    root = from_project(options.testsets_folder)
    if options.testsets != "auto":
        sets = [open_testset(wanted, root) for wanted in options.testsets]
        require_different_names(sets)
        return sets
    if has_testset(DEFAULT_SET, root):
        return [open_testset(DEFAULT_SET, root)]
    if world_from_environment().is_main:
        print(
            f"{DEFAULT_SET} not found: measuring the built-in {SAMPLE} instead "
            f"(python {Path('testsets') / 'download.py'} {DEFAULT_SET} fetches it)"
        )
    return [open_testset(SAMPLE, root)]


def require_different_names(sets: Sequence[TestSet]) -> None:
    """Sets of one name would share their rows and their folder of pictures.

    Raises:
        DatasetError: two sets have one name.
    """
    for one, other in combinations(sets, 2):
        if one.name == other.name:
            places = " and ".join(dict.fromkeys(str(each.folder) for each in (one, other)))
            raise DatasetError(
                f"--testsets: {one.name} stands there twice ({places}); give it once, or rename "
                "one of the folders"
            )


def require_apart(sets: Sequence[TestSet], output: Path) -> None:
    """Nothing is written among the images that are measured, nor are results measured as images.

    Raises:
        DatasetError: the output folder lies in a set, or a set among the output's pictures.
    """
    inside = output.resolve()
    for each in sets:
        if each.folder is None:
            continue
        folder = each.folder.resolve()
        if inside.is_relative_to(folder):
            raise DatasetError(
                f"--output {output} lies in the test set {each.folder}, where results would be "
                "measured the next time; choose another --output"
            )
        if any(folder.is_relative_to(place) for place in picture_folders(inside)):
            raise DatasetError(
                f"test set {each.folder} lies among the pictures that --output {output} replaces; "
                "choose another --output"
            )


def _cost(evaluation: Evaluation) -> dict[str, object]:
    pixels = max(1, evaluation.restored_pixels)
    restored = max(1, len(evaluation.results) // 2)
    return {
        "restore_seconds_per_image": round(evaluation.restore_seconds / restored, 3),
        "restore_seconds_per_megapixel": round(evaluation.restore_seconds / pixels * 1e6, 3),
        "metric_seconds_per_megapixel": round(evaluation.metric_seconds / pixels * 1e6, 3),
        "images_left_out": {name: sorted(left) for name, left in evaluation.left_out.items()},
    }
