"""What assuming a quality brings for pictures that were a JPEG before they were resized or saved
again, so that no grid is found in them.

Photographs are compressed, then cropped off the grid or resized, and saved as PNG or as JPEG of
quality 95. Prints a Markdown table of PSNR gains (dB; mean, in brackets the lowest) over the
picture as it came, against the original treated alike: without assume_quality, then with it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a script started by itself

from benchmarks.command_line import (
    benchmark_parser,
    gain,
    jpeg_quality,
    mean_and_lowest,
    parsed,
    photographs,
    print_heading,
    print_row,
)
from data.jpeg import decode_jpeg, encode_jpeg
from models import Restorer
from utils.arguments import between
from utils.scripts import run_script

EXAMPLES = """examples:
  python benchmarks/resized.py
  python benchmarks/resized.py --first 60 --assumed 50 80
"""

Picture = NDArray[np.uint8]

CHANGES = {"cropped": 1.0, "x 0.75": 0.75, "x 1.5": 1.5}
"""Factor of each; cropped: 3 rows and 5 columns less."""

NEVER = "never poorer"
"""Compressed at quality 95 only: what a wrong assumption costs."""


def main() -> int:
    parser = benchmark_parser(__doc__, EXAMPLES, measures=True)
    parser.add_argument(
        "--first", type=jpeg_quality, default=30, metavar="QF", help="of the JPEG (30)"
    )
    parser.add_argument(
        "--assumed", type=jpeg_quality, nargs="+", default=[30, 50, 70], metavar="QF"
    )
    parser.add_argument(
        "--side", type=between(int, 64), default=192, help="pixels of their middle (192)"
    )
    args = parsed(parser)
    originals = list(photographs(args.testset, args.side).values())
    restorer = Restorer(args.network)
    pictures = f"{args.testset.name}, {len(originals)} pictures"
    print(f"{pictures}, QF {args.first}, {args.checkpoint.name}\n")
    print_heading("picture", "saved as", "as it is", *args.assumed)
    cases = [(change, saved) for change in CHANGES for saved in ("PNG", "JPEG 95")]
    cases.append((NEVER, "JPEG 95"))
    for change, saved in tqdm(cases, unit="row", disable=None):
        gains: list[list[float]] = []
        for original in originals:
            once = original if change == NEVER else decode_jpeg(encode_jpeg(original, args.first))
            wanted, pixels = (_changed(image, change) for image in (original, once))
            if saved != "PNG":
                pixels = decode_jpeg(encode_jpeg(pixels, 95))
            answers = [restorer.restore_pixels(pixels, q) for q in (None, *args.assumed)]
            gains.append([gain(pixels, answer, wanted) for answer in answers])
        print_row(change, saved, *(mean_and_lowest(each) for each in zip(*gains, strict=True)))
    return 0


def _changed(image: Picture, change: str) -> Picture:
    if change == NEVER:
        return image
    factor = CHANGES[change]
    if factor == 1:
        return np.ascontiguousarray(image[3:, 5:])
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(image, None, fx=factor, fy=factor, interpolation=way)
    return np.asarray(resized, np.uint8)


if __name__ == "__main__":
    sys.exit(run_script(main))
