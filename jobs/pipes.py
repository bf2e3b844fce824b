"""``--input -`` and ``--output -``: a picture from stdin, one to stdout, by files of our own."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from jobs.dry_run import Prospect
from jobs.restore_files import FileResult
from options.schema import OptionsError, RealTestOptions
from utils.distributed import world_from_environment
from utils.scripts import StdoutError

PIPE = Path("-")

Told = TypeVar("Told", FileResult, Prospect)


class Pipes:
    """Which files stand for stdin and stdout.

    inputs: the given ones, a file in the place of "-". output: the given folder, or one of our own
    in the place of "-".
    """

    def __init__(self, folder: Path, inputs: Sequence[Path], output: Path) -> None:
        stdin = folder / "stdin"
        self._stdin = stdin if PIPE in inputs else None
        self.writes = output == PIPE
        self.output = folder / "stdout" if self.writes else output
        self.inputs = [stdin if path == PIPE else path for path in inputs]
        if self.writes and sys.__stdout__ is None:
            raise OptionsError("--output -: stdout is closed; give a file")
        if PIPE in inputs:
            if sys.stdin is None:
                raise OptionsError("--input -: stdin is closed; give a file")
            stdin.write_bytes(sys.stdin.buffer.read())

    def named(self, result: Told) -> Told:
        """The result under the name that was given."""
        if result.source == self._stdin:
            result = replace(result, source=PIPE)
        return replace(result, target=PIPE) if self.writes and result.target else result

    def write(self, target: Path) -> None:
        """The result to stdout.

        Raises:
            StdoutError: nobody reads it.
        """
        try:
            sys.stdout.buffer.write(target.read_bytes())
            sys.stdout.buffer.flush()
        except OSError as error:
            raise StdoutError(f"--output -: {error.strerror or error}") from error


@contextmanager
def pipes(options: RealTestOptions, inputs: Sequence[Path]) -> Iterator[Pipes]:
    """Files in the place of stdin and stdout, removed at the end; stdin is read at once.

    Raises:
        OptionsError: stdin and stdout cannot serve one thing each.
    """
    to_pipe = options.output == PIPE
    if not to_pipe and PIPE not in inputs:
        yield Pipes(Path(), inputs, options.output)
        return
    if to_pipe and (options.compare or options.report or str(options.json_report) == "-"):
        raise OptionsError(
            "--output - writes the picture alone to stdout; leave out --compare, --report and "
            "--json -, or give a folder"
        )
    if world_from_environment().size > 1:
        raise OptionsError("stdin and stdout serve one process; start it without torchrun")
    if options.suffix is not None:
        raise OptionsError("--suffix names results beside files; stdin and stdout have no place")
    with tempfile.TemporaryDirectory() as name:
        yield Pipes(Path(name), inputs, options.output)
