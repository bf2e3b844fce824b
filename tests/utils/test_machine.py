"""utils/machine.py: limits of memory and cores; freed memory that stays with the process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from utils import machine
from utils.machine import available_cpus, available_memory

IS_GLIBC = platform.libc_ver()[0] == "glibc"


def test_memory_is_plausible(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2**26 < available_memory() < 2**50
    monkeypatch.setattr(machine, "_held_by_malloc", lambda: 0)
    monkeypatch.setattr(machine, "_linux", lambda: 5000)
    monkeypatch.setattr(machine, "_cgroup", lambda *names: 3000)
    assert available_memory() == 3000
    monkeypatch.setattr(machine, "_held_by_malloc", lambda: 400)
    assert available_memory() == 3400
    monkeypatch.setattr(machine, "_linux", lambda: None)
    monkeypatch.setattr(machine, "_cgroup", lambda *names: None)
    assert available_memory() > 2**26


def test_cached_files_of_a_container_make_room(tmp_path: Path) -> None:
    names = "limit", "used", "inactive_file"
    assert machine._cgroup(str(tmp_path), *names) is None
    (tmp_path / "limit").write_text("8000\n")
    (tmp_path / "used").write_text("7900\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 7000\nactive_file 500\n")
    assert machine._cgroup(str(tmp_path), *names) == 7100
    (tmp_path / "limit").write_text("max\n")
    assert machine._cgroup(str(tmp_path), *names) is None


HELD = """
import numpy as np
from utils.machine import _held_by_malloc, keep_freed_memory
keep_freed_memory()
before = _held_by_malloc()
pixels = np.ones(200 << 20, np.uint8)
during = _held_by_malloc()
del pixels
print(during - before, _held_by_malloc() - before)
"""


@pytest.mark.skipif(not IS_GLIBC, reason="known of glibc only")
def test_freed_memory_counts_as_free() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELD], capture_output=True, text=True, check=True, cwd=ROOT
    )
    during, after = map(int, done.stdout.split())
    assert during < 20 << 20
    assert after > 180 << 20


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux has it")
def test_cores_are_those_that_are_allowed() -> None:
    allowed = os.sched_getaffinity(0)
    assert available_cpus() == len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert available_cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)


FAULTS = """
import resource, torch
from utils.machine import keep_freed_memory
print(keep_freed_memory() if {keep} else None)
def work():
    for _ in range(20):  # the heap takes a while to settle
        torch.zeros(100 << 18)  # 100 MiB
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not IS_GLIBC, reason="other C libraries are left alone")
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
