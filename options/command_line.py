"""The command line that the test scripts share: arguments and option file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from models.restore.restorer import Precision
from options.schema import AnyOptions, Options, load_options, parse_assignment
from utils.arguments import Parser, number
from utils.commands import command_parser
from utils.project import PROJECT, from_project


def test_parser(
    description: str,
    examples: str,
    default_options: str,
    testsets_help: str,
    output_help: str,
    measures: bool = False,  # noqa: PT028  this is no test
) -> Parser:
    """Parser with the arguments all test scripts take; ``measures``: several methods too."""
    parser = command_parser(description, examples)
    parser.add_argument(
        "--opt",
        type=Path,
        default=PROJECT / default_options,
        metavar="FILE",
        help=f"YAML option file (default: {default_options})",
    )
    parser.add_argument("--testsets", nargs="+", metavar="NAME", help=testsets_help)
    if measures:
        parser.add_argument(
            "--checkpoint",
            nargs="+",
            action="extend",
            metavar="[NAME=]PATH",
            help="full, fast, or files of weights, one or several; NAME: what tables call them",
        )
        parser.add_argument(
            "--method",
            nargs="+",
            action="extend",
            metavar="NAME=FOLDER",
            help="pictures that another program restored, in FOLDER/QF10/IMAGE.png or "
            "FOLDER/SET/QF10/IMAGE.png; or jpegqs, where that is installed",
        )
    else:
        parser.add_argument(
            "--checkpoint",
            metavar="PATH",
            help="full (the default), fast, or a file of weights, .safetensors or .pth",
        )
    parser.add_argument(
        "--device", metavar="auto|cpu|cuda|cuda:N", help="where to compute (default: auto)"
    )
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        help="numbers the network computes in (default: auto, the fastest that the hardware has)",
    )
    parser.add_argument(
        "--ensemble",
        type=number,
        metavar="1|2|4",
        help="average over so many mirrored pictures: 4 takes 4 times as long and gains 0.05 "
        "to 0.1 dB more (default: 1)",
    )
    parser.add_argument(
        "--threads", type=number, metavar="N", help="CPU threads (default: what PyTorch takes)"
    )
    parser.add_argument("--output", metavar="PLACE", help=f"where results go: {output_help}")
    parser.add_argument(
        "--report",
        action="store_true",
        default=None,
        help="write report.html too: all pictures and figures on one page, to look at in a browser",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help='replace any option of the file; values are YAML, such as "qualities=[10,90]"',
    )
    return parser


def given_options(
    schema: type[Options], args: argparse.Namespace
) -> tuple[list[tuple[str, Any]], dict[str, str]]:
    """What the command line gives: (key, value) of each option, and how it was typed, by key.

    By ``--set``, then by the arguments that are called as the options of ``schema`` are.

    Raises:
        OptionsError: see :func:`options.schema.parse_assignment`.
    """
    overrides = [parse_assignment(text) for text in args.set]
    typed = {key: f"--set {text}" for (key, _), text in zip(overrides, args.set, strict=True)}
    for name in schema.model_fields:
        value = getattr(args, name, None)
        if value is not None:
            overrides.append((name, value))
            words = value if isinstance(value, list) else [value]
            flag = name.removesuffix("_report")
            typed[name] = " ".join((f"--{flag}", *map(str, words)))
    return overrides, typed


def read_options(schema: type[AnyOptions], args: argparse.Namespace) -> AnyOptions:
    """Options of the file ``args.opt``, replaced by what the command line gives.

    Raises:
        OptionsError: see :func:`options.schema.load_options`.
    """
    return load_options(schema, from_project(args.opt), *given_options(schema, args))
