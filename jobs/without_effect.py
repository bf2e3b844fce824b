"""Options that were given and change nothing, which people should know."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from options.schema import RealTestOptions

_NOT_WRITTEN = ("compare", "report", "overwrite", "keep_times")


def options_without_effect(
    options: RealTestOptions, given: Collection[str], inputs: Collection[Path]
) -> list[str]:
    """A line for each of ``given``, names of options, that has no effect beside the others."""
    lines = []
    if "quality" in given and options.written_format in ("png", "tiff"):
        name = options.written_format.upper()
        lines.append(
            f"--quality has no effect on {name}, which loses nothing; it is for webp and jpg"
        )
    if "output" in given and options.suffix and not options.report:
        lines.append("--output has no effect with --suffix: results lie beside their sources")
    if "all_pictures" in given and not any(path.is_dir() for path in inputs):
        lines.append("all_pictures has no effect without a folder: named files are always taken")
    if "testsets_folder" in given and options.input:
        lines.append("testsets_folder has no effect with --input")
    idle = [name for name in _NOT_WRITTEN if name in given and options.dry_run]
    if idle:
        verb = "has" if len(idle) == 1 else "have"
        lines.append(f"{', '.join(idle)} {verb} no effect with --dry_run, which writes nothing")
    return lines


def memory_without_effect(max_memory: float | None, least: float) -> list[str]:
    """A line where the smallest tiles take more than was allowed; both in GiB."""
    if max_memory is None or max_memory >= least:
        return []
    return [
        f"--max_memory {max_memory:g} is less than the smallest tiles take, about {least:.2g} GiB; "
        "those are used all the same"
    ]
