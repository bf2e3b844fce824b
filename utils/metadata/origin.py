"""What a result says of its origin, inside its file: an unknown chunk or segment to other programs.

PNG: the private chunk ijCN, which programs that change the picture drop, as its name tells them
(PNG third edition, 5.4). WebP: the chunk IJCN, at the end. JPEG: a segment APP9. TIFF: behind it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from itertools import takewhile
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from utils.metadata import png, webp
from utils.metadata.jpeg_segments import segment, segments

JPEG_CODE, JPEG_NAME = 0xE9, b"IJCN\0"
WEBP_NAME = b"IJCN"
_PNG_NAME = b"ijCN"
_TIFF_NAME = b"IJCN origin"
_LONGEST = 60_000


def with_origin(encoded: bytes, origin: Mapping[str, Any]) -> bytes:
    """A PNG, WebP, JPEG or TIFF that holds ``origin``, plain types; others as they are."""
    text = json.dumps(dict(origin), separators=(",", ":")).encode()
    if len(text) > _LONGEST:
        return encoded
    if encoded.startswith(png.SIGNATURE):
        at = png.AFTER_HEADER
        return encoded[:at] + png.chunk(_PNG_NAME, text) + encoded[at:]
    if webp.is_webp(encoded):
        return webp.with_chunk(encoded, WEBP_NAME, text)
    if encoded[:2] == b"\xff\xd8":
        # Behind the others: some programs look for EXIF in the first place only.
        others = takewhile(lambda s: 0xE0 <= s.code <= 0xEF or s.code == 0xFE, segments(encoded))
        at = max((s.end for s in others), default=2)
        return encoded[:at] + segment(JPEG_CODE, JPEG_NAME + text) + encoded[at:]
    if encoded[:4] in (b"II*\0", b"MM\0*"):
        return encoded + text + _TIFF_NAME + struct.pack(">L", len(text))
    return encoded


def has_origin(path: Path) -> bool:
    """Whether this program made a file; of most files only the beginning is read."""
    try:
        if not path.is_file():  # a pipe would never end
            return False
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return origin_of(data) is not None
    except (OSError, ValueError):  # unreadable, empty
        return False


def origin_of(data: bytes | mmap) -> dict[str, Any] | None:
    """What :func:`with_origin` put into a file; None where there is nothing of it."""
    text = b""
    if data[: len(png.SIGNATURE)] == png.SIGNATURE:
        before_pixels = takewhile(lambda chunk: chunk[0] != b"IDAT", png.chunks(data))
        text = next((body for kind, body in before_pixels if kind == _PNG_NAME), b"")
    elif webp.is_webp(data):
        text = next((body for kind, body in webp.chunks(data) if kind == WEBP_NAME), b"")
    elif data[:2] == b"\xff\xd8":
        found = (s.payload for s in segments(data) if s.code == JPEG_CODE)
        own = (payload for payload in found if payload.startswith(JPEG_NAME))
        text = next(own, b"").removeprefix(JPEG_NAME)
    elif data[-len(_TIFF_NAME) - 4 : -4] == _TIFF_NAME:
        end = len(data) - len(_TIFF_NAME) - 4
        text = data[max(0, end - int.from_bytes(data[-4:], "big")) : end]
    try:
        origin = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return origin if isinstance(origin, dict) else None
