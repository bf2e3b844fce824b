"""What the command lines of the benchmarks share."""

from __future__ import annotations

import argparse

from models.checkpoint import checkpoint_path


def benchmark_parser(
    description: str | None, examples: str, several: bool = False
) -> argparse.ArgumentParser:
    """A parser that knows ``--checkpoint`` and shows its texts as they are written.

    several: it takes any number of them, as they were typed, and both shipped ones by default.
    """
    parser = argparse.ArgumentParser(
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    help_text = "full, fast, drawn, or a file of weights"
    if several:
        parser.add_argument("--checkpoint", nargs="+", default=["full", "fast"], help=help_text)
    else:
        parser.add_argument(
            "--checkpoint", type=checkpoint_path, default=checkpoint_path("full"), help=help_text
        )
    return parser
