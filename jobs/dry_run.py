"""What restoring picture files would do, without a network's work and without writing anything."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data.jpeg import JpegImage
from data.quality import estimate_quality
from jobs.plan_files import FileJob
from jobs.restore_files import CanRestore, FileResult, OutputSettings, begun, sampling_of
from models.restore.layouts import StoredInk
from models.restore.parts import require_path


class _Looker:
    """Takes the restorer's place: keeps what it is given, and answers with a gray picture.

    stored: what would be restored last.
    """

    def __init__(self, restorer: CanRestore) -> None:
        self._restorer = restorer
        self.stored: JpegImage | None = None

    def leaves(self, stored: JpegImage) -> bool:
        return self._restorer.leaves(stored)

    @property
    def strength(self) -> float:
        return self._restorer.strength

    def decoded(self, stored: JpegImage) -> NDArray[np.uint8]:
        """Gray."""
        self.stored = stored
        return np.zeros((stored.height, stored.width), np.uint8)

    def restore(self, stored: JpegImage) -> NDArray[np.uint8]:
        """Gray; refuses what the network would.

        Raises:
            UnsupportedLayoutError: a layout that is not restored.
        """
        self.stored = stored
        require_path(stored)
        return self.decoded(stored)

    def restore_ink(self, stored: StoredInk) -> NDArray[np.uint8]:
        """No ink."""
        return np.zeros((stored.height, stored.width, 4), np.uint8)

    def restore_source(
        self, stored: JpegImage, offset: tuple[int, int], pixels: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """The pixels as they are."""
        self.stored = stored
        return pixels


@dataclass(frozen=True)
class Prospect:
    """What would become of a file.

    decision: "restored", "left alone", "decoded", "there already", "refused". reason: why, or what
    is to be said. width, height: as stored, 0 where unknown. sampling: of the chroma, "" where
    there is none. quality: libjpeg's quality that the tables are nearest to, 0 where unknown; of a
    file that is no JPEG, that of the JPEG it once was.
    """

    source: Path
    target: Path | None
    decision: str
    reason: str = ""
    width: int = 0
    height: int = 0
    colors: str = ""
    sampling: str = ""
    quality: int = 0


def look_at_files(
    jobs: Sequence[FileJob], restorer: CanRestore, settings: OutputSettings
) -> list[Prospect]:
    """Read every file as restoring would, with a progress bar."""
    bar = tqdm(jobs, unit="file", dynamic_ncols=True)
    return [_look_at(job, restorer, settings) for job in bar]


def unwritable(jobs: Sequence[FileJob]) -> Iterator[str]:
    """What stands in the way of writing, a line for each folder; nothing is tried."""
    places = {job.target.parent: None for job in jobs}
    for folder in places:
        there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            yield f"{folder} cannot be written; choose another --output"


def _look_at(job: FileJob, restorer: CanRestore, settings: OutputSettings) -> Prospect:
    looker = _Looker(restorer)
    job = replace(job, comparison=None)
    found = begun(job, looker, settings)
    if isinstance(found, FileResult):
        decision = {"failed": "refused", "skipped": "there already"}[found.status]
        reason = found.message
    else:
        decision = "left alone" if found.answer.left_alone else found.answer.status
        reason = "; ".join(found.answer.notes)
    prospect = Prospect(job.source, job.target, decision, _PREFIX.sub("", reason))
    if looker.stored is None:  # decided before anything was to be restored
        begun(job, looker, replace(settings, overwrite=True, below=None))
    stored = looker.stored
    if stored is None:
        return prospect
    prospect = replace(prospect, width=stored.width, height=stored.height)
    if not stored.data:  # it stands for pixels that never were a JPEG
        return prospect
    return replace(
        prospect,
        colors=stored.colors,
        sampling=sampling_of(stored),
        quality=estimate_quality(stored).quality,
    )


_PREFIX = re.compile(r"(?:decoded, )?not restored: ")
"""What the column of decisions says already."""


def as_table(prospects: Sequence[Prospect]) -> Iterator[str]:
    """Lines for people: what would be done to each file, and how many there are of each kind."""
    rows = [("file", "size", "colours", "quality", "would be", "why")]
    for each in prospects:
        size = f"{each.width}x{each.height}" if each.width else "?"
        colours = " ".join(filter(None, (each.colors, each.sampling))) or "?"
        quality = str(each.quality) if each.quality else "?"
        rows.append((str(each.source), size, colours, quality, each.decision, each.reason))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()
    counts = Counter(each.decision for each in prospects)
    yield ", ".join(f"{times} {decision}" for decision, times in counts.most_common())
