"""Restore JPEG files on disk: find them, restore each, write PNGs; a bad file stops no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data.jpeg import JpegError, JpegImage, read_jpeg
from models.restorer import RestoreError
from options.schema import OptionsError
from utils.image_io import ImageError, find_images, write_png

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")


@dataclass(frozen=True)
class FileJob:
    """A JPEG and where its restored picture goes."""

    source: Path
    target: Path


@dataclass
class FilesReport:
    """What happened to a list of files."""

    restored: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def plan_files(inputs: Sequence[Path], output: Path) -> list[FileJob]:
    """Files as named, folders recursively with their structure kept; every target is a ``.png``.

    Two sources that would share a target, such as ``a.jpg`` and ``a.jpeg``, keep their full names.

    Raises:
        OptionsError: a path that does not exist, or a folder without JPEGs.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    for path in inputs:
        if path.is_dir():
            files = find_images(path, JPEG_SUFFIXES)
            if not files:
                raise OptionsError(
                    f"no JPEG in {path} (looked for {', '.join(JPEG_SUFFIXES)}); give another"
                )
            for file in files:
                found.setdefault(file.absolute(), (file, file.relative_to(path)))
        elif path.exists():
            found.setdefault(path.absolute(), (path, Path(path.name)))
        else:
            raise OptionsError(f"{path} not found; --input takes JPEG files and folders")

    def key(target: Path) -> str:
        return str(target).casefold()  # some file systems do not tell A.png from a.png

    plain = Counter(key(name.with_suffix(".png")) for _, name in found.values())
    jobs: dict[str, FileJob] = {}
    for source, name in found.values():
        short = name.with_suffix(".png")
        target = short if plain[key(short)] == 1 else name.with_name(f"{name.name}.png")
        job = FileJob(source, output / target)
        other = jobs.setdefault(key(target), job)
        if other is not job:
            raise OptionsError(
                f"{other.source} and {source} would both become {job.target}; "
                "restore them in two runs"
            )
    return list(jobs.values())


def restore_files(
    jobs: Iterable[FileJob],
    restore: Callable[[JpegImage], NDArray[np.uint8]],
    overwrite: bool,
) -> FilesReport:
    """Restore every file; failures are collected, existing targets skipped unless ``overwrite``."""
    report = FilesReport()
    jobs = list(jobs)
    with tqdm(jobs, unit="file", dynamic_ncols=True) as bar:
        for job in bar:
            bar.set_postfix_str(job.source.name, refresh=False)
            if job.target.exists() and not overwrite:
                report.skipped.append(job.source)
                continue
            try:
                write_png(job.target, restore(read_jpeg(job.source)))
            except RestoreError as error:
                report.failures.append(f"{job.source}: {error}")
            except (JpegError, ImageError) as error:
                report.failures.append(str(error))
            else:
                report.restored.append(job.target)
    return report
