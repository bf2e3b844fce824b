"""Train IJCN from an option file, on one CPU or GPU or, started by torchrun, on many."""

from __future__ import annotations

import utils.startup  # noqa: F401  must come first, see there

# isort: split
import argparse
import sys
from pathlib import Path

import torch

from jobs.train import USAGE_ERRORS, train
from models.restore.layouts import RestoreError
from models.restore.restorer import is_out_of_memory
from options.command_line import from_project, given_options
from options.schema import TrainOptions, load_options
from utils.arguments import between
from utils.commands import command_parser
from utils.scripts import EXIT_FAILED, run_script
from utils.training.loop import OTHER_FAILED, TrainingError

EXAMPLES = """  python main_train_IJCN.py --opt options/train_small.yml --set data.folders=photos
  python main_train_IJCN.py --opt options/train_small.yml --resume auto --max_minutes 60
  python main_train_IJCN.py --opt options/train_small.yml --set optimisation.steps=20000 \\
    data.batch=16
  python main_train_IJCN.py --opt options/train_small.yml --set optimisation.steps=null \\
    optimisation.minutes=90
  torchrun --nproc_per_node=4 main_train_IJCN.py --opt options/train_color.yml
  tensorboard --logdir runs
"""


def main(arguments: list[str] | None = None) -> int:
    parser = command_parser(__doc__, EXAMPLES)
    parser.add_argument("--opt", type=Path, required=True, metavar="FILE", help="YAML option file")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="replace options of the file",
    )
    parser.add_argument(
        "--resume",
        choices=("auto", "no"),
        default="no",
        help="auto: continue the run of the same name (default: no)",
    )
    parser.add_argument(
        "--max_minutes",
        type=between(float, 0),
        metavar="MINUTES",
        help="save and stop after so many minutes of training",
    )
    args = parser.parse_args(arguments)
    return run_script(lambda: _train(args), USAGE_ERRORS)


def _train(args: argparse.Namespace) -> int:
    options = load_options(TrainOptions, from_project(args.opt), *given_options(TrainOptions, args))
    try:
        train(options, args.resume == "auto", args.max_minutes)
    except (TrainingError, RestoreError) as error:
        if str(error) != OTHER_FAILED:  # which says what happened itself
            print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # CUDA's message begins with a sentence, others with a place in the code.
        is_told = isinstance(error, torch.OutOfMemoryError)
        reason = str(error).split(".")[0] if is_told else "not enough memory"
        print(
            f"error: {reason}; raise optimisation.accumulate, or lower data.batch, data.patch or "
            "data.stored_crops",
            file=sys.stderr,
        )
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
