"""Pictures out, with what belonged to them: orientation, EXIF, colour profile, resolution."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from utils.image_io import ImageError, write_atomically
from utils.metadata import Lost, Metadata, exif, jpeg, png, tiff, webp
from utils.metadata.origin import with_origin
from utils.pillow import opened

Format = Literal["png", "webp", "jpg", "tiff"]


def read_extras(data: bytes) -> tuple[NDArray[np.uint8] | None, list[str]]:
    """What a PNG, WebP or TIFF may hold beyond 8-bit colours.

    Returns its transparency, (H, W) uint8, None where all is opaque; and what reading it as 8-bit
    RGB loses, for people: further frames, deeper samples, inks.
    """
    alpha: NDArray[np.uint8] | None = None
    notes: list[str] = []
    # Pillow raises nearly anything; the pixels themselves are read by others.
    with suppress(Exception), opened(data) as image:
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            notes.append(f"only the first of {frames} frames")
        if _bits(data, image) > 8:
            notes.append(f"{_bits(data, image)} bits a sample became 8")
        if image.mode == "CMYK":
            notes.append("CMYK became RGB through plain arithmetic")
        if image.has_transparency_data:
            alpha = np.asarray(image.convert("RGBA"))[:, :, 3]
    return None if alpha is None or alpha.min() == 255 else alpha, notes


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
    """Write (H, W, 3) RGB, (H, W) gray or (H, W, 4) inks beside its final name, then rename.

    Args:
        path: final name. image: as it is to be looked at, already turned; inks, of which 255 is
            full, in JPEG and TIFF only. file_format: of the file.
        quality: 1..100 of WebP (100: lossless) and JPEG (4:4:4); PNG and TIFF are lossless.
        metadata: kept as far as the format can hold it.
        alpha: (H, W) uint8, in PNG, WebP and TIFF.
        origin: what the file is to say of its origin, see utils.metadata.origin, given what could
            not be kept.

    Returns what could not be kept.

    Raises:
        ImageError: the place cannot be written, or the format cannot hold such a picture.
    """
    lost: list[Lost] = []
    colors = _colors(image)
    if metadata.icc_profile and not _profile_fits(metadata.icc_profile, colors):
        meant = metadata.icc_profile[16:20].decode("latin-1").strip()
        lost.append(Lost("the colour profile", f"left out: it is for other colours ({meant})"))
        metadata = replace(metadata, icc_profile=None)
    options: dict[str, Any] = {}
    if file_format == "png":
        options = {"compress_level": 4}
    elif file_format == "webp":
        options = {"lossless": quality == 100, "quality": 80 if quality == 100 else quality}
        more, beyond = webp.encoder_options(metadata)
        options |= more
        lost += beyond
    elif file_format == "jpg":
        options = {"quality": quality, "subsampling": 0}
    if alpha is not None and file_format == "jpg":
        lost.append(Lost("transparency", "was left out, which JPEG does not have"))
    elif alpha is not None:
        image = np.dstack((image, alpha))
    name = _NAMES[file_format]
    try:
        if file_format == "tiff":
            data, beyond = tiff.encoded(image, metadata, colors)
            lost += beyond
        else:
            buffer = io.BytesIO()
            picture = Image.fromarray(image, "CMYK") if colors == "CMYK" else Image.fromarray(image)
            picture.save(buffer, name, **options)
            data = buffer.getvalue()
    except (OSError, ValueError, KeyError) as error:
        height, width = image.shape[:2]
        raise ImageError(
            f"{path}: {width}x{height} pixels cannot be written as {name} ({_one_line(error)}); "
            "choose --format png"
        ) from error
    if file_format in ("png", "jpg"):
        embed = png.embed if file_format == "png" else jpeg.embed
        data, beyond = embed(data, metadata)
        lost += beyond
    none = f"left out: {name.replace('WEBP', 'WebP')} has no place for that"
    lost += [Lost(what, none) for what in _homeless(metadata, file_format)]
    if origin is not None:
        data = with_origin(data, origin(lost))
    write_atomically(Path(path), data)
    return lost


_NAMES = {"png": "PNG", "webp": "WEBP", "jpg": "JPEG", "tiff": "TIFF"}


def _homeless(metadata: Metadata, file_format: Format) -> list[str]:
    """What a format has no place for, for people."""
    if file_format == "png":
        return jpeg.names_beyond(metadata)
    if file_format == "jpg":
        return png.names_beyond(metadata, for_jpeg=True)
    names = jpeg.names_of_photoshop(metadata) if file_format == "webp" else []
    if metadata.comments:
        names.append("a comment" if len(metadata.comments) == 1 else "comments")
    if file_format == "webp" and metadata.density and metadata.density.says_something:
        stated = exif.density(metadata.exif) if metadata.exif else None
        if stated is None or str(stated) != str(metadata.density):
            names.append(str(metadata.density))
    return names + jpeg.names_beyond(metadata) + png.names_beyond(metadata)


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a picture file's header states, None if it is none that is known."""
    with suppress(Exception), opened(data) as image:  # Pillow raises nearly anything
        return image.size
    return None


def _colors(image: NDArray[np.uint8]) -> Literal["gray", "RGB", "CMYK"]:
    if image.ndim == 2:
        return "gray"
    return "CMYK" if image.shape[2] == 4 else "RGB"


def _profile_fits(profile: bytes, colors: str) -> bool:
    """Whether an ICC profile is for colours of this kind (ICC.1, 7.2.6)."""
    return profile[16:20].decode("latin-1").strip() == colors.upper()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:150] or type(error).__name__
