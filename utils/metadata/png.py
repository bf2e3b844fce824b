"""Metadata of PNGs: ancillary chunks (PNG third edition, 11.3), and the texts in which ExifTool and
ImageMagick keep what has no chunk of its own."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from mmap import mmap

from utils.metadata.exif import is_exif
from utils.metadata.record import Density, Lost, Metadata, whole_xmp

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP = b"XML:com.adobe.xmp"
AFTER_HEADER = 33
"""Signature and IHDR, which is always first."""

LARGEST_COMPRESSED = 1_000_000
"""Bytes of a profile or text, before compression, up to which Pillow opens the file at all."""

_LARGEST_TEXT = 7_900_000
"""Bytes up to which libpng takes a chunk (8,000,000), and Pillow all texts together."""

_TOO_LARGE = (
    "was left out: several programs open no PNG with one above 1 MB; --format jpg or webp keeps it"
)
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_COLOURS = (b"cHRM", b"gAMA", b"sRGB", b"cICP", b"mDCV", b"cLLI")
_RAW = re.compile(rb"Raw profile type (\w+)")


def read(data: bytes) -> Metadata:
    """Everything that a PNG says besides its pixels, as stored."""
    found: dict[str, bytes] = {}
    density = None
    kept: list[tuple[bytes, bytes]] = []
    problems: list[str] = []
    others: list[str] = []
    for kind, payload in chunks(data):
        if kind == b"eXIf":
            found["exif"] = payload  # before a text's
        elif kind == b"iCCP" and "icc" not in found:
            profile = _inflated(payload[payload.find(b"\0") + 2 :])
            if profile is None:
                problems.append("the colour profile is damaged and was left out")
            else:
                found["icc"] = profile
        elif kind == b"pHYs" and len(payload) == 9:
            x, y, unit = struct.unpack(">IIB", payload)
            density = Density(x, y, "metre" if unit == 1 else "none") if x and y else None
        elif kind in _COLOURS:
            kept.append((kind, payload))
        elif kind in _TEXTS:
            keyword = _keyword(payload)
            raw = _RAW.fullmatch(keyword)
            if keyword == _XMP and "xmp" not in found and (text := _text(kind, payload)):
                found["xmp"] = text
            elif not raw or not _take_raw(raw[1], kind, payload, found):
                kept.append((kind, payload))
        elif kind == b"caBX":
            others.append("content credentials (C2PA)")
        elif kind not in _OF_THE_PIXELS:
            others.append(f"the chunk {kind.decode('latin-1')!r}")
    exif = found.get("exif", b"").removeprefix(b"Exif\0\0")
    return Metadata(
        exif=exif or None,
        xmp=found.get("xmp"),
        photoshop=found.get("photoshop"),
        icc_profile=found.get("icc"),
        density=density,
        chunks=tuple(kept),
        left_out=tuple(Lost(what, "left out") for what in dict.fromkeys(others)),
        problems=tuple(problems),
    )


_OF_THE_PIXELS = {
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"sBIT", b"sPLT", b"hIST"),
    *(b"acTL", b"fcTL", b"fdAT", b"pHYs", b"iCCP", b"ijCN"),
}
"""Chunks that say nothing of a picture but its samples, or are read elsewhere."""


def _take_raw(name: bytes, kind: bytes, payload: bytes, found: dict[str, bytes]) -> bool:
    """What ImageMagick and older programs wrote as a text; whether it was understood."""
    what = _RAW_KINDS.get(name, "")
    if what in found:  # said twice; who reads this one must not turn the picture again
        return True
    profile = _raw_profile(_text(kind, payload) or b"") if what or name == b"APP1" else None
    if not profile:
        return False
    if name == b"APP1":
        what = "exif" if profile.startswith(b"Exif\0") else "xmp"
    profile = profile.removeprefix(_RAW_STARTS[what])
    if what == "exif" and not is_exif(profile):
        return False
    found.setdefault(what, profile)
    return True


_RAW_KINDS = {
    b"exif": "exif",
    b"xmp": "xmp",
    b"iptc": "photoshop",
    b"8bim": "photoshop",
    b"icc": "icc",
    b"icm": "icc",
}
_RAW_STARTS = {
    "exif": b"Exif\0\0",
    "xmp": b"http://ns.adobe.com/xap/1.0/\0",
    "photoshop": b"Photoshop 3.0\0",
    "icc": b"ICC_PROFILE\0\1\1",
}
"""How such texts may begin, as the segments of a JPEG do."""


def embed(encoded: bytes, metadata: Metadata) -> tuple[bytes, list[Lost]]:
    """A PNG with metadata put in, and what could not be."""
    lost: list[Lost] = []
    parts: list[tuple[bytes, bytes]] = []
    if metadata.icc_profile and len(metadata.icc_profile) > LARGEST_COMPRESSED:
        profile = f"the colour profile of {len(metadata.icc_profile) / 1e6:.1f} MB"
        lost.append(Lost(profile, _TOO_LARGE))
    elif metadata.icc_profile:
        parts.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc_profile)))
    parts += [each for each in metadata.chunks if each[0] in _COLOURS]
    if metadata.density and metadata.density.says_something:
        parts.append((b"pHYs", _physical(metadata.density)))
    if metadata.exif:
        parts.append((b"eXIf", metadata.exif))
    texts = [_comment(comment, lost) for comment in metadata.comments]
    texts += [each for each in metadata.chunks if each[0] in _TEXTS]
    if metadata.photoshop:
        texts.append(_as_raw_profile(metadata.photoshop))
    if packet := whole_xmp(metadata, lost):
        texts.append((b"iTXt", _XMP + b"\0\0\0\0\0" + packet))
    room = _LARGEST_TEXT
    for kind, payload in texts:
        room -= len(payload)
        if room < 0:
            what = "XMP" if payload.startswith(_XMP) else "a text"
            size = f"{len(payload) / 1e6:.1f} MB"
            lost.append(Lost(f"{what} of {size}", "is too long for a PNG and was left out"))
        elif payload:
            parts.append((kind, payload))
    written = b"".join(chunk(kind, payload) for kind, payload in parts)
    return encoded[:AFTER_HEADER] + written + encoded[AFTER_HEADER:], lost


def names_beyond(metadata: Metadata, for_jpeg: bool = False) -> list[str]:
    """What only a PNG has a place for, among ``chunks``; a JPEG takes comments too."""
    texts = [each for each in metadata.chunks if each[0] in _TEXTS]
    keywords = [_keyword(each[1]) for each in texts if not for_jpeg or _comment_of(*each) is None]
    names = [f'the text "{each.decode("latin-1")}"' for each in keywords]
    colours = [kind.decode() for kind, _ in metadata.chunks if kind in _COLOURS and kind != b"sRGB"]
    return names + ([f"what it says of its colours ({', '.join(colours)})"] if colours else [])


def comments(metadata: Metadata) -> tuple[bytes, ...]:
    """Texts that a JPEG calls comments."""
    texts = (_comment_of(*each) for each in metadata.chunks if each[0] in _TEXTS)
    return tuple(text for text in texts if text)


def _comment_of(kind: bytes, payload: bytes) -> bytes | None:
    if _keyword(payload) != b"Comment":
        return None
    text = _text(kind, payload, most=1 << 16)
    return text if text is None or len(text) < 1 << 16 else None


def chunks(data: bytes | mmap) -> Iterator[tuple[bytes, bytes]]:
    """(type, payload) of the chunks, as far as they are whole; checksums are not looked at."""
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if position + 12 + length > len(data):
            return
        yield data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        position += 12 + length


def without_texts(data: bytes) -> bytes:
    """A PNG that Pillow opens however long its texts and its profile are."""
    left_out = (*_TEXTS, b"iCCP")
    if not any(kind in left_out for kind, _ in chunks(data)):
        return data
    kept = (each for each in chunks(data) if each[0] not in left_out)
    return SIGNATURE + b"".join(chunk(kind, payload) for kind, payload in kept)


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG by its header, None where that is not whole."""
    kind, payload = next(chunks(data), (b"", b""))
    return struct.unpack(">II", payload[:8]) if kind == b"IHDR" and len(payload) >= 8 else None


def chunk(kind: bytes, payload: bytes) -> bytes:
    """A chunk as it stands in a file (PNG third edition, 5.3)."""
    body = kind + payload
    return struct.pack(">I", len(payload)) + body + struct.pack(">I", zlib.crc32(body))


def _keyword(payload: bytes) -> bytes:
    return payload.partition(b"\0")[0]


def _text(kind: bytes, payload: bytes, most: int = 1 << 25) -> bytes | None:
    """The text of a chunk; None where it cannot be had."""
    rest = payload.partition(b"\0")[2]
    if kind == b"tEXt":
        return rest
    if kind == b"zTXt":
        return _inflated(rest[1:], most)
    parts = rest[2:].split(b"\0", 2)
    if len(parts) < 3:
        return None
    return _inflated(parts[2], most) if rest[:1] == b"\1" else parts[2]


def _inflated(data: bytes, most: int = 1 << 25) -> bytes | None:
    """What was compressed; None where it is damaged or longer than ``most``."""
    machine = zlib.decompressobj()
    try:
        text = machine.decompress(data, most)
    except zlib.error:
        return None
    return text if machine.eof else None


def _comment(comment: bytes, lost: list[Lost]) -> tuple[bytes, bytes]:
    """A JPEG's comment as a text: UTF-8 where it is that, else Latin-1, as tEXt has it."""
    text = comment.rstrip(b"\0")
    if b"\0" in text:
        lost.append(Lost("a comment that is no text", "left out: PNG has no place for that"))
        return b"tEXt", b""
    with suppress(UnicodeDecodeError):
        if not text.decode().isascii():
            return b"iTXt", b"Comment\0\0\0\0\0" + text
    return b"tEXt", b"Comment\0" + text


def _physical(density: Density) -> bytes:
    if density.unit == "none":  # those of a picture's ratio
        return struct.pack(">IIB", round(density.x), round(density.y), 0)
    return struct.pack(">IIB", *(max(1, round(n)) for n in density.per(1)), 1)


def _raw_profile(text: bytes) -> bytes | None:
    """The bytes of a text such as ``\\niptc\\n      12\\n`` and hexadecimal digits."""
    parts = text.split(None, 2)
    try:
        profile = bytes.fromhex(parts[2].decode("ascii"))
        return profile if len(profile) == int(parts[1]) else None
    except (IndexError, ValueError):
        return None


def _as_raw_profile(resources: bytes) -> tuple[bytes, bytes]:
    digits = resources.hex().encode()
    lines = b"\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    text = b"\niptc\n%8d\n" % len(resources) + lines + b"\n"
    keyword = b"Raw profile type iptc\0"
    if len(text) > LARGEST_COMPRESSED:
        return b"tEXt", keyword + text
    return b"zTXt", keyword + b"\0" + zlib.compress(text)
