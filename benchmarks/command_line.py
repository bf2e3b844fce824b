"""What the command lines of the benchmarks share."""

from __future__ import annotations

from models.checkpoint import checkpoint_path
from utils.arguments import Parser


def benchmark_parser(description: str | None, examples: str, several: bool = False) -> Parser:
    """A parser that knows ``--checkpoint`` and shows its texts as they are written.

    several: it takes any number of them, as they were typed, and both shipped ones by default.
    """
    parser = Parser(description=description, epilog=examples)
    help_text = "full, fast, drawn, or a file of weights"
    if several:
        parser.add_argument("--checkpoint", nargs="+", default=["full", "fast"], help=help_text)
    else:
        parser.add_argument(
            "--checkpoint", type=checkpoint_path, default=checkpoint_path("full"), help=help_text
        )
    return parser
