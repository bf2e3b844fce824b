"""The markers of a JPEG (ITU-T T.81 annex B): what they say, and how far libjpeg can read on.

pyjpegio never frees what it holds when libjpeg gives up, so fatal errors are foreseen here and
damaged files are cut before them. No picture is decoded.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from utils.metadata.jpeg_segments import FRAME_HEADERS, MARKER, segments

Array = TypeVar("Array", bound=NDArray[Any])


class JpegError(ValueError):
    """A file that cannot be read as a JPEG; the message is one line: what, why, what to do."""


BYTES = "these bytes"
"""How messages name a JPEG that is no file."""


def read_only(array: Array) -> Array:
    """A view of an array that refuses changes."""
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True)
class JpegHeader:
    """What the markers of a JPEG say before anything is decoded.

    width, height in pixels (height 0: stated after the first scan); scans: how many can be read, 1
    to 4 in a sequential file, about 10 in a progressive one, 0 if damage comes before the first.
    """

    width: int
    height: int
    scans: int


def scan_header(data: bytes) -> JpegHeader:
    """Walk the markers of a JPEG (T.81 B.1): cheap, whatever size the picture claims to have.

    Raises:
        JpegError: not a JPEG, or no frame header in it.
    """
    require_jpeg_marker(data, BYTES)
    markers = _Markers(data)
    if markers.frame is None:
        raise markers.error(BYTES)
    return JpegHeader(markers.frame.width, markers.frame.height, markers.scans)


def component_count(data: bytes) -> int:
    """Components that the first frame header states, found without looking at scans; 0: none."""
    frame = next((s.payload for s in segments(data) if s.code in FRAME_HEADERS), b"")
    return frame[5] if len(frame) > 5 else 0


def is_jpeg(data: bytes) -> bool:
    """Whether a file, of which three bytes suffice, begins as JPEGs do."""
    return data[:3] == b"\xff\xd8\xff"


def require_jpeg_marker(data: bytes, name: str) -> None:
    """Raise JpegError if a file does not begin as JPEGs do; name: for messages."""
    if not data:
        raise JpegError(f"{name}: empty; give a whole JPEG file")
    if not is_jpeg(data):
        raise JpegError(f"{name}: not a JPEG (it starts with {data[:3].hex(' ')}, not ff d8 ff)")


# Marker codes, T.81 table B.1.
_RESTARTS = re.compile(rb"\xff[\xd0-\xd7]")
_RST7 = 0xD7
END = b"\xff\xd9"
"""The marker that ends a JPEG (EOI)."""
_DHT, _DAC, _SOI, _EOI, _SOS, _DQT, _DNL, _DRI = 0xC4, 0xCC, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD
_SKIPPED = {*range(0xE0, 0xF0), 0xFE, _DNL}  # application data, comments
_HUFFMAN, _PROGRESSIVE = {0xC0, 0xC1, 0xC2}, {0xC2, 0xCA}
_SUPPORTED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_KINDS = {0xC3: "lossless", 0xCB: "lossless arithmetic"}

_MOST_UNKNOWN_MARKERS = 1000

LIBJPEG_SIDE = 65500
"""Largest side that libjpeg reads (JPEG_MAX_DIMENSION)."""

# Place k of the zigzag order (T.81 figure A.6) -> place in natural order.
_NATURAL = sorted(
    range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8)
)


class _Fault(Exception):
    """Why libjpeg would give up at a marker segment."""


@dataclass(frozen=True)
class _Frame:
    """A frame header (T.81 B.2.2); components: (identifier, h, v, table slot) of each."""

    code: int
    precision: int
    height: int
    width: int
    components: tuple[tuple[int, int, int, int], ...]

    @property
    def progressive(self) -> bool:
        return self.code in _PROGRESSIVE

    def require_supported(self, name: str) -> None:
        """Raise JpegError for what the backend does not read."""
        convert = "can be restored; convert it with the program that wrote it"
        if self.code not in _SUPPORTED:
            kind = f"{_KINDS.get(self.code, 'hierarchical')} JPEG (SOF{self.code - 0xC0})"
            raise JpegError(f"{name}: a {kind}; only sequential and progressive ones {convert}")
        if self.precision != 8:
            raise JpegError(
                f"{name}: a {self.precision}-bit JPEG; only 8 bits per sample {convert}"
            )
        if self.height == 0:
            raise JpegError(
                f"{name}: the frame header leaves the height open (DNL), which libjpeg does not "
                "read; save it again with another program"
            )
        if max(self.width, self.height) > LIBJPEG_SIDE:
            raise JpegError(
                f"{name}: {self.width}x{self.height} pixels; libjpeg reads up to {LIBJPEG_SIDE} "
                "a side"
            )


class _Markers:
    """The marker segments of a JPEG, read and checked as libjpeg does it (T.81 B.1, B.2).

    frame: the frame header, if there is one. scans: how many can be read. fault, end: why and where
    libjpeg would give up. data: with unknown markers replaced, whose places are in unknown.
    """

    def __init__(self, data: bytes) -> None:
        self.frame: _Frame | None = None
        self.scans = 0
        self.fault = ""
        self.end = len(data)
        self._latched: dict[int, NDArray[np.int32]] = {}
        self._quantisation: dict[int, NDArray[np.int32]] = {}
        self._huffman: dict[int, bool] = {}
        self.data: bytes | bytearray = data
        self.unknown: list[int] = []
        self._complete = False
        self._bridged, self._restart = 0, _RST7
        position = 2
        while (match := MARKER.search(data, position)) is not None:
            start, position = match.span()
            code = data[start + 1]
            if code == _EOI:
                break
            try:
                position = self._after(code, data, position)
            except _Fault as fault:
                self.fault, self.end = str(fault), start
                break

    def error(self, name: str) -> JpegError:
        """That nothing of the picture can be read, and why."""
        if self.fault:
            return JpegError(
                f"{name}: {self.fault} at byte {self.end}, before any scan; not a whole JPEG"
            )
        missing = "frame header" if self.frame is None else "scan"
        return JpegError(f"{name}: no {missing}; not a whole JPEG")

    def tables(self, name: str) -> list[NDArray[np.int32]]:
        """Of each component: in force at its first scan, or at the end if it has none."""
        assert self.frame is not None
        tables = []
        for index, (_, _, _, slot) in enumerate(self.frame.components):
            table = self._latched.get(index, self._quantisation.get(slot))
            if table is None:
                raise JpegError(
                    f"{name}: quantisation table {slot} of component {index} is missing"
                )
            tables.append(table)
        return tables

    def _after(self, code: int, data: bytes, position: int) -> int:
        """Take in the segment whose length stands at ``position``; the position after it."""
        read = self._READERS.get(code)
        if read is None and code not in _SKIPPED:
            if code == _SOI:
                raise _Fault("a second start of image")
            if not self.scans:
                raise _Fault(f"an unknown marker (ff {code:02x})")
            self._bridge(data, position - 2)
            return position
        length = int.from_bytes(data[position : position + 2], "big")
        after = position + max(2, length)
        if after > len(data):
            raise _Fault("cut off within a marker segment")
        if read is not None:
            if length < 2:
                raise _Fault("a marker segment of impossible length")
            read(self, code, data[position + 2 : after])
            if code == _SOS:
                self._bridged, self._restart = after, _RST7
        return after

    def _bridge(self, data: bytes, start: int) -> None:
        """Put the last restart marker once more in the place of the unknown marker at ``start``.

        libjpeg, which would give up at the unknown one, then goes on at the next restart marker
        (jpeg_resync_to_restart), or, where there are none, at the next scan.
        """
        if len(self.unknown) == _MOST_UNKNOWN_MARKERS:
            raise _Fault("too many unknown markers")
        self.unknown.append(start)
        for match in _RESTARTS.finditer(data, self._bridged, start):
            self._restart = match[0][1]
        self._bridged = start
        if isinstance(self.data, bytes):
            self.data = bytearray(data)
        self.data[start + 1] = self._restart

    def _read_frame(self, code: int, body: bytes) -> None:
        if self.frame is not None:
            raise _Fault("a second frame header")
        self.frame = _frame_header(code, body)
        if code not in _SUPPORTED:
            raise _Fault("a kind of JPEG that libjpeg does not read")

    def _read_quantisation(self, code: int, body: bytes) -> None:
        self._quantisation.update(_quantisation_tables(body))

    def _read_huffman(self, code: int, body: bytes) -> None:
        self._huffman.update(_huffman_tables(body))

    def _read_conditioning(self, code: int, body: bytes) -> None:
        """T.81 B.2.4.3."""
        pairs = zip(body[::2], body[1::2], strict=False)
        wrong = (index >= 32 or (index < 16 and v & 15 > v >> 4) for index, v in pairs)
        if len(body) % 2 or any(wrong):
            raise _Fault("impossible arithmetic conditioning")

    def _read_restart_interval(self, code: int, body: bytes) -> None:
        if len(body) != 2:
            raise _Fault("a restart interval of wrong length")

    def _read_scan(self, code: int, body: bytes) -> None:
        """T.81 B.2.3."""
        frame = self.frame
        if frame is None:
            raise _Fault("a scan before the frame header")
        if self._complete:
            raise _Fault("a scan after the last one")
        if not body or not 1 <= body[0] <= 4 or len(body) != 4 + 2 * body[0]:
            raise _Fault("an impossible scan header")
        selectors = body[1 : 1 + 2 * body[0]]
        chosen: list[int] = []
        for place, identifier in enumerate(selectors[::2]):
            for index in range(place, len(frame.components)):  # in the frame's order
                if frame.components[index][0] == identifier and index not in chosen:
                    chosen.append(index)
                    break
            else:
                raise _Fault("a scan of components that are not in the frame header")
        blocks = sum(frame.components[i][1] * frame.components[i][2] for i in chosen)
        if len(chosen) > 1 and blocks > 10:
            raise _Fault("a scan of more than 10 blocks per MCU")
        self._require_coding(frame, selectors[1::2], *body[-3:])
        for index in chosen:
            if index not in self._latched:
                slot = frame.components[index][3]
                table = self._quantisation.get(slot)
                if table is None:
                    raise _Fault(f"a scan whose quantisation table {slot} is missing")
                self._latched[index] = table
        is_whole = len(chosen) == len(frame.components)
        self._complete = is_whole and not frame.progressive and not self.scans
        self.scans += 1

    def _require_coding(
        self, frame: _Frame, tables: bytes, first: int, last: int, bits: int
    ) -> None:
        """Spectral selection, successive approximation (T.81 G.1.1.1) and Huffman tables."""
        high, low = bits >> 4, bits & 15
        if frame.progressive and (
            (first == 0 and last != 0)
            or (first > 0 and (first > last or last > 63 or len(tables) != 1))
            or (high and low != high - 1)
            or low > 13
        ):
            raise _Fault("a scan of impossible progression")
        if frame.code not in _HUFFMAN:
            return
        dc, ac = [t >> 4 for t in tables], [16 + (t & 15) for t in tables]
        if frame.progressive:
            dc, ac = ([], ac) if first else ([] if high else dc, [])
        for index in dc + ac:
            # libjpeg-turbo has the standard's tables in slots 0 and 1 of sequential files.
            if not self._huffman.get(index, not frame.progressive and index & 15 < 2):
                raise _Fault("a scan whose Huffman table is missing or impossible")

    _READERS: ClassVar = {
        **dict.fromkeys(FRAME_HEADERS, _read_frame),
        _DQT: _read_quantisation,
        _DHT: _read_huffman,
        _DAC: _read_conditioning,
        _DRI: _read_restart_interval,
        _SOS: _read_scan,
    }


@lru_cache(maxsize=256)
def _frame_header(code: int, body: bytes) -> _Frame:
    """A SOF segment (T.81 B.2.2)."""
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        raise _Fault("a frame header of wrong length")
    precision, height, width = struct.unpack_from(">BHH", body)
    found = struct.iter_unpack("BBB", body[6:])
    components = tuple((identifier, hv >> 4, hv & 15, slot) for identifier, hv, slot in found)
    if not 1 <= len(components) <= 4:
        raise _Fault(f"a frame header with {len(components)} components")
    if width == 0:
        raise _Fault("a frame header with width 0")
    for _, h, v, _ in components:
        if not (1 <= h <= 4 and 1 <= v <= 4):
            raise _Fault(f"a frame header with sampling factors {h}x{v}")
    return _Frame(code, precision, height, width, components)


@lru_cache(maxsize=256)
def _quantisation_tables(body: bytes) -> dict[int, NDArray[np.int32]]:
    """(8, 8) tables in natural order of a DQT segment (T.81 B.2.4.1), by slot; steps may be 0."""
    tables = {}
    position = 0
    while position < len(body):
        wide, slot = body[position] >> 4, body[position] & 15
        after = position + (129 if wide else 65)
        if slot > 3 or after > len(body):
            raise _Fault("an impossible quantisation table")
        values = np.frombuffer(body[position + 1 : after], ">u2" if wide else np.uint8)
        table = np.empty(64, np.int32)
        table[_NATURAL] = values
        tables[slot] = read_only(table.reshape(8, 8))
        position = after
    return tables


@lru_cache(maxsize=256)
def _huffman_tables(body: bytes) -> dict[int, bool]:
    """Whether a code can be built of the tables of a DHT segment (T.81 B.2.4.2), by slot.

    Slots of AC tables are counted from 16.
    """
    tables = {}
    position = 0
    while len(body) - position > 16:
        index, counts = body[position], body[position + 1 : position + 17]
        symbols = body[position + 17 : position + 17 + sum(counts)]
        if index & ~0x13 or len(symbols) != sum(counts) or len(symbols) > 256:
            raise _Fault("an impossible Huffman table")
        room = sum(count << 15 - i for i, count in enumerate(counts))
        fits = room < 1 << 16  # no code is all ones (T.81 C.2)
        tables[index] = fits and (index >= 16 or max(symbols, default=0) < 16)
        position += 17 + len(symbols)
    if position != len(body):
        raise _Fault("a Huffman table of wrong length")
    return tables


@dataclass(frozen=True)
class Usable:
    """What can be handed to libjpeg.

    data: without what it would give up at. tables: (8, 8) int32, natural order, of each component,
    as stored: damaged ones may hold steps of 0.
    """

    data: bytes | bytearray
    tables: list[NDArray[np.int32]]
    warnings: tuple[str, ...]


def usable_part(data: bytes, name: str) -> Usable:
    """A JPEG up to where libjpeg would give up.

    Raises:
        JpegError: not a JPEG, of an unsupported kind, or damaged before its first scan.
    """
    require_jpeg_marker(data, name)
    markers = _Markers(data)
    if markers.frame is None:
        raise markers.error(name)
    markers.frame.require_supported(name)
    if not markers.scans:
        raise markers.error(name)
    tables = markers.tables(name)
    usable, warnings = markers.data, []
    if markers.unknown:
        at = markers.unknown[0]
        warnings.append(f"an unknown marker (ff {data[at + 1]:02x}) at byte {at}: read over")
    if markers.fault:
        warnings.append(f"{markers.fault} at byte {markers.end}: read up to there")
        usable = usable[: markers.end] + END
    return Usable(usable, tables, tuple(warnings))
