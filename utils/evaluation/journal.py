"""What a run has measured so far, so that a stopped one goes on where it was.

One file for each process in the output folder, a JSON line for each measured picture; removed when
the run is complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from utils.distributed import ALONE, World
from utils.image_io import ImageError


class Entry(NamedTuple):
    """What a figure is of: a method (its key), a set, a setting, an image and its pixels' hash."""

    key: str
    dataset: str
    setting: str
    image: str
    pixels: str


class Record(NamedTuple):
    """Figures by metric (see utils.evaluation.metrics for units), and seconds of restoring."""

    figures: dict[str, float]
    seconds: float


class Journal:
    """Records of this run and of the stopped one before it.

    Args:
        folder: the run's output folder; None keeps no journal.
        world: this process among those that share the work; each writes a file of its own.
    """

    def __init__(self, folder: Path | None, world: World = ALONE) -> None:
        self.folder = folder
        self.path = None if folder is None else folder / f".measured-{world.rank}.part"
        self._known: dict[Entry, Record] = {}
        for path in self._files():
            self._known.update(_records(path))

    def __bool__(self) -> bool:
        return bool(self._known)

    def keep(self, keys: Collection[str]) -> None:
        """Forget everything if there is something of other methods: pictures may be theirs."""
        if any(entry.key not in keys for entry in self._known):
            self._known = {}

    def find(self, entry: Entry, metrics: Iterable[str]) -> Record | None:
        """The record of an entry if it holds all these metrics."""
        record = self._known.get(entry) if entry.key else None
        return record if record is not None and set(metrics) <= set(record.figures) else None

    def add(self, entry: Entry, record: Record) -> None:
        """Note a record at once; entries without a key are not kept.

        Raises:
            ImageError: the folder cannot be written.
        """
        if self.path is None or not entry.key:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(json.dumps([entry, record]) + "\n")
        except OSError as error:
            raise ImageError(
                f"{self.path}: cannot be written ({error.strerror or error}); "
                "choose another --output"
            ) from error

    def remove(self) -> None:
        """Remove the files of all processes: the run is complete."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return [] if self.folder is None else sorted(self.folder.glob(".measured-*.part"))


def pixel_hash(pixels: NDArray[np.uint8]) -> str:
    """The same for copies and other file formats; SHA-256 over shape and samples."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _records(path: Path) -> Iterator[tuple[Entry, Record]]:
    """Whole lines of a file; whatever else stands there, such as a half line, is passed over."""
    with suppress(OSError), path.open(encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            with suppress(TypeError, ValueError, AttributeError):
                entry, (figures, seconds) = json.loads(line)
                known = {str(name): float(value) for name, value in figures.items()}
                yield Entry(*entry), Record(known, float(seconds))
