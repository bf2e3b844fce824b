"""Metadata of picture files: read as stored, changed in place, written into other files.

A module for each kind of block (exif, xmp) and for each format (jpeg, png, tiff, webp).
"""

from __future__ import annotations

from dataclasses import replace

from utils.headers import avif_colours, jpeg2000_box
from utils.metadata import exif, jpeg, png, tiff, webp, xmp
from utils.metadata.record import Density, Lost, Metadata, resolution, told
from utils.pillow import TIFF_SIGNATURES, opened

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
    elif data[:4] in TIFF_SIGNATURES:
        # Its decoder has turned the picture.
        return replace(_upright(tiff.read(data)), orientation=1)
    else:
        found = _by_pillow(data)
    return _upright(found)


def _upright(found: Metadata) -> Metadata:
    """Metadata as stored, as they suit the picture once it is turned."""
    density = found.density
    problems = list(found.problems)
    block, orientation = found.exif, found.orientation
    if block and exif.is_exif(block):
        if density is None or not density.says_something:
            density = exif.density(block) or density
        block, stated = exif.upright(block)
        orientation = stated if stated != 1 else orientation
    elif block:
        problems.append("the EXIF cannot be read (no TIFF header) and is kept as it is")
    turn = xmp.orientation(found.xmp) if found.xmp else 1
    if orientation == 1:
        if turn != 1:
            problems.append(
                f"the XMP says orientation {turn}, the EXIF does not: not turned, kept as it is"
            )
        return replace(found, exif=block, density=density, problems=tuple(problems))
    rows_to_columns = orientation >= 5
    return replace(
        found,
        exif=block,
        xmp=xmp.upright(found.xmp, rows_to_columns) if found.xmp else None,
        segments=tuple(_upright_segment(each, rows_to_columns) for each in found.segments),
        density=density.turned() if density and rows_to_columns else density,
        orientation=orientation,
        problems=tuple(problems),
    )


def _upright_segment(segment: tuple[int, bytes], rows_to_columns: bool) -> tuple[int, bytes]:
    """A second block of EXIF or packet of XMP, which some program may take for the first."""
    code, payload = segment
    if payload.startswith(jpeg.EXIF) and exif.is_exif(payload[6:]):
        return code, payload[:6] + exif.upright(payload[6:]).exif
    upright = xmp.upright(payload, rows_to_columns) if payload.startswith(jpeg.XMP) else payload
    return code, upright


def _by_pillow(data: bytes) -> Metadata:
    """Of formats that are only read, such as AVIF and BMP."""
    try:
        with opened(data) as image:
            found = {str(key): value for key, value in image.info.items()}
    except Exception:  # Pillow's parsers raise nearly anything on damaged files
        return Metadata(problems=("metadata cannot be read",))

    def stored(name: str) -> bytes | None:
        value = found.get(name)
        return value if isinstance(value, bytes) and value else None

    block, comment, dpi = stored("exif"), stored("comment"), found.get("dpi")
    colours = jpeg2000_box(data, b"colr")
    profile = colours[3:] if colours[:1] == b"\x02" else stored("icc_profile")
    coded = None if profile else avif_colours(data)
    return Metadata(
        exif=block.removeprefix(b"Exif\0\0") if block else None,
        xmp=stored("xmp"),
        icc_profile=profile,
        chunks=((b"cICP", coded),) if coded else (),
        comments=(comment,) if comment else (),
        density=resolution(*dpi, "inch") if isinstance(dpi, tuple) and len(dpi) == 2 else None,
    )
