"""Which picture files to restore, and where each result goes."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from options.schema import OptionsError
from utils.image_io import IMAGE_SUFFIXES, file_identity, find_images
from utils.metadata.origin import has_origin
from utils.picture_files import Format

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")


@dataclass(frozen=True)
class FileJob:
    """A picture file, where its restored picture goes, and where a comparison, if one is wanted."""

    source: Path
    target: Path
    comparison: Path | None = None


@dataclass(frozen=True)
class Problem:
    """An input that cannot be restored, and why, in one line."""

    source: Path
    message: str


@dataclass
class Plan:
    """What is to be done, what of the input stands in the way of doing more, hints for people, and
    which pictures of a folder are passed over: of other formats, and made by this program."""

    jobs: list[FileJob] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    passed_over: dict[Path, list[Path]] = field(default_factory=dict)
    made_here: dict[Path, list[Path]] = field(default_factory=dict)

    def refuse(self, source: Path, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(source, message))


def plan_files(
    inputs: Sequence[Path],
    output: Path,
    file_format: Format = "png",
    all_pictures: bool = False,
    compare: bool = False,
    suffix: str | None = None,
    one_file: bool = False,
) -> Plan:
    """Files as named, globs, folders recursively with their structure kept.

    Of folders, linked ones among them, JPEGs are taken, with ``all_pictures`` PNG, WebP, BMP and
    TIFF too. Pictures made by this program are left out, and so is ``output`` where it lies in such
    a folder. With ``suffix``, results lie beside their sources, named ``NAMEsuffix``, and an
    earlier result of another input, or its comparison, is none to restore. With ``one_file``,
    ``output`` is the only result. Two sources that would share a target, such as ``a.jpg`` and
    ``a.jpeg``, keep their full names; those of several folders, also these folders' names. What
    cannot be planned is a problem and stops no other.

    Raises:
        OptionsError: nothing can be restored; a target would replace a source; one file is for
            several.
    """
    plan = Plan()
    suffixes = tuple(sorted({*JPEG_SUFFIXES, *IMAGE_SUFFIXES})) if all_pictures else JPEG_SUFFIXES
    results = None if suffix else output
    found: dict[str, tuple[Path, Path]] = {}
    for given in inputs:
        for path in _expanded(given, plan):
            for file, folder in _files_of(path, results, suffixes, plan):
                found.setdefault(_place(file), (file, folder))
    if one_file:
        if len(found) + len(plan.problems) > 1:
            raise OptionsError(
                f"--output {output} is one file, these are {len(found) + len(plan.problems)}; give "
                "a folder"
            )
        plan.jobs = [FileJob(file, output) for file, _ in found.values()]
    elif suffix:
        names = {file: _names_beside(file, f"{suffix}.{file_format}") for file, _ in found.values()}
        _assign(names, "--suffix", plan)
        plan.jobs = _without_results(plan.jobs)
    else:
        names = {
            file: [output / name for name in _names(file, folder, f".{file_format}")]
            for file, folder in found.values()
        }
        _assign(names, "--output", plan)
    # Told by what they are on the disk, under whatever name or link.
    sources = {file_identity(job.source) for job in plan.jobs} - {None}
    for job in plan.jobs:
        if file_identity(job.target) in sources:
            raise OptionsError(
                f"{job.target} is one of the files to restore, which are never overwritten; "
                f"choose another {'--suffix' if suffix else '--output'}"
            )
    if compare:
        plan.jobs = _with_comparisons(plan.jobs, sources)
    plan.hints += _hints(plan)
    if not plan.jobs:
        problem = plan.problems[0]
        raise OptionsError(f"{problem.source}: {problem.message}")
    return plan


def _expanded(path: Path, plan: Plan) -> list[Path]:
    """The files a glob stands for, where the shell has not expanded it."""
    if _exists(path) or not glob.has_magic(str(path)):
        return [path]
    if "**" in path.parts:
        # Here links to folders are not followed: they may lead back.
        plain = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))
        base, pattern = Path(*path.parts[:plain]), Path(*path.parts[plain:])
        every = sorted(base.glob(str(pattern)))
        found = [each for each in every if not _is_hidden(each.relative_to(base))]
    else:
        found = sorted(Path(name) for name in glob.glob(str(path)))
    if not found:
        plan.refuse(path, "matches no file; --input takes files, folders and globs")
    return found


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") and part != ".." for part in path.parts)


def _files_of(
    path: Path, output: Path | None, suffixes: tuple[str, ...], plan: Plan
) -> Iterator[tuple[Path, Path]]:
    """The files that an input stands for, and the folder of which each keeps its place."""
    try:
        path.stat()
        is_folder = path.is_dir()
    except OSError as error:
        reason = "not found" if isinstance(error, FileNotFoundError) else error.strerror
        plan.refuse(path, f"{reason}; --input takes files, folders and globs")
        return
    if not is_folder:
        yield path, path.parent
        return

    def unreadable(error: OSError) -> None:
        plan.refuse(Path(error.filename or path), f"{error.strerror}; left out")

    before = len(plan.problems)
    found = find_images(path, {*suffixes, *IMAGE_SUFFIXES}, unreadable, follow_links=True)
    inside = output.resolve() if output else None
    if inside and inside not in (path.resolve(), *path.resolve().parents):  # or it is linked
        found = [file for file in found if inside not in file.resolve().parents]
    made = set(filter(has_origin, found))
    others = [file for file in found if file.suffix.lower() not in suffixes and file not in made]
    found = [file for file in found if file.suffix.lower() in suffixes and file not in made]
    if found:
        plan.passed_over[path] = others
        plan.made_here[path] = sorted(made)
    elif made and len(plan.problems) == before:
        more = "; --set all_pictures=true takes PNG... too" if others else ", which may be named"
        plan.refuse(path, f"its {len(made)} pictures were made by this program{more}")
    elif len(plan.problems) == before:
        more = "" if suffixes != JPEG_SUFFIXES else "; --set all_pictures=true takes PNG... too"
        plan.refuse(path, f"no picture in this folder (looked for {', '.join(suffixes)}{more})")
    for file in found:
        yield file, path


def _hints(plan: Plan) -> list[str]:
    """Which pictures of a folder were not taken, but for results of this plan."""
    places = (place for job in plan.jobs for place in (job.target, job.comparison) if place)
    results = {place.absolute() for place in places}
    hints = []
    for folder, files in plan.made_here.items():
        if number := len({file.absolute() for file in files} - results):
            hints.append(
                f"{folder}: {number} results of this program not taken; name one to restore it"
            )
    for folder, files in plan.passed_over.items():
        kinds = Counter(file.suffix.lower() for file in files if file.absolute() not in results)
        if kinds:
            named = ", ".join(f"{times} {kind}" for kind, times in sorted(kinds.items()))
            hints.append(f"{folder}: {named} not taken; --set all_pictures=true takes them too")
    return hints


def _place(path: Path) -> str:
    """Where a name is, however it is spelt; a link to a file is another place."""
    return os.path.join(_resolved(os.path.join(os.getcwd(), path.parent)), path.name)


@lru_cache(maxsize=4096)
def _resolved(folder: str) -> str:
    return os.path.realpath(folder)


def _key(place: Path) -> str:
    """Equal where results would be one file: some file systems do not tell A.png from a.png."""
    return _place(place).casefold()


def _names(source: Path, folder: Path, ending: str) -> list[Path]:
    """What a result may be called in an output folder, the shortest first."""
    name = source.relative_to(folder)
    qualified = folder.resolve().name / name
    return [
        name.with_suffix(ending),
        name.with_name(name.name + ending),
        qualified.with_suffix(ending),
        qualified.with_name(name.name + ending),
    ]


def _names_beside(source: Path, ending: str) -> list[Path]:
    """What a result beside its source may be called."""
    return [source.with_name(source.stem + ending), source.with_name(source.name + ending)]


def _assign(names: Mapping[Path, Sequence[Path]], option: str, plan: Plan) -> None:
    """Give each file the shortest of its names that no other one wants."""
    keys = {source: [_key(place) for place in places] for source, places in names.items()}
    wanted = [Counter(level) for level in zip(*keys.values(), strict=True)]
    usable = {
        source: [i for i, key in enumerate(own) if wanted[i][key] == 1] or [len(own) - 1]
        for source, own in keys.items()
    }
    chosen: dict[Path, int] = {}
    taken: dict[str, Path] = {}
    for source in sorted(usable, key=lambda source: len(usable[source])):  # the least choice first
        own = keys[source]
        free = (i for i in usable[source] if own[i] not in taken)
        chosen[source] = next(free, len(own) - 1)
        taken.setdefault(own[chosen[source]], source)
    for source, places in names.items():
        place = places[chosen[source]]
        other = taken[keys[source][chosen[source]]]
        if other == source:
            plan.jobs.append(FileJob(source, place))
        else:
            plan.refuse(source, f"would become {place}, as {other} does; give it another {option}")


def _without_results(jobs: Sequence[FileJob]) -> list[FileJob]:
    """Those whose source is not the result, or its comparison, that another made in an earlier
    run."""
    made = [job.target for job in jobs]
    made += [target.with_name(f"{target.stem}.compare.png") for target in made]
    results = set(map(_key, made))
    return [job for job in jobs if _key(job.source) not in results or not has_origin(job.source)]


def _with_comparisons(
    jobs: Sequence[FileJob], sources: Collection[tuple[int, int] | None]
) -> list[FileJob]:
    """A name for each comparison that is neither a result's, nor a source's."""
    taken = {_key(job.target) for job in jobs}
    planned = []
    for job in jobs:
        stem, number = job.target.stem, 1
        place = job.target.with_name(f"{stem}.compare.png")
        while _key(place) in taken or file_identity(place) in sources:
            number += 1
            place = job.target.with_name(f"{stem}.compare{number}.png")
        taken.add(_key(place))
        planned.append(FileJob(job.source, job.target, place))
    return planned


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder above cannot be searched, a name is too long: said later
        return True
