"""What a JPEG file stores: quantised DCT levels, quantisation tables, geometry, colours.

The only module that knows the backends: ``jpegio`` (bundled libjpeg-turbo) for the levels, OpenCV
(its libjpeg-turbo) for encoding and for decoding to pixels.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import cv2
import jpegio
import numpy as np
from numpy.typing import NDArray

MAX_SIDE = 65535
"""Largest width or height a JPEG header can state (T.81 B.2.2)."""


class JpegError(ValueError):
    """A file that cannot be read as a JPEG; the message is one line: what, why, what to do."""


class ColorTransform(Enum):
    """How the components encode colour, from JFIF and Adobe markers as libjpeg judges them."""

    GRAY = "gray"
    RGB = "RGB"
    YCBCR = "YCbCr"
    CMYK = "CMYK"
    YCCK = "YCCK"
    UNKNOWN = "unknown"


class Sampling(Enum):
    """Chroma sampling modes that can be encoded, named as usual."""

    S444 = "4:4:4"
    S422 = "4:2:2"
    S420 = "4:2:0"
    S440 = "4:4:0"
    S411 = "4:1:1"


@dataclass(frozen=True, eq=False)
class Component:
    """One colour component.

    levels: (rows, cols, 8, 8) int16, read-only, natural frequency order: the blocks that cover the
    component's samples, without the dummy blocks that fill up the last MCUs.
    table: (8, 8) int32, read-only, natural order, values 1..65535.
    """

    levels: NDArray[np.int16]
    table: NDArray[np.int32]
    h_sampling: int
    v_sampling: int

    def __post_init__(self) -> None:
        if self.levels.ndim != 4 or self.levels.shape[2:] != (8, 8) or 0 in self.levels.shape:
            raise ValueError(f"levels must be (rows, cols, 8, 8), got {self.levels.shape}")
        if self.table.shape != (8, 8):
            raise ValueError(f"table must be (8, 8), got {self.table.shape}")
        if self.table.min() < 1:
            raise ValueError("a table holds a quantisation step below 1")
        for name in ("levels", "table"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)


@dataclass(frozen=True, eq=False)
class JpegImage:
    """All that a JPEG stores about its picture; immutable.

    width and height in pixels; components in file order; warnings: where an unusable rest was cut
    off, and what libjpeg had to say of damage it read over. Invariant: every component has the
    number of blocks that size and sampling factors call for (T.81 A.1.1).
    """

    width: int
    height: int
    components: tuple[Component, ...]
    color_transform: ColorTransform
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE):
            raise ValueError(f"image size {self.width}x{self.height} is not a JPEG's")
        if not self.components:
            raise ValueError("a JPEG has at least one component")
        h_max = max(c.h_sampling for c in self.components)
        v_max = max(c.v_sampling for c in self.components)
        for index, component in enumerate(self.components):
            cols = _ceil_div(_ceil_div(self.width * component.h_sampling, h_max), 8)
            rows = _ceil_div(_ceil_div(self.height * component.v_sampling, v_max), 8)
            if component.levels.shape[:2] != (rows, cols):
                raise ValueError(
                    f"component {index} has {component.levels.shape[:2]} blocks, "
                    f"{self.width}x{self.height} pixels call for {(rows, cols)}"
                )

    @property
    def sampling_factors(self) -> tuple[tuple[int, int], ...]:
        """(horizontal, vertical) sampling factor of each component."""
        return tuple((c.h_sampling, c.v_sampling) for c in self.components)

    @property
    def sampling(self) -> Sampling | None:
        """The usual name of a three-component layout, None for gray and unusual ones."""
        if len(self.components) != 3:
            return None
        luma, cb, cr = self.sampling_factors
        if cb != cr or luma[0] % cb[0] or luma[1] % cb[1]:
            return None
        return _SAMPLING_OF_RATIO.get((luma[0] // cb[0], luma[1] // cb[1]))

    @property
    def colors(self) -> str:
        """What the components encode, such as ``YCbCr`` or ``gray``."""
        return self.color_transform.value

    def describe(self) -> str:
        """Size and layout for people, such as ``768x512 YCbCr 4:2:0``."""
        layout = self.sampling.value if self.sampling else str(list(self.sampling_factors))
        return f"{self.width}x{self.height} {self.color_transform.value} {layout}"


_SAMPLING_OF_RATIO = {
    (1, 1): Sampling.S444,
    (2, 1): Sampling.S422,
    (2, 2): Sampling.S420,
    (1, 2): Sampling.S440,
    (4, 1): Sampling.S411,
}

_CV2_SAMPLING = {
    Sampling.S444: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    Sampling.S422: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    Sampling.S420: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    Sampling.S440: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    Sampling.S411: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
}

# libjpeg's J_COLOR_SPACE, jpeglib.h.
_LIBJPEG_COLORS = {
    1: ColorTransform.GRAY,
    2: ColorTransform.RGB,
    3: ColorTransform.YCBCR,
    4: ColorTransform.CMYK,
    5: ColorTransform.YCCK,
}


def read_jpeg(
    source: str | os.PathLike[str] | bytes, *, collect_warnings: bool = False
) -> JpegImage:
    """Levels, tables and layout of a JPEG file or of its bytes.

    Truncated and damaged files yield what libjpeg can read of them, up to the first marker segment
    that cannot be (``warnings`` says which); missing levels are zero. The table of a component is
    the one in force at its first scan (T.81 B.2.4.1).

    Args:
        source: path or bytes.
        collect_warnings: put libjpeg's warnings into the result instead of on stderr. The process's
            stderr is redirected meanwhile: only where no other thread writes to it.

    Raises:
        JpegError: missing, empty, not a JPEG, of a kind that cannot be restored (lossless,
            hierarchical, 12 bits per sample), or damaged before its first scan.
    """
    if isinstance(source, bytes):
        data, name = source, _BYTES
    else:
        data, name = _file_bytes(Path(source))
    usable = _usable_part(data, name)
    try:
        with _as_file(usable.data) as path, _stderr_lines(collect_warnings) as lines:
            stored = jpegio.read(str(path))
        return _convert(stored, usable.tables, (*usable.warnings, *lines))
    except (MemoryError, JpegError):
        raise
    except (
        Exception
    ) as error:  # the backend raises bare RuntimeError, IOError, ... with libjpeg's words
        raise JpegError(f"{name}: libjpeg cannot read it ({_one_line(error)})") from error


@dataclass(frozen=True)
class JpegHeader:
    """What the markers of a JPEG say before anything is decoded.

    width, height in pixels (height 0: stated after the first scan); components; scans: how many
    can be read, 1 to 4 in a sequential file, about 10 in a progressive one, 0 if damage comes
    before the first; precision: bits per sample, of which read_jpeg takes 8 only.
    """

    width: int
    height: int
    components: int
    scans: int
    precision: int


def scan_header(data: bytes) -> JpegHeader:
    """Walk the markers of a JPEG (T.81 B.1): cheap, whatever size the picture claims to have.

    Raises:
        JpegError: not a JPEG, or no frame header in it.
    """
    _require_jpeg_marker(data[:3], _BYTES)
    markers = _Markers(data)
    frame = markers.frame
    if frame is None:
        raise markers.error(_BYTES)
    return JpegHeader(
        frame.width, frame.height, len(frame.components), markers.scans, frame.precision
    )


def encode_jpeg(rgb: NDArray[np.uint8], quality: int, sampling: Sampling = Sampling.S420) -> bytes:
    """A baseline JPEG by libjpeg-turbo: standard tables, islow DCT, Huffman tables of the standard.

    Args:
        rgb: (H, W, 3) uint8 RGB, or (H, W) uint8 gray, which ignores ``sampling``.
        quality: 1..100, libjpeg's scale.
        sampling: chroma sampling mode.

    Raises:
        ValueError: another type or shape, or a quality outside 1..100.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality must lie in 1..100, got {quality}")
    if rgb.dtype != np.uint8 or rgb.ndim not in (2, 3) or (rgb.ndim == 3 and rgb.shape[2] != 3):
        raise ValueError(f"expected uint8 H x W x 3 or H x W, got {rgb.dtype} {rgb.shape}")
    pixels = rgb if rgb.ndim == 2 else np.ascontiguousarray(rgb[:, :, ::-1])
    options = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    if rgb.ndim == 3:
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _CV2_SAMPLING[sampling]]
    done, data = cv2.imencode(".jpg", pixels, options)
    if not done:
        raise ValueError(f"libjpeg cannot encode an image of shape {rgb.shape}")
    return data.tobytes()


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """Pixels as libjpeg decodes them (islow DCT, fancy upsampling): the JPEG row of every table.

    Returns (H, W, 3) uint8 RGB; gray files give three equal channels. Orientation tags are ignored,
    so that rows and columns are the stored ones. Truncated and damaged files are decoded as far as
    read_jpeg reads them.

    Raises:
        JpegError: not a JPEG that can be decoded.
    """
    _require_jpeg_marker(data[:3], _BYTES)
    bgr = _decoded(data)
    if bgr is None:  # OpenCV takes no file that ends too early
        bgr = _decoded(_usable_part(data, _BYTES).data + _END)
    if bgr is None:
        raise JpegError(f"{_BYTES} cannot be decoded: not a whole JPEG")
    return np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)


def _decoded(data: bytes | bytearray) -> NDArray[Any] | None:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise JpegError(f"{_BYTES} cannot be decoded: {error.err}") from error


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


_BYTES = "these bytes"


def _file_bytes(path: Path) -> tuple[bytes, str]:
    """What a file holds and how messages name it."""
    try:
        return path.read_bytes(), str(path)
    except OSError as error:
        raise JpegError(f"{path}: {error.strerror or error}; give a readable JPEG file") from error


def _require_jpeg_marker(head: bytes, name: str) -> None:
    if not head:
        raise JpegError(f"{name}: empty; give a whole JPEG file")
    if head[:3] != b"\xff\xd8\xff":
        raise JpegError(f"{name}: not a JPEG (it starts with {head[:3].hex(' ')}, not ff d8 ff)")


# Marker codes, T.81 table B.1.
# Not stuffing, fill, TEM, restart. Linear: \xff+ would start again at each byte of a run.
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]", re.DOTALL)
_RESTARTS = re.compile(rb"\xff[\xd0-\xd7]")
_RST7 = 0xD7
_END = b"\xff\xd9"
_DHT, _DAC, _SOI, _EOI, _SOS, _DQT, _DNL, _DRI = 0xC4, 0xCC, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, _DAC}
_SKIPPED = frozenset({*range(0xE0, 0xF0), 0xFE, _DNL})  # application data, comments
_HUFFMAN_SEQUENTIAL, _PROGRESSIVE, _HUFFMAN = {0xC0, 0xC1}, {0xC2, 0xCA}, {0xC0, 0xC1, 0xC2}
_SUPPORTED = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_KINDS = {0xC3: "lossless", 0xCB: "lossless arithmetic"}

_MOST_UNKNOWN_MARKERS = 1000

_LIBJPEG_SIDE = 65500
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
        """Refuse what the backend does not read.

        Raises:
            JpegError: lossless, hierarchical, not 8 bits per sample, no height, too large.
        """
        if self.code not in _SUPPORTED:
            kind = _KINDS.get(self.code, "hierarchical")
            raise JpegError(
                f"{name}: a {kind} JPEG (SOF{self.code - 0xC0}); only sequential and progressive "
                "ones can be restored; convert it with the program that wrote it"
            )
        if self.precision != 8:
            raise JpegError(
                f"{name}: a {self.precision}-bit JPEG; only 8 bits per sample can be restored; "
                "convert it with the program that wrote it"
            )
        if self.height == 0:
            raise JpegError(
                f"{name}: the frame header leaves the height open (DNL), which libjpeg does not "
                "read; save it again with another program"
            )
        if max(self.width, self.height) > _LIBJPEG_SIDE:
            raise JpegError(
                f"{name}: {self.width}x{self.height} pixels; libjpeg reads up to {_LIBJPEG_SIDE} "
                "a side"
            )


class _Markers:
    """The marker segments of a JPEG, read and checked as libjpeg does it (T.81 B.1, B.2).

    frame: the frame header, if there is one. scans: how many can be read. fault, end: why and where
    libjpeg would give up, its fatal errors being foreseen: pyjpegio never frees what it holds then.
    data: with unknown markers replaced, of which the first stands at unknown.
    """

    def __init__(self, data: bytes) -> None:
        self.frame: _Frame | None = None
        self.scans = 0
        self.fault = ""
        self.end = len(data)
        self._latched: dict[int, NDArray[np.int32]] = {}
        self._quantisation: dict[int, NDArray[np.int32] | None] = {}
        self._huffman: dict[int, bool] = {}
        self.data: bytes | bytearray = data
        self.unknown: int | None = None
        self._complete = False
        self._unknown_markers = 0
        self._bridged, self._restart = 0, _RST7
        position = 2
        while (match := _MARKER.search(data, position)) is not None:
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
        """Of each component: in force at its first scan, or at the end if it has none.

        Raises:
            JpegError: a table that is never defined.
        """
        assert self.frame is not None
        tables = []
        for index, (_, _, _, slot) in enumerate(self.frame.components):
            table = self._latched.get(index, self._quantisation.get(slot))
            if table is None:
                raise JpegError(
                    f"{name}: quantisation table {slot} of component {index} is missing or has a "
                    "step of 0"
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
        self._unknown_markers += 1
        if self._unknown_markers > _MOST_UNKNOWN_MARKERS:
            raise _Fault("too many unknown markers")
        for match in _RESTARTS.finditer(data, self._bridged, start):
            self._restart = match[0][1]
        self._bridged = start
        if isinstance(self.data, bytes):
            self.data, self.unknown = bytearray(data), start
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
        for index, value in zip(body[::2], body[1::2], strict=False):
            if index >= 32 or (index < 16 and value & 15 > value >> 4):
                raise _Fault("impossible arithmetic conditioning")
        if len(body) % 2:
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
        if (
            len(chosen) > 1
            and sum(frame.components[i][1] * frame.components[i][2] for i in chosen) > 10
        ):
            raise _Fault("a scan of more than 10 blocks per MCU")
        self._require_coding(frame, selectors[1::2], *body[-3:])
        for index in chosen:
            if index not in self._latched:
                slot = frame.components[index][3]
                table = self._quantisation.get(slot)
                if table is None:
                    raise _Fault(
                        f"a scan whose quantisation table {slot} is missing or has a step of 0"
                    )
                self._latched[index] = table
        self._complete = (
            not frame.progressive and not self.scans and len(chosen) == len(frame.components)
        )
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
        **dict.fromkeys(_FRAME_HEADERS, _read_frame),
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
    precision, height, width = body[0], body[1] << 8 | body[2], body[3] << 8 | body[4]
    components = tuple(
        (body[i], body[i + 1] >> 4, body[i + 1] & 15, body[i + 2]) for i in range(6, len(body), 3)
    )
    if not 1 <= len(components) <= 4:
        raise _Fault(f"a frame header with {len(components)} components")
    if width == 0:
        raise _Fault("a frame header with width 0")
    for _, h, v, _ in components:
        if not (1 <= h <= 4 and 1 <= v <= 4):
            raise _Fault(f"a frame header with sampling factors {h}x{v}")
    return _Frame(code, precision, height, width, components)


@lru_cache(maxsize=256)
def _quantisation_tables(body: bytes) -> tuple[tuple[int, NDArray[np.int32] | None], ...]:
    """(slot, (8, 8) table in natural order) of a DQT segment (T.81 B.2.4.1); None: a step of 0."""
    tables: list[tuple[int, NDArray[np.int32] | None]] = []
    position = 0
    while position < len(body):
        wide, slot = body[position] >> 4, body[position] & 15
        after = position + (129 if wide else 65)
        if slot > 3 or after > len(body):
            raise _Fault("an impossible quantisation table")
        values = np.frombuffer(body[position + 1 : after], ">u2" if wide else np.uint8)
        table = np.empty(64, np.int32)
        table[_NATURAL] = values
        table.flags.writeable = False
        tables.append((slot, table.reshape(8, 8) if values.all() else None))
        position = after
    return tuple(tables)


@lru_cache(maxsize=256)
def _huffman_tables(body: bytes) -> tuple[tuple[int, bool], ...]:
    """(slot, AC ones from 16, and whether a code can be built) of a DHT segment (T.81 B.2.4.2)."""
    tables = []
    position = 0
    while len(body) - position > 16:
        index, counts = body[position], body[position + 1 : position + 17]
        symbols = body[position + 17 : position + 17 + sum(counts)]
        if index & ~0x13 or len(symbols) != sum(counts) or len(symbols) > 256:
            raise _Fault("an impossible Huffman table")
        room = sum(count << 15 - i for i, count in enumerate(counts))
        fits = room < 1 << 16  # no code is all ones (T.81 C.2)
        tables.append((index, fits and (index >= 16 or max(symbols, default=0) < 16)))
        position += 17 + len(symbols)
    if position != len(body):
        raise _Fault("a Huffman table of wrong length")
    return tuple(tables)


@dataclass(frozen=True)
class _Usable:
    """What can be handed to libjpeg.

    data: without what it would give up at. tables: (8, 8) int32, natural order, of each component.
    """

    data: bytes | bytearray
    tables: list[NDArray[np.int32]]
    warnings: tuple[str, ...]


def _usable_part(data: bytes, name: str) -> _Usable:
    """A JPEG up to where libjpeg would give up.

    Raises:
        JpegError: not a JPEG, of an unsupported kind, or damaged before its first scan.
    """
    _require_jpeg_marker(data[:3], name)
    markers = _Markers(data)
    if markers.frame is None:
        raise markers.error(name)
    markers.frame.require_supported(name)
    if not markers.scans:
        raise markers.error(name)
    tables = markers.tables(name)
    warnings = []
    at = markers.unknown
    if at is not None:
        warnings.append(f"an unknown marker (ff {data[at + 1]:02x}) at byte {at}: read over")
    if not markers.fault:
        return _Usable(markers.data, tables, tuple(warnings))
    warnings.append(f"{markers.fault} at byte {markers.end}: read up to there")
    return _Usable(markers.data[: markers.end] + _END, tables, tuple(warnings))


def _scratch_folder() -> str | None:
    """Memory-backed where the system offers it: the backend reads files only."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextmanager
def _as_file(data: bytes | bytearray) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(suffix=".jpg", dir=_scratch_folder())
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    except OSError as error:
        os.unlink(name)
        raise JpegError(
            f"{len(data)} bytes of JPEG cannot be put into {Path(name).parent} "
            f"({error.strerror or error}); free some space there"
        ) from error
    try:
        yield Path(name)
    except BaseException:
        _close_descriptors_of(name)
        raise
    finally:
        with suppress(PermissionError):  # Windows keeps a file that the backend left open
            os.unlink(name)


def _close_descriptors_of(name: str) -> None:
    """pyjpegio leaves its file open when libjpeg gives up; nothing happens without /proc."""
    with suppress(OSError):
        scratch = os.stat(name)
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            with suppress(OSError):
                if os.path.samestat(os.fstat(descriptor), scratch):
                    os.close(descriptor)


@contextmanager
def _stderr_lines(wanted: bool) -> Iterator[list[str]]:
    """What is written to the process's stderr meanwhile, by C libraries too, as lines."""
    lines: list[str] = []
    if not wanted:
        yield lines
        return
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile(dir=_scratch_folder()) as file:
            os.dup2(file.fileno(), 2)
            try:
                yield lines
            finally:
                os.dup2(kept, 2)
                file.seek(0)
                text = file.read(_MOST_WARNINGS).decode("utf-8", "replace")
                lines += dict.fromkeys(line.strip() for line in text.splitlines() if line.strip())
    finally:
        os.close(kept)


_MOST_WARNINGS = 4096


def _convert(stored: Any, tables: list[NDArray[np.int32]], warnings: tuple[str, ...]) -> JpegImage:
    components = []
    for plane, info, table in zip(stored.coef_arrays, stored.comp_info, tables, strict=True):
        rows, cols = info.height_in_blocks, info.width_in_blocks
        blocks = np.asarray(plane).reshape(rows, 8, cols, 8).swapaxes(1, 2)
        components.append(
            Component(
                np.ascontiguousarray(blocks, dtype=np.int16),
                table,
                int(info.h_samp_factor),
                int(info.v_samp_factor),
            )
        )
    return JpegImage(
        int(stored.image_width),
        int(stored.image_height),
        tuple(components),
        _LIBJPEG_COLORS.get(int(stored.jpeg_color_space), ColorTransform.UNKNOWN),
        warnings,
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
