"""What the headers of AVIF and JPEG 2000 say that neither OpenCV nor Pillow tell."""

from __future__ import annotations

_FAR = 1 << 24
"""Bytes within which headers are looked for; colour profiles stand before them."""

_CODESTREAM = b"\xff\x4f\xff\x51"
"""How the data of a JPEG 2000 begin."""


def sample_bits(data: bytes) -> int | None:
    """Bits a sample of an AVIF or JPEG 2000; None of other files, and where it is not said."""
    if data[4:8] == b"ftyp":  # AV1 in ISOBMFF, 2.3.3
        place = data.find(b"av1C", 0, _FAR)
        flags = data[place + 6 : place + 7] if place >= 0 else b""
        return {0x40: 10, 0x60: 12}.get(flags[0] & 0x60, 8) if flags else None
    if data[4:8] == b"jP  " or data.startswith(_CODESTREAM):  # ISO/IEC 15444-1, A.5.1
        place = data.find(_CODESTREAM, 0, _FAR)
        depth = data[place + 42 : place + 43] if place >= 0 else b""
        return (depth[0] & 0x7F) + 1 if depth else None
    return None


def jpeg2000_box(data: bytes, kind: bytes) -> bytes:
    """What a box in the header of a JP2 holds (ISO/IEC 15444-1, I.5.3); empty where it is none."""
    if data[4:8] != b"jP  ":
        return b""
    start = data.find(b"jp2h")
    end = start - 4 + int.from_bytes(data[max(start - 4, 0) : max(start, 0)], "big")
    place = start + 4
    while start >= 0 and place + 8 <= end:
        length = int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] == kind:
            return data[place + 8 : place + length]
        place += max(length, 8)
    return b""


def avif_colours(data: bytes) -> bytes | None:
    """The colours of an AVIF as the payload of a PNG's cICP chunk: RGB in the primaries and the
    transfer function of its nclx box (ISO/IEC 14496-12, 12.1.5; codes of ITU-T H.273).

    None of sRGB's, and where nothing is said.
    """
    place = data.find(b"colrnclx", 0, _FAR) if data[4:8] == b"ftyp" else -1
    codes = data[place + 8 : place + 12]
    if place < 0 or len(codes) < 4:
        return None
    primaries, transfer = codes[1], codes[3]
    if primaries in _SRGB_PRIMARIES and transfer in _SRGB_TRANSFERS:
        return None
    return bytes((primaries, transfer, 0, 1))


_SRGB_PRIMARIES = {1, 2}
_SRGB_TRANSFERS = {1, 2, 6, 13}
"""Its own, not said, and BT.709's and BT.601's, which nearly all programs show as sRGB."""
