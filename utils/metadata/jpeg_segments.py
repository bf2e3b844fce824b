"""The marker segments of a JPEG (T.81 B.1.1): their codes, and where they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple

MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])", re.DOTALL)
"""A marker and its code, table B.1: not stuffing, fill, TEM, restart.

Linear: with ``\\xff+`` the search would start again at each byte of a run.
"""

FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Codes of the segments that state a picture's size and components (SOF)."""

_SOS, _EOI, _SOI = 0xDA, 0xD9, 0xD8


class Segment(NamedTuple):
    """A marker segment: its code, what follows its length, and where it ends in the file."""

    code: int
    payload: bytes
    end: int


def segment(code: int, payload: bytes) -> bytes:
    """A segment as it stands in a file; its payload may have 65,533 bytes."""
    return b"\xff" + bytes((code,)) + (len(payload) + 2).to_bytes(2, "big") + payload


def segments(data: bytes | mmap) -> Iterator[Segment]:
    """The segments of a JPEG before its first scan, as far as they are whole."""
    position = 2
    while (found := MARKER.search(data, position)) is not None:
        code, position = found[1][0], found.end()
        if code in (_EOI, _SOI):
            return
        length = int.from_bytes(data[position : position + 2], "big")
        end = position + max(2, length)
        if end > len(data):
            return
        yield Segment(code, data[position + 2 : end], end)
        if code == _SOS:
            return
        position = end


def picture_end(data: bytes, start: int = 0) -> int:
    """Where the JPEG that begins at ``start`` ends, its end marker included."""
    position = start + 2
    while (found := MARKER.search(data, position)) is not None:
        code, position = found[1][0], found.end()
        if code == _EOI:
            return position
        if code == _SOI:
            return found.start()
        position += max(2, int.from_bytes(data[position : position + 2], "big"))
    return len(data)
