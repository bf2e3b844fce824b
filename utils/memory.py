"""How much memory a process may still take, and what becomes of memory it has freed."""

from __future__ import annotations

import ctypes
import functools
import os
from contextlib import suppress
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


def _cgroup(files: tuple[str, str]) -> int | None:
    try:
        limit, used = (int(Path(name).read_text()) for name in files)
    except (OSError, ValueError):  # no such file, or "max"
        return None
    return limit - used
