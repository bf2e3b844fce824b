"""The state file of a training run: never half-written, with the one before as a spare."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

STATE_FILE = "state.pt"


def previous_file(path: Path) -> Path:
    """Where the state before ``path`` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write beside the final name, keep the state before, then rename.

    Raises:
        OSError: the disk is full or the folder cannot be written; both old states are untouched.
    """
    path = folder / STATE_FILE
    beside = path.with_suffix(".part")
    try:
        try:
            with beside.open("wb") as file:
                torch.save(dict(state), file)
                file.flush()
                os.fsync(file.fileno())
        except RuntimeError as error:  # torch's writer turns a full disk into one
            raise OSError(" ".join(str(error).split())[:200]) from error
        if path.exists():
            os.replace(path, previous_file(path))
        os.replace(beside, path)
        _flush_folder(folder)
    finally:
        beside.unlink(missing_ok=True)


def set_aside(path: Path) -> None:
    """Rename a state that cannot be used, so that it never takes the place of a good one."""
    os.replace(path, path.with_name(f"{path.stem}.damaged{path.suffix}"))


def _flush_folder(folder: Path) -> None:
    """Make the renames outlast a power cut, where the system lets folders be flushed."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def saved_states(folder: Path) -> Iterator[tuple[Path, dict[str, Any], str]]:
    """Each state file there is, newest first, with its content and why it cannot be read, if so."""
    newest = folder / STATE_FILE
    for path in (newest, previous_file(newest)):
        if not path.exists():
            continue
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # on damaged files torch.load raises nearly anything
            yield path, {}, f"damaged ({' '.join(str(error).split())[:120]})"
            continue
        if isinstance(content, dict):
            yield path, content, ""
        else:
            yield path, {}, "not a training state"
