"""Whether the file in a result's place is this file's result, made as it would be made now.

A result says itself what it was made of (:mod:`utils.metadata.origin`): the source's hash and a
hash of its place, never its name; the weights and options; and what was said of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from utils.image_io import ImageError
from utils.metadata.origin import origin_of

Verdict = Literal["same", "older", "stranger"]


class Origin(NamedTuple):
    """What a result is made of.

    source: SHA-256 of the file. place: of its path, of which another file of its name is told by.
    recipe: weights and options, plain types.
    """

    source: str
    place: str
    recipe: Mapping[str, Any]

    @classmethod
    def of(cls, path: Path, data: bytes, recipe: Mapping[str, Any]) -> Origin:
        """That of a result of ``data``, read from ``path``."""
        place = str(path.absolute()).encode("utf-8", "surrogateescape")
        return cls(
            hashlib.sha256(data).hexdigest(), hashlib.sha256(place).hexdigest()[:16], dict(recipe)
        )

    def as_json(self, said: Said) -> dict[str, Any]:
        """For the result's file."""
        return {**self._asdict(), "said": asdict(said)}


@dataclass(frozen=True)
class Said:
    """What is said of a result, and said again when it is there already: see FileResult."""

    status: str = ""
    message: str = ""
    layout: str = ""
    left_out: tuple[str, ...] = ()
    left_alone: bool = False


def earlier_result(place: Path, origin: Origin) -> tuple[Verdict, Said]:
    """Judge what is in a result's place; and what was said of it, if it is the same.

    "same": this file's result, as it would be made now. "older": this file's, from another content
    of it or made otherwise, which may be replaced. "stranger": somebody else's.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        found = origin_of(place.read_bytes())
    except OSError as error:
        raise ImageError(f"{place}: {error.strerror or error}; choose another --output") from error
    if found is None:
        return "stranger", Said()
    own = found.get("source") == origin.source
    if not own or found.get("recipe") != origin.recipe:
        return "older" if own or found.get("place") == origin.place else "stranger", Said()
    try:
        return "same", _SAID.validate_python(found.get("said"))
    except ValidationError:
        return "same", Said()


_SAID = TypeAdapter(Said)
