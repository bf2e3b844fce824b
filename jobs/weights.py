"""Make one checkpoint of others without training: the average of several.

Averaging the ends of several trainings that went on from one another, or from a common start, gives
one network that is better than each (model soups, Wortsman et al. 2022).
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from models import CheckpointError, load_checkpoint, save_checkpoint
from models.ijcn import IJCN, LAST_STEPS
from utils.commands import command_parser
from utils.image_io import ImageError, require_writable
from utils.scripts import run_script

EXAMPLES = """  python -m jobs.weights average runs/a/best.safetensors runs/b/best.safetensors --output mean.safetensors
  python -m jobs.weights average a.safetensors b.safetensors --shares 1 3 --output mean.safetensors --half
"""  # noqa: E501


class WeightsError(ValueError):
    """What cannot be made; the message is one line: what, why, what to do."""


def average(networks: Sequence[IJCN], shares: Sequence[float] | None = None) -> IJCN:
    """The network whose weights are the mean of the others'.

    shares: weight of each network, in any unit; None: all alike.

    Raises:
        WeightsError: networks of different variants, or shares that make no mean.
    """
    if not networks:
        raise WeightsError("no network to average")
    shares = [1.0] * len(networks) if shares is None else list(shares)
    if len(shares) != len(networks):
        raise WeightsError(f"{len(networks)} networks and {len(shares)} shares: give one for each")
    if not all(map(math.isfinite, shares)) or min(shares) < 0 or sum(shares) <= 0:
        raise WeightsError(f"shares must be positive, got {shares}")
    if any(other.config != networks[0].config for other in networks):
        raise WeightsError("only networks of the same variant can be averaged")
    states = [network.state_dict() for network in networks]
    mean = copy.deepcopy(networks[0])
    mean.load_state_dict(
        {
            name: sum(
                share / sum(shares) * state[name].double()
                for share, state in zip(shares, states, strict=True)
            )
            for name in states[0]
        }
    )
    if not all(
        torch.equal(state[name], states[0][name])
        for state in states
        for name in states[0]
        if name.partition(".")[0] not in LAST_STEPS
    ):
        mean.ranges = None  # they are of what the first network computes
    return mean


def main(arguments: Sequence[str] | None = None) -> int:
    """Body of ``python -m jobs.weights``; returns its exit code."""
    parser = command_parser(__doc__, EXAMPLES, "python -m jobs.weights")
    ways = parser.add_subparsers(metavar="average", required=True)
    mean = ways.add_parser("average", help="mean of the weights of several checkpoints")
    mean.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    mean.add_argument(
        "--shares", nargs="+", type=float, metavar="X", help="weight of each (default: all alike)"
    )
    mean.add_argument("--output", type=Path, required=True, metavar="FILE")
    mean.add_argument("--half", action="store_true", help="store float16, half the size")
    mean.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    args = parser.parse_args(arguments)
    return run_script(lambda: _average(args), (WeightsError, CheckpointError, ImageError))


def _average(args: argparse.Namespace) -> int:
    output: Path = args.output
    if output.exists() and not args.overwrite:
        raise WeightsError(f"{output} exists; choose another --output or give --overwrite")
    require_writable(output.parent)
    network = average([load_checkpoint(path) for path in args.checkpoints], args.shares)
    save_checkpoint(network, output, half=args.half)
    count = sum(p.numel() for p in network.parameters()) / 1e6
    ranges = "with ranges for int8" if network.ranges else "no ranges for int8"
    print(f"{output}: {count:.2f} M parameters, {output.stat().st_size / 1e6:.1f} MB, {ranges}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
