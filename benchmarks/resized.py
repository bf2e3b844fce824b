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

PROJECT = Path(__file__).resolve().parent.parent
if str(PROJECT) not in sys.path:
    sys.path.insert(0, str(PROJECT))  # run as a script, only benchmarks/ would be searched

from benchmarks.command_line import benchmark_parser  # noqa: E402
from data.datasets import DatasetError, open_testset  # noqa: E402
from data.jpeg import decode_jpeg, encode_jpeg  # noqa: E402
from models import Restorer, load_checkpoint  # noqa: E402
from utils.evaluation.metrics import psnr  # noqa: E402

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
    parser = benchmark_parser(__doc__, EXAMPLES)
    parser.add_argument(
        "--testset", default="Sample", metavar="NAME", help="see testsets/README.md"
    )
    parser.add_argument("--first", type=int, default=30, metavar="QF", help="of the JPEG (30)")
    parser.add_argument("--assumed", type=int, nargs="+", default=[30, 50, 70], metavar="QF")
    parser.add_argument("--side", type=int, default=192, help="pixels of their middle (192)")
    args = parser.parse_args()
    if any(not 1 <= quality <= 100 for quality in (args.first, *args.assumed)) or args.side < 64:
        parser.error("qualities lie in 1..100, --side starts at 64")
    try:
        originals = [
            _middle(each.read(), args.side)
            for each in open_testset(args.testset, PROJECT / "testsets")
        ]
    except DatasetError as error:
        parser.error(str(error))
    restorer = Restorer(load_checkpoint(args.checkpoint))
    print(f"{args.testset}, {len(originals)} pictures, QF {args.first}, {args.checkpoint.name}\n")
    print(f"| picture | saved as | as it is | {' | '.join(f'{q}' for q in args.assumed)} |")
    print(f"| --- | --- | --- |{' --- |' * len(args.assumed)}")
    cases = [(change, saved) for change in CHANGES for saved in ("PNG", "JPEG 95")]
    cases.append((NEVER, "JPEG 95"))
    for change, saved in tqdm(cases, unit="row", disable=None):
        gains: list[list[float]] = []
        for original in originals:
            once = original if change == NEVER else decode_jpeg(encode_jpeg(original, args.first))
            wanted, pixels = (_changed(image, change) for image in (original, once))
            if saved != "PNG":
                pixels = decode_jpeg(encode_jpeg(pixels, 95))
            before = psnr(restored=pixels, original=wanted)
            answers = [restorer.restore_pixels(pixels, q) for q in (None, *args.assumed)]
            gains.append([psnr(restored=a, original=wanted) - before for a in answers])
        cells = [f"{np.mean(each):+.2f} ({min(each):+.2f})" for each in zip(*gains, strict=True)]
        tqdm.write(f"| {change} | {saved} | {' | '.join(cells)} |", file=sys.stdout)
        sys.stdout.flush()
    return 0


def _middle(image: Picture, side: int) -> Picture:
    top, left = (max(0, (n - side) // 2) for n in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])


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
    sys.exit(main())
