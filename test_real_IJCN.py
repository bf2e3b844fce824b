"""Restore real JPEG files: files or folders of JPEGs in, PNG files out. Nothing is measured."""

import sys

from data.datasets import DatasetError, testset_folder
from jobs.network import USAGE_ERRORS, describe_network, open_restorer
from jobs.restore_files import plan_files, restore_files
from options.command_line import (
    EXIT_FAILED_IMAGES,
    from_project,
    read_options,
    run_script,
    test_parser,
)
from options.schema import OptionsError, RealTestOptions
from utils.image_io import require_writable
from utils.run_log import write_run_file

EXAMPLES = """  python test_real_IJCN.py --input photo.jpg holiday/ --output restored
  python test_real_IJCN.py --testsets Real
  python test_real_IJCN.py --input scans/ --output restored --set overwrite=true
"""


def main() -> int:
    parser = test_parser(
        __doc__, EXAMPLES, "options/test_real.yml", "folders of JPEGs by name, instead of --input"
    )
    parser.add_argument("--input", nargs="+", metavar="PATH", help="JPEG files and folders of them")
    args = parser.parse_args()

    def body() -> int:
        named = ("checkpoint", "device", "output", "testsets", "input")
        if args.input and args.testsets:
            raise OptionsError("give --input or --testsets, not both")
        options = read_options(RealTestOptions, args, named)
        root = from_project(options.testsets_folder)
        inputs = options.input or [testset_folder(name, root) for name in options.testsets]
        jobs = plan_files(inputs, options.output)
        restorer = open_restorer(options)
        require_writable(options.output)
        network = describe_network(options, restorer)
        report = restore_files(jobs, restorer.restore, options.overwrite)
        write_run_file(
            options.output / "run.yml",
            options.model_dump(mode="json"),
            {
                **network,
                "files_restored": len(report.restored),
                "files_restored_before": len(report.skipped),
                "files_failed": len(report.failures),
            },
        )
        for line in report.failures:
            print(f"not restored: {line}", file=sys.stderr)
        again = "restored before (--set overwrite=true restores them again)"
        skipped = f", {len(report.skipped)} {again}" if report.skipped else ""
        print(
            f"{len(report.restored)} of {len(jobs)} files restored{skipped}, "
            f"{len(report.failures)} failed: {options.output}"
        )
        return EXIT_FAILED_IMAGES if report.failures else 0

    return run_script(body, (*USAGE_ERRORS, DatasetError))


if __name__ == "__main__":
    sys.exit(main())
