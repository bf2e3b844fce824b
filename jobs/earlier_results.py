"""Whether the file in a result's place is this file's result, made as it would be made now.

A result says itself what it was made of (:mod:`utils.metadata.origin`): the source's hash and a
hash of its place, never its name; the weights and options; and what was said of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from utils.image_io import ImageError
from utils.metadata.origin import origin_of

Verdict = Literal["same", "older", "stranger"]


@dataclass(frozen=True)
class Said:
    """What is said of a result, and said again when it is there already: see FileResult."""

    status: str = ""
    message: str = ""
    layout: str = ""
    left_out: tuple[str, ...] = ()
    left_alone: bool = False

    def shortened(self) -> Said:
        """As much as a person may read, and a file has room for."""
        message = self.message
        if len(message) > _MOST_LETTERS:
            message = f"{message[:_MOST_LETTERS]} ..."
        named = self.left_out[:_MOST_NAMES]
        if sum(map(len, named)) > _MOST_LETTERS:
            named = tuple(what[: _MOST_LETTERS // _MOST_NAMES] for what in named)
        if more := len(self.left_out) - len(named):
            named += (f"{more} more",)
        return replace(self, message=message, left_out=named)


_MOST_LETTERS, _MOST_NAMES = 4000, 100


def made_of(path: Path, data: bytes, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What a result of ``data``, read from ``path``, is made of; plain types.

    place: tells files of one name apart. recipe: weights and options.
    """
    place = str(path.absolute()).encode("utf-8", "surrogateescape")
    return {
        "source": hashlib.sha256(data).hexdigest(),
        "place": hashlib.sha256(place).hexdigest()[:16],
        "recipe": dict(recipe),
    }


def earlier_result(place: Path, made: Mapping[str, Any]) -> tuple[Verdict, Said]:
    """Judge what is in the place of a result that is ``made_of`` something; what was said of it.

    "same": this file's result, as it would be made now. "older": this file's, from another content
    of it or made otherwise, which may be replaced. "stranger": somebody else's.

    Raises:
        ImageError: it cannot be read.
    """
    if not place.is_file() and not place.is_dir():  # an endless pipe, a link to nothing
        return "stranger", Said()
    try:
        found = origin_of(place.read_bytes())
    except OSError as error:
        raise ImageError(f"{place}: {error.strerror or error}; choose another --output") from error
    if found is None:
        return "stranger", Said()
    own = found.get("source") == made["source"]
    if not own or found.get("recipe") != made["recipe"]:
        return "older" if own or found.get("place") == made["place"] else "stranger", Said()
    try:
        return "same", _SAID.validate_python(found.get("said"))
    except ValidationError:
        return "same", Said()


_SAID = TypeAdapter(Said)
