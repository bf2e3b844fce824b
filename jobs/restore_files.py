"""Restore picture files on disk: read each, restore it, write it; a bad file stops no other."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from stat import S_ISREG
from typing import Any, Literal

from data.jpeg import JpegError, JpegImage, decode_jpeg, read_jpeg
from data.jpeg_markers import LIBJPEG_SIDE, is_jpeg, scan_header
from data.pixels import pixels_as_jpeg
from data.quality import estimate_quality
from jobs.earlier_results import Said, earlier_result, made_of
from jobs.plan_files import JPEG_SUFFIXES, FileJob
from jobs.progress import FileProgress
from models.restore.fidelity import shares_of_change
from models.restore.layouts import Picture, RestoreError, UnsupportedLayoutError
from models.restore.parts import has_ink
from models.restore.restorer import Restorer
from utils.arguments import printable
from utils.cmyk import became_rgb, cmyk_profile
from utils.distributed import ALONE, World
from utils.evaluation.pipeline import in_background
from utils.image_io import ImageError, encode_png, read_image_bytes, write_atomically
from utils.metadata import read_metadata, told
from utils.metadata.origin import with_origin
from utils.picture_files import Format, encoded_picture, picture_size, read_extras, turned
from utils.pictures import as_rgb, busiest_window, side_by_side
from utils.scratch import stderr_lines

MAX_SCANS = 200
"""More than any encoder writes; each costs a pass over the whole picture."""

FINE_OPTIONS = (
    " (--set leave_fine=false restores it; if it is a copy of a poorer JPEG, --set "
    "assume_quality=50 does more)"
)
FINE = (
    "of quality about 95 or better, without visible artifacts; the result shows the file as it is"
    + FINE_OPTIONS
)
UNCHANGED = "strength 0 applies nothing of the change"
"""Why a file was left as it is."""

Status = Literal["restored", "decoded", "skipped", "failed"]


@dataclass(frozen=True)
class OutputSettings:
    """How restored pictures are written, and what is refused.

    file_format, quality: see utils.picture_files.encoded_picture. overwrite: restore again what is
    there. max_pixels: largest picture. keep_times: give results the sources' times of modification.
    recipe: all that a result depends on besides its source, plain types: weights and options.
    below: files whose estimated quality is not below it are left alone, 1..100. assume_quality: of
    the JPEG that a picture was before it was resized or saved again, 1..100; files that are poorer
    themselves, and pixels that still show their JPEG, are restored as what they are. keep_cmyk:
    write four inks as such, for which ``file_format`` must be "jpg" or "tiff".
    """

    file_format: Format = "png"
    quality: int = 95
    overwrite: bool = False
    max_pixels: int = 200_000_000
    keep_times: bool = True
    recipe: Mapping[str, Any] = field(default_factory=dict)
    below: int | None = None
    assume_quality: int | None = None
    keep_cmyk: bool = False


@dataclass(frozen=True)
class FileResult:
    """What happened to one file.

    target: None where it was not even planned for. status: "restored"; "decoded": written, but
    without restoration; "skipped": there already; "failed". message: why it failed or was only
    decoded, or what was wrong with it. layout: size and colours. seconds: spent on it. left_out:
    what the file holds and its result does not, which the message says too. earlier: the status of
    a result that is there already, whose message is told again. left_alone: whether it was decoded
    only because there is nothing to restore.
    """

    source: Path
    target: Path | None
    status: Status
    message: str = ""
    layout: str = ""
    pixels: int = 0
    seconds: float = 0.0
    left_out: tuple[str, ...] = ()
    earlier: str = ""
    left_alone: bool = False

    @property
    def outcome(self) -> str:
        """What is in the result's place, now or from an earlier run: "restored", "left alone"
        (decoded, as there is nothing to restore), "decoded" (as it cannot be), "failed"."""
        return "left alone" if self.left_alone else self.earlier or self.status


def restore_files(
    jobs: Sequence[FileJob],
    restorer: Restorer,
    settings: OutputSettings,
    writers: int = 1,
    world: World = ALONE,
    faster: str = "",
) -> list[FileResult]:
    """Restore every file, whatever happens to one of them, with a progress bar.

    While one picture is restored, the one before is coded and written by one of ``writers``
    threads. Several processes share the files out; each returns the results of all of them.
    faster: what to tell people where it takes long, see :class:`jobs.progress.FileProgress`.
    """
    own = world.share(len(jobs))
    found: dict[int, FileResult] = {}
    with (
        FileProgress(len(own), hidden=not world.is_main, faster=faster) as progress,
        closing(
            in_background(
                _finished, (begun(jobs[i], restorer, settings) for i in own), writers, writers
            )
        ) as results,
    ):
        restorer.progress = progress.part
        for index, result in zip(own, results, strict=True):
            found[index] = result
            progress.finished(result.pixels, printable(result.source.name))
        restorer.progress = None
    everything = {i: result for part in world.gather(found) for i, result in part.items()}
    return [everything[i] for i in range(len(jobs))]


def restore_file(job: FileJob, restorer: Restorer, settings: OutputSettings) -> FileResult:
    """Restore one file; every fault of the file becomes a result."""
    return _finished(begun(job, restorer, settings))


@dataclass
class Answer:
    """What became of a picture.

    stored: the file, or the JPEG that its pixels were or stand for. image: RGB, gray, or four inks.
    alpha: its transparency. before: what the file shows as it is, None where that cannot be had or
    is not wanted. shown: ``image`` in RGB, where that is inks. profile_used: whether the file's ICC
    profile was for the inks that became RGB.
    """

    stored: JpegImage
    image: Picture
    status: Status
    notes: list[str]
    layout: str
    left_alone: bool = False
    alpha: Picture | None = None
    before: Picture | None = None
    shown: Picture | None = None
    profile_used: bool = False


@dataclass(frozen=True)
class Restored:
    """A picture that is restored but not written.

    data: the file's bytes. made: what the result is made of. answer: what it became.
    """

    job: FileJob
    settings: OutputSettings
    data: bytes
    made: dict[str, Any]
    answer: Answer
    seconds: float = 0.0


def begun(job: FileJob, restorer: Restorer, settings: OutputSettings) -> Restored | FileResult:
    """Read and restore a file, writing nothing; a result at once if there is nothing to write."""
    start = time.perf_counter()
    try:
        found = _begun(job, restorer, settings)
    except Exception as error:  # of whatever kind: a bad file stops no other
        found = _failed(job, error)
    return replace(found, seconds=time.perf_counter() - start)


def _begun(job: FileJob, restorer: Restorer, settings: OutputSettings) -> Restored | FileResult:
    data = _read_bytes(job.source, settings.max_pixels)
    made = made_of(job.source, data, settings.recipe)
    if _is_taken(job.target) and not settings.overwrite:
        verdict, said = earlier_result(job.target, made)
        if verdict == "same":
            return _skipped(job, data, made, said)
        if verdict == "stranger":
            raise ImageError(
                f"{job.target} is there already and is not known as a result of this file; choose "
                "another --output, or give --overwrite to replace it"
            )
    answer = _of_file(job, data, restorer, settings)
    if job.comparison is None or answer.status != "restored":
        answer.before = None
    elif answer.before is None:
        answer.notes.append("no comparison: other programs cannot decode this file")
    return Restored(job, settings, data, made, answer)


def _is_taken(place: Path) -> bool:
    """Whether anything is there, be it a link to nothing."""
    return place.is_symlink() or place.exists()


def _skipped(job: FileJob, data: bytes, made: dict[str, Any], said: Said) -> FileResult:
    """A result that is there already, with what was said of it; a missing comparison is made."""
    notes = [said.message] if said.message else []
    if said.status == "restored" and job.comparison is not None:
        before = as_looked_at(data, str(job.source))
        after = as_looked_at(job.target.read_bytes(), str(job.target))
        notes += _write_comparison(job.comparison, before, after, made, overwrite=False)
    message = "; ".join(notes)
    return _result(job, said, status="skipped", earlier=said.status, message=message)


def _finished(found: Restored | FileResult) -> FileResult:
    """Write a restored picture, with the file's metadata, and a comparison where wanted."""
    if isinstance(found, FileResult):
        return found
    start = time.perf_counter()
    try:
        result = _written(found)
    except Exception as error:  # as above
        result = _failed(found.job, error)
    return replace(result, seconds=found.seconds + time.perf_counter() - start)


def _written(found: Restored) -> FileResult:
    job, settings, answer = found.job, found.settings, found.answer
    metadata = read_metadata(found.data)
    if answer.profile_used:
        metadata = replace(metadata, icc_profile=None)
    upright = turned(answer.image, metadata.orientation)
    alpha = None if answer.alpha is None else turned(answer.alpha, metadata.orientation)
    data, lost = encoded_picture(upright, settings.file_format, settings.quality, metadata, alpha)
    left_out = [*metadata.left_out, *lost]
    notes = [*answer.notes, *metadata.problems, *told(left_out)]
    said = Said(
        answer.status,
        "; ".join(notes),
        answer.layout,
        tuple(loss.what for loss in left_out),
        answer.left_alone,
    ).shortened()
    write_atomically(job.target, with_origin(data, {**found.made, "said": asdict(said)}))
    if settings.keep_times:
        with suppress(OSError):
            times = job.source.stat()
            os.utime(job.target, ns=(times.st_atime_ns, times.st_mtime_ns))
    notes = [said.message] if said.message else []
    if job.comparison is not None and answer.before is not None:
        shown = answer.image if answer.shown is None else answer.shown
        before, after = (turned(image, metadata.orientation) for image in (answer.before, shown))
        notes += _write_comparison(job.comparison, before, after, found.made, settings.overwrite)
    pixels = upright.shape[0] * upright.shape[1]
    return _result(job, said, message="; ".join(notes), pixels=pixels)


def _result(job: FileJob, said: Said, **more: Any) -> FileResult:
    """What was said of a file as its result, with what only the result knows."""
    return FileResult(job.source, job.target, **{**asdict(said), **more})


def _write_comparison(
    place: Path, before: Picture, after: Picture, made: dict[str, Any], overwrite: bool
) -> list[str]:
    """Write it, unless it is there or a stranger's file is; what is to be said of it."""
    try:
        if _is_taken(place) and not overwrite:
            verdict, _ = earlier_result(place, made)
            if verdict == "same":
                return []
            if verdict == "stranger":
                return [f"{place.name} is there already and was left as it is"]
        images = as_rgb(before), as_rgb(after)
        picture = side_by_side(images, ("before", "restored"), busiest_window(*images))
        write_atomically(place, with_origin(encode_png(picture), made))
    except Exception as error:  # of whatever kind: the result is there all the same
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return [f"no comparison: {' '.join(why.split())[:200]}"]
    return []


def _failed(job: FileJob, error: Exception) -> FileResult:
    message = str(error).removeprefix(f"{job.source}: ").removeprefix("these bytes: ")
    if isinstance(error, MemoryError):
        message = "not enough memory; give a smaller --max_memory, or a machine with more"
    elif isinstance(error, OSError):
        message = f"{error.strerror or error}; give another file or --output"
    elif not isinstance(error, JpegError | ImageError | RestoreError):
        words = " ".join(message.split())[:200]
        message = f"unexpected {type(error).__name__} ({words}); please report it, with the file"
    return FileResult(job.source, job.target, "failed", message)


def _of_file(job: FileJob, data: bytes, restorer: Restorer, settings: OutputSettings) -> Answer:
    if is_jpeg(data):
        return _of_jpeg(data, restorer, settings, job.comparison is not None)
    size = picture_size(data)
    if size is not None:
        _check_size(*size, settings)
    lines: list[str] = []
    try:
        with stderr_lines() as lines:  # what decoders complain of
            pixels = read_image_bytes(data, str(job.source))
    except ImageError as error:
        raise ImageError("; ".join([str(error), *lines])) from error
    _check_size(pixels.shape[1], pixels.shape[0], settings)
    extras = read_extras(data)
    answer = _of_pixels(pixels, restorer, settings)
    misnamed = job.source.suffix.lower() in JPEG_SUFFIXES
    named = ["not a JPEG, whatever its name says"] if misnamed else []
    return replace(
        answer,
        notes=[*named, *lines, *extras.notes, *answer.notes],
        alpha=extras.alpha,
        profile_used=extras.profile_used,
    )


def _of_jpeg(data: bytes, restorer: Restorer, settings: OutputSettings, compare: bool) -> Answer:
    header = scan_header(data)
    _check_size(header.width, header.height, settings)
    if header.scans > MAX_SCANS:
        raise JpegError(f"{header.scans} scans, more than any encoder writes; not decoded")
    stored = read_jpeg(data, collect_warnings=True)
    _check_size(stored.width, stored.height, settings)
    notes = [f"damaged: {warning}" for warning in stored.warnings]
    layout = f"{stored.width}x{stored.height} {stored.colors} {sampling_of(stored)}".strip()
    assumed = settings.assume_quality
    # Taken for a copy of a poorer JPEG; files of inks never are.
    is_copy = assumed and not has_ink(stored) and estimate_quality(stored).quality > assumed
    before = stored.decoded() if compare or is_copy else None
    if is_copy and before is not None:
        answer = _of_pixels(before, restorer, settings)
        return replace(answer, notes=notes + answer.notes, layout=layout)
    keeps_ink = settings.keep_cmyk and has_ink(stored)
    status: Status = "restored"
    reason = _not_below(stored, settings.below)
    try:
        if not reason and restorer.leaves(stored):
            reason = UNCHANGED if max(shares_of_change(stored)) else FINE
        if reason:
            status = "decoded"
            notes.append(f"decoded, not restored: {reason}")
        if keeps_ink:
            ink = stored.decoded_ink() if reason else None
            image = restorer.restore_ink(stored) if ink is None else ink
        else:
            image = restorer.decoded(stored) if reason else restorer.restore(stored)
    except UnsupportedLayoutError as error:
        decoded = stored.decoded()
        if decoded is None:
            raise
        image, status = decoded, "decoded"
        notes.append(f"decoded, not restored: {error}")
    answer = Answer(stored, image, status, notes, layout, bool(reason), before=before)
    if keeps_ink:
        answer.shown = stored.ink_in_rgb(image)
        notes.append("kept as CMYK")
    elif has_ink(stored):
        answer.profile_used = cmyk_profile(data) is not None
        notes.append(became_rgb(stored.colors, answer.profile_used))
    return answer


def _of_pixels(pixels: Picture, restorer: Restorer, settings: OutputSettings) -> Answer:
    source = pixels_as_jpeg(pixels, settings.assume_quality)
    layout = f"{pixels.shape[1]}x{pixels.shape[0]} pixels"
    reason = _not_below(source.stored, settings.below)
    if reason and not source.stored.data and settings.assume_quality is None:
        reason = f"its quality, which is to be below {settings.below}, is not known (--below)"
    if not reason and restorer.strength == 0:
        reason = UNCHANGED
    if reason:
        notes = [source.note, f"not restored: {reason}"]
        return Answer(source.stored, pixels, "decoded", notes, layout, True)
    image = restorer.restore_source(source.stored, source.offset, pixels)
    return Answer(source.stored, image, "restored", [source.note], layout, before=pixels)


def _not_below(stored: JpegImage, below: int | None) -> str:
    """Why a file is left alone where only those of lower quality are wanted; "" where it is not."""
    if below is None or (quality := estimate_quality(stored).quality) < below:
        return ""
    return f"its estimated quality, {quality}, is not below {below} (--below)"


def sampling_of(stored: JpegImage) -> str:
    """A file's sampling for people: ``4:2:0``, or each component's factors as ``2x1 1x1 1x2``; ""
    where all components are of one size."""
    factors = stored.sampling_factors
    if stored.sampling:
        return stored.sampling.value
    return "" if len(set(factors)) == 1 else " ".join(f"{h}x{v}" for h, v in factors)


def as_looked_at(data: bytes, name: str) -> Picture:
    """A picture file as other programs show it: decoded, turned as it says, not restored.

    Raises:
        ImageError: it cannot be read. JpegError: it is damaged.
    """
    pixels = decode_jpeg(data) if is_jpeg(data) else read_image_bytes(data, name)
    return turned(pixels, read_metadata(data).orientation)


def _read_bytes(path: Path, max_pixels: int) -> bytes:
    limit = 100_000_000 + 8 * max_pixels  # 16-bit RGBA without compression
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):  # a pipe or a device may never end
            raise ImageError("not a regular file; copy its content into one")
        if status.st_size > limit:
            raise ImageError(f"{status.st_size / 1e6:.0f} MB are too much for a picture")
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{error.strerror or error}; give a readable file") from error
    if not data:
        raise ImageError("empty file; copy or download it again")
    return data


_WEBP_SIDE = 16383
"""RFC 9649, 2.6."""


def _check_size(width: int, height: int, settings: OutputSettings) -> None:
    if width * height > settings.max_pixels:
        raise ImageError(
            f"{width}x{height} pixels are more than {settings.max_pixels / 1e6:g} megapixels; "
            "raise --max_pixels if the file is to be trusted"
        )
    if max(width, height) > LIBJPEG_SIDE:
        raise ImageError(f"{width}x{height} pixels: no side may exceed {LIBJPEG_SIDE}; cut it")
    if settings.file_format == "webp" and max(width, height) > _WEBP_SIDE:
        raise ImageError(
            f"{width}x{height} pixels: no side of a WebP may exceed {_WEBP_SIDE}; "
            "choose --format png"
        )
