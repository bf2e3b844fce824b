"""What the command lines of the benchmarks share."""

from __future__ import annotations

from pathlib import Path

from utils.arguments import Parser

SHIPPED = Path(__file__).resolve().parent.parent / "model_zoo" / "Color_IJCN.safetensors"


def benchmark_parser(
    description: str | None, examples: str, checkpoint_help: str = "weights"
) -> Parser:
    """A parser that knows ``--checkpoint`` and shows its texts as they are written."""
    parser = Parser(description=description, epilog=examples)
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED, help=checkpoint_help)
    return parser
