"""Freed memory stays with the process, so that it is not mapped and zeroed again and again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.conftest import ROOT

FAULTS = """
import resource, torch
from utils.memory import keep_freed_memory
print(keep_freed_memory() if {keep} else None)
def work():
    for _ in range(20):  # the heap takes a while to settle
        torch.zeros(100 << 18)  # 100 MiB
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_freed_memory_is_used_again() -> None:
    faults = {}
    for keep in (False, True):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS.format(keep=keep)],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={"PATH": "", "MALLOC_ARENA_MAX": "1"},
        )
        said, count = done.stdout.split()
        assert said == str(keep or None)
        faults[keep] = int(count)
    assert faults[True] * 10 < faults[False]
