"""What the benchmarks share: the beginning of their command lines, and photographs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.datasets import open_testset
from models.checkpoint import checkpoint_path
from utils.arguments import Parser
from utils.evaluation.metrics import psnr
from utils.project import PROJECT


def benchmark_parser(
    description: str | None, examples: str, several: bool = False, measures: bool = False
) -> Parser:
    """A parser that knows ``--checkpoint`` and shows its texts as they are written.

    several: it takes any number of them, as they were typed, and both shipped ones by default.
    measures: it knows ``--testset`` too.
    """
    parser = Parser(description=description, epilog=examples)
    help_text = "full, fast, drawn, or a file of weights"
    if several:
        parser.add_argument("--checkpoint", nargs="+", default=["full", "fast"], help=help_text)
    else:
        parser.add_argument(
            "--checkpoint", type=checkpoint_path, default=checkpoint_path("full"), help=help_text
        )
    if measures:
        parser.add_argument(
            "--testset", default="Sample", metavar="NAME", help="see testsets/README.md"
        )
    return parser


def jpeg_quality(text: str) -> int:
    """A JPEG quality of a command line; an argument of another kind is refused in one line."""
    if not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError("qualities lie in 1..100")
    return int(text)


def photographs(testset: str, side: int, count: int | None = None) -> dict[str, NDArray[np.uint8]]:
    """The middle of the first ``count`` pictures of a set, ``side`` pixels wide and high, by name.

    Raises:
        DatasetError: no such set.
    """
    chosen = {}
    for each in list(open_testset(testset, PROJECT / "testsets"))[:count]:
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


def coffee(height: int, width: int) -> NDArray[np.uint8]:
    """scikit-image's photograph of that name, cut, or mirrored as often as it takes, to size."""
    from skimage import data

    photograph = np.asarray(data.coffee())[:height, :width]
    rows, cols = height - photograph.shape[0], width - photograph.shape[1]
    return np.pad(photograph, ((0, rows), (0, cols), (0, 0)), mode="symmetric")
