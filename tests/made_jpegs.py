"""JPEGs of layouts that no encoder at hand writes, put together from gray ones, scan by scan.

A scan of one component is coded as a gray picture is (T.81 A.2.2), so that components of any
sampling factors, in any order and under any identifiers, can stand in one file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from data.jpeg import encode_with_tables
from data.tables import standard_tables


class Plane(NamedTuple):
    """One component: samples of full size (H, W), sampling factors, table, identifier."""

    samples: NDArray[np.uint8]
    h: int = 1
    v: int = 1
    table: NDArray[np.int32] | None = None
    identifier: int | None = None


def assembled(planes: Sequence[Plane], quality: int = 90, adobe: int | None = None) -> bytes:
    """A sequential JPEG, a scan for each plane.

    planes: reduced here as their factors say. quality: of planes without a table (libjpeg's of
    luma). adobe: transform of an APP14 segment, None: there is none, nor any other APPn.
    """
    height, width = planes[0].samples.shape
    h_max, v_max = max(p.h for p in planes), max(p.v for p in planes)
    frame, scans, tables = b"", b"", b""
    huffman: dict[bytes, None] = {}
    for index, plane in enumerate(planes):
        identifier = index + 1 if plane.identifier is None else plane.identifier
        table = standard_tables(quality)[0] if plane.table is None else plane.table
        size = math.ceil(width * plane.h / h_max), math.ceil(height * plane.v / v_max)
        samples = np.asarray(
            cv2.resize(plane.samples, size, interpolation=cv2.INTER_AREA), np.uint8
        )
        parts = _parts(encode_with_tables(samples, [table]))
        frame += bytes([identifier, plane.h << 4 | plane.v, index])
        tables += _segment(0xDB, bytes([index]) + parts[0xDB][0][1:])
        huffman |= dict.fromkeys(parts[0xC4])
        scans += _segment(0xDA, bytes([1, identifier, 0, 0, 63, 0])) + parts[0][0]
    head = b"\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes([len(planes)])
    app14 = b"" if adobe is None else _segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([adobe]))
    codes = b"".join(_segment(0xC4, body) for body in huffman)
    return b"\xff\xd8" + app14 + tables + _segment(0xC0, head + frame) + codes + scans + b"\xff\xd9"


def _segment(code: int, body: bytes) -> bytes:
    return bytes([0xFF, code]) + (len(body) + 2).to_bytes(2, "big") + body


def _parts(gray: bytes) -> dict[int, list[bytes]]:
    """Bodies of the segments of a JPEG of one scan, by code; under 0 what follows its scan header."""
    found: dict[int, list[bytes]] = {}
    position = 2
    while True:
        code, length = gray[position + 1], int.from_bytes(gray[position + 2 : position + 4], "big")
        found.setdefault(code, []).append(gray[position + 4 : position + 2 + length])
        position += 2 + length
        if code == 0xDA:
            return {**found, 0: [gray[position:-2]]}


def ycck(cmyk: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The planes of a YCCK file of (H, W, 4) ink, 255 being full, as Photoshop writes it."""
    # Stored are 255 less ink; what libjpeg encodes as RGB is 255 less that.
    ycc = cv2.cvtColor(np.ascontiguousarray(cmyk[:, :, :3]), cv2.COLOR_RGB2YCrCb)
    return [
        *(np.ascontiguousarray(ycc[:, :, i]) for i in (0, 2, 1)),
        np.asarray(255 - cmyk[:, :, 3], np.uint8),
    ]
