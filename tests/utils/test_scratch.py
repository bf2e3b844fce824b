"""utils/scratch.py: files in memory, and what C libraries write to stderr."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from utils import scratch
from utils.scratch import scratch_folder, stderr_lines

OPENCV = b"[ WARN:0@0.138] global grfmt_png.cpp:793 read PNG input buffer is incomplete\n"


def test_lines_of_the_process_are_caught(capfd: pytest.CaptureFixture[str]) -> None:
    with stderr_lines() as lines:
        os.write(2, OPENCV)
        os.write(2, b"libpng error: CRC\n\nlibpng error: CRC\n")
        os.write(2, b"[ERROR:0@0.1] global loadsave.cpp:9 imdecode_ imdecode_(''): can't read\n")
        assert lines == []
    assert lines == ["PNG input buffer is incomplete", "libpng error: CRC"]
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "later\n"


def test_an_exception_puts_stderr_back(capfd: pytest.CaptureFixture[str]) -> None:
    def fail(caught: list[list[str]]) -> None:
        with stderr_lines() as lines:
            caught.append(lines)
            os.write(2, b"before\n")
            raise ValueError("x")

    caught: list[list[str]] = []
    with pytest.raises(ValueError, match="x"):
        fail(caught)
    assert caught == [["before"]]
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_nothing_is_redirected_unless_wanted(capfd: pytest.CaptureFixture[str]) -> None:
    with stderr_lines(wanted=False) as lines:
        os.write(2, b"seen\n")
    assert lines == []
    assert capfd.readouterr().err == "seen\n"


def test_memory_is_used_while_it_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_IN_MEMORY", str(tmp_path))
    free = shutil.disk_usage(tmp_path).free
    assert scratch_folder(1000) == str(tmp_path)
    assert scratch_folder(free) is None
    monkeypatch.setattr(scratch, "_IN_MEMORY", str(tmp_path / "none"))
    assert scratch_folder(1000) is None
