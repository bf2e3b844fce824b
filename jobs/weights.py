"""Make one checkpoint of others without training: the average of several, or a slimmer one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from data.jpeg import encode_jpeg, read_jpeg
from models import CheckpointError, Restorer, load_checkpoint, save_checkpoint
from models.ijcn import IJCN
from models.slimming import average, inner_activity, slimmed
from options.command_line import from_project, run_script
from utils.commands import command_parser
from utils.image_io import ImageError, find_images, read_image, require_writable

EXAMPLES = """  python -m jobs.weights average runs/a/best.safetensors runs/b/best.safetensors --output mean.safetensors
  python -m jobs.weights average a.safetensors b.safetensors --shares 1 3 --output mean.safetensors --half
  python -m jobs.weights slim mean.safetensors --inner_widths 32 128 64 --images trainsets --output slim.safetensors
"""  # noqa: E501

QUALITIES = (10, 40, 80)
"""JPEG qualities at which a network is watched before it is slimmed."""

SIDE = 256
"""Pixels of each image that are looked at, from its upper left corner."""


class WeightsError(ValueError):
    """What cannot be made; the message is one line: what, why, what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Body of ``python -m jobs.weights``; returns its exit code."""
    parser = command_parser(__doc__, EXAMPLES, "python -m jobs.weights")
    ways = parser.add_subparsers(dest="way", required=True)
    mean = ways.add_parser("average", help="mean of the weights of several checkpoints")
    mean.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    mean.add_argument(
        "--shares", nargs="+", type=float, metavar="X", help="weight of each (default: all alike)"
    )
    slim = ways.add_parser(
        "slim", help="drop the least important inner channels of residual blocks"
    )
    slim.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    slim.add_argument(
        "--inner_widths",
        nargs=3,
        type=int,
        required=True,
        metavar="N",
        help="channels to keep at full, half and quarter resolution",
    )
    slim.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="clean training images, of which 20 show what matters",
    )
    for way in (mean, slim):
        way.add_argument("--output", type=Path, required=True, metavar="FILE")
        way.add_argument("--half", action="store_true", help="store float16, half the size")
        way.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    args = parser.parse_args(arguments)
    return run_script(lambda: _run(args), (WeightsError, CheckpointError, ImageError))


def _run(args: argparse.Namespace) -> int:
    output: Path = args.output
    if output.exists() and not args.overwrite:
        raise WeightsError(f"{output} exists; choose another --output or give --overwrite")
    require_writable(output.parent)
    try:
        if args.way == "average":
            network = average([load_checkpoint(path) for path in args.checkpoints], args.shares)
        else:
            network = _slimmed(args)
    except ValueError as error:
        raise WeightsError(str(error)) from error
    save_checkpoint(network, output, half=args.half)
    count = sum(p.numel() for p in network.parameters()) / 1e6
    print(f"{output}: {count:.2f} M parameters, {output.stat().st_size / 1e6:.1f} MB")
    return 0


def _slimmed(args: argparse.Namespace) -> IJCN:
    network = load_checkpoint(args.checkpoint)
    folder = from_project(args.images)
    paths = find_images(folder)
    if not paths:
        raise WeightsError(f"--images: no images in {folder}; give a folder of clean images")
    restorer = Restorer(network)
    with inner_activity(network.backbone) as activity:
        for path in tqdm(paths[:: -(-len(paths) // 20)], unit="image", disable=None):
            image = read_image(path)[:SIDE, :SIDE]
            for quality in QUALITIES:
                restorer.restore(read_jpeg(encode_jpeg(image, quality)))
    return slimmed(network.cpu(), tuple(args.inner_widths), activity)


if __name__ == "__main__":
    raise SystemExit(main())
