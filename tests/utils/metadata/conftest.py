"""Files restored with their metadata, and what ExifTool says of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.plan_files import FileJob
from jobs.restore_files import FileResult, OutputSettings, restore_file
from models.restore.restorer import Restorer

Restore = Callable[..., tuple[FileResult, Path]]
"""(bytes of a file, format of the result, name of the file) -> what happened, the result."""

ExifTool = Callable[[Path], dict[str, Any]]
"""All that ExifTool finds in a file's metadata, not what it says of the file and its pixels."""


@pytest.fixture
def restore(restorer: Restorer, tmp_path: Path) -> Restore:
    def run(data: bytes, file_format: Any, name: str = "a.jpg") -> tuple[FileResult, Path]:
        source, target = tmp_path / name, tmp_path / f"out.{file_format}"
        source.write_bytes(data)
        result = restore_file(
            FileJob(source, target), restorer, OutputSettings(file_format, overwrite=True)
        )
        assert result.status == "restored", result
        return result, target

    return run


@pytest.fixture
def exiftool() -> ExifTool:
    if shutil.which("exiftool") is None:
        pytest.skip("ExifTool is not installed (Debian: libimage-exiftool-perl)")

    def tags_of(path: Path) -> dict[str, Any]:
        done = subprocess.run(
            ["exiftool", "-j", "-a", "-b", "-G1", "-struct", path], capture_output=True, check=False
        )
        (tags,) = json.loads(done.stdout)
        others = ("File:", "System:", "Composite:", "SourceFile", "PNG", "JFIF:", "RIFF:", "VP8")
        return {key: value for key, value in tags.items() if not key.startswith(others)}

    return tags_of
