"""Remove JPEG artifacts, measure how well, train: all commands of the project under one name."""

from __future__ import annotations

import utils.startup  # noqa: F401  must come first, see there

# isort: split
import argparse
import importlib
import sys
from collections.abc import Sequence

from utils.arguments import EXIT_USAGE, Parser
from utils.commands import COMMANDS

EXAMPLES = """examples:
  ijcn restore --input photo.jpg holiday/ --output restored
  ijcn page --browser
  ijcn download LIVE1_color
  ijcn evaluate --testsets LIVE1_color
  ijcn train --opt options/train_small.yml --set "data.folders=[my/photographs]"
  ijcn restore --help
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Body of ``ijcn``; returns the exit code of the subcommand, which reads ``sys.argv``."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {each.summary}" for name, each in COMMANDS.items())
    parser = Parser(
        prog="ijcn",
        usage="ijcn COMMAND ...",
        description=f"{__doc__}\n\ncommands:\n{listed}",
        epilog=EXAMPLES,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    if not words:
        parser.print_help()
        return EXIT_USAGE
    name = parser.parse_args(words[:1]).command  # what follows belongs to the command
    sys.argv = [f"ijcn {name}", *words[1:]]
    return int(importlib.import_module(COMMANDS[name].module).main())


if __name__ == "__main__":
    sys.exit(main())
