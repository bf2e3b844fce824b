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

PROJECT = Path(__file__).resolve().parent.parent
if str(PROJECT) not in sys.path:
    sys.path.insert(0, str(PROJECT))  # run as a script, only benchmarks/ would be searched

from benchmarks.command_line import benchmark_parser  # noqa: E402
from data.cmyk import ink_to_rgb  # noqa: E402
from data.datasets import DatasetError, TestSet, open_testset  # noqa: E402
from data.degradation import DoubleJpeg, SingleJpeg  # noqa: E402
from data.jpeg import Sampling, read_jpeg  # noqa: E402
from data.pixels import find_compression  # noqa: E402
from models import Restorer, load_checkpoint  # noqa: E402
from utils.evaluation.metrics import luma_studio_range, psnr  # noqa: E402
from utils.pictures import as_rgb  # noqa: E402

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
    parser = benchmark_parser(__doc__, EXAMPLES)
    parser.add_argument(
        "--testset", default="Sample", metavar="NAME", help="see testsets/README.md"
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th picture")
    parser.add_argument("--qualities", type=int, nargs="+", default=QUALITIES, metavar="QF")
    parser.add_argument(
        "--samplings", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help="rows to make"
    )
    parser.add_argument("--skip_layouts", action="store_true", help="leave out the first table")
    parser.add_argument("--skip_pixels", action="store_true", help="leave out the second")
    args = parser.parse_args()
    if not args.checkpoint.is_file():
        parser.error(f"checkpoint {args.checkpoint} not found; give --checkpoint")
    try:
        testset = open_testset(args.testset, PROJECT / "testsets")
    except DatasetError as error:
        parser.error(str(error))
    testset = TestSet(testset.name, tuple(testset)[:: max(1, args.every)])
    # What the network itself does, also where files are fine enough to be left alone.
    restorer = Restorer(load_checkpoint(args.checkpoint), leave_fine=False)
    count = len(tuple(testset))
    print(f"{testset.name}, {count} pictures, {args.checkpoint.name}, {restorer.precision}")
    if not args.skip_layouts:
        _layouts(testset, restorer, args.qualities, args.samplings)
    if not args.skip_pixels:
        _pixels(testset, restorer)
    return 0


def _layouts(
    testset: TestSet, restorer: Restorer, qualities: list[int], names: Sequence[str]
) -> None:
    print(f"\n| sampling | {' | '.join(f'QF{q}' for q in qualities)} |")
    print(f"| --- |{' --- |' * len(qualities)}")
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
                        gains.append(_gain_of_inks(_inks(as_rgb(image)), quality, restorer))
                        continue
                    if name == GRAY and image.ndim == 3:
                        image = luma_studio_range(image)
                    pair = SingleJpeg(quality, sampling)(image)
                    restored = restorer.restore(pair.stored)
                    gains.append(_gain(pair.jpeg, restored, pair.original))
                cells.append(_cell(gains))
                bar.update()
            tqdm.write(f"| {name} | {' | '.join(cells)} |", file=sys.stdout)
            sys.stdout.flush()


def _inks(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
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
    return _gain(restorer.decoded(stored), restorer.restore(stored), original)


def _pixels(testset: TestSet, restorer: Restorer) -> None:
    print("\n| pixels of | gain | grid and quality found |\n| --- | --- | --- |")
    count = len(tuple(testset))
    with tqdm(total=len(TWICE) * count, unit="picture", disable=None) as bar:
        for degradation in TWICE:
            gains, found = [], 0
            for each in testset:
                pair = degradation(each.read())
                pixels, original = (
                    np.ascontiguousarray(x[CUT[0] :, CUT[1] :]) for x in (pair.jpeg, pair.original)
                )
                found += find_compression(pixels) is not None
                gains.append(_gain(pixels, restorer.restore_pixels(pixels), original))
                bar.update()
            line = f"| {degradation.label} | {_cell(gains)} | {found} of {count} |"
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()


def _gain(
    before: NDArray[np.uint8], after: NDArray[np.uint8], original: NDArray[np.uint8]
) -> float:
    return psnr(restored=after, original=original) - psnr(restored=before, original=original)


def _cell(gains: list[float]) -> str:
    return f"{np.mean(gains):+.2f} ({min(gains):+.2f})"


if __name__ == "__main__":
    sys.exit(main())
