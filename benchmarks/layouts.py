"""Gain over libjpeg's decoding for every chroma sampling and quality, and for bare pixels.

Prints two Markdown tables of PSNR gains (dB; mean, in brackets the lowest), over RGB, gray over the
one channel, CMYK over the RGB that its inks become by plain arithmetic. The second cuts some rows
and columns off pictures that were compressed twice, so that their grid is unknown, and restores
these pixels as it would a PNG.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a script started by itself

from benchmarks.command_line import (
    benchmark_parser,
    gain,
    jpeg_quality,
    mean_and_lowest,
    parsed,
    print_heading,
    print_row,
)
from data.datasets import TestSet
from data.degradation import DoubleJpeg, SingleJpeg
from data.jpeg import Sampling, read_jpeg
from data.pixels import find_compression
from models import Restorer
from utils.arguments import between
from utils.cmyk import ink_to_rgb
from utils.evaluation.metrics import luma_studio_range
from utils.pictures import as_rgb
from utils.scripts import run_script

EXAMPLES = """examples:
  python benchmarks/layouts.py --testset LIVE1_color
  python benchmarks/layouts.py --testset Sample --qualities 10 50 --skip_pixels
  python benchmarks/layouts.py --samplings 4:2:0 CMYK --qualities 20 50 80 --skip_pixels
"""

QUALITIES = (10, 30, 60, 90, 95)
GRAY = "gray"
CMYK = "CMYK"
NAMES = (*(sampling.value for sampling in Sampling), GRAY, CMYK)
TWICE = (
    DoubleJpeg(30, 50, (0, 0)),
    DoubleJpeg(30, 50, (4, 4)),
    DoubleJpeg(50, 30, (4, 4)),
    DoubleJpeg(75, 90, (4, 4)),
)
CUT = (3, 5)
"""Rows and columns cut off pixels: the grid does not begin in the corner."""


def main() -> int:
    parser = benchmark_parser(__doc__, EXAMPLES, measures=True)
    parser.add_argument(
        "--every", type=between(int, 1), default=1, metavar="N", help="only each N-th picture"
    )
    parser.add_argument(
        "--qualities", type=jpeg_quality, nargs="+", default=QUALITIES, metavar="QF"
    )
    parser.add_argument(
        "--samplings", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help="rows to make"
    )
    parser.add_argument("--skip_layouts", action="store_true", help="leave out the first table")
    parser.add_argument("--skip_pixels", action="store_true", help="leave out the second")
    args = parsed(parser)
    # What the network itself does, also where files are fine enough to be left alone.
    restorer = Restorer(args.network, leave_fine=False)
    testset = TestSet(args.testset.name, args.testset.images[:: max(1, args.every)])
    print(f"{testset.name}, {len(testset)} pictures, {args.checkpoint.name}, {restorer.arithmetic}")
    if not args.skip_layouts:
        _layouts(testset, restorer, args.qualities, args.samplings)
    if not args.skip_pixels:
        _pixels(testset, restorer)
    return 0


def _layouts(
    testset: TestSet, restorer: Restorer, qualities: list[int], names: Sequence[str]
) -> None:
    print()
    print_heading("sampling", *(f"QF{quality}" for quality in qualities))
    with tqdm(total=len(names) * len(qualities), unit="setting", disable=None) as bar:
        for name in names:
            cells = []
            for quality in qualities:
                bar.set_postfix_str(f"{name} QF{quality}")
                sampling = Sampling.S420 if name in (GRAY, CMYK) else Sampling(name)
                gains = []
                for each in testset:
                    image = each.read()
                    if name == CMYK:
                        gains.append(_gain_of_inks(inks(as_rgb(image)), quality, restorer))
                        continue
                    if name == GRAY:
                        image = luma_studio_range(image)
                    pair = SingleJpeg(quality, sampling)(image)
                    restored = restorer.restore(pair.stored)
                    gains.append(gain(pair.jpeg, restored, pair.original))
                cells.append(mean_and_lowest(gains))
                bar.update()
            print_row(name, *cells)


def inks(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Four inks of a picture, 60 % of its gray in black."""
    ink = 255.0 - rgb
    black = 0.6 * ink.min(2, keepdims=True)
    coloured = 255 * (ink - black) / (255 - black)
    return np.concatenate((coloured, black), 2).round().astype(np.uint8)


def _gain_of_inks(ink: NDArray[np.uint8], quality: int, restorer: Restorer) -> float:
    stream = io.BytesIO()
    Image.fromarray(ink, "CMYK").save(stream, "JPEG", quality=quality)
    stored = read_jpeg(stream.getvalue())
    original = ink_to_rgb(ink, None)
    return gain(restorer.decoded(stored), restorer.restore(stored), original)


def _pixels(testset: TestSet, restorer: Restorer) -> None:
    print()
    print_heading("pixels of", "gain", "grid and quality found")
    with tqdm(total=len(TWICE) * len(testset), unit="picture", disable=None) as bar:
        for degradation in TWICE:
            gains, found = [], 0
            for each in testset:
                pair = degradation(each.read())
                pixels, original = (
                    np.ascontiguousarray(x[CUT[0] :, CUT[1] :]) for x in (pair.jpeg, pair.original)
                )
                found += find_compression(pixels) is not None
                gains.append(gain(pixels, restorer.restore_pixels(pixels), original))
                bar.update()
            print_row(degradation.label, mean_and_lowest(gains), f"{found} of {len(testset)}")


if __name__ == "__main__":
    sys.exit(run_script(main))
