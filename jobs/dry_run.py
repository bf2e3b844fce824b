"""What restoring picture files would do, without a network's work and without writing anything."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.jpeg import JpegImage
from data.quality import estimate_quality
from jobs.plan_files import FileJob
from jobs.restore_files import FileResult, OutputSettings, begun, sampling_of
from models.restore.layouts import Picture
from models.restore.parts import require_path
from models.restore.restorer import Restorer
from utils.arguments import printable


class Looker(Restorer):
    """Decides as another restorer does, but answers with gray instead of restoring."""

    def __init__(self, restorer: Restorer) -> None:
        vars(self).update(vars(restorer))

    def decoded(self, stored: JpegImage) -> Picture:
        return np.zeros((stored.height, stored.width), np.uint8)

    def restore(self, stored: JpegImage) -> Picture:
        require_path(stored)
        return self.decoded(stored)

    def restore_ink(self, stored: JpegImage) -> Picture:
        return np.zeros((stored.height, stored.width, 4), np.uint8)

    def restore_source(
        self, stored: JpegImage, offset: tuple[int, int], pixels: Picture
    ) -> Picture:
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
    jobs: Sequence[FileJob], restorer: Restorer, settings: OutputSettings
) -> list[Prospect]:
    """Read every file as restoring would, with a progress bar."""
    looker = Looker(restorer)
    return [_look_at(job, looker, settings) for job in tqdm(jobs, unit="file", dynamic_ncols=True)]


def unwritable(jobs: Sequence[FileJob]) -> Iterator[str]:
    """What stands in the way of writing, a line for each folder; nothing is tried."""
    places = {job.target.parent: None for job in jobs}
    for folder in places:
        there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            yield f"{folder} cannot be written; choose another --output"


def _look_at(job: FileJob, looker: Looker, settings: OutputSettings) -> Prospect:
    job = replace(job, comparison=None)
    found = begun(job, looker, settings)
    if isinstance(found, FileResult):
        decision = {"failed": "refused", "skipped": "there already"}[found.status]
        reason = found.message
        # What is there already was not looked at.
        found = begun(job, looker, replace(settings, overwrite=True))
    else:
        decision = "left alone" if found.answer.left_alone else found.answer.status
        reason = "; ".join(found.answer.notes)
    prospect = Prospect(job.source, job.target, decision, _PREFIX.sub("", reason))
    if isinstance(found, FileResult):
        return prospect
    stored = found.answer.stored
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
        rows.append((printable(each.source), size, colours, quality, each.decision, each.reason))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, printable(row[-1])]).rstrip()
    counts = Counter(each.decision for each in prospects)
    yield ", ".join(f"{times} {decision}" for decision, times in counts.most_common())
