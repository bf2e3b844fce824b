"""What the benchmarks share: the beginning of their command lines, and photographs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import utils.startup  # noqa: F401  it says why
from data.datasets import DatasetError, TestSet, open_testset
from models import CheckpointError, load_checkpoint
from models.checkpoint import checkpoint_path
from utils.arguments import Parser, between
from utils.evaluation.metrics import psnr
from utils.project import PROJECT

WEIGHTS_HELP = "full, fast, or a file of weights"


def benchmark_parser(description: str | None, examples: str, measures: bool = False) -> Parser:
    """A parser that knows ``--checkpoint``; if it ``measures``, ``--testset`` too."""
    parser = Parser(description=description, epilog=examples)
    parser.add_argument(
        "--checkpoint", type=checkpoint_path, default=checkpoint_path("full"), help=WEIGHTS_HELP
    )
    if measures:
        parser.add_argument(
            "--testset", default="Sample", metavar="NAME", help="see testsets/README.md"
        )
    return parser


def parsed(parser: Parser) -> argparse.Namespace:
    """The arguments, with the network loaded (``network``) and the set opened."""
    args = parser.parse_args()
    try:
        args.network = load_checkpoint(args.checkpoint)
        if "testset" in args:
            args.testset = open_testset(args.testset, PROJECT / "testsets")
    except (DatasetError, CheckpointError) as error:
        parser.error(str(error))
    return args


jpeg_quality = between(int, 1, 100)
"""A type of arguments: a JPEG's quality."""


def photographs(
    testset: TestSet, side: int, count: int | None = None
) -> dict[str, NDArray[np.uint8]]:
    """By name: the middle of the first ``count`` pictures, ``side`` pixels wide and high."""
    chosen = {}
    for each in testset.images[:count]:
        picture = each.read()
        top, left = (max(0, (n - side) // 2) for n in picture.shape[:2])
        chosen[each.name] = np.ascontiguousarray(picture[top : top + side, left : left + side])
    return chosen


def gain(before: NDArray[np.uint8], after: NDArray[np.uint8], original: NDArray[np.uint8]) -> float:
    """By how many dB of PSNR ``after`` is nearer to ``original`` than ``before``."""
    return psnr(restored=after, original=original) - psnr(restored=before, original=original)


def mean_and_lowest(gains: Sequence[float]) -> str:
    """Gains as a cell of a table."""
    return f"{np.mean(gains):+.2f} ({min(gains):+.2f})"


def print_row(*cells: object) -> None:
    """A line of a Markdown table, above a progress bar if there is one."""
    tqdm.write(f"| {' | '.join(map(str, cells))} |", file=sys.stdout)
    sys.stdout.flush()


def print_heading(*columns: object) -> None:
    """The first two lines of a Markdown table."""
    print_row(*columns)
    print_row(*["---"] * len(columns))


def coffee(height: int, width: int) -> NDArray[np.uint8]:
    """scikit-image's photograph of that name, cut, or mirrored as often as it takes, to size."""
    from skimage import data

    photograph = np.asarray(data.coffee())[:height, :width]
    rows, cols = height - photograph.shape[0], width - photograph.shape[1]
    return np.pad(photograph, ((0, rows), (0, cols), (0, 0)), mode="symmetric")
