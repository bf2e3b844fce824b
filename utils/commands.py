"""The commands' names: each is a script or module, and a subcommand of ``ijcn``; their help."""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

from utils.arguments import Parser


class Command(NamedTuple):
    """module: whose ``main`` it is. usual: what starts it without ``ijcn``, after ``python``."""

    module: str
    usual: str
    summary: str


COMMANDS = {
    "restore": Command("test_real_IJCN", "test_real_IJCN.py", "JPEGs in, clean pictures out"),
    "page": Command("app", "app.py", "the same in the browser, on this machine"),
    "evaluate": Command("test_color_IJCN", "test_color_IJCN.py", "measure: JPEGs compressed once"),
    "evaluate-double": Command(
        "test_colordouble_IJCN", "test_colordouble_IJCN.py", "measure: JPEGs compressed twice"
    ),
    "tables": Command("jobs.tables", "-m jobs.tables", "measure every known set; join runs"),
    "plots": Command("utils.plots", "-m utils.plots", "curves of figures and of training"),
    "download": Command("testsets.download", "testsets/download.py", "fetch test sets"),
    "train": Command("main_train_IJCN", "main_train_IJCN.py", "train from an option file"),
    "weights": Command("jobs.weights", "-m jobs.weights", "average checkpoints"),
    "export": Command("models.export", "-m models.export", "write a checkpoint as ONNX"),
}
"""Subcommands of ``ijcn``, in the order of its help."""


def as_started(text: str) -> str:
    """``text`` with commands as the user starts them: by ``ijcn``, where that started this one."""
    if not _by_ijcn():
        return text
    for name, command in COMMANDS.items():
        usual = re.escape(command.usual)
        text = re.sub(rf"(torchrun \S+) {usual}", rf"\1 --no-python ijcn {name}", text)
        text = re.sub(rf"python {usual}", f"ijcn {name}", text)
    return text


def _by_ijcn() -> bool:
    return sys.argv[0] in {f"ijcn {name}" for name in COMMANDS}


def command_parser(description: str | None, examples: str, prog: str | None = None) -> Parser:
    """Parser of a command, with examples below its help.

    prog: how the usage names it; by default the script that was started, or ``ijcn`` and the
    subcommand.
    """
    return Parser(
        prog=sys.argv[0] if prog is None and _by_ijcn() else prog and as_started(prog),
        description=as_started(description or ""),
        epilog=f"examples:\n{as_started(examples)}",
    )
