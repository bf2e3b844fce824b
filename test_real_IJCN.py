"""Restore real files: JPEGs (and pictures that once were JPEGs) in, clean pictures out."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import utils.startup  # noqa: F401  must come first, see there
from data.datasets import DatasetError, testset_folder
from jobs.dry_run import Prospect, as_table, look_at_files, unwritable
from jobs.file_records import check_json, for_people, tell, write_json, write_records
from jobs.network import USAGE_ERRORS, Session, open_session
from jobs.pipes import Pipes, pipes
from jobs.plan_files import Plan, plan_files
from jobs.report import require_own_records
from jobs.restore_files import FileResult, OutputSettings, restore_files
from jobs.without_effect import memory_without_effect, options_without_effect
from models.checkpoint import SHIPPED
from options.command_line import (
    from_project,
    given_options,
    read_options,
    test_parser,
)
from options.schema import OptionsError, RealTestOptions
from utils.arguments import number, printable
from utils.image_io import require_writable
from utils.picture_files import FORMATS, Format
from utils.scripts import EXIT_FAILED, run_script

EXAMPLES = """  python test_real_IJCN.py --input photo.jpg --output clean.png
  python test_real_IJCN.py --input photo.jpg holiday/ --output restored
  python test_real_IJCN.py --input "scans/*.jpg" --format jpg --quality 92 --compare
  python test_real_IJCN.py --input panorama.jpg --max_memory 2
  python test_real_IJCN.py --input portrait.jpg --strength 0.5
  python test_real_IJCN.py --input old.png --overwrite --report
  python test_real_IJCN.py --input archive/ --below 60 --dry_run
  python test_real_IJCN.py --input archive/ --ensemble 4 --set all_pictures=true leave_fine=false
  python test_real_IJCN.py --input holiday/ --suffix _clean
  curl -s https://example.org/a.jpg | python test_real_IJCN.py --input - --output - > a.png
  python test_real_IJCN.py --input holiday/ --json report.json
  torchrun --nproc_per_node=4 test_real_IJCN.py --input archive/
"""


def main() -> int:
    parser = test_parser(
        __doc__,
        EXAMPLES,
        "options/test_real.yml",
        "test sets by name (folders of JPEGs in testsets/), instead of --input",
        "a folder, or for one picture a file such as clean.png (default: test_results/real)",
    )
    parser.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        help="files, globs, folders, - for stdin; from folders, JPEGs are taken (--set "
        "all_pictures=true: PNG, WebP, BMP and TIFF too)",
    )
    parser.add_argument(
        "--format",
        type=lambda text: FORMATS.get(f".{text.lower()}", text),
        choices=get_args(Format),
        help="of results (png)",
    )
    parser.add_argument(
        "--suffix", metavar="TEXT", help="write NAMETEXT.png beside each source instead, as _clean"
    )
    for name, values, text in (
        ("strength", "0..1", "how much of the change to apply (1: all)"),
        ("quality", "1..100", "of webp and jpg (95)"),
        ("below", "1..100", "restore only files of a lower estimated quality; decode the others"),
        ("max_memory", "GIB", "default: half of what is free; GPU: 80 %%"),
        ("max_pixels", "MEGAPIXELS", "refuse larger pictures (200)"),
    ):
        parser.add_argument(f"--{name}", type=number, metavar=values, help=text)
    for name, text in (
        ("dry_run", "only a table of what would be done; nothing is written but --json"),
        ("overwrite", "restore again what is there"),
        ("compare", "beside each result, a picture before | restored of what changed most"),
    ):
        parser.add_argument(f"--{name}", action="store_true", default=None, help=text)
    parser.add_argument(
        "--json", dest="json_report", metavar="FILE", help='report for programs; "-": on stdout'
    )
    args = parser.parse_args()

    def body() -> int:
        if args.input and args.testsets:
            raise OptionsError("give --input or --testsets, not both")
        options = read_options(RealTestOptions, args)
        if args.format not in (None, options.written_format):
            raise OptionsError(f"--format {args.format} and --output {args.output} disagree")
        root = from_project(options.testsets_folder)
        inputs = options.input or _sets(options.testsets, root, args.testsets is None)
        _, given = given_options(RealTestOptions, args)
        idle = options_without_effect(options, given, inputs)
        with pipes(options, inputs) as files:
            return _run(options, files, idle)

    return run_script(body, (*USAGE_ERRORS, DatasetError))


def _run(options: RealTestOptions, files: Pipes, idle: list[str]) -> int:
    """Restore the files, or look at them only; the exit code. idle: options without effect."""
    plan = plan_files(
        files.inputs,
        files.output,
        options.written_format,
        options.all_pictures,
        options.compare,
        options.suffix,
        options.is_one_file,
    )
    if files.writes and len(plan.jobs) + len(plan.problems) != 1:
        raise OptionsError(f"--output - takes one picture, these are {len(plan.jobs)}")
    plan.hints += idle
    check_json(options.json_report, plan.jobs, options.output)
    start = time.perf_counter()
    with open_session(options) as session:
        settings = OutputSettings(
            options.written_format,
            options.quality,
            options.overwrite,
            round(options.max_pixels * 1e6),
            options.keep_times,
            _recipe(options, session),
            options.below,
            options.assume_quality,
            options.keep_cmyk,
        )
        plan.hints += memory_without_effect(options.max_memory, session.restorer.least_memory())
        if options.dry_run:
            return _look(options, session, plan, settings, files)
        if options.is_one_file:
            require_writable(files.output.parent)
        elif options.suffix is None or options.report:
            require_writable(files.output)
            require_own_records(files.output, options.report)
        # A GPU restores faster than one thread codes pictures.
        writers = 4 if session.restorer.device.type == "cuda" else 1
        results = restore_files(
            plan.jobs, session.restorer, settings, writers, session.world, _faster(options, session)
        )
        results += [FileResult(p.source, None, "failed", p.message) for p in plan.problems]
        complete = all(result.status != "failed" for result in results)
        if session.world.is_main:
            if files.writes and complete:
                files.write(plan.jobs[0].target)
            results = list(map(files.named, results))
            complete &= write_records(options, session, results, time.perf_counter() - start)
            tell(results, plan.hints, options)
    return 0 if complete else EXIT_FAILED


def _look(
    options: RealTestOptions, session: Session, plan: Plan, settings: OutputSettings, files: Pipes
) -> int:
    """A table of what would be done; the exit code."""
    if not session.world.is_main:
        return 0
    prospects = look_at_files(plan.jobs, session.restorer, settings)
    prospects += [Prospect(p.source, None, "refused", p.message) for p in plan.problems]
    prospects = list(map(files.named, prospects))
    for line in as_table(prospects):
        print(line, file=for_people(options))
    for hint in (*plan.hints, *unwritable(plan.jobs)):
        print(f"note: {printable(hint)}", file=sys.stderr)
    write_json(prospects, options.json_report)
    return EXIT_FAILED if any(p.decision == "refused" for p in prospects) else 0


def _faster(options: RealTestOptions, session: Session) -> str:
    """What to tell people who wait, if there is anything."""
    if session.restorer.device.type != "cpu" or options.checkpoint != SHIPPED["full"]:
        return ""
    return (
        "this will take a while; --checkpoint fast takes about a quarter of the time, "
        "for a little less quality"
    )


NOT_IN_A_RESULT = {
    *("input", "testsets", "testsets_folder", "all_pictures", "checkpoint", "device", "precision"),
    *("max_memory", "compile", "threads", "output", "format", "quality", "suffix", "keep_times"),
    *("overwrite", "compare", "report", "max_pixels", "json_report", "dry_run"),
}
"""Options that change no pixel; for the weights, the precision and the quality see _recipe."""


NEWER = ("assume_quality", "keep_cmyk")
"""Options that results of earlier versions do not name: at their defaults they still hold."""


def _recipe(options: RealTestOptions, session: Session) -> dict[str, Any]:
    """Weights and options that a result depends on; plain types."""
    recipe: dict[str, Any] = {
        "weights": session.weights_sha256,
        "precision": session.restorer.arithmetic,
        **options.model_dump(mode="json", exclude=NOT_IN_A_RESULT),
    }
    for name in NEWER:
        if recipe[name] == RealTestOptions.model_fields[name].default:
            del recipe[name]
    lossless = options.written_format in ("png", "tiff")
    return recipe if lossless else {**recipe, "quality": options.quality}


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


if __name__ == "__main__":
    sys.exit(main())
