"""EXIF blocks (TIFF structures, EXIF 2.32) changed in place: no byte moves, so no offset breaks.

Makers' notes address their values by offsets from the block's start, and texts are in whatever
encoding a camera or a program chose. So nothing is parsed further than needed and nothing is
serialised: damaged tags stay as they are and harm no other.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Literal, NamedTuple

from utils.metadata.record import Density

ORIENTATION, EXIF_IFD = 0x0112, 0x8769
_X_RESOLUTION, _Y_RESOLUTION, _UNIT = 0x011A, 0x011B, 0x0128

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of a value by its type (TIFF 6.0, section 2)."""

_WHOLE_NUMBERS, _RATIONAL = (1, 3, 4, 6, 8, 9), 5

_LARGEST = (1 << 32) - 1
"""Offsets have 32 bits."""


class Upright(NamedTuple):
    """exif: the block as it suits the turned picture. orientation: 1..8, how it was stored."""

    exif: bytes
    orientation: int


class Entry(NamedTuple):
    """at: position of an IFD's entry. values: how many. place: where they lie, in the entry or
    elsewhere. raw: the 12 bytes of the entry."""

    at: int
    tag: int
    kind: int
    values: int
    place: int
    raw: bytes

    @property
    def size(self) -> int:
        return _SIZES.get(self.kind, 0) * self.values


def is_exif(block: bytes) -> bool:
    """Whether these bytes begin as a TIFF structure does."""
    return block[:2] in (b"II", b"MM")


def upright(block: bytes) -> Upright:
    """Set the orientation to 1, exchange sides and resolutions if need be, cut the thumbnail off.

    The thumbnail's directory (IFD1) is cut off by its pointer; its bytes stay where they are,
    which nothing refers to any more.
    """
    exif = Block(block)
    directory = exif.directory()
    orientation = 1
    for entry in directory:
        if entry.tag == ORIENTATION and entry.kind in _WHOLE_NUMBERS and entry.values:
            width = _SIZES[entry.kind]
            stated = exif.number(entry.place, width)
            if stated in range(2, 9):
                orientation = orientation if orientation != 1 else stated
                exif.put(entry.place, (1).to_bytes(width, exif.order))
    if orientation >= 5:
        exif.exchange_sides(directory)
    exif.cut_thumbnail(directory)
    return Upright(bytes(exif.data), orientation)


def density(block: bytes) -> Density | None:
    """The resolution that IFD0 states, None where it does not or cannot be understood."""
    exif = Block(block)
    entries = {entry.tag: entry for entry in exif.directory()}
    sides = []
    for tag in (_X_RESOLUTION, _Y_RESOLUTION):
        entry = entries.get(tag)
        if entry is None or entry.kind != _RATIONAL or not entry.values:
            return None
        above, below = (exif.number(entry.place + i, 4) for i in (0, 4))
        if not above or not below:
            return None
        sides.append(above / below)
    unit = entries.get(_UNIT)
    code = exif.number(unit.place, 2) if unit and unit.kind == 3 and unit.values else 2
    return Density(sides[0], sides[1], "cm" if code == 3 else "inch") if code in (2, 3) else None


def taken_from(tiff: bytes, without: Container[int]) -> bytes | None:
    """The EXIF of a TIFF as a block of its own: IFD0 without some tags, and what it points to.

    Every value keeps its bytes, damaged ones too; only their places are new. (So are those of a
    maker's note, whose own offsets may count from the start of the file.) None where there is none.
    """
    source = Block(tiff)
    found = [e for e in source.directory() if e.tag not in without]
    if not found:
        return None
    block = Block(tiff[:4] + bytes(4))
    block.put(4, block.copied(source, found))
    return bytes(block.data)


_DIRECTORIES = (EXIF_IFD, 0x8825, 0xA005)
"""Tags of which the value is the place of a directory: EXIF, GPS, interoperability."""


class Block:
    """The bytes of a block, and what can be read of them; beyond their end all is zero."""

    def __init__(self, block: bytes) -> None:
        self.data = bytearray(block)
        self.order: Literal["little", "big"] = "little" if block[:2] == b"II" else "big"

    def number(self, at: int, width: int) -> int:
        """The number that stands in ``width`` bytes."""
        return int.from_bytes(self.data[at : at + width], self.order)

    def put(self, at: int, value: bytes) -> None:
        """Write over what stands there, if there is room."""
        if at + len(value) <= len(self.data):
            self.data[at : at + len(value)] = value

    def append(self, value: bytes) -> bytes:
        """Put a value behind all else, at an even place, and return that as an offset."""
        self.data += b"\0" * (len(self.data) % 2)
        place = len(self.data)
        self.data += value
        if len(self.data) > _LARGEST:
            raise ValueError("a TIFF ends at 4 GB")
        return place.to_bytes(4, self.order)

    def directory(self, at: int | None = None) -> list[Entry]:
        """The entries of an IFD (IFD0), as many of those announced as lie within the block."""
        at = self.number(4, 4) if at is None else at
        entries: list[Entry] = []
        for place in range(at + 2, at + 2 + 12 * self.number(at, 2), 12) if at >= 8 else ():
            if place + 12 > len(self.data):
                break
            tag, kind, count = (self.number(place + i, n) for i, n in ((0, 2), (2, 2), (4, 4)))
            inside = _SIZES.get(kind, 0) * count <= 4
            value = place + 8 if inside else self.number(place + 8, 4)
            raw = bytes(self.data[place : place + 12])
            entries.append(Entry(place, tag, kind, count, value, raw))
        return entries

    def copied(self, source: Block, found: list[Entry], depth: int = 0) -> bytes:
        """Append a directory of another block of this order, with all its values; its new place.

        Of several entries with one tag the first is copied, and no more than twice the source in
        all: a small file whose directories or values overlap must not become a huge block.
        """
        entries = []
        for entry in reversed({entry.tag: entry for entry in reversed(found)}.values()):
            end, raw = entry.place + entry.size, entry.raw
            room = 2 * len(source.data) - len(self.data)
            if entry.size > 4 and (end > len(source.data) or entry.size > room):
                continue
            if entry.tag in _DIRECTORIES and entry.kind in (4, 13) and depth < 2:
                inner = source.directory(source.number(entry.place, 4))
                raw = raw[:8] + self.copied(source, inner, depth + 1)
            elif entry.size > 4:
                raw = raw[:8] + self.append(bytes(source.data[entry.place : end]))
            entries.append(raw)
        count = len(entries).to_bytes(2, self.order)
        return self.append(count + b"".join(entries) + bytes(4))

    def exchange_sides(self, directory: list[Entry]) -> None:
        """Widths and heights with their types, and resolutions: of IFD0, and the EXIF's own."""
        inner = next((e for e in directory if e.tag == EXIF_IFD and e.kind in (4, 13)), None)
        own = self.directory(self.number(inner.place, 4)) if inner else []
        for entries, *sides in (
            (directory, 0x0100, 0x0101),
            (directory, _X_RESOLUTION, _Y_RESOLUTION),
            (own, 0xA002, 0xA003),
            (own, 0xA20E, 0xA20F),  # of the focal plane
        ):
            found = {entry.tag: entry for entry in entries}
            kinds = {found[tag].kind for tag in sides if tag in found}
            # Of other types, or two, nothing is understood.
            if set(sides) <= set(found) and (kinds == {_RATIONAL} or kinds <= set(_WHOLE_NUMBERS)):
                one, other = (slice(found[tag].at + 2, found[tag].at + 12) for tag in sides)
                self.data[one], self.data[other] = self.data[other], self.data[one]

    def cut_thumbnail(self, directory: list[Entry]) -> None:
        """Zero the pointer from IFD0 to IFD1, where there is one.

        Some programs leave the pointer out, so that a value stands in its place.
        """
        start = self.number(4, 4)
        place = start + 2 + 12 * self.number(start, 2)
        if start < 8 or not self._is_directory(self.number(place, 4)):
            return
        taken = (range(e.place, e.place + e.size) for e in directory if e.size > 4)
        if not any(place in part or place + 3 in part for part in taken):
            self.put(place, bytes(4))

    def _is_directory(self, at: int) -> bool:
        count = self.number(at, 2)
        return 8 <= at < len(self.data) and count > 0 and at + 2 + 12 * count <= len(self.data)
