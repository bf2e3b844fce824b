"""What stands behind the first picture of a JPEG file: further pictures, films, makers' data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from utils.metadata.jpeg_segments import FRAME_HEADERS, picture_end, segments

_START = b"\xff\xd8\xff"
_FILM = re.compile(rb"(?<=\0\0)..ftyp", re.DOTALL)
_BOX = re.compile(rb"ftyp|moov|mdat|free|skip|wide|uuid|meta|moof|mfra|sidx|styp|pnot|udta")

_KINDS = (
    # of ISO 21496-1, Adobe and Google, Apple; how a container's directory calls it
    (rb"iso:ts:21496|hdr-gain-map|hdrgainmap|\bgainmap\b", "an HDR gain map"),
    (rb"aux:depth|aux:disparity|depthmap|\bdepth\b", "a depth map"),
    (rb"aux:\w*matte", "a matte"),
)
"""How further pictures tell what they are, in the segments before their scans."""

_SEMANTICS = re.compile(rb"Item:Semantic\s*=\s*[\"'](\w+)")
"""What the directory of a container calls its items (Google's GContainer), the picture first."""

_MOST_PARTS = 100


def further_pictures(data: bytes, end: int, packet: bytes = b"") -> list[str]:
    """What follows the picture that ends at ``end``, named for people, each with its size.

    Pictures, the film of a motion photo and Samsung's trailer are told apart; of all else that is
    more than padding, the length is said. ``packet``: the file's XMP.
    """
    said = _SEMANTICS.findall(packet)[1:]
    found = []
    for kind, start, stop in islice(_parts(data, end), _MOST_PARTS):
        size = _size(stop - start)
        if kind == "picture":
            semantic = said.pop(0) if said else b""
            found.append(f"{_picture(data[start:stop], semantic)}{size})")
        elif kind == "film":
            found.append(f"a film (motion photo, {size})")
        elif data[start:stop].strip(b"\0\xff \r\n"):
            samsung = b"SEFH" in data[start:stop] or data[start:stop].endswith(b"SEFT")
            whose = "Samsung data" if samsung else "other data"
            found.append(f"{whose} behind the picture ({size})")
    return found


def _parts(data: bytes, position: int) -> Iterator[tuple[str, int, int]]:
    """(kind, start, stop) of the parts of a trailer, in their order."""
    while position < len(data):
        film = _FILM.search(data, position)
        starts = [data.find(_START, position), film.start() - 2 if film else -1]
        start = min((at for at in starts if at >= position), default=len(data))
        if start > position:
            yield "data", position, start
        if start == len(data):
            return
        is_film = start != starts[0]
        stop = _film_end(data, start) if is_film else picture_end(data, start)
        yield "film" if is_film else "picture", start, stop
        position = stop


def _film_end(data: bytes, start: int) -> int:
    """Where the boxes of an MP4 end (ISO 14496-12, 4.2): sizes of 32 bits, or of 64 after a 1."""
    position = start
    while _BOX.fullmatch(data, position + 4, position + 8):
        size = int.from_bytes(data[position : position + 4], "big")
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size == 0:  # up to the end
            return len(data)
        if size < 8:
            break
        position = min(len(data), position + size)
    return max(position, start + 8)


def _picture(jpeg: bytes, semantic: bytes) -> str:
    """What kind of picture, and its sides, up to a comma within parentheses."""
    said, size = semantic, ""
    for segment in segments(jpeg):
        if 0xE0 <= segment.code <= 0xEF:
            said += b" " + segment.payload
        elif segment.code in FRAME_HEADERS and len(segment.payload) >= 5:
            height, width = (int.from_bytes(segment.payload[i : i + 2], "big") for i in (1, 3))
            size = f"{width}x{height}, "
    kinds = (kind for pattern, kind in _KINDS if re.search(pattern, said, re.IGNORECASE))
    return f"{next(kinds, 'a further picture')} ({size}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(0.1, count / 1e3):.1f} kB"
