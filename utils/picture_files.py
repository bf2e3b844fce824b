"""Pictures out, with what belonged to them: orientation, EXIF, colour profile, resolution."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from utils.image_io import ImageError, write_atomically
from utils.metadata import Lost, Metadata, exif, jpeg, png, webp
from utils.metadata.origin import with_origin
from utils.pillow import opened

Format = Literal["png", "webp", "jpg"]


class Extras(NamedTuple):
    """What a PNG, WebP or TIFF may hold beyond 8-bit colours.

    alpha: (H, W) uint8, None where all is opaque. notes: what reading it as 8-bit RGB loses.
    """

    alpha: NDArray[np.uint8] | None
    notes: list[str]


def read_extras(data: bytes) -> Extras:
    """Transparency, further frames and deeper samples of a picture file's bytes."""
    alpha: NDArray[np.uint8] | None = None
    notes = []
    try:
        with opened(data) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                notes.append(f"only the first of {frames} frames")
            if _bits(data, image) > 8:
                notes.append(f"{_bits(data, image)} bits a sample became 8")
            if image.has_transparency_data:
                alpha = np.asarray(image.convert("RGBA"))[:, :, 3]
    except Exception:  # Pillow raises nearly anything; the pixels themselves are read by others
        return Extras(None, notes)
    opaque = alpha is None or int(alpha.min()) == 255
    return Extras(None if opaque else alpha, notes)


def _bits(data: bytes, image: Image.Image) -> int:
    """Bits a sample, as far as PNG and TIFF say; Pillow's modes hide those of colour pictures."""
    if image.format == "PNG":
        return data[24]  # IHDR: signature 8, length 4, type 4, width 4, height 4, bit depth
    if image.format == "TIFF":
        stated = image.tag_v2.get(258, (8,))  # type: ignore[attr-defined]
        return int(max(stated))
    return 8


def turned(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Stored pixels as they are to be looked at (EXIF 2.32, 4.6.4 A)."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def write_picture(
    path: str | os.PathLike[str],
    image: NDArray[np.uint8],
    file_format: Format,
    quality: int,
    metadata: Metadata,
    alpha: NDArray[np.uint8] | None = None,
    origin: Callable[[list[Lost]], Mapping[str, Any]] | None = None,
) -> list[Lost]:
    """Write (H, W, 3) RGB or (H, W) gray beside its final name, then rename.

    Args:
        path: final name. image: as it is to be looked at, already turned. file_format: of the file.
        quality: 1..100 of WebP (100: lossless) and JPEG (4:4:4); PNG is lossless.
        metadata: kept as far as the format can hold it.
        alpha: (H, W) uint8, in PNG and WebP.
        origin: what the file is to say of its origin, see utils.metadata.origin, given what could
            not be kept.

    Returns what could not be kept.

    Raises:
        ImageError: the place cannot be written, or the format cannot hold such a picture.
    """
    lost: list[Lost] = []
    if metadata.icc_profile and not _profile_fits(metadata.icc_profile, image):
        colours = metadata.icc_profile[16:20].decode("latin-1").strip()
        lost.append(Lost("the colour profile", f"left out: it is for other colours ({colours})"))
        metadata = replace(metadata, icc_profile=None)
    options: dict[str, Any]
    if file_format == "png":
        options = {"compress_level": 4}
    elif file_format == "webp":
        options = {"lossless": quality == 100, "quality": 80 if quality == 100 else quality}
        more, beyond = webp.encoder_options(metadata)
        options |= more
        lost += beyond
    else:
        options = {"quality": quality, "subsampling": 0}
    if alpha is not None and file_format == "jpg":
        lost.append(Lost("transparency", "was left out, which JPEG does not have"))
    elif alpha is not None:
        image = np.dstack((image, alpha))
    buffer = io.BytesIO()
    name = _NAMES[file_format]
    try:
        Image.fromarray(image).save(buffer, name, **options)
    except (OSError, ValueError, KeyError) as error:
        height, width = image.shape[:2]
        raise ImageError(
            f"{path}: {width}x{height} pixels cannot be written as {name} ({_one_line(error)}); "
            "choose --format png"
        ) from error
    data = buffer.getvalue()
    if file_format != "webp":
        embed = png.embed if file_format == "png" else jpeg.embed
        data, beyond = embed(data, metadata)
        lost += beyond
    none = f"left out: {name.replace('WEBP', 'WebP')} has no place for that"
    lost += [Lost(what, none) for what in _homeless(metadata, file_format)]
    if origin is not None:
        data = with_origin(data, origin(lost))
    write_atomically(Path(path), data)
    return lost


_NAMES = {"png": "PNG", "webp": "WEBP", "jpg": "JPEG"}


def _homeless(metadata: Metadata, file_format: Format) -> list[str]:
    """What a format has no place for, for people."""
    if file_format == "png":
        return jpeg.names_beyond(metadata)
    if file_format == "jpg":
        return png.names_beyond(metadata, for_jpeg=True)
    names = jpeg.names_of_photoshop(metadata)
    if metadata.comments:
        names.append("a comment" if len(metadata.comments) == 1 else "comments")
    if metadata.density and metadata.density.says_something:
        stated = exif.density(metadata.exif) if metadata.exif else None
        if stated is None or str(stated) != str(metadata.density):
            names.append(str(metadata.density))
    return names + jpeg.names_beyond(metadata) + png.names_beyond(metadata)


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a picture file's header states, None if it is none that is known."""
    try:
        with opened(data) as image:
            return image.size
    except Exception:  # Pillow raises nearly anything on damaged files
        return None


def _profile_fits(profile: bytes, image: NDArray[np.uint8]) -> bool:
    """Whether an ICC profile is for as many colours as the picture has (ICC.1, 7.2.6)."""
    return profile[16:20] == (b"GRAY" if image.ndim == 2 else b"RGB ")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:150] or type(error).__name__
