"""Restore picture files on disk: find them, restore each, write it; a bad file stops no other."""

from __future__ import annotations

import glob
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data.jpeg import JpegError, JpegImage, decode_jpeg, read_jpeg, scan_header
from data.pixels import PixelSource, pixels_as_jpeg
from models.layouts import RestoreError, UnsupportedLayoutError
from options.schema import OptionsError
from utils.distributed import ALONE, World
from utils.image_io import IMAGE_SUFFIXES, ImageError, find_images, read_image, write_png
from utils.picture_files import (
    Format,
    picture_size,
    read_metadata,
    turned,
    write_picture,
)
from utils.pictures import as_rgb, busiest_window, side_by_side
from utils.pipeline import in_background

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")

MAX_SCANS = 200
"""More than any encoder writes; each costs a pass over the whole picture."""

Status = Literal["restored", "decoded", "skipped", "failed"]


class CanRestore(Protocol):
    """models.restorer.Restorer, or what stands for it in tests."""

    def restore(self, stored: JpegImage) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class FileJob:
    """A picture file and where its restored picture goes."""

    source: Path
    target: Path


@dataclass(frozen=True)
class OutputSettings:
    """How restored pictures are written, and what is refused.

    file_format, quality: see utils.picture_files.write_picture. overwrite: restore again what is
    there. compare: write a side-by-side picture of each file. max_pixels: largest picture.
    """

    file_format: Format = "png"
    quality: int = 95
    overwrite: bool = False
    compare: bool = False
    max_pixels: int = 200_000_000


@dataclass(frozen=True)
class FileResult:
    """What happened to one file.

    status: "restored"; "decoded": written, but without restoration; "skipped": there already;
    "failed". message: why it failed or was only decoded, or what was wrong with it. layout: size
    and colours. seconds: spent on it.
    """

    source: Path
    target: Path
    status: Status
    message: str = ""
    layout: str = ""
    pixels: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """For programs: plain types."""
        return {**asdict(self), "source": str(self.source), "target": str(self.target)}


def plan_files(
    inputs: Sequence[Path], output: Path, file_format: Format = "png", all_pictures: bool = False
) -> list[FileJob]:
    """Files as named, globs, folders recursively with their structure kept.

    Of folders, JPEGs are taken, with ``all_pictures`` PNG, WebP, BMP and TIFF too. Two sources that
    would share a target, such as ``a.jpg`` and ``a.jpeg``, keep their full names.

    Raises:
        OptionsError: a path that does not exist, a folder without pictures, a target that is one of
            the sources.
    """
    suffixes = tuple(sorted({*JPEG_SUFFIXES, *IMAGE_SUFFIXES})) if all_pictures else JPEG_SUFFIXES
    found: dict[Path, tuple[Path, Path]] = {}
    for path in (each for given in inputs for each in _expanded(given)):
        if path.is_dir():
            files = find_images(path, suffixes)
            if not files:
                raise OptionsError(
                    f"no picture in {path} (looked for {', '.join(suffixes)}); give another"
                )
            for file in files:
                found.setdefault(file.absolute(), (file, file.relative_to(path)))
        elif path.exists():
            found.setdefault(path.absolute(), (path, Path(path.name)))
        else:
            raise OptionsError(f"{path} not found; --input takes files, folders and globs")

    suffix = f".{file_format}"

    def key(target: Path) -> str:
        return str(target).casefold()  # some file systems do not tell A.png from a.png

    plain = Counter(key(name.with_suffix(suffix)) for _, name in found.values())
    jobs: dict[str, FileJob] = {}
    for source, name in found.values():
        short = name.with_suffix(suffix)
        target = short if plain[key(short)] == 1 else name.with_name(name.name + suffix)
        job = FileJob(source, output / target)
        other = jobs.setdefault(key(target), job)
        if other is not job:
            raise OptionsError(
                f"{other.source} and {source} would both become {job.target}; "
                "restore them in two runs"
            )
    sources = {source.resolve() for source, _ in found.values()}
    for job in jobs.values():
        if job.target.resolve() in sources:
            raise OptionsError(
                f"{job.target} is one of the files to restore, which are never overwritten; "
                "choose another --output"
            )
    return list(jobs.values())


def _expanded(path: Path) -> list[Path]:
    """The files a glob stands for, where the shell has not expanded it."""
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    if not found:
        raise OptionsError(f"{path} matches no file; --input takes files, folders and globs")
    return found


def restore_files(
    jobs: Sequence[FileJob],
    restorer: CanRestore,
    settings: OutputSettings,
    writers: int = 1,
    world: World = ALONE,
) -> list[FileResult]:
    """Restore every file, whatever happens to one of them, with a progress bar.

    While one picture is restored, the one before is coded and written by one of ``writers``
    threads. Several processes share the files out; each returns the results of all of them.
    """
    own = world.share(len(jobs))
    found: dict[int, FileResult] = {}
    start = time.perf_counter()
    pixels = 0
    with (
        tqdm(total=len(own), unit="file", disable=not world.is_main, dynamic_ncols=True) as bar,
        closing(
            in_background(
                _finished, (_begun(jobs[i], restorer, settings) for i in own), writers, writers
            )
        ) as results,
    ):
        for index, result in zip(own, results, strict=True):
            found[index] = result
            pixels += result.pixels
            speed = pixels / (time.perf_counter() - start) / 1e6
            bar.set_postfix_str(f"{speed:.2f} MP/s, {result.source.name}", refresh=False)
            bar.update()
    everything = {i: result for part in world.gather(found) for i, result in part.items()}
    return [everything[i] for i in range(len(jobs))]


def restore_file(job: FileJob, restorer: CanRestore, settings: OutputSettings) -> FileResult:
    """Restore one file; every fault of the file becomes a result."""
    return _finished(_begun(job, restorer, settings))


@dataclass(frozen=True)
class _Restored:
    """A picture that is restored but not written.

    data: the file's bytes. before: what it shows as it is, where a comparison is wanted.
    """

    job: FileJob
    settings: OutputSettings
    data: bytes
    image: NDArray[np.uint8]
    before: NDArray[np.uint8] | None
    status: Status
    notes: list[str]
    layout: str
    seconds: float


def _begun(job: FileJob, restorer: CanRestore, settings: OutputSettings) -> _Restored | FileResult:
    """Read and restore a file; a result at once if there is nothing to write."""
    start = time.perf_counter()
    try:
        if job.target.exists() and not settings.overwrite:
            return FileResult(job.source, job.target, "skipped", "there already")
        return _restore(job, restorer, settings, start)
    except (JpegError, ImageError, RestoreError) as error:
        return _failed(job, error, time.perf_counter() - start)


def _finished(begun: _Restored | FileResult) -> FileResult:
    """Write a restored picture, with the file's metadata, and a comparison where wanted."""
    if isinstance(begun, FileResult):
        return begun
    start = time.perf_counter()
    job, settings, notes = begun.job, begun.settings, list(begun.notes)
    metadata = read_metadata(begun.data)
    if metadata.problem:
        notes.append(metadata.problem)
    upright = turned(begun.image, metadata.orientation)
    try:
        write_picture(job.target, upright, settings.file_format, settings.quality, metadata)
        if settings.compare and begun.before is not None:
            _write_comparison(job.target, turned(begun.before, metadata.orientation), upright)
    except ImageError as error:
        return _failed(job, error, begun.seconds + time.perf_counter() - start)
    return FileResult(
        job.source,
        job.target,
        begun.status,
        "; ".join(notes),
        begun.layout,
        upright.shape[0] * upright.shape[1],
        begun.seconds + time.perf_counter() - start,
    )


def _failed(job: FileJob, error: Exception, seconds: float) -> FileResult:
    message = str(error).removeprefix(f"{job.source}: ").removeprefix("these bytes: ")
    return FileResult(job.source, job.target, "failed", message, seconds=seconds)


def _restore(
    job: FileJob, restorer: CanRestore, settings: OutputSettings, start: float
) -> _Restored:
    data = _read_bytes(job.source, settings.max_pixels)
    status: Status = "restored"
    notes: list[str] = []
    before: NDArray[np.uint8] | None = None
    if data[:3] == b"\xff\xd8\xff":
        header = scan_header(data)
        _check_size(header.width, header.height, settings.max_pixels)
        if header.scans > MAX_SCANS:
            raise JpegError(f"{header.scans} scans, more than any encoder writes; not decoded")
        stored = read_jpeg(data, collect_warnings=True)
        _check_size(stored.width, stored.height, settings.max_pixels)
        notes += [f"damaged: {warning}" for warning in stored.warnings]
        layout = stored.describe()
        try:
            restored = restorer.restore(stored)
        except UnsupportedLayoutError as error:
            restored, status = decode_jpeg(data), "decoded"
            notes.append(f"decoded, not restored: {error}")
        if settings.compare and status == "restored":
            try:
                before = decode_jpeg(data)
            except JpegError:
                notes.append("no comparison: OpenCV does not decode damaged files")
    else:
        size = picture_size(data)
        if size is not None:
            _check_size(*size, settings.max_pixels)
        pixels = read_image(job.source)
        _check_size(pixels.shape[1], pixels.shape[0], settings.max_pixels)
        source = pixels_as_jpeg(pixels)
        notes.append(source.note)
        layout = f"{pixels.shape[1]}x{pixels.shape[0]} pixels"
        restored = _cut(restorer.restore(source.stored), source, pixels)
        before = pixels if settings.compare else None
    seconds = time.perf_counter() - start
    return _Restored(job, settings, data, restored, before, status, notes, layout, seconds)


def _cut(
    restored: NDArray[np.uint8], source: PixelSource, before: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    top, left = source.offset
    return restored[top : top + before.shape[0], left : left + before.shape[1]]


def _read_bytes(path: Path, max_pixels: int) -> bytes:
    limit = 100_000_000 + 8 * max_pixels  # 16-bit RGBA without compression
    try:
        if path.stat().st_size > limit:
            raise ImageError(f"{path.stat().st_size / 1e6:.0f} MB are too much for a picture")
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{error.strerror or error}; give a readable file") from error
    if not data:
        raise ImageError("empty file")
    return data


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(
            f"{width}x{height} pixels are more than {max_pixels / 1e6:g} megapixels; "
            "raise --max_pixels if the file is to be trusted"
        )


def _write_comparison(target: Path, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> None:
    pair = as_rgb(before), as_rgb(after)
    picture = side_by_side(pair, ("before", "restored"), busiest_window(*pair))
    write_png(target.with_name(f"{target.stem}.compare.png"), picture)
