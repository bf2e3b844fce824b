"""Metadata of picture files: read as stored, changed in place, written into other files.

A module for each kind of block (exif, xmp) and for each format (jpeg, png, tiff, webp).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from utils.metadata import exif, jpeg, png, tiff, webp, xmp
from utils.metadata.record import Density, Lost, Metadata, told
from utils.pillow import opened

__all__ = ["Density", "Lost", "Metadata", "read_metadata", "told"]


def read_metadata(data: bytes) -> Metadata:
    """Metadata of a picture file's bytes, as they suit the picture once it is turned upright.

    EXIF and XMP are changed in place: their orientation becomes 1, and see
    :func:`utils.metadata.exif.upright`. Only EXIF decides how the picture is turned, as in nearly
    all programs. Where it says nothing, the orientation of the XMP stays as it is with the pixels.
    Whatever is damaged is left out or stays as it is, and harms nothing else.
    """
    if data[:2] == b"\xff\xd8":
        found = jpeg.read(data)
    elif data.startswith(png.SIGNATURE):
        found = png.read(data)
    elif webp.is_webp(data):
        found = webp.read(data)
    else:
        return _by_pillow(data)
    density = found.density
    problems = list(found.problems)
    block, orientation = found.exif, 1
    if block and exif.is_exif(block):
        if density is None or not density.says_something:
            density = exif.density(block) or density
        block, orientation = exif.upright(block)
    elif block:
        problems.append("the EXIF cannot be read (no TIFF header) and is kept as it is")
    turn = xmp.orientation(found.xmp) if found.xmp else 1
    if orientation == 1:
        if turn != 1:
            problems.append(
                f"the XMP says orientation {turn}, the EXIF does not: not turned, kept as it is"
            )
        return replace(found, exif=block, density=density, problems=tuple(problems))
    return replace(
        found,
        exif=block,
        xmp=xmp.upright(found.xmp) if found.xmp else None,
        segments=tuple(map(_upright_segment, found.segments)),
        density=density.turned() if density and orientation >= 5 else density,
        orientation=orientation,
        problems=tuple(problems),
    )


def _upright_segment(segment: tuple[int, bytes]) -> tuple[int, bytes]:
    """A second block of EXIF or packet of XMP, which some program may take for the first."""
    code, payload = segment
    if payload.startswith(jpeg.EXIF) and exif.is_exif(payload[6:]):
        return code, payload[:6] + exif.upright(payload[6:]).exif
    return code, xmp.upright(payload) if payload.startswith(jpeg.XMP) else payload


_TIFF = (b"II*\0", b"MM\0*")


def _by_pillow(data: bytes) -> Metadata:
    """Of formats that are only read, TIFF above all; it comes turned from its decoder."""
    try:
        with opened(data) as image:
            tags: Any = getattr(image, "tag_v2", {})
            found = {str(key): value for key, value in image.info.items()}
            packet, resources = tags.get(700), tiff.photoshop_of(tags)
    except Exception as error:  # Pillow's parsers raise nearly anything on damaged files
        words = " ".join(str(error).split())[:150] or type(error).__name__
        return Metadata(problems=(f"metadata cannot be read ({words})",))
    profile = found.get("icc_profile")
    return Metadata(
        exif=exif.taken_from(data, tiff.STRUCTURE) if data[:4] in _TIFF else None,
        xmp=packet if isinstance(packet, bytes) else None,
        photoshop=resources,
        icc_profile=profile if isinstance(profile, bytes) and profile else None,
        density=_resolution(found.get("dpi")),
    )


def _resolution(value: Any) -> Density | None:
    try:
        x, y = (float(number) for number in value)
    except (TypeError, ValueError):
        return None
    # Pillow says 1 where a TIFF says nothing.
    return Density(x, y, "inch") if 1 < x < 1e6 and 1 < y < 1e6 else None
