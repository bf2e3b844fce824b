"""Does any kind of JPEG come out worse? Gains over libjpeg's decoding by tables and by content.

Photographs are compressed with the tables of many encoders; drawn pictures (text, dither, codes,
...) and photographs without colour at several qualities. Prints a Markdown table, a line for each
group: PSNR gain (dB) of the mean and of the worst case, how many cases lose more than the group's
tolerance, and how many of the file's levels are found again when the restored picture is compressed
with the file's own tables (in brackets: of the levels that are not zero).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a script started by itself

from benchmarks.command_line import (
    benchmark_parser,
    parsed,
    photographs,
    print_heading,
    print_row,
)
from data.costly_encoders import COSTLY_ENCODERS, missing_package
from data.drawn import KINDS, drawn, to_gray
from data.jpeg import (
    PILLOW_SAMPLINGS,
    JpegImage,
    Sampling,
    encode_jpeg,
    encode_with_tables,
    read_jpeg,
)
from data.tables import Tables, mozjpeg_tables, preset_tables, scaled, standard_tables, wild_tables
from models import Restorer
from utils.evaluation.metrics import psnr
from utils.evaluation.tables import csv_text
from utils.image_io import write_atomically
from utils.pictures import as_rgb
from utils.scripts import run_script

EXAMPLES = """examples:
  python benchmarks/kinds.py
  python benchmarks/kinds.py --groups "drawn: text" "drawn: ordered" --csv cases.csv
  python benchmarks/kinds.py --every 5 --side 128
"""

Picture = NDArray[np.uint8]

TABLES_TOLERANCE, CONTENT_TOLERANCE = 0.05, 0.1
"""dB that a case may lose before it counts as worse: of photographs, of other pictures."""

APART = (5, 10, 25, 50, 75, 90, 100)
DRAWN_QUALITIES = (30, 50, 75, 85, 92)
SEEDS = 3
"""Drawn pictures of each kind; training draws others, as its generators choose a place first."""

GRAY_GROUP = "gray photographs as colour"

_HIGHEST = 60.0
"""dB that a picture without error counts as."""


class Case(NamedTuple):
    """One JPEG: ``label`` tells it from others of its ``group``."""

    group: str
    label: str
    original: Picture
    encode: Callable[[Picture], bytes]


class Outcome(NamedTuple):
    """PSNR (dB) of the decoded JPEG; gain of the restored one; shares of levels found again."""

    jpeg: float
    gain: float
    levels: float
    levels_not_zero: float


def table_cases(sources: dict[str, Picture]) -> Iterator[Case]:
    """Photographs, with every set of tables."""

    def with_tables(
        group: str, label: str, tables: Tables, sampling: Sampling = Sampling.S420
    ) -> Iterator[Case]:
        encode = partial(encode_with_tables, tables=tables, sampling=sampling)
        for name, picture in sources.items():
            yield Case(f"{group}, {sampling.value}", f"{label} {name}", picture, encode)

    for sampling in (Sampling.S420, Sampling.S444):
        for index, tables in enumerate(wild_tables()[1]):
            yield from with_tables("found tables", f"set {index}", tables, sampling)
        for name, tables in preset_tables().items():
            yield from with_tables("Pillow's presets", name, tables, sampling)
    for luma in APART:
        for chroma in APART:
            c = standard_tables(chroma)[1]
            tables = standard_tables(luma)[0], c, c
            yield from with_tables("luma and chroma apart", f"{luma} and {chroma}", tables)
    for index, each in enumerate(mozjpeg_tables(), 1):
        for quality in (30, 75):
            luma_table, chroma_table = scaled(each[0], quality), scaled(each[-1], quality)
            tables = luma_table, chroma_table, chroma_table
            yield from with_tables("mozjpeg's tables", f"set {index} at {quality}", tables)


def _costly(pixels: Picture, encoder: str, quality: int) -> bytes:
    return COSTLY_ENCODERS[encoder](pixels, quality, Sampling.S420)


def encoder_cases(sources: dict[str, Picture]) -> Iterator[Case]:
    """Photographs by encoders that do not round to the nearest level."""
    for encoder, quality in (("trellis", 40), ("trellis", 75), ("jpegli", 75)):
        if missing_package(encoder):
            print(f"{encoder} left out: {missing_package(encoder)} missing", file=sys.stderr)
            continue
        encode = partial(_costly, encoder=encoder, quality=quality)
        for name, picture in sources.items():
            yield Case(f"{encoder} at {quality}", name, picture, encode)


def drawn_group(kind: str) -> str:
    """The group of the drawn pictures of a kind."""
    return f"drawn: {kind}"


def content_cases(
    sources: dict[str, Picture], drawn_kinds: Iterable[str] = KINDS
) -> Iterator[Case]:
    """Drawn pictures in colour and gray, and photographs without colour."""
    pictures = list(sources.values())
    for kind in drawn_kinds:
        for seed in range(SEEDS):
            source = pictures[seed % len(pictures)]
            # Half of all drawn pictures are gray; of each seed one of either sort is taken.
            found: dict[bool, Picture] = {}
            attempt = 0
            while len(found) < 2:
                picture = drawn(source, np.random.default_rng((7, seed, attempt)), (kind,))
                found.setdefault(bool(np.ptp(picture, axis=2).max()), picture)
                attempt += 1
                if attempt > 40:  # black on white has no colour either way
                    break
            for colored, picture in found.items():
                for sort in ["colour"] if colored else ["gray", "gray as colour"]:
                    pixels = picture[:, :, 0] if sort == "gray" else picture
                    samplings = [Sampling.S420, Sampling.S444] if colored else [Sampling.S420]
                    for quality, sampling in product(DRAWN_QUALITIES, samplings):
                        yield Case(
                            drawn_group(kind),
                            f"{seed} {sort} at {quality}"
                            + (" 4:4:4" if sampling == Sampling.S444 else ""),
                            np.ascontiguousarray(pixels),
                            partial(encode_jpeg, quality=quality, sampling=sampling),
                        )
    for name, picture in sources.items():
        for quality in (10, *DRAWN_QUALITIES):
            encode = partial(encode_jpeg, quality=quality)
            yield Case(GRAY_GROUP, f"{name} at {quality}", to_gray(picture), encode)


def measured(case: Case, restorer: Restorer) -> Outcome:
    """Restore one case."""
    stored = read_jpeg(case.encode(case.original))
    decoded = stored.decoded()
    assert decoded is not None
    restored = restorer.restore(stored)
    before, after = (
        min(_HIGHEST, psnr(restored=picture, original=case.original))
        for picture in (decoded, restored)
    )
    return Outcome(before, after - before, *levels_found_again(stored, restored))


def levels_found_again(stored: JpegImage, restored: Picture) -> tuple[float, float]:
    """Shares of a file's levels, and of those not zero, that ``restored`` gives when compressed
    with the file's tables; not a number for layouts that cannot be written."""
    gray = restored.ndim == 2
    sampling = Sampling.S420 if gray else stored.sampling
    if sampling not in PILLOW_SAMPLINGS:
        return float("nan"), float("nan")
    tables = [component.table for component in stored.components]
    again = read_jpeg(encode_with_tables(restored, tables, sampling))
    pairs = list(zip(stored.components, again.components, strict=True))
    same = np.concatenate([(a.levels == b.levels).ravel() for a, b in pairs])
    present = np.concatenate([(a.levels != 0).ravel() for a, _ in pairs])
    return float(same.mean()), float(same[present].mean()) if present.any() else 1.0


def main() -> int:
    parser = benchmark_parser(__doc__, EXAMPLES, measures=True)
    parser.add_argument("--pictures", type=int, default=3, metavar="N", help="how many (default 3)")
    parser.add_argument("--side", type=int, default=256, help="pixels of their middle (256)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th case")
    parser.add_argument("--groups", nargs="+", metavar="GROUP", help="lines of the table to make")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every case to this file")
    args = parsed(parser)
    if min(args.pictures, args.every) < 1 or args.side < 64:
        parser.error("--pictures and --every start at 1, --side at 64")
    found = photographs(args.testset, args.side, args.pictures)
    sources = {name: as_rgb(picture) for name, picture in found.items()}
    cases = [*table_cases(sources), *encoder_cases(sources)]
    known = [*dict.fromkeys(case.group for case in cases), *map(drawn_group, KINDS), GRAY_GROUP]
    for name in args.groups or []:
        if name not in known:
            parser.error(f"no group {name}; there are {'; '.join(known)}")
    wanted = args.groups or known
    cases += content_cases(sources, [kind for kind in KINDS if drawn_group(kind) in wanted])
    restorer = Restorer(args.network)
    cases = [case for case in cases if case.group in wanted][:: args.every]
    outcomes = [(case, measured(case, restorer)) for case in tqdm(cases, unit="case", disable=None)]
    testset = args.testset.name
    print(f"{args.checkpoint.name}, {restorer.arithmetic}, {testset}, {args.side} pixels\n")
    print_heading(*("group", "cases", "gain, dB", "worst, dB", "of", "worse", "levels found again"))
    for group in known:
        own = [(case, outcome) for case, outcome in outcomes if case.group == group]
        if own:
            _print_group(group, own)
    if args.csv:
        rows = [
            {"group": case.group, "case": case.label}
            | {name: f"{value:.4f}" for name, value in outcome._asdict().items()}
            for case, outcome in outcomes
        ]
        write_atomically(args.csv, csv_text(tuple(rows[0]), rows))
    return 0


def _print_group(group: str, own: list[tuple[Case, Outcome]]) -> None:
    content = group.startswith(("drawn", "gray"))
    tolerance = CONTENT_TOLERANCE if content else TABLES_TOLERANCE
    gains = np.array([outcome.gain for _, outcome in own])
    worst, lowest = min(own, key=lambda each: each[1].gain)
    levels, not_zero = (
        f"{np.nanmean([getattr(outcome, name) for _, outcome in own]):.2%}"
        for name in ("levels", "levels_not_zero")
    )
    worse = (gains < -tolerance).sum()
    print_row(
        *(group, len(own), f"{gains.mean():+.2f}", f"{lowest.gain:+.2f}", worst.label, worse),
        f"{levels} ({not_zero})",
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
