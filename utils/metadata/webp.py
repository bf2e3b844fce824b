"""Metadata of WebPs: the chunks EXIF, XMP and ICCP of the extended format (RFC 9649, 2.7.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from mmap import mmap
from typing import Any

from utils.metadata.record import Lost, Metadata, whole_xmp
from utils.pillow import opened


def is_webp(data: bytes | mmap) -> bool:
    """Whether a file begins as WebPs do."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def read(data: bytes) -> Metadata:
    """Everything that a WebP says besides its pixels, as stored."""
    found: dict[bytes, bytes] = {}
    others = []
    for kind, payload in chunks(data):
        if kind in (b"EXIF", b"XMP ", b"ICCP"):
            found.setdefault(kind, payload)
        elif kind not in (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"IJCN"):
            others.append(f"the chunk {kind.decode('latin-1').strip()!r}")
    exif = found.get(b"EXIF", b"").removeprefix(b"Exif\0\0")
    return Metadata(
        exif=exif or None,
        xmp=found.get(b"XMP ") or None,
        icc_profile=found.get(b"ICCP") or None,
        left_out=tuple(Lost(what, "left out") for what in dict.fromkeys(others)),
    )


def encoder_options(metadata: Metadata) -> tuple[dict[str, Any], list[Lost]]:
    """What Pillow's encoder is to put in, and what could not be."""
    lost: list[Lost] = []
    given = {
        "exif": metadata.exif,
        "xmp": whole_xmp(metadata, lost),
        "icc_profile": metadata.icc_profile,
    }
    return {key: value for key, value in given.items() if value}, lost


def with_chunk(encoded: bytes, kind: bytes, payload: bytes) -> bytes:
    """A WebP with one chunk more at its end, in the extended format that allows for it."""
    body = encoded[12:]
    if body[:4] != b"VP8X":
        with opened(encoded) as image:
            flags = struct.pack("<I", 0x10 if image.mode == "RGBA" else 0)
            sides = b"".join((side - 1).to_bytes(3, "little") for side in image.size)
        body = b"VP8X" + struct.pack("<I", 10) + flags + sides + body
    body += kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def chunks(data: bytes | mmap) -> Iterator[tuple[bytes, bytes]]:
    """(type, payload) of the chunks, as far as they are whole."""
    position = 12
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        if position + 8 + length > len(data):
            return
        yield data[position : position + 4], data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
