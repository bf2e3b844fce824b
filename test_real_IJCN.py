"""Restore real files: JPEGs (and pictures that once were JPEGs) in, clean pictures out."""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import utils.interrupts  # noqa: F401  first: heeds Ctrl-C while the others load
from data.datasets import DatasetError, testset_folder
from jobs.network import USAGE_ERRORS, Session, describe_network, open_session
from jobs.plan_files import FileJob, plan_files
from jobs.report import report_files
from jobs.restore_files import FileResult, OutputSettings, restore_files
from options.command_line import (
    EXIT_FAILED_IMAGES,
    from_project,
    read_options,
    run_script,
    test_parser,
)
from options.schema import OptionsError, RealTestOptions
from utils.image_io import ImageError, require_writable, write_atomically
from utils.run_log import describe_run, file_hash, write_run_file

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
    parser.add_argument(
        "--suffix", metavar="TEXT", help="write NAME_TEXT.png beside each source instead: _clean"
    )
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
            *("input", "format", "quality", "suffix", "overwrite", "compare"),
            *("max_memory", "max_pixels", "json_report"),
        )
        if args.input and args.testsets:
            raise OptionsError("give --input or --testsets, not both")
        options = read_options(RealTestOptions, args, named)
        root = from_project(options.testsets_folder)
        inputs = options.input or _sets(options.testsets, root, args.testsets is None)
        plan = plan_files(
            inputs,
            options.output,
            options.format,
            options.all_pictures,
            options.compare,
            options.suffix,
        )
        _check_json(options.json_report, plan.jobs)
        start = time.perf_counter()
        with open_session(options) as session:
            settings = OutputSettings(
                options.format,
                options.quality,
                options.overwrite,
                round(options.max_pixels * 1e6),
                options.keep_times,
                _recipe(options, session),
            )
            if options.suffix is None or options.report:
                require_writable(options.output)
            # A GPU restores faster than one thread codes pictures.
            writers = 4 if session.restorer.device.type == "cuda" else 1
            results = restore_files(plan.jobs, session.restorer, settings, writers, session.world)
            results += [
                FileResult(problem.source, None, "failed", problem.message)
                for problem in plan.problems
            ]
            complete = all(result.status != "failed" for result in results)
            if session.world.is_main:
                _tell(results, plan.hints, options)
                seconds = time.perf_counter() - start
                complete &= _write_records(options, session, results, seconds)
        return 0 if complete else EXIT_FAILED_IMAGES

    return run_script(body, (*USAGE_ERRORS, DatasetError))


NOT_IN_A_RESULT = {
    *("input", "testsets", "testsets_folder", "all_pictures", "checkpoint", "device", "precision"),
    *("max_memory", "compile", "threads", "output", "format", "quality", "suffix", "keep_times"),
    *("overwrite", "compare", "report", "max_pixels", "json_report"),
}
"""Options that change no pixel; for the weights, the precision and the quality see _recipe."""


def _recipe(options: RealTestOptions, session: Session) -> dict[str, Any]:
    """Weights and options that a result depends on; plain types."""
    recipe: dict[str, Any] = {
        "weights": file_hash(from_project(options.checkpoint)),
        "precision": str(session.restorer.precision).removeprefix("torch."),
        **options.model_dump(mode="json", exclude=NOT_IN_A_RESULT),
    }
    return recipe if options.format == "png" else {**recipe, "quality": options.quality}


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


def _check_json(path: Path | None, jobs: Sequence[FileJob]) -> None:
    """Refuse before the work what could not be written after it.

    Raises:
        OptionsError: the JSON file would replace a picture. ImageError: its folder is not writable.
    """
    if path is None or str(path) == "-" or _is_device(path):
        return
    places = {place for job in jobs for place in (job.source, job.target, job.comparison) if place}
    if path.resolve() in {place.resolve() for place in places}:
        raise OptionsError(f"--json {path} is the place of a picture; choose another")
    if path.is_dir():
        raise OptionsError(f"--json {path} is a folder; give a file in it")
    require_writable(path.resolve().parent)


def _write_records(
    options: RealTestOptions, session: Session, results: list[FileResult], seconds: float
) -> bool:
    """What is left besides pictures; whether all of it could be written."""
    facts = {
        **describe_network(options, session),
        "files": dict(Counter(result.status for result in results)),
        "megapixels": round(sum(result.pixels for result in results) / 1e6, 3),
        "seconds": round(seconds, 3),
    }
    run = describe_run(options.model_dump(mode="json"), facts)

    def report() -> None:
        title = f"{_counted(results)}, by {options.checkpoint.name}"
        path = report_files(options.output, title, results, run)
        print(f"everything on one page: {path}", file=_people(options))

    steps = [
        (options.json_report is not None, lambda: _write_json(results, options.json_report)),
        (options.suffix is None, lambda: write_run_file(options.output / "run.yml", run)),
        (options.report, report),
    ]
    complete = True
    for wanted, step in steps:
        try:
            if wanted:
                step()
        except ImageError as error:
            print(f"error: {error}", file=sys.stderr)
            complete = False
    return complete


def _is_device(path: Path) -> bool:
    """A device or a pipe, such as /dev/stdout: it is written to, not replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _write_json(results: list[FileResult], path: Path | None) -> None:
    # Escaped, names that are not Unicode survive too.
    text = json.dumps([result.as_json() for result in results], indent=2) + "\n"
    if str(path) == "-":
        print(text, end="")
    elif path is not None and _is_device(path):
        try:
            path.write_text(text)
        except OSError as error:
            raise ImageError(f"--json {path}: {error.strerror or error}") from error
    elif path is not None:
        write_atomically(path.resolve(), text)


def _people(options: RealTestOptions) -> TextIO:
    """Lines for people go to stderr where stdout belongs to a program."""
    return sys.stderr if str(options.json_report) == "-" else sys.stdout


def _tell(results: list[FileResult], hints: Sequence[str], options: RealTestOptions) -> None:
    """A line for each file of which there is something to say, and a summary."""
    for result in results:
        if result.status == "failed":
            print(f"not restored: {result.source}: {result.message}", file=sys.stderr)
        elif result.message:
            print(f"note: {result.source}: {result.message}", file=sys.stderr)
    for hint in hints:
        print(f"note: {hint}", file=sys.stderr)
    now = [result for result in results if result.status != "skipped"]
    there = [result for result in results if result.status == "skipped"]
    counts = Counter(result.outcome for result in now)
    parts = [f"{counts['restored']} of {len(results)} files restored"]
    parts += [f"{counts[kind]} {kind}" for kind in ("left alone", "decoded") if counts[kind]]
    if there:
        parts.append(f"{len(there)} there already ({_counted(there)}; --overwrite redoes them)")
    parts.append(f"{counts['failed']} failed")
    place = "beside their sources" if options.suffix else str(options.output)
    print(f"{', '.join(parts)}: {place}", file=_people(options))


def _counted(results: list[FileResult]) -> str:
    """How many there are of each kind, as "5 restored, 2 left alone, 1 failed"."""
    counts = Counter(result.outcome for result in results)
    kinds = ("restored", "left alone", "decoded", "failed")
    return ", ".join(f"{counts[kind]} {kind}" for kind in kinds if counts[kind])


if __name__ == "__main__":
    sys.exit(main())
