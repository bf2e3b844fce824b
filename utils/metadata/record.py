"""The record that metadata travel in, from any format to any other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, NamedTuple, cast

from utils.metadata.xmp import XmpError, joined

INCH = 0.0254
"""Metres."""


class Lost(NamedTuple):
    """Something of a file that its result does not have, and why; both make a sentence."""

    what: str
    why: str


def told(losses: Iterable[Lost]) -> list[str]:
    """For people, those of one reason together."""
    return [
        f"{', '.join(loss.what for loss in group)} {why}"
        for why, group in groupby(losses, key=lambda loss: loss.why)
    ]


@dataclass(frozen=True)
class Density:
    """Horizontal and vertical samples in a unit of length; without one, only their ratio counts."""

    x: float
    y: float
    unit: Literal["inch", "cm", "metre", "none"]

    def per(self, metres: float) -> tuple[float, float]:
        """Horizontal and vertical samples in so many metres."""
        units = {"inch": 1 / INCH, "cm": 100.0, "metre": 1.0, "none": 1.0}[self.unit]
        return self.x * units * metres, self.y * units * metres

    @property
    def says_something(self) -> bool:
        """Whether it is more than that samples are square."""
        return self.unit != "none" or self.x != self.y

    def turned(self) -> Density:
        """That of a picture whose rows have become columns."""
        return Density(self.y, self.x, self.unit)

    def __str__(self) -> str:
        if self.unit == "none":
            return f"pixels of {self.y:g}:{self.x:g}"
        return " x ".join(f"{dpi:.4g}" for dpi in dict.fromkeys(self.per(INCH))) + " dpi"


def resolution(x: Any, y: Any, unit: str | None) -> Density | None:
    """Two numbers per inch or cm; None where they are none that a picture can have."""
    try:
        x, y = float(x), float(y)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # 1: not known
    likely = unit in ("inch", "cm") and 1 < x < 1e6 and 1 < y < 1e6
    return Density(x, y, cast(Literal["inch", "cm"], unit)) if likely else None


@dataclass(frozen=True)
class Metadata:
    """What a picture file says besides its pixels.

    exif: a TIFF structure as stored, without the file format's prefix. exif_parts: over how many
    JPEG segments it was spread. xmp: the packet, UTF-8. extended_xmp: the rest of it that a JPEG's
    segment has no room for, as (GUID of 32 digits, serialised XMP). photoshop: image resources
    ("8BIM"), IPTC among them. comments: in no stated encoding. segments: other (marker, payload)
    of a JPEG. chunks: (type, payload) of a PNG that say something about colours, or are texts.
    orientation: 1..8, how stored pixels are to be turned (EXIF 2.32, 4.6.4 A). left_out: what
    else is in the file, for which no result has a place. problems: what could not be read.
    """

    exif: bytes | None = None
    exif_parts: int = 1
    xmp: bytes | None = None
    extended_xmp: tuple[bytes, bytes] | None = None
    photoshop: bytes | None = None
    comments: tuple[bytes, ...] = ()
    icc_profile: bytes | None = None
    density: Density | None = None
    segments: tuple[tuple[int, bytes], ...] = ()
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    orientation: int = 1
    left_out: tuple[Lost, ...] = ()
    problems: tuple[str, ...] = ()


def whole_xmp(metadata: Metadata, lost: list[Lost]) -> bytes | None:
    """All XMP as one packet, for formats that have no place for an extended one.

    Adds to ``lost`` what cannot be joined.
    """
    packet = metadata.xmp
    if packet and metadata.extended_xmp:
        try:
            return joined(packet, metadata.extended_xmp[1])
        except XmpError as error:
            lost.append(Lost("the extended XMP", f"is damaged ({error}) and was left out"))
    return packet
