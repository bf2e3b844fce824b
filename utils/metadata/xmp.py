"""XMP packets (ISO 16684-1) as texts: the orientation set, extended XMP joined and split off.

Nothing is serialised: what is not changed stays byte for byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

_TIFF = b"http://ns.adobe.com/tiff/1.0/"
_EXIF = b"http://ns.adobe.com/exif/1.0/"
_CAMERA = b"http://ns.google.com/photos/1.0/camera/"
_SIDES = (
    (_TIFF, b"ImageWidth", b"ImageLength"),
    (_TIFF, b"XResolution", b"YResolution"),
    (_EXIF, b"PixelXDimension", b"PixelYDimension"),
    (_EXIF, b"FocalPlaneXResolution", b"FocalPlaneYResolution"),
)
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

_MAIN_OF_EXTENDED = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    f'<rdf:RDF xmlns:rdf="{_RDF}">'
    '<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/"'
    ' xmpNote:HasExtendedXMP="%s"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


class XmpError(ValueError):
    """XMP that cannot be understood as XML; the message says why."""


def orientation(packet: bytes) -> int:
    """tiff:Orientation, 1..8; 1 where there is none."""
    found = next(_values(packet, _TIFF, b"Orientation", b"[1-8]"), None)
    return int(found[2]) if found else 1


def upright(packet: bytes, rows_to_columns: bool) -> bytes:
    """The packet with tiff:Orientation set to 1, of the same length.

    rows_to_columns: the picture is turned so; then its sides and resolutions change places, where
    they are stated once (more are those of other pictures).
    """
    packet = _replaced(packet, _TIFF, b"Orientation", b"[1-8]", b"1")
    for namespace, *names in _SIDES if rows_to_columns else ():
        widths, heights = ([*_values(packet, namespace, name, rb"\d+(?:/\d+)?")] for name in names)
        if len(widths) == len(heights) == 1:
            one, other = sorted((*widths, *heights), key=re.Match.start)
            between = packet[one.end(2) : other.start(2)]
            packet = packet[: one.start(2)] + other[2] + between + one[2] + packet[other.end(2) :]
    return packet


def without_film(packet: bytes) -> bytes:
    """The packet of a motion photo without its film: it no longer says that there is one."""
    for name in (b"MotionPhoto", b"MicroVideo"):
        packet = _replaced(packet, _CAMERA, name, b"1", b"0")
    return packet


def _replaced(packet: bytes, namespace: bytes, name: bytes, value: bytes, by: bytes) -> bytes:
    """With other values of the same length."""
    data = bytearray(packet)
    for found in _values(packet, namespace, name, value):
        data[found.start(2) : found.end(2)] = by
    return bytes(data)


def _values(
    packet: bytes, namespace: bytes, name: bytes, value: bytes
) -> Iterator[re.Match[bytes]]:
    """Where a property has such a value, as an attribute or an element; the value is group 2."""
    prefixes = set(re.findall(rb"xmlns:([\w.-]+)\s*=\s*[\"']" + re.escape(namespace), packet))
    if not prefixes:
        return
    full = rb"(?:" + b"|".join(map(re.escape, sorted(prefixes))) + rb"):" + name
    pattern = rb"(\s%b\s*=\s*[\"']\s*|<%b\s*>\s*)(%b)(?=\s*[\"'<])" % (full, full, value)
    yield from re.finditer(pattern, packet)


def split(packet: bytes) -> tuple[bytes, tuple[bytes, bytes]]:
    """A packet for a JPEG, and the extended XMP that it refers to (ISO 16684-3, 1.1.3.1).

    Returns the packet and (GUID of 32 digits, all of the XMP).
    """
    # Without the wrapper and the room for changes, which extended XMP has not.
    inner = re.sub(rb"^\s*<\?xpacket[^<>]*\?>|<\?xpacket[^<>]*\?>\s*$", b"", packet).strip()
    guid = hashlib.md5(inner, usedforsecurity=False).hexdigest().upper()
    return (_MAIN_OF_EXTENDED % guid).encode(), (guid.encode(), inner)


def joined(packet: bytes, extended: bytes) -> bytes:
    """One packet of a JPEG's two, as other formats store it: the extended XMP's descriptions are
    put behind those of ``packet``, whose bytes stay as they are.

    Raises:
        XmpError: one of them cannot be understood.
    """
    main, more = _Descriptions(packet), _Descriptions(extended)
    whole = packet[: main.end] + more.with_namespaces() + packet[main.end :]
    if len(_Descriptions(whole).starts) != len(main.starts) + len(more.starts):
        raise XmpError("an rdf:RDF that cannot be added to")
    return whole


class _Descriptions:
    """Where the children of rdf:RDF lie in XMP, and which namespaces are declared around them."""

    def __init__(self, text: bytes) -> None:
        self.text = text.rstrip(b"\0")
        self.starts: list[tuple[int, set[str]]] = []
        self.end = -1
        self._outside: dict[str, str] = {}
        self._declared: dict[str, str] = {}
        self._depth = 0
        self._at: int | None = None
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartNamespaceDeclHandler = self._on_namespace
        parser.StartElementHandler = self._on_start
        parser.EndElementHandler = self._on_end
        parser.StartDoctypeDeclHandler = self._on_doctype
        self._parser = parser
        try:
            parser.Parse(self.text, True)
        except expat.ExpatError as error:
            raise XmpError(str(error)) from error
        if self.end < 0:
            raise XmpError("no rdf:RDF")

    def with_namespaces(self) -> bytes:
        """The children, each declaring what was declared around it."""
        pieces, place = [], self.starts[0][0] if self.starts else self.end
        for at, own in self.starts:
            name = re.compile(rb"<[^\s/>]+").match(self.text, at)
            after = name.end() if name else at
            more = (f" xmlns:{p}={quoteattr(u)}" for p, u in self._outside.items() if p not in own)
            pieces += [self.text[place:after], "".join(more).encode()]
            place = after
        return b"".join([*pieces, self.text[place : self.end]])

    def _on_namespace(self, prefix: str | None, uri: str) -> None:
        if prefix:
            self._declared[prefix] = uri

    def _on_start(self, name: str, _: dict[str, str]) -> None:
        self._depth += 1
        if self._at is None:
            self._outside |= self._declared
            if name == f"{_RDF} RDF":
                self._at = self._depth
        elif self._depth == self._at + 1 and self.end < 0:
            self.starts.append((self._parser.CurrentByteIndex, set(self._declared)))
        self._declared = {}

    def _on_end(self, name: str) -> None:
        if self._depth == self._at and self.end < 0:
            self.end = self._parser.CurrentByteIndex
        self._depth -= 1

    def _on_doctype(self, *_: object) -> None:
        raise XmpError("a document type, which XMP does not have")
