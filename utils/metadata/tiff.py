"""TIFFs (TIFF 6.0): pixels without loss, and everything around them; EXIF read from and written to.

The EXIF of a JPEG is a TIFF structure itself. A result begins with it, byte for byte, so that every
offset in it still holds, those of makers' notes too; a new first directory behind the pixels points
to its parts.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from utils.metadata.exif import ORIENTATION, Block, is_exif, taken_from
from utils.metadata.exif import density as density_of
from utils.metadata.record import Density, Lost, Metadata, resolution, whole_xmp
from utils.pillow import tag_numbers, tiff_tags

_BYTE, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 1, 3, 4, 5, 7
_FORMATS = {_SHORT: "H", _LONG: "L"}
_STRIP_BYTES = 1 << 18
_TRANSFER, _XMP, _IPTC, _PHOTOSHOP, _ICC = 301, 700, 33723, 34377, 34675
_IPTC_RESOURCE = b"8BIM\x04\x04\0\0"

STRUCTURE = frozenset(
    {
        *range(254, 270),  # sizes, compression, thresholds
        *range(273, 285),  # strips, orientation, resolution
        *range(288, 301),  # gray and fax
        317,  # predictor
        *range(320, 348),  # palette, tiles, further directories
        *range(512, 533),  # old JPEG, YCbCr
        *(_XMP, _IPTC, _PHOTOSHOP, _ICC),
        37724,  # Photoshop's layers
    }
)
"""Tags of IFD0 that are about how the pixels are stored and shown, or that are kept elsewhere."""


def read(data: bytes) -> Metadata:
    """Everything that a TIFF says besides its pixels; its EXIF as a block of its own."""
    tags = tiff_tags(data)
    if not tags:
        return Metadata(problems=("metadata cannot be read",))
    packet, profile = tags.get(_XMP), tags.get(_ICC)
    unit, orientation = (tag_numbers(tags, *each)[0] for each in ((296, 2), (ORIENTATION, 1)))
    block, left_out = None, list[Lost]()
    if set(tags) - STRUCTURE:
        if b"+" in data[2:4]:
            left_out.append(Lost("EXIF", "left out: it is not read from a BigTIFF"))
        else:
            block = taken_from(data, STRUCTURE - {ORIENTATION})
    return Metadata(
        exif=block,
        xmp=packet if isinstance(packet, bytes) else None,
        photoshop=_photoshop(tags),
        icc_profile=profile if isinstance(profile, bytes) and profile else None,
        density=resolution(tags.get(282), tags.get(283), {2: "inch", 3: "cm"}.get(unit)),
        orientation=orientation if orientation in range(1, 9) else 1,
        left_out=tuple(left_out),
    )


def _photoshop(tags: Mapping[int, Any]) -> bytes | None:
    """Photoshop's image resources of a TIFF's tags; IPTC that stands alone becomes one of them."""
    resources, iptc = tags.get(_PHOTOSHOP), tags.get(_IPTC)
    own = resources if isinstance(resources, bytes) else b""
    if isinstance(iptc, tuple) and all(isinstance(each, int) for each in iptc):
        iptc = struct.pack(f"<{len(iptc)}L", *iptc)  # older programs stored it as numbers
    if isinstance(iptc, bytes) and iptc and _IPTC_RESOURCE not in own:
        own += _IPTC_RESOURCE + struct.pack(">L", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    return own or None


def encoded(
    image: NDArray[np.uint8], metadata: Metadata, colors: Literal["gray", "RGB", "CMYK"]
) -> tuple[bytes, list[Lost]]:
    """(H, W) or (H, W, samples) as a TIFF compressed by deflate, and what could not be kept.

    colors: what the samples are; RGB may have one more, its transparency.

    Raises:
        ValueError: more than 4 GB.
    """
    lost: list[Lost] = []
    block = Block(b"II*\0\0\0\0\0")
    if metadata.exif and is_exif(metadata.exif):
        block = Block(metadata.exif.ljust(8, b"\0"))
    elif metadata.exif:
        lost.append(Lost("EXIF", "cannot be read and was left out"))
    order = "<" if block.order == "little" else ">"
    block.data[2:4] = struct.pack(f"{order}H", 42)
    # Of several entries with one tag the first counts.
    entries = [e for e in reversed(block.directory()) if e.tag not in STRUCTURE]
    whole = [e for e in entries if e.place + e.size <= len(block.data)]
    if len(whole) < len(entries):  # with one of them no program would open the TIFF
        lost.append(Lost("damaged EXIF values", "were left out"))
    tags = {e.tag: e.raw for e in whole}
    # A table of as many entries as there are samples, of which there may have been more.
    curves = next((e for e in whole if e.tag == _TRANSFER), None)
    if curves and curves.values != 256 * (1 if colors == "gray" else 3):
        del tags[_TRANSFER]
        lost.append(Lost("the transfer function", "was left out: it is for other samples"))
    density = metadata.density
    if metadata.exif and density and density.says_something:
        stated = density_of(metadata.exif)
        if stated and str(stated) != str(density):  # this is the place of the EXIF's
            lost.append(Lost(str(density), f"left out: the EXIF says {stated}"))
            density = stated

    def put(tag: int, kind: int, *values: int) -> None:
        store(tag, kind, len(values), struct.pack(f"{order}{len(values)}{_FORMATS[kind]}", *values))

    def store(tag: int, kind: int, count: int, value: bytes) -> None:
        place = value.ljust(4, b"\0") if len(value) <= 4 else block.append(value)
        tags[tag] = struct.pack(f"{order}HHL", tag, kind, count) + place

    samples = image if image.ndim == 3 else image[:, :, None]
    height, width, count = samples.shape
    rows = max(1, _STRIP_BYTES // (width * count))
    strips = [_compressed(samples[top : top + rows]) for top in range(0, height, rows)]
    places = [block.append(strip) for strip in strips]
    put(256, _LONG, width)
    put(257, _LONG, height)
    put(258, _SHORT, *([8] * count))
    put(259, _SHORT, 8)  # deflate
    put(262, _SHORT, {"gray": 1, "RGB": 2, "CMYK": 5}[colors])
    store(273, _LONG, len(places), b"".join(places))
    put(274, _SHORT, 1)
    put(277, _SHORT, count)
    put(278, _LONG, rows)
    put(279, _LONG, *map(len, strips))
    put(284, _SHORT, 1)
    put(317, _SHORT, 2)  # differences of neighbours
    extra = count - {"gray": 1, "RGB": 3, "CMYK": 4}[colors]
    if extra:
        put(338, _SHORT, *([2] * extra))
    if density and density.says_something:
        x, y, unit = _resolution(density)
        for tag, side in ((282, x), (283, y)):
            store(tag, _RATIONAL, 1, struct.pack(f"{order}LL", round(side * 10_000), 10_000))
        put(296, _SHORT, unit)
    for tag, kind, value in (
        (_XMP, _BYTE, whole_xmp(metadata, lost)),
        (_PHOTOSHOP, _BYTE, metadata.photoshop),
        (_ICC, _UNDEFINED, metadata.icc_profile),
    ):
        if value:
            store(tag, kind, len(value), value)
    directory = struct.pack(f"{order}H", len(tags)) + b"".join(tags[tag] for tag in sorted(tags))
    block.data[4:8] = block.append(directory + bytes(4))
    return bytes(block.data), lost


def _compressed(rows: NDArray[np.uint8]) -> bytes:
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    return zlib.compress(differences.tobytes(), 4)


def _resolution(density: Density) -> tuple[float, float, int]:
    """Two numbers, and the code of their unit: 1 none, 2 inch, 3 cm."""
    if density.unit == "metre":
        return *density.per(0.01), 3
    return density.x, density.y, {"none": 1, "inch": 2, "cm": 3}[density.unit]
