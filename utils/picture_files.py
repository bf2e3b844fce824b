"""Pictures out, with what belonged to them: orientation, EXIF, colour profile, resolution."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from utils.image_io import ImageError, write_atomically

Format = Literal["png", "webp", "jpg"]

# Sizes are checked by whoever opens a file; Pillow's own limit would only get in the way.
Image.MAX_IMAGE_PIXELS = None

_ORIENTATION = 0x0112  # EXIF 2.32, 4.6.4

_LONGEST_JPEG_EXIF = 65533
"""A marker segment's 65,535 bytes, less those that state its length (T.81 B.1.1.4)."""


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """A picture file's bytes in Pillow, whose warnings would end up between lines of a bar."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            yield image


@dataclass(frozen=True)
class Metadata:
    """What a picture file says besides its pixels.

    exif: without thumbnail, orientation reset, None if there is none. icc_profile: as stored.
    dpi: horizontal and vertical. orientation: 1..8, how stored pixels are to be turned (EXIF).
    problem: why some of it could not be read.
    """

    exif: bytes | None = None
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    orientation: int = 1
    problem: str | None = None


def read_metadata(data: bytes) -> Metadata:
    """Metadata of a picture file's bytes; whatever is damaged is left out and said so."""
    try:
        with _opened(data) as image:
            info = {str(key): value for key, value in image.info.items()}
            exif_bytes, orientation, problem = _exif(image)
    except UnidentifiedImageError:
        return Metadata(problem="metadata cannot be read (damaged header)")
    except Exception as error:  # Pillow's parsers raise nearly anything on damaged files
        return Metadata(problem=f"metadata cannot be read ({_one_line(error)})")
    profile = info.get("icc_profile")
    return Metadata(
        exif_bytes,
        profile if isinstance(profile, bytes) and profile else None,
        _resolution(info.get("dpi")),
        orientation,
        problem,
    )


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
        with _opened(data) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                notes.append(f"only the first of {frames} frames")
            if _bits(data, image) > 8:
                notes.append(f"{_bits(data, image)} bits a sample became 8")
            if image.has_transparency_data:
                alpha = np.asarray(image.convert("RGBA"))[:, :, 3]
    except Exception:  # as above; the pixels themselves are read by others
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
) -> list[str]:
    """Write (H, W, 3) RGB or (H, W) gray beside its final name, then rename.

    Args:
        path: final name. image: as it is to be looked at, already turned. file_format: of the file.
        quality: 1..100 of WebP (100: lossless) and JPEG (4:4:4); PNG is lossless.
        metadata: kept as far as the format can hold it.
        alpha: (H, W) uint8, in PNG and WebP.

    Returns what could not be kept, for people.

    Raises:
        ImageError: the place cannot be written, or the format cannot hold such a picture.
    """
    options: dict[str, Any] = {}
    lost = []
    if metadata.exif and file_format == "jpg" and len(metadata.exif) > _LONGEST_JPEG_EXIF:
        lost.append("EXIF is too long for a JPEG and was left out")
    elif metadata.exif:
        options["exif"] = metadata.exif
    if metadata.icc_profile and _profile_fits(metadata.icc_profile, image):
        options["icc_profile"] = metadata.icc_profile
    if metadata.dpi and file_format != "webp":
        options["dpi"] = metadata.dpi
    if file_format == "png":
        options |= {"compress_level": 4}
    elif file_format == "webp":
        options |= {"lossless": quality == 100, "quality": 80 if quality == 100 else quality}
    else:
        options |= {"quality": quality, "subsampling": 0}
    if alpha is not None and file_format == "jpg":
        lost.append("transparency was left out, which JPEG does not have")
    elif alpha is not None:
        image = np.dstack((image, alpha))
    buffer = io.BytesIO()
    name = {"png": "PNG", "webp": "WEBP", "jpg": "JPEG"}[file_format]
    try:
        Image.fromarray(image).save(buffer, name, **options)
    except (OSError, ValueError, KeyError) as error:
        height, width = image.shape[:2]
        raise ImageError(
            f"{path}: {width}x{height} pixels cannot be written as {name} ({_one_line(error)}); "
            "choose --format png"
        ) from error
    write_atomically(Path(path), buffer.getvalue())
    return lost


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a picture file's header states, None if it is none that is known."""
    try:
        with _opened(data) as image:
            return image.size
    except Exception:  # as above
        return None


def _exif(image: Image.Image) -> tuple[bytes | None, int, str | None]:
    """EXIF without thumbnail and orientation, the orientation, and what was wrong."""
    if not image.info.get("exif"):
        return None, 1, None
    try:
        exif = image.getexif()
        stated = exif.get(_ORIENTATION, 1)
        orientation = stated if stated in range(1, 9) else 1
        if _ORIENTATION in exif:
            exif[_ORIENTATION] = 1
        return exif.tobytes(), int(orientation), None
    except Exception as error:  # as above
        return None, 1, f"EXIF is damaged and was left out ({_one_line(error)})"


def _resolution(value: Any) -> tuple[float, float] | None:
    try:
        horizontal, vertical = (float(number) for number in value)
    except (TypeError, ValueError):
        return None
    return (horizontal, vertical) if 0 < horizontal < 1e6 and 0 < vertical < 1e6 else None


def _profile_fits(profile: bytes, image: NDArray[np.uint8]) -> bool:
    """Whether an ICC profile is for as many colours as the picture has (ICC.1, 7.2.6)."""
    return profile[16:20] == (b"GRAY" if image.ndim == 2 else b"RGB ")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:150] or type(error).__name__
