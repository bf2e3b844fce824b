"""How much memory a process may still take."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_FILES = (
    # (limit, in use): version 2, then version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)
_FALLBACK = 2 * 2**30


def available_memory() -> int:
    """Bytes that can be allocated without swapping, as far as the system tells.

    On Linux what the kernel calls available, within the container's limit; elsewhere half of the
    machine's memory; 2 GiB where even that is unknown.
    """
    found = [value for value in (_linux(), *map(_cgroup, _CGROUP_FILES)) if value is not None]
    if found:
        return max(0, min(found))
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return _FALLBACK


def _linux() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _cgroup(files: tuple[str, str]) -> int | None:
    try:
        limit, used = (int(Path(name).read_text()) for name in files)
    except (OSError, ValueError):  # no such file, or "max"
        return None
    return limit - used
