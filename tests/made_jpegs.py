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
from tests.metadata_files import profile_segments, segment


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
        # Samples lie on a grid of whole MCUs, of which the picture may fill the last one partly.
        bottom, right = -height % v_max, -width % h_max
        whole = cv2.copyMakeBorder(plane.samples, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        size = whole.shape[1] * plane.h // h_max, whole.shape[0] * plane.v // v_max
        samples = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
        rows, columns = math.ceil(height * plane.v / v_max), math.ceil(width * plane.h / h_max)
        samples = np.ascontiguousarray(samples[:rows, :columns])
        gray = parts(encode_with_tables(samples, [table]))
        frame += bytes([identifier, plane.h << 4 | plane.v, index])
        tables += segment(0xDB, bytes([index]) + gray[0xDB][0][1:])
        huffman |= dict.fromkeys(gray[0xC4])
        scans += segment(0xDA, bytes([1, identifier, 0, 0, 63, 0])) + gray[0][0]
    head = b"\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes([len(planes)])
    app14 = b"" if adobe is None else segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([adobe]))
    codes = b"".join(segment(0xC4, body) for body in huffman)
    return b"\xff\xd8" + app14 + tables + segment(0xC0, head + frame) + codes + scans + b"\xff\xd9"


def parts(gray: bytes) -> dict[int, list[bytes]]:
    """Segments of a JPEG of one scan, by code; under 0 what follows its scan header."""
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


def with_profile(jpeg: bytes, profile: bytes) -> bytes:
    """A JPEG with an ICC profile."""
    return jpeg[:2] + profile_segments(profile) + jpeg[2:]


def ink_profile() -> bytes:
    """An ICC profile (version 2.4) for four inks, darker than plain arithmetic."""
    corners = np.indices((2, 2, 2, 2)).reshape(4, 16).T / 1.0  # last one fastest
    cyan, magenta, yellow, black = corners.T
    light = 100 * (1 - 0.35 * cyan) * (1 - 0.45 * magenta) * (1 - 0.1 * yellow) * (1 - 0.85 * black)
    red_green = (60 * magenta - 35 * cyan) * (1 - black)
    yellow_blue = (80 * yellow - 40 * cyan - 10 * magenta) * (1 - black)
    lab = np.stack((light * 2.55, 128 + red_green, 128 + yellow_blue), 1).round().astype(np.uint8)
    identity = bytes(range(256))
    one = (1 << 16).to_bytes(4, "big")
    matrix = b"".join(one if i % 4 == 0 else bytes(4) for i in range(9))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix
    tags = {
        b"A2B0": table + 4 * identity + lab.tobytes() + 3 * identity,
        b"wtpt": b"XYZ " + bytes(4) + b"\0\0\xf6\xd6\0\x01\0\0\0\0\xd3\x2d",
        b"cprt": b"text" + bytes(4) + b"none\0",
    }
    place = 132 + 12 * len(tags)
    index, body = b"", b""
    for name, content in tags.items():
        index += name + (place + len(body)).to_bytes(4, "big") + len(content).to_bytes(4, "big")
        body += content + bytes(-len(content) % 4)
    head = b"\x02\x40\0\0" + b"prtrCMYKLab " + bytes(12) + b"acsp" + bytes(28)
    head += b"\0\0\xf6\xd6\0\x01\0\0\0\0\xd3\x2d" + bytes(48)
    size = (place + len(body)).to_bytes(4, "big")
    return size + bytes(4) + head + len(tags).to_bytes(4, "big") + index + body
