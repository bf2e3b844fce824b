"""The bar of files that are restored: it moves within a large one, and tells when all is done."""

from __future__ import annotations

import time

from tqdm import tqdm

LARGE_PIXELS = 30_000_000
LONG_SECONDS = 120.0
"""From here on, people who wait are told of what would be faster."""

_FORMAT = "{l_bar}{bar}| {n:.1f}/{total} files [{elapsed}<{remaining}{postfix}]"


class FileProgress(tqdm):
    """A progress bar over ``count`` files.

    A file counts by the share of its pixels that is done, so the estimate of the time left stands
    from the first tile of the first file on.

    hidden: show nothing. faster: said once, where a picture is large or the whole takes long.
    """

    def __init__(self, count: int, hidden: bool = False, faster: str = "") -> None:
        super().__init__(total=count, disable=hidden, dynamic_ncols=True, bar_format=_FORMAT)
        self._count = count
        self._faster = "" if hidden else faster
        self._start = time.perf_counter()
        self._files = 0
        self._pixels = 0

    def part(self, done: int, total: int) -> None:
        """``done`` of the ``total`` pixels of the file at hand."""
        if total >= LARGE_PIXELS:
            self._tell()
        self._move(self._files + done / total)

    def finished(self, pixels: int, name: str) -> None:
        """A file is written."""
        self._files += 1
        self._pixels += pixels
        speed = self._pixels / (time.perf_counter() - self._start) / 1e6
        self.set_postfix_str(f"{speed:.2f} MP/s, {name}", refresh=False)
        self._move(self._files)

    def _move(self, done: float) -> None:
        # A picture of several parts begins again; the bar waits for it.
        self.update(max(0, done - self.n))
        elapsed = time.perf_counter() - self._start
        if self.n and elapsed * self._count / self.n > LONG_SECONDS:
            self._tell()

    def _tell(self) -> None:
        if self._faster:
            self.write(f"note: {self._faster}", file=self.fp)
            self._faster = ""
