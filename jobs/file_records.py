"""What a run over picture files leaves besides pictures: lines, JSON, run.yml, a page."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from jobs.dry_run import Prospect
from jobs.network import Session, describe_network
from jobs.plan_files import FileJob
from jobs.report import REPORT, report_files
from jobs.restore_files import FileResult
from options.schema import OptionsError, RealTestOptions
from utils.arguments import printable
from utils.image_io import ImageError, require_writable, write_atomically
from utils.run_log import RUN_FILE, describe_run, write_run_file


def check_json(path: Path | None, jobs: Sequence[FileJob], output: Path) -> None:
    """Refuse before the work what could not be written after it.

    Raises:
        OptionsError: the JSON file would replace a picture, another record of the run in its folder
            ``output``, or a file that is no such report.
        ImageError: its folder is not writable.
    """
    if path is None or str(path) == "-" or _is_device(path):
        return
    places = {place for job in jobs for place in (job.source, job.target, job.comparison) if place}
    if path.resolve() in {place.resolve() for place in places}:
        raise OptionsError(f"--json {path} is the place of a picture; choose another")
    if path.resolve() in {(output / name).resolve() for name in (RUN_FILE, REPORT)}:
        raise OptionsError(f"--json {path} is the place of another record; choose another")
    if path.is_dir():
        raise OptionsError(f"--json {path} is a folder; give a file in it")
    if path.exists() and not _is_report(path):
        raise OptionsError(f"--json {path} is there already and is no such report; choose another")
    require_writable(path.resolve().parent, "--json")


def _is_report(path: Path) -> bool:
    """Whether a file may be replaced by :func:`write_json`: it wrote that, or the file is empty."""
    try:
        text = path.read_text()
        rows = json.loads(text) if text.strip() else []
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(rows, list) and all(
        isinstance(row, dict) and {"source", "target"} <= set(row) for row in rows
    )


def write_records(
    options: RealTestOptions, session: Session, results: list[FileResult], seconds: float
) -> bool:
    """JSON, run.yml and the page, as far as wanted; whether all of it could be written."""
    facts = {
        **describe_network(session),
        "files": dict(Counter(result.status for result in results)),
        "megapixels": round(sum(result.pixels for result in results) / 1e6, 3),
        "seconds": round(seconds, 3),
    }
    run = describe_run(options.model_dump(mode="json"), facts)

    def report() -> None:
        title = f"{counted(results)}, by {options.checkpoint.name}"
        path = report_files(options.output, title, results, run)
        print(f"everything on one page: {path}", file=for_people(options))

    run_file = options.output / RUN_FILE
    has_folder = options.suffix is None and str(options.output) != "-" and not options.is_one_file
    # A run that found all done says nothing of how the results were made.
    done = all(result.status == "skipped" for result in results)
    steps = [
        (True, lambda: write_json(results, options.json_report)),
        (has_folder and not (done and run_file.exists()), lambda: write_run_file(run_file, run)),
        (options.report, report),
    ]
    complete = True
    for wanted, step in steps:
        try:
            if wanted:
                step()
        except (ImageError, OSError) as error:  # the latter of stdout
            print(f"error: {error}", file=sys.stderr)
            complete = False
    return complete


def _is_device(path: Path) -> bool:
    """A device or a pipe, such as /dev/stdout: it is written to, not replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def write_json(rows: Sequence[FileResult | Prospect], path: Path | None) -> None:
    """Write results for programs, "-" being stdout, unless ``path`` is None.

    Raises:
        ImageError: the place cannot be written.
    """
    # Escaped, names that are not Unicode survive too.
    text = json.dumps([asdict(row) for row in rows], indent=2, default=str) + "\n"
    if str(path) == "-":
        print(text, end="")
    elif path is not None and _is_device(path):
        try:
            path.write_text(text)
        except OSError as error:
            raise ImageError(f"--json {path}: {error.strerror or error}") from error
    elif path is not None:
        write_atomically(path.resolve(), text)


def for_people(options: RealTestOptions) -> TextIO:
    """Lines for people go to stderr where stdout belongs to a program."""
    return sys.stderr if "-" in (str(options.json_report), str(options.output)) else sys.stdout


def tell(results: list[FileResult], hints: Sequence[str], options: RealTestOptions) -> None:
    """A line for each file of which there is something to say, and a summary."""
    for result in results:
        if result.status == "failed":
            line = f"not restored: {result.source}: {result.message}"
        elif result.message:
            line = f"note: {result.source}: {result.message}"
        else:
            continue
        print(printable(line), file=sys.stderr)
    for hint in hints:
        print(f"note: {printable(hint)}", file=sys.stderr)
    now = [result for result in results if result.status != "skipped"]
    there = [result for result in results if result.status == "skipped"]
    counts = Counter(result.outcome for result in now)
    parts = [f"{counts['restored']} of {len(results)} files restored"]
    parts += [f"{counts[kind]} {kind}" for kind in ("left alone", "decoded") if counts[kind]]
    if there:
        parts.append(f"{len(there)} there already ({counted(there)}; --overwrite redoes them)")
    parts.append(f"{counts['failed']} failed")
    place = "beside their sources" if options.suffix else str(options.output)
    print(f"{', '.join(parts)}: {place}", file=for_people(options))


def counted(results: Sequence[FileResult]) -> str:
    """How many there are of each kind, as "5 restored, 2 left alone, 1 failed"."""
    counts = Counter(result.outcome for result in results)
    kinds = ("restored", "left alone", "decoded", "failed")
    return ", ".join(f"{counts[kind]} {kind}" for kind in kinds if counts[kind])
