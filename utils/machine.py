"""What of the machine's memory and cores this process may use."""

from __future__ import annotations

import ctypes
import functools
import os
from contextlib import suppress
from pathlib import Path

_CGROUPS = (
    # Folder, limit, in use, the files' cache among that: version 2, then version 1.
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)
_FALLBACK = 2 * 2**30


def available_memory() -> int:
    """Bytes that can be allocated without swapping, as far as the system tells.

    On Linux what the kernel calls available, within the container's limit, and what malloc holds
    for later use; elsewhere half of the machine's memory; 2 GiB where even that is unknown.
    """
    limits = [_linux(), *(_cgroup(*names) for names in _CGROUPS)]
    found = [value for value in limits if value is not None]
    if found:
        return max(0, min(found)) + _held_by_malloc()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return _FALLBACK


def available_cpus() -> int:
    """Cores that this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # of Linux: batch systems give a part of the machine
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def keep_freed_memory() -> bool:
    """Let glibc's malloc keep large freed blocks for what is allocated next; whether it does.

    Of itself it returns blocks above 32 MiB to the system at once, and the activations of each
    layer are mapped, zeroed page by page and unmapped again: at one megapixel and above more than
    a third of the time (docs/speed.md). The price is memory that the process keeps, and
    gaps between blocks. Other C libraries are left as they are.
    """
    try:
        libc = ctypes.CDLL(None)
        _ = libc.gnu_get_libc_version
        kept = libc.mallopt(_M_MMAP_THRESHOLD, 2**30), libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError, TypeError):  # not glibc; Windows has no CDLL(None)
        return False
    return all(kept)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def _linux() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _cgroup(folder: str, limit: str, used: str, cache: str) -> int | None:
    try:
        free = int(Path(folder, limit).read_text()) - int(Path(folder, used).read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None
    counters: list[str] = []
    with suppress(OSError):
        counters = Path(folder, "memory.stat").read_text().splitlines()
    # Files read lately fill a container up to its limit, and make room when asked.
    return free + sum(int(line.split()[1]) for line in counters if line.split()[0] == cache)


class _MallocInfo(ctypes.Structure):
    """glibc's struct mallinfo2, malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def _held_by_malloc() -> int:
    """Bytes that were freed and not given back to the system, 0 where that is unknown."""
    try:
        report = ctypes.CDLL(None).mallinfo2  # since glibc 2.33
    except (OSError, AttributeError, TypeError):
        return 0
    report.restype = _MallocInfo
    return int(report().fordblks)
