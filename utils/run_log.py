"""What a run must say about itself so that it can be repeated: ``run.yml``."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from utils.image_io import ImageError, write_atomically
from utils.project import PROJECT

RUN_FILE = "run.yml"

_PACKAGES = ("torch", "numpy", "opencv-python-headless", "pyjpegio", "safetensors")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def describe_run(options: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Options, versions, command and ``facts`` (device, checkpoint hash, timing)."""
    return {
        # What started this process, to be pasted into a shell: a script, or a module by -m.
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "options": dict(options),
        **facts,
        "versions": _versions(),
    }


@contextmanager
def alone_in(folder: Path, option: str = "--output") -> Iterator[None]:
    """Refuse a folder into which another run is writing, where the system can tell.

    option: what messages ask to choose another of.

    Raises:
        ImageError: there is another run, or the folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    place = folder / ".running"
    try:
        file = place.open("w")
    except OSError as error:
        raise ImageError(
            f"{place}: cannot be written ({error.strerror}); remove it, or choose another {option}"
        ) from error
    with file:
        # Forked processes would hold the lock, too, and longer than this one if it is killed.
        os.register_at_fork(after_in_child=file.close)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ImageError(
                f"{folder}: another run is writing there; wait for it, or choose another {option}"
            ) from error
        except OSError:  # a file system without locks
            pass
        try:
            yield
        finally:
            with suppress(OSError):
                place.unlink()


def write_run_file(path: Path, run: Mapping[str, Any]) -> None:
    """Write what :func:`describe_run` gathered as YAML.

    Raises:
        ImageError: the place cannot be written.
    """
    write_atomically(path, yaml.safe_dump(dict(run), sort_keys=False, allow_unicode=True))


def read_run_file(path: Path) -> dict[str, Any]:
    """What :func:`write_run_file` wrote; empty where there is no such file."""
    try:
        run = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return run if isinstance(run, dict) else {}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "code": _code_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def _code_version() -> str:
    """Git's description of the checkout this file lies in, "unknown" outside one."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=PROJECT,
            # Not of a repository that the project was merely installed into.
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(PROJECT.parent)},
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
