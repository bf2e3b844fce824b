"""Train IJCN from an option file, on one CPU or GPU or, started by torchrun, on many."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data.datasets import DatasetError
from jobs.train import train
from models import CheckpointError
from options.schema import OptionsError, TrainOptions, load_options, parse_assignment
from utils.distributed import world_from_environment
from utils.image_io import ImageError
from utils.training import TrainingError

EXAMPLES = """examples:
  python main_train_IJCN.py --opt options/train_small.yml
  python main_train_IJCN.py --opt options/train_small.yml --resume auto --max_minutes 60
  python main_train_IJCN.py --opt options/train_small.yml --set optimisation.steps=20000
  data.batch=16
  torchrun --nproc_per_node=4 main_train_IJCN.py --opt options/train_color.yml
  tensorboard --logdir runs
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
        "--resume", choices=("auto", "no"), default="no", help="continue the run of the same name"
    )
    parser.add_argument("--max_minutes", type=float, help="save and stop after so many minutes")
    args = parser.parse_args(arguments)
    try:
        options = load_options(
            TrainOptions, args.opt, [parse_assignment(text) for text in args.set]
        )
        return train(options, args.resume == "auto", args.max_minutes)
    except (OptionsError, DatasetError, ImageError, CheckpointError, TrainingError) as error:
        if world_from_environment().is_main:  # the others would repeat it
            print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, TrainingError) else 2


if __name__ == "__main__":
    sys.exit(main())
