"""What lies on disk for those who look at the page, and when it goes."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path


class Visits:
    """Who looks at the page, and what lies in ``folder`` for them; it goes when they leave.

    Gradio names the folders of uploads by their content, so that visitors may share one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, set[Path]] = {}
        self._lock = threading.Lock()

    def __contains__(self, visitor: str) -> bool:
        return visitor in self._held

    def come(self, visitor: str) -> None:
        """Somebody has opened the page."""
        with self._lock:
            self._held.setdefault(visitor, set())

    def begin(self, visitor: str, uploads: Iterable[str]) -> Path:
        """An empty folder for what is made of ``uploads``; what the visitor had before goes."""
        made = Path(tempfile.mkdtemp(dir=self.folder))
        with self._lock:
            earlier = self._held.get(visitor, set())
            self._held[visitor] = {made, *(Path(path).parent for path in uploads)}
            self._drop(earlier)
        return made

    def end(self, visitor: str, made: Path) -> None:
        """The work in a folder is done; nobody may be there any more to see it."""
        if visitor not in self:
            _remove(made)

    def leave(self, visitor: str) -> None:
        """Remove what nobody else holds; after the last visitor, whatever there is."""
        with self._lock:
            own = self._held.pop(visitor, set())
            self._drop(own if self._held else self.folder.iterdir())

    def _drop(self, paths: Iterable[Path]) -> None:
        held = set().union(*self._held.values())
        for path in paths:
            if path not in held:
                _remove(path)


def _remove(path: Path) -> None:
    """A file or a folder, as far as the system lets us."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


PREFIX = "ijcn_page_"
"""Of the temporary folder's name; the process id follows."""


def remove_stale_folders(parent: Path) -> None:
    """Remove what pages left whose process was killed."""
    if os.name != "posix":  # elsewhere there is no harmless way to ask for a process
        return
    for folder in parent.glob(f"{PREFIX}*_*"):
        process = folder.name.removeprefix(PREFIX).partition("_")[0]
        if process.isdecimal() and not _runs(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(process: int) -> bool:
    """Whether another process has this number: a restarted container gives the same ones again."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return process != os.getpid()
