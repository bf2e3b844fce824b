"""What the page does with dropped files, and what it says of them.

Files are restored as ``test_real_IJCN.py`` restores them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.jpeg import JpegError, JpegImage, read_jpeg
from data.jpeg_markers import is_jpeg
from data.quality import estimate_quality
from jobs.plan_files import FileJob
from jobs.restore_files import FINE_OPTIONS, OutputSettings, as_looked_at, restore_file
from models import Restorer, load_checkpoint
from models.restore.restorer import Precision
from options.schema import OptionsError
from utils.image_io import ImageError, write_png
from utils.picture_files import picture_size


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for: files at once, megabytes of each, megapixels of each."""

    files: int = 20
    megabytes: int = 50
    megapixels: float = 60.0


@dataclass(frozen=True)
class Shown:
    """One dropped file: what there is to say, and the pictures where there is one to show.

    before: as other programs show it. after: restored, or, where ``restored`` is false, as it is.
    problem: why there is no picture.
    """

    source: Path
    facts: str
    before: Path | None = None
    after: Path | None = None
    restored: bool = True
    problem: str = ""


@dataclass
class Desk:
    """Restores dropped files; keeps the network that was used last."""

    limits: Limits
    device: str = "auto"
    _loaded: tuple[tuple[str, Precision], Restorer] | None = field(default=None, repr=False)

    def restore(
        self,
        paths: Sequence[str],
        folder: Path,
        checkpoint: str,
        precision: Precision,
        tell: Callable[[float, str], None],
        strength: float = 1.0,
    ) -> list[Shown]:
        """What became of each file, in order.

        folder: where pictures go. tell: called with the share that is done and the name of the file
        at hand. strength: how much of the change to apply, 0 to 1.

        Raises:
            OptionsError: too many files, a precision that cannot be had. CheckpointError: unusable
                weights.
        """
        if len(paths) > self.limits.files:
            raise OptionsError(
                f"{len(paths)} files are more than {self.limits.files} at once; drop fewer, or use "
                "test_real_IJCN.py"
            )
        self.load(checkpoint, precision).strength = strength
        shown = []
        for index, path in enumerate(map(Path, paths)):
            tell(index / len(paths), path.name)
            # Two files of the same name must not meet.
            shown.append(self._restore_one(path, folder / str(index)))
        return shown

    def load(self, checkpoint: str, precision: Precision = "auto") -> Restorer:
        """Take a network at hand.

        Raises:
            CheckpointError: unusable weights. OptionsError: they cannot do what is wanted.
        """
        key = checkpoint, precision
        if self._loaded is None or self._loaded[0] != key:
            network = load_checkpoint(Path(checkpoint))
            try:
                self._loaded = key, Restorer(network, self.device, precision)
            except ValueError as error:
                raise OptionsError(str(error)) from error
        return self._loaded[1]

    def _restore_one(self, path: Path, folder: Path) -> Shown:
        try:
            if path.stat().st_size > self.limits.megabytes * 1_000_000:
                return _failed(
                    path, f"larger than {self.limits.megabytes} MB; use test_real_IJCN.py for it"
                )
            data = path.read_bytes()
        except OSError:
            return _failed(path, "no longer here; drop it again")
        assert self._loaded is not None
        (checkpoint, _), restorer = self._loaded
        target = folder / f"{path.stem}.png"
        settings = OutputSettings(max_pixels=round(self.limits.megapixels * 1e6))
        result = restore_file(FileJob(path, target), restorer, settings)
        if result.status == "failed":
            return _failed(path, result.message)
        restored = result.status == "restored"
        # Sampling factors without a name are nothing for people.
        done = re.sub(r" \[\(.*?\)\]", "", result.message)
        done = done.replace(FINE_OPTIONS, " (test_real_IJCN.py can restore it)")
        done = done.replace("decoded, not restored: ", "**Not restored**, shown as it is: ")
        if restored:
            by = f"with {Path(checkpoint).name}, backbone in {restorer.arithmetic}"
            part = f", strength {restorer.strength:g}" if restorer.strength < 1 else ""
            done = f"Restored in {result.seconds:.1f} s {by}{part}.\n\n{done}"
        # Of the result, as the file may say that it is to be turned.
        width, height = picture_size(target.read_bytes()) or (0, 0)
        facts = f"{done}\n\n**{width} x {height}** pixels, {len(data) / 1000:.0f} kB, "
        if is_jpeg(data):
            facts += jpeg_facts(read_jpeg(data, collect_warnings=True))
        else:
            facts += "not a JPEG file"
        before = None
        if restored:
            with suppress(JpegError, ImageError):  # which other programs would not show
                pixels = as_looked_at(data, target.name)
                before = folder / "before" / target.name
                write_png(before, pixels)
        return Shown(path, facts, before, target, restored)


def _failed(path: Path, problem: str) -> Shown:
    return Shown(path, f"**Not restored**: {problem}", restored=False, problem=problem)


def jpeg_facts(stored: JpegImage) -> str:
    """What a JPEG says of its colours and its quality, as Markdown."""
    estimate = estimate_quality(stored)
    about = "" if estimate.exact else "about "
    sampling = f", chroma {stored.sampling.value}" if stored.sampling else ""
    lines = [
        f"{stored.colors}{sampling}",
        "",
        f"**Quality {about}{estimate.quality}** (libjpeg's scale, from the quantisation tables"
        + ("" if estimate.exact else ", which are not libjpeg's")
        + ")",
    ]
    order = ", from coarse structures (top left) to fine ones"
    for whose, table in _tables(stored):
        rows = [" ".join(f"{step:3d}" for step in row) for row in table]
        lines += ["", f"Quantisation steps{whose}{order}:", "", "```text", *rows, "```"]
        order = ""  # said once
    return "\n".join(lines)


def _tables(stored: JpegImage) -> Iterator[tuple[str, NDArray[np.int32]]]:
    """The tables that differ, each with whose it is, unless it is everybody's."""
    names = _COMPONENTS.get(stored.colors, ())
    owners: dict[bytes, list[int]] = {}
    for index, component in enumerate(stored.components):
        owners.setdefault(component.table.tobytes(), []).append(index)
    for indices in owners.values():
        whose = " and ".join(names[i] if i < len(names) else f"component {i + 1}" for i in indices)
        yield f" of {whose}" if len(owners) > 1 else "", stored.components[indices[0]].table


_COMPONENTS = {
    "YCbCr": ("luma", "Cb", "Cr"),
    "YCCK": ("luma", "Cb", "Cr", "black"),
    "RGB": ("red", "green", "blue"),
    "CMYK": ("cyan", "magenta", "yellow", "black"),
}
