"""Command lines: a parser that says what is wrong in one line."""

from __future__ import annotations

import argparse
import sys
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

EXIT_USAGE = 2


class Parser(argparse.ArgumentParser):
    """Shows its texts as they are written; an error is one line on stderr, without the usage."""

    def __init__(self, *args: Any, **more: Any) -> None:
        more.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **more)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Takes ``--dry-run`` for ``--dry_run``, too."""
        words = sys.argv[1:] if args is None else args
        return super().parse_known_args([self._as_known(word) for word in words], namespace)

    def _as_known(self, word: str) -> str:
        name, equals, value = word.partition("=")
        underscored = "--" + name[2:].replace("-", "_")
        known = self._option_string_actions
        if name.startswith("--") and name not in known and underscored in known:
            return underscored + equals + value
        return word

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"error: {message.removeprefix('argument ')}; see --help\n")


def printable(text: object) -> str:
    """A text in one line that changes no terminal: control characters of file names as escapes."""
    return "".join(
        each.encode("unicode_escape").decode()
        if unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") or each in _BIDI
        else each
        for each in str(text)
    )


_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that change the order of what follows."""


def between(kind: Callable[[str], float], least: float, most: float = float("inf")) -> Any:
    """A type of arguments: numbers from ``least`` to ``most``, but not infinity."""

    def read(text: str) -> float:
        with suppress(ValueError):
            if least <= (value := kind(text)) <= most and value != float("inf"):
                return value
        what = "a whole number" if kind is int else "a number"
        at_most = "" if most == float("inf") else most
        raise argparse.ArgumentTypeError(f"expected {what} in {least}..{at_most}, got {text!r}")

    return read


def number(text: str) -> int | float | str:
    """A number as typed; other text as it is, which the options' schema then refuses by name."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
