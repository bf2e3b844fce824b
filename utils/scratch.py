"""What C libraries force upon their callers: files in memory, and messages on the stderr.

OpenCV's log is silent from here on, except where :func:`stderr_lines` collects it: what is wrong
with a picture is said once, by whoever reads it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

_SILENT = cv2.utils.logging.LOG_LEVEL_SILENT
_WARNINGS = cv2.utils.logging.LOG_LEVEL_WARNING
cv2.utils.logging.setLogLevel(_SILENT)


_IN_MEMORY = "/dev/shm"


def scratch_folder(size: int) -> str | None:
    """A folder in memory that has room for ``size`` bytes; None: tempfile's own choice."""
    # Containers often have 64 MB there.
    if os.access(_IN_MEMORY, os.W_OK) and shutil.disk_usage(_IN_MEMORY).free > 2 * size:
        return _IN_MEMORY
    return None


@contextmanager
def stderr_lines(wanted: bool = True) -> Iterator[list[str]]:
    """What is written to the process's stderr meanwhile, by C libraries too, as lines.

    Only where no other thread writes to it. The list is filled when the context ends; each line
    stands there once, without OpenCV's time stamps and source positions, nor what it says of files
    that it leaves to others. Not ``wanted``: nothing is redirected.
    """
    lines: list[str] = []
    if not wanted:
        yield lines
        return
    sys.stderr.flush()
    kept = os.dup(2)
    level = cv2.utils.logging.setLogLevel(_WARNINGS)
    try:
        with tempfile.TemporaryFile(dir=scratch_folder(_MOST_BYTES)) as file:
            os.dup2(file.fileno(), 2)
            try:
                yield lines
            finally:
                os.dup2(kept, 2)
                file.seek(0)
                text = file.read(_MOST_BYTES).decode("utf-8", "replace")
                plain = (_OPENCV_PREFIX.sub("", line).strip() for line in text.splitlines())
                lines += dict.fromkeys(
                    line for line in plain if line and not _OF_NO_MATTER.search(line)
                )
    finally:
        cv2.utils.logging.setLogLevel(level)
        os.close(kept)


_MOST_BYTES = 4096
_OF_NO_MATTER = re.compile(r"^imdecode_\(|not configured|unspecified color space")
"""What OpenCV cannot read Pillow may, and profiles are read by others."""
_OPENCV_PREFIX = re.compile(r"^\[ *[A-Z]+:\d+@[\d.]+\] global \S+ \w+ ")
