"""Where the project's own files lie: weights, option files, published figures."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
"""Root of the checkout, or of what was installed; option files' paths are looked for here too."""


def from_project(path: Path) -> Path:
    """``path`` as it is if it exists, else below the project's root if it exists there."""
    inside = PROJECT / path
    return inside if not path.exists() and inside.exists() else path
