"""The job of the measuring scripts: options, network, sets -> evaluator -> tables, run.yml."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from data.datasets import SAMPLE, DatasetError, TestSet, has_testset, open_testset
from data.degradation import Degradation
from jobs.network import USAGE_ERRORS, Session, describe_network, open_session
from options.command_line import (
    EXIT_FAILED_IMAGES,
    PROJECT,
    from_project,
    read_options,
    run_script,
    test_parser,
)
from options.schema import EvaluationOptions
from utils.distributed import world_from_environment
from utils.evaluation import Evaluation, evaluate, write_tables
from utils.image_io import require_writable
from utils.published import PublishedRow, read_published
from utils.run_log import write_run_file

DEFAULT_SET = "LIVE1_color"

AnyEvaluation = TypeVar("AnyEvaluation", bound=EvaluationOptions)


def evaluation_main(
    description: str | None,
    examples: str,
    default_options: str,
    schema: type[AnyEvaluation],
    degradations: Callable[[AnyEvaluation], Sequence[Degradation]],
) -> int:
    """Body of a measuring script; returns its exit code.

    Args:
        description: for ``--help``.
        examples: likewise.
        default_options: option file, relative to the project's root.
        schema: type of the options.
        degradations: the settings these options ask for.
    """
    parser = test_parser(
        description or "", examples, default_options, f"data sets; {SAMPLE} is built in"
    )
    args = parser.parse_args()

    def body() -> int:
        return _run(read_options(schema, args), degradations, args)

    return run_script(body, (*USAGE_ERRORS, DatasetError))


def _run(
    options: AnyEvaluation,
    degradations: Callable[[AnyEvaluation], Sequence[Degradation]],
    args: argparse.Namespace,
) -> int:
    sets = _open_sets(options)
    published = read_published(PROJECT / "testsets" / "published.csv")
    with open_session(options) as session:
        require_writable(options.output)
        evaluation = evaluate(
            sets,
            degradations(options),
            session.restorer.restore,
            options.output,
            options.save_images,
            world=session.world,
        )
        if session.world.is_main:
            _write(options, published, evaluation, session, args)
    return EXIT_FAILED_IMAGES if evaluation.failures else 0


def _write(
    options: AnyEvaluation,
    published: Sequence[PublishedRow],
    evaluation: Evaluation,
    session: Session,
    args: argparse.Namespace,
) -> None:
    """Tables, ``run.yml``, and what there is to tell the user."""
    text = write_tables(
        options.output,
        evaluation,
        published,
        f"{options.name}: {options.checkpoint.name}",
    )
    write_run_file(
        options.output / "run.yml",
        options.model_dump(mode="json"),
        {
            **describe_network(options, session),
            "option_file": str(args.opt),
            **_cost(evaluation),
        },
    )
    print()
    print(text)
    for line in evaluation.failures:
        print(f"left out: {line}", file=sys.stderr)
    if not evaluation.results:
        print("error: no image could be measured", file=sys.stderr)
    print(f"tables, restored pictures and run.yml: {options.output}")
    comparison = options.output / "comparison.png"
    if options.save_images != "none" and comparison.exists():
        print(f"side by side: {comparison}")


def _open_sets(options: EvaluationOptions) -> list[TestSet]:
    root = from_project(options.testsets_folder)
    if options.testsets != "auto":
        return [open_testset(name, root) for name in dict.fromkeys(options.testsets)]
    if has_testset(DEFAULT_SET, root):
        return [open_testset(DEFAULT_SET, root)]
    if world_from_environment().is_main:
        print(
            f"{DEFAULT_SET} not found: measuring the built-in {SAMPLE} instead "
            f"(python {Path('testsets') / 'download.py'} {DEFAULT_SET} fetches it)"
        )
    return [open_testset(SAMPLE, root)]


def _cost(evaluation: Evaluation) -> dict[str, object]:
    pixels = max(1, evaluation.restored_pixels)
    return {
        "restore_seconds_per_megapixel": round(evaluation.restore_seconds / pixels * 1e6, 3),
        "metric_seconds_per_megapixel": round(evaluation.metric_seconds / pixels * 1e6, 3),
        "images_left_out": {name: sorted(left) for name, left in evaluation.left_out.items()},
    }
