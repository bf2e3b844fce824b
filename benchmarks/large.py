"""Time per megapixel and peak memory from small to very large pictures, and whether tiles show.

Each picture is restored from file to file in a process of its own, as test_real_IJCN.py does it.
Prints a Markdown table. With --seams it writes a picture of the difference between a picture
restored in tiles and as a whole.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a script started by itself

from benchmarks.command_line import benchmark_parser, coffee, parsed, print_heading, print_row
from benchmarks.speed import machine, own_process, peak_mebibytes
from data.jpeg import encode_jpeg, read_jpeg
from jobs.plan_files import FileJob
from jobs.restore_files import OutputSettings, restore_file
from models import Restorer, load_checkpoint
from utils.arguments import between
from utils.image_io import write_png
from utils.scripts import run_script

EXAMPLES = """examples:
  python benchmarks/large.py
  python benchmarks/large.py --megapixels 1 40 --max_memory 1
  python benchmarks/large.py --megapixels --seams seams.png
"""

QUALITY = 30


def main() -> int:
    parser = benchmark_parser(__doc__, EXAMPLES)
    parser.add_argument(
        "--megapixels",
        type=between(float, 0.001),
        nargs="*",
        default=[0.25, 1, 4, 12, 24, 40],
        help="sizes",
    )
    parser.add_argument(
        "--max_memory",
        type=between(float, 0.001),
        default=1.0,
        metavar="GIB",
        help="of a restoration (1)",
    )
    parser.add_argument(
        "--seams", type=Path, metavar="PNG", help="write the difference of tiles and whole"
    )
    args = parsed(parser)
    if args.megapixels:
        _sizes(args)
    if args.seams:
        _seams(args)
    return 0


def _sizes(args: argparse.Namespace) -> None:
    print(f"{machine()}, --max_memory {args.max_memory:g}, JPEG quality {QUALITY}, 4:2:0\n")
    print_heading(
        *("megapixels", "size", "s", "s per megapixel", "relative to 1 MP"),
        "peak of the process, MiB",
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for megapixels in args.megapixels:
            height = round((megapixels * 1e6 / 1.5) ** 0.5)
            width = round(megapixels * 1e6 / height)
            path = Path(folder) / "picture.jpg"
            path.write_bytes(encode_jpeg(coffee(height, width), QUALITY))
            with own_process() as call:
                seconds, mebibytes = call(_restore_one, path, args.checkpoint, args.max_memory)
            each = seconds / megapixels
            rows.append((megapixels, each))
            base = min(rows, key=lambda row: abs(row[0] - 1))[1]
            print_row(
                *(f"{megapixels:g}", f"{width}x{height}", f"{seconds:.1f}", f"{each:.2f}"),
                *(f"{each / base:.2f}", f"{mebibytes:.0f}"),
            )


def _restore_one(path: Path, checkpoint: Path, max_memory: float) -> tuple[float, float]:
    """Seconds and peak memory of one file; a small one before it warms up."""
    restorer = Restorer(load_checkpoint(checkpoint), max_memory=max_memory)
    restorer.restore(read_jpeg(encode_jpeg(coffee(64, 64), QUALITY)))
    job = FileJob(path, path.with_suffix(".png"))
    start = time.perf_counter()
    result = restore_file(job, restorer, OutputSettings(overwrite=True))
    seconds = time.perf_counter() - start
    if result.status != "restored":
        raise SystemExit(f"error: {result.message}")
    return seconds, peak_mebibytes()


def _seams(args: argparse.Namespace) -> None:
    """JPEG, restored whole, and the difference that tiles of 256 pixels make, amplified."""
    stored = read_jpeg(encode_jpeg(coffee(768, 1024), QUALITY))
    for precision in ("float32", "auto"):
        restorer = Restorer(load_checkpoint(args.checkpoint), precision=precision)
        whole = restorer.restore_in_tiles(stored, 4096)
        tiled = restorer.restore_in_tiles(stored, 256)
        difference = np.abs(whole.astype(int) - tiled)
        print(
            f"tiles of 256 against the whole, {restorer.arithmetic}: at most {difference.max()} "
            f"gray levels, {100 * (difference > 0).mean():.4f} % of samples differ"
        )
    # Mid gray is no difference; one level is 64 lighter or darker.
    shown = np.clip(128 + 64 * (tiled.astype(int) - whole), 0, 255).astype(np.uint8)
    write_png(args.seams, np.concatenate((tiled, shown), axis=1))
    print(f"restored in tiles | difference x 64: {args.seams}")


if __name__ == "__main__":
    sys.exit(run_script(main))
