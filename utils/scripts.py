"""How every script ends: with an exit code and one line on stderr, never with a traceback."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments import EXIT_USAGE, printable

if TYPE_CHECKING:
    from utils.distributed import World

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


class StdoutError(OSError):
    """Whoever read stdout has gone, or its disk is full."""


class _Stdout(io.TextIOWrapper):
    """Stdout whose failures are told from those of other files."""

    def write(self, text: str) -> int:
        with _as_stdout_error():
            return super().write(text)

    def flush(self) -> None:
        with _as_stdout_error():
            super().flush()


@contextmanager
def _as_stdout_error() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StdoutError(f"stdout: {error.strerror or error}") from error


def run_script(
    body: Callable[[], int],
    usage_errors: tuple[type[Exception], ...] = (),
    stopped: str = "stopped before the end",
) -> int:
    """Exit code of ``body``; expected errors become one line on stderr, never a traceback.

    Of several processes on a machine, the first one says what all have met: whatever is wrong
    before they are connected. Later each speaks for itself.

    stopped: what is said after Ctrl-C.
    """
    from utils.startup import heed_interrupts  # importing it changes how interrupts are heeded

    heed_interrupts()
    for name in ("stdout", "stderr"):  # closed by whoever started this: nobody is to be told
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        encoding, by_line = sys.stdout.encoding, sys.stdout.line_buffering
        # File names may be anything.
        sys.stdout = _Stdout(sys.stdout.detach(), encoding, "backslashreplace", None, by_line)
    try:
        code = body()
        sys.stdout.flush()
        return code
    except usage_errors as error:
        _tell(error)
        return EXIT_USAGE
    except RuntimeError as error:
        if "peer" not in str(error) or _world().size == 1:
            raise
        print(f"error: process {_world().rank} lost another one, which failed", file=sys.stderr)
        return EXIT_FAILED
    except StdoutError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that Python's last flush fails no more
        if not isinstance(error.__cause__, BrokenPipeError):
            print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return EXIT_INTERRUPTED


def _world() -> World:
    from utils.distributed import world_from_environment  # PyTorch takes seconds to load

    return world_from_environment()


def _tell(error: Exception) -> None:
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"error: {printable(error)}", file=sys.stderr)
        return
    from utils.distributed import is_connected

    if is_connected():
        print(f"error: process {_world().rank}: {printable(error)}", file=sys.stderr)
