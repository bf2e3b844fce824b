"""Restore real files: JPEGs (and pictures that once were JPEGs) in, clean pictures out."""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import utils.interrupts  # noqa: F401  first: heeds Ctrl-C while the others load
from data.datasets import DatasetError, testset_folder
from jobs.network import USAGE_ERRORS, Session, describe_network, open_session
from jobs.report import REPORT, report_files
from jobs.restore_files import FileResult, OutputSettings, plan_files, restore_files
from options.command_line import (
    EXIT_FAILED_IMAGES,
    from_project,
    read_options,
    run_script,
    test_parser,
)
from options.schema import OptionsError, RealTestOptions
from utils.image_io import require_writable, write_atomically
from utils.run_log import write_run_file

EXAMPLES = """  python test_real_IJCN.py --input photo.jpg holiday/ --output restored
  python test_real_IJCN.py --input "scans/*.jpg" --format jpg --quality 92 --compare
  python test_real_IJCN.py --input panorama.jpg --max_memory 2
  python test_real_IJCN.py --input old.png --overwrite --report
  python test_real_IJCN.py --testsets Real --json report.json
  torchrun --nproc_per_node=4 test_real_IJCN.py --input archive/
"""


def main() -> int:
    parser = test_parser(
        __doc__, EXAMPLES, "options/test_real.yml", "folders of JPEGs by name, instead of --input"
    )
    parser.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        help="files, globs, folders; of folders JPEGs are taken (--set all_pictures=true: all)",
    )
    parser.add_argument("--format", choices=("png", "webp", "jpg"), help="of results (png)")
    parser.add_argument("--quality", type=int, metavar="1..100", help="of webp and jpg (95)")
    parser.add_argument(
        "--overwrite", action="store_true", default=None, help="restore again what is there"
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        default=None,
        help="beside each result, a picture before | restored of the crop that changed most",
    )
    parser.add_argument(
        "--max_memory", type=float, metavar="GIB", help="default: half of what is free; GPU: 80 %%"
    )
    parser.add_argument(
        "--max_pixels", type=float, metavar="MEGAPIXELS", help="refuse larger pictures (200)"
    )
    parser.add_argument(
        "--json", dest="json_report", metavar="FILE", help='report for programs; "-": on stdout'
    )
    args = parser.parse_args()

    def body() -> int:
        named = (
            *("input", "format", "quality", "overwrite", "compare"),
            *("max_memory", "max_pixels", "json_report"),
        )
        if args.input and args.testsets:
            raise OptionsError("give --input or --testsets, not both")
        options = read_options(RealTestOptions, args, named)
        root = from_project(options.testsets_folder)
        inputs = options.input or _sets(options.testsets, root, args.testsets is None)
        jobs = plan_files(inputs, options.output, options.format, options.all_pictures)
        settings = OutputSettings(
            options.format,
            options.quality,
            options.overwrite,
            options.compare,
            round(options.max_pixels * 1e6),
        )
        start = time.perf_counter()
        with open_session(options) as session:
            require_writable(options.output)
            # A GPU restores faster than one thread codes pictures.
            writers = 4 if session.restorer.device.type == "cuda" else 1
            results = restore_files(jobs, session.restorer, settings, writers, session.world)
            if session.world.is_main:
                run = _write_run(options, session, results, time.perf_counter() - start)
                if options.report:
                    title = f"{len(results)} files restored by {options.checkpoint.name}"
                    report_files(options.output, title, results, run)
                _tell(results, options)
        return EXIT_FAILED_IMAGES if any(r.status == "failed" for r in results) else 0

    return run_script(body, (*USAGE_ERRORS, DatasetError))


def _sets(names: Sequence[str], root: Path, by_default: bool) -> list[Path]:
    try:
        return [testset_folder(name, root) for name in names]
    except DatasetError as error:
        if not by_default:
            raise
        raise OptionsError(
            "no pictures named; give files or folders: --input photo.jpg holiday/ "
            f"(or put JPEGs into {root / names[0]})"
        ) from error


def _write_run(
    options: RealTestOptions, session: Session, results: list[FileResult], seconds: float
) -> dict[str, Any]:
    return write_run_file(
        options.output / "run.yml",
        options.model_dump(mode="json"),
        {
            **describe_network(options, session),
            "files": dict(Counter(result.status for result in results)),
            "megapixels": round(sum(result.pixels for result in results) / 1e6, 3),
            "seconds": round(seconds, 3),
        },
    )


def _tell(results: list[FileResult], options: RealTestOptions) -> None:
    """Lines for people, on stderr where stdout belongs to a program."""
    to_stdout = str(options.json_report) == "-"
    people = sys.stderr if to_stdout else sys.stdout
    for result in results:
        if result.status == "failed":
            print(f"not restored: {result.source}: {result.message}", file=sys.stderr)
        elif result.status != "skipped" and result.message:
            print(f"note: {result.source}: {result.message}", file=sys.stderr)
    counts = Counter(result.status for result in results)
    parts = [f"{counts['restored']} of {len(results)} files restored"]
    if counts["decoded"]:
        parts.append(f"{counts['decoded']} decoded only")
    if counts["skipped"]:
        parts.append(f"{counts['skipped']} there already (--overwrite restores them again)")
    parts.append(f"{counts['failed']} failed")
    print(f"{', '.join(parts)}: {options.output}", file=people)
    if options.report:
        print(f"everything on one page: {options.output / REPORT}", file=people)
    if options.json_report is not None:
        text = json.dumps([result.as_json() for result in results], indent=2, ensure_ascii=False)
        if to_stdout:
            print(text)
        else:
            write_atomically(options.json_report, text + "\n")


if __name__ == "__main__":
    sys.exit(main())
