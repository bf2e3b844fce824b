"""What the command lines of the benchmarks share."""

from __future__ import annotations

import argparse
from pathlib import Path

SHIPPED = Path(__file__).resolve().parent.parent / "model_zoo" / "Color_IJCN.safetensors"


def benchmark_parser(
    description: str | None, examples: str, checkpoint_help: str = "weights"
) -> argparse.ArgumentParser:
    """A parser that knows ``--checkpoint`` and shows its texts as they are written."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED, help=checkpoint_help)
    return parser
