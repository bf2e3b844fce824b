"""Small files with all kinds of metadata, put together byte by byte from the formats' documents."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from data.jpeg import encode_jpeg
from tests import conftest
from tests.conftest import photograph
from utils.metadata.jpeg_segments import segment

LATIN_1 = "Zoë Müller, Köln".encode("latin-1")
UTF_8 = "© 2024 Zoë Müller, 東京".encode()

Entry = tuple[int, int, int, bytes]
"""Tag, type, count, values."""


@dataclass
class Tiff:
    """Puts the directories of a TIFF structure together."""

    order: Literal["<", ">"] = "<"
    data: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.data += {"<": b"II*\0", ">": b"MM\0*"}[self.order] + self.long(8)

    def short(self, value: int) -> bytes:
        return struct.pack(f"{self.order}H", value)

    def long(self, value: int) -> bytes:
        return struct.pack(f"{self.order}L", value)

    def rational(self, above: int, below: int) -> bytes:
        return self.long(above) + self.long(below)

    def directory(self, entries: list[Entry]) -> int:
        """Append an IFD with its values behind it; the position of the pointer to the next one."""
        start = len(self.data)
        behind = start + 2 + 12 * len(entries) + 4
        values = b""
        self.data += self.short(len(entries))
        for tag, kind, count, value in entries:
            self.data += self.short(tag) + self.short(kind) + self.long(count)
            if len(value) <= 4:
                self.data += value.ljust(4, b"\0")
            else:
                self.data += self.long(behind + len(values))
                values += value + b"\0" * (len(value) % 2)
        pointer = len(self.data)
        self.data += bytes(4) + values
        return pointer

    def point(self, at: int, target: int) -> None:
        self.data[at : at + 4] = self.long(target)


def text(tag: int, value: bytes) -> Entry:
    """An ASCII entry, whatever its bytes are."""
    return tag, 2, len(value) + 1, value + b"\0"


def exif(
    orientation: int = 6, order: Literal["<", ">"] = "<", sides: tuple[int, int] = (70, 50)
) -> bytes:
    """A camera's block: texts in two encodings, damaged tags, Canon's note, GPS, a thumbnail."""
    tiff = Tiff(order)
    zeros = bytes(4)
    first = tiff.directory(
        [
            text(0x010F, b"Canon"),
            (0x0112, 3, 1, tiff.short(orientation)),
            text(0x011A, b"seventy-two"),  # a resolution that is none
            (0x011B, 5, 1, tiff.rational(72, 1)),
            text(0x013B, LATIN_1),
            text(0x8298, UTF_8),
            (0x8769, 4, 1, zeros),
            (0x8825, 4, 1, zeros),
        ]
    )
    inner = len(tiff.data)
    note_entries: list[Entry] = [text(0x0007, b"Firmware Version 1.00"), text(0x0009, b"An Owner")]
    tiff.directory(
        [
            (0x829A, 5, 1, tiff.rational(1, 125)),
            (0x9204, 10, 1, struct.pack(f"{order}ll", -1, 0)),  # of no value
            (0x927C, 7, 2 + 12 * 2 + 4 + 22 + 10, zeros),
            (0x9286, 7, 8 + len(UTF_8), b"ASCII\0\0\0" + UTF_8),
            (0xA002, 4, 1, tiff.long(sides[0])),
            (0xA003, 3, 1, tiff.short(sides[1])),
        ]
    )
    tiff.point(inner + 2 + 12 * 2 + 8, len(tiff.data))
    tiff.directory(note_entries)  # its offsets count from the start of the whole block
    place = len(tiff.data)
    tiff.directory([text(0x0001, b"N"), (0x0002, 5, 3, b"".join([tiff.rational(7, 1)] * 3))])
    tiff.point(8 + 2 + 12 * 6 + 8, inner)
    tiff.point(8 + 2 + 12 * 7 + 8, place)
    thumbnail = encode_jpeg(np.full((12, 16, 3), 99, np.uint8), 50)
    second = len(tiff.data)
    tiff.point(first, second)
    tiff.directory(
        [
            (0x0103, 3, 1, tiff.short(6)),
            (0x0112, 3, 1, tiff.short(orientation)),
            (0x0201, 4, 1, tiff.long(second + 2 + 12 * 4 + 4)),
            (0x0202, 4, 1, tiff.long(len(thumbnail))),
        ]
    )
    return bytes(tiff.data + thumbnail)


def jpeg(*parts: bytes, height: int = 50, width: int = 70) -> bytes:
    """A JPEG with segments after its JFIF header."""
    data = encode_jpeg(photograph(height, width), 60)
    return data[:20] + b"".join(parts) + data[20:]


def exif_segment(block: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + block)


PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" %s/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""

_EXTENDED = """<x:xmpmeta xmlns:x="adobe:ns:meta/"
 xmlns:dc="http://purl.org/dc/elements/1.1/">
<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<r:Description r:about="" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/">
<dc:source>Archiv Köln</dc:source><photoshop:History>%s</photoshop:History></r:Description>
</r:RDF></x:xmpmeta>"""


def xmp_segment(more: str = "") -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + (PACKET % more).encode())


def extended_xmp_segments(length: int = 150_000) -> bytes:
    """A packet and its extension, of which the parts come in the wrong order."""
    whole = (_EXTENDED % ("one step; " * (length // 10))).encode()
    guid = hashlib.md5(whole).hexdigest().upper()
    head = b"http://ns.adobe.com/xmp/extension/\0" + guid.encode() + struct.pack(">L", len(whole))
    note = f'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="{guid}"'
    parts = [
        segment(0xE1, head + struct.pack(">L", at) + whole[at : at + 60_000])
        for at in range(0, len(whole), 60_000)
    ]
    return xmp_segment(note) + b"".join(reversed(parts))


def _resource(number: int, payload: bytes) -> bytes:
    padded = payload + b"\0" * (len(payload) % 2)
    return b"8BIM" + struct.pack(">HHL", number, 0, len(payload)) + padded


def photoshop_segment() -> bytes:
    """IPTC in UTF-8, as it says, and a resolution of Photoshop's."""
    records = b"\x1c\x01\x5a\0\x03\x1b%G"
    for number, value in ((120, "Grüße aus Köln"), (25, "beach"), (25, "Strand")):
        data = value.encode()
        records += b"\x1c\x02" + bytes((number,)) + struct.pack(">H", len(data)) + data
    resolution = struct.pack(">LHHLHH", 300 << 16, 1, 1, 300 << 16, 1, 1)
    return segment(
        0xED, b"Photoshop 3.0\0" + _resource(0x03ED, resolution) + _resource(0x0404, records)
    )


def profile(length: int) -> bytes:
    """An RGB profile that colour management takes, with incompressible data of nobody's behind."""
    from PIL import ImageCms

    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    data += np.random.default_rng(0).bytes(max(0, length - len(data)))
    data[0:4] = struct.pack(">L", len(data))
    return bytes(data)


def profile_segments(data: bytes) -> bytes:
    pieces = [data[at : at + 65_519] for at in range(0, len(data), 65_519)]
    return b"".join(
        segment(0xE2, b"ICC_PROFILE\0" + bytes((i + 1, len(pieces))) + piece)
        for i, piece in enumerate(pieces)
    )


def saved(file_format: str, **options: object) -> bytes:
    """A picture of 70x50 pixels by Pillow."""
    return conftest.saved(photograph(50, 70), file_format, **options)
