"""Metadata of JPEGs: their application and comment segments (T.81 B.2.4.5, B.2.4.6)."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Literal

from utils.metadata import xmp
from utils.metadata.exif import is_exif
from utils.metadata.jpeg_segments import picture_end, segment, segments
from utils.metadata.png import comments as comments_of_png
from utils.metadata.record import INCH, Density, Lost, Metadata
from utils.metadata.trailers import further_pictures

EXIF = b"Exif\0"  # a byte of any value follows
XMP = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP = b"Photoshop 3.0\0"
ICC = b"ICC_PROFILE\0"
MULTI_PICTURE = b"MPF\0"
GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0"

_APP0, _APP1, _APP2, _APP11, _APP13, _APP14, _COM = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE, 0xFE
_KINDS = (
    (_APP1, EXIF),
    (_APP1, XMP),
    (_APP1, EXTENDED_XMP),
    (_APP13, PHOTOSHOP),
    (_APP2, ICC),
    (_COM, b""),
)
"""Segments that are read: their codes, and how their payloads begin."""

_LONGEST = 65533
"""A segment's 65,535 bytes, less those that state its length."""

_TOO_LONG = "is too long for a JPEG and was left out"
_BEHIND = "left out: only the file's first picture is restored"
_JFIF_UNITS: tuple[Literal["none", "inch", "cm"], ...] = ("none", "inch", "cm")


def read(data: bytes) -> Metadata:
    """Everything that a JPEG says besides its pixels, as stored."""
    found: dict[tuple[int, bytes], list[bytes]] = {kind: [] for kind in _KINDS}
    others: list[tuple[int, bytes]] = []
    left_out: list[Lost] = []
    density = None
    for code, payload, _ in segments(data):
        kind = next((k for k in _KINDS if k[0] == code and payload.startswith(k[1])), None)
        if kind:
            found[kind].append(payload[len(kind[1]) :])
        elif code == _APP0 and payload.startswith(b"JFIF\0"):
            density = density or _density(payload)
        elif code == _APP11:
            what = "content credentials (C2PA)" if b"c2pa" in payload else name(code, payload)
            left_out.append(Lost(what, "left out: made for the stored pixels only"))
        elif _is_kept(code, payload):
            others.append((code, payload))
    exifs, packets, extended, resources, profile, comments = found.values()
    exifs = [block[1:] for block in exifs]
    # A second block of its own is one segment more; else it goes on where the first ended.
    parts = [exifs[0], *(e for e in exifs[1:] if not is_exif(e))] if exifs else []
    others += [(_APP1, EXIF + b"\0" + e) for e in exifs[1:] if is_exif(e)]
    others += [(_APP1, XMP + packet) for packet in packets[1:]]
    behind = further_pictures(data, picture_end(data), b"".join(packets))
    problems: list[str] = []
    return Metadata(
        exif=b"".join(parts) or None,
        exif_parts=max(1, len(parts)),
        icc_profile=_profile(profile, problems),
        xmp=(xmp.without_film(packets[0]) if behind else packets[0]) if packets else None,
        extended_xmp=_extended(extended, problems),
        photoshop=b"".join(resources) or None,
        comments=tuple(comments),
        density=density,
        segments=tuple(others),
        left_out=(*dict.fromkeys(left_out), *(Lost(what, _BEHIND) for what in behind)),
        problems=tuple(problems),
    )


def _is_kept(code: int, payload: bytes) -> bool:
    """Whether a segment is somebody's data: neither the picture's own, nor about further ones."""
    if code == _APP2 and payload.startswith((MULTI_PICTURE, GAIN_MAP)):
        return False
    if code == _APP0 and payload.startswith((b"JFIF\0", b"JFXX\0")):  # the latter: a thumbnail
        return False
    if code == 0xE9 and payload.startswith(b"IJCN\0"):  # of a result restored again, see origin
        return False
    return 0xE0 <= code <= 0xEF and not (code == _APP14 and payload.startswith(b"Adobe"))


def name(code: int, payload: bytes) -> str:
    """What people call a segment: its number and how it names itself."""
    if payload.startswith(EXIF):
        return "a second EXIF block"
    if payload.startswith(XMP):
        return "a second XMP packet"
    said = re.match(rb"[\x20-\x7e]{2,40}", payload)
    return f"APP{code - _APP0}" + (f" ({said[0].decode().strip()})" if said else "")


def _density(jfif: bytes) -> Density | None:
    unit, x, y = struct.unpack(">BHH", jfif[7:12].ljust(5, b"\0"))
    return Density(x, y, _JFIF_UNITS[unit]) if unit <= 2 and x and y else None


def _profile(parts: list[bytes], problems: list[str]) -> bytes | None:
    """An ICC profile of its numbered parts (ICC.1:2022, B.4)."""
    numbered = {part[0]: part[2:] for part in reversed(parts) if len(part) > 2}
    if not numbered:
        return None
    count = next(part[1] for part in parts if len(part) > 2)
    if sorted(numbered) != list(range(1, count + 1)):
        problems.append("the colour profile is damaged (a part is missing) and was left out")
        return None
    return b"".join(numbered[i] for i in range(1, count + 1))


def _extended(parts: list[bytes], problems: list[str]) -> tuple[bytes, bytes] | None:
    """Extended XMP of its parts: GUID, length of all, offset of this one, text."""
    texts: dict[bytes, dict[int, bytes]] = {}
    lengths: dict[bytes, int] = {}
    for part in parts:
        if len(part) > 40:
            guid = part[:32]
            texts.setdefault(guid, {})[int.from_bytes(part[36:40], "big")] = part[40:]
            lengths[guid] = int.from_bytes(part[32:36], "big")
    for guid, pieces in texts.items():
        offsets = sorted(pieces)
        ends = list(accumulate(len(pieces[offset]) for offset in offsets))
        if offsets == [0, *ends[:-1]] and ends[-1] == lengths[guid]:
            return guid, b"".join(pieces[offset] for offset in offsets)
    if parts:
        problems.append("the extended XMP is damaged (a part is missing) and was left out")
    return None


def embed(encoded: bytes, metadata: Metadata) -> tuple[bytes, list[Lost]]:
    """A JPEG with metadata put in, and what could not be."""
    lost: list[Lost] = []
    parts: list[tuple[int, bytes]] = []
    if metadata.exif:
        room = _LONGEST - 6
        if len(metadata.exif) > room * metadata.exif_parts:
            lost.append(Lost("EXIF", _TOO_LONG))
        else:
            parts += [(_APP1, EXIF + b"\0" + piece) for piece in _cut(metadata.exif, room)]
    packet, extended = metadata.xmp, metadata.extended_xmp
    if packet and len(packet) > _LONGEST - len(XMP):
        packet, extended = xmp.split(packet)
    if packet:
        parts.append((_APP1, XMP + packet))
    if extended:
        guid, text = extended
        head = EXTENDED_XMP + guid + len(text).to_bytes(4, "big")
        offset = 0
        for piece in _cut(text, 65400):
            parts.append((_APP1, head + offset.to_bytes(4, "big") + piece))
            offset += len(piece)
    if metadata.icc_profile:
        pieces = list(_cut(metadata.icc_profile, _LONGEST - 14))
        if len(pieces) > 255:
            lost.append(Lost("a colour profile above 16 MB", _TOO_LONG))
        else:
            parts += [
                (_APP2, ICC + bytes((i + 1, len(pieces))) + piece) for i, piece in enumerate(pieces)
            ]
    for piece in _cut(metadata.photoshop or b"", _LONGEST - len(PHOTOSHOP)):
        parts.append((_APP13, PHOTOSHOP + piece))
    parts += metadata.segments
    for comment in metadata.comments or comments_of_png(metadata):
        if len(comment) > _LONGEST:
            lost.append(Lost("a comment", _TOO_LONG))
        else:
            parts.append((_COM, comment))
    written = b"".join(segment(code, payload) for code, payload in parts)
    at = next((s.end for s in segments(encoded) if s.payload.startswith(b"JFIF\0")), 2)
    head = encoded[:at]
    if metadata.density and at > 2:
        head = head[:13] + _jfif_density(metadata.density) + head[18:]
    elif metadata.density and metadata.density.says_something:
        lost.append(Lost(str(metadata.density), "left out: a JPEG of these colours has no JFIF"))
    return head + written + encoded[at:], lost


def names_beyond(metadata: Metadata) -> list[str]:
    """What only a JPEG has a place for, among ``segments``."""
    counts = Counter(name(code, payload) for code, payload in metadata.segments)
    return [n if times == 1 else f"{times} times {n}" for n, times in counts.items()]


def names_of_photoshop(metadata: Metadata) -> list[str]:
    """IPTC and what else Photoshop's resources hold (Photoshop file formats, 2019)."""
    resources = metadata.photoshop
    if not resources:
        return []
    iptc, digest = (resources.count(b"8BIM" + number) for number in (b"\x04\x04", b"\x04\x25"))
    other = resources.count(b"8BIM") > iptc + digest  # a digest of the IPTC
    return ["IPTC"] * bool(iptc) + ["Photoshop's data (APP13)"] * (other or not iptc)


def _cut(data: bytes, length: int) -> Iterator[bytes]:
    for at in range(0, len(data), length):
        yield data[at : at + length]


def _jfif_density(density: Density) -> bytes:
    """Unit and two numbers of 16 bits: in dots per inch, or per cm where that is closer."""
    in_inches, in_cm = (*density.per(INCH), 1), (*density.per(0.01), 2)
    choices = [in_cm, in_inches] if density.unit == "cm" else [in_inches, in_cm]
    if density.unit == "none":
        choices = [(density.x, density.y, 0)]
    x, y, code = min(
        choices, key=lambda c: round(abs(c[0] - round(c[0])) + abs(c[1] - round(c[1])), 2)
    )
    return struct.pack(">BHH", code, *(max(1, min(65535, round(n))) for n in (x, y)))
